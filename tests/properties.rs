//! Property tests of tokenizers and batches. Those of plans, matrix products and attention are in
//! `src/`, beside the other tests.

use proptest::prelude::*;
use seemore::data::Batches;
use seemore::text::{TextStream, TokenKind, Tokenizer};

const KINDS: [TokenKind; 3] = [TokenKind::Characters, TokenKind::Words, TokenKind::Bpe];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn decoding_reverses_encoding_of_known_characters(texts in prop::collection::vec("[a-c ,.:é👍-]{0,12}", 1..6), pick in any::<prop::sample::Index>()) {
        let text = pick.get(&texts);
        for kind in KINDS {
            let tokenizer = Tokenizer::train(kind, texts.iter().map(String::as_str), None);
            let ids = tokenizer.encode(text);
            prop_assert_eq!(&tokenizer.decode(&ids), text, "{:?} {:?}", kind, &ids);
            prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            prop_assert!(tokenizer.unknown_parts(text).is_empty());
            let mut stream = TextStream::new(&tokenizer, &[]);
            prop_assert_eq!(&ids.iter().map(|&id| stream.push(id)).collect::<String>(), text);
            // also after a round trip through its file
            let again = Tokenizer::from_json(&tokenizer.to_json()).unwrap();
            prop_assert_eq!(again.encode(text), ids);
        }
    }

    #[test]
    fn encodes_any_text_and_reports_unknown_parts(text in any::<String>(), ids in prop::collection::vec(any::<u32>(), 0..20)) {
        for kind in KINDS {
            let tokenizer = Tokenizer::train(kind, ["red square", "blue heart: dark"].into_iter(), None);
            let encoded = tokenizer.encode(&text);
            prop_assert!(encoded.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            let unknown = encoded.iter().any(|&id| Some(id) == tokenizer.unknown());
            prop_assert_eq!(unknown, !tokenizer.unknown_parts(&text).is_empty(), "{:?}", kind);
            if !unknown {
                prop_assert_eq!(&tokenizer.decode(&encoded), &text, "{:?}", kind);
            }
            // any ids can be decoded
            let _ = tokenizer.decode(&ids);
        }
    }

    #[test]
    fn every_row_occurs_once_per_epoch(rows in 1..200usize, batch in 1..40usize, seed: u64, epoch in 0..50u64) {
        let batches = Batches::new(rows, batch, seed);
        // batches may span two epochs
        let places = epoch * rows as u64..(epoch + 1) * rows as u64;
        let at = |place: u64| batches.indices(place / batch as u64)[(place % batch as u64) as usize];
        let mut seen: Vec<usize> = places.clone().map(at).collect();
        let again = Batches::new(rows, batch, seed);
        prop_assert_eq!(again.indices(places.start / batch as u64), batches.indices(places.start / batch as u64));
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
    }
}
