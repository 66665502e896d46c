//! Parser of `tokenizer.json` in both formats, and tokenization with the result.
#![no_main]

use seemore::text::Tokenizer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(tokenizer) = Tokenizer::from_json(text) {
        let ids = tokenizer.encode("a piñata, 10 o\u{2019}clock");
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        let _ = (tokenizer.decode(&ids), tokenizer.decode(&[0, 1, 2, 3, u32::MAX]), tokenizer.unknown_parts("a b"), tokenizer.to_json());
    }
});
