//! Text as token ids: characters, words or pieces of words.

mod characters;
mod pieces;

use std::path::Path;

pub use characters::Characters;
pub use pieces::Pieces;

/// Why a tokenizer cannot be read or written. The message names the file and contains the reason, which is therefore not a
/// source.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("cannot read {path}: {reason}")]
    Read {
        path: String,
        reason: std::io::Error,
    },
    #[error("cannot write {path}: {reason}")]
    Write {
        path: String,
        reason: std::io::Error,
    },
    #[error("{path} is not a tokenizer: {reason}")]
    Invalid { path: String, reason: String },
}

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenKind {
    /// A character.
    Characters,
    /// A word with the space before it, or a mark of punctuation.
    Words,
    /// Bytes, and frequent runs of them within words (byte-pair encoding).
    Bpe,
}

/// A vocabulary with a padding token, and, except in vocabularies of the original seemore, tokens for the begin and end of a text and for
/// what training never saw.
#[derive(Debug, Clone)]
pub enum Tokenizer {
    Characters(Characters),
    /// Words, or pieces of them.
    Pieces(Box<Pieces>),
}

/// The same expression of whichever it is.
macro_rules! either {
    ($tokenizer:expr, $it:ident => $value:expr) => {
        match $tokenizer {
            Tokenizer::Characters($it) => $value,
            Tokenizer::Pieces($it) => $value,
        }
    };
}

impl Tokenizer {
    /// Size of a BPE vocabulary when no other is asked for: the bytes and some 800 runs, which hold the frequent words of short captions.
    pub const BPE_SIZE: usize = 1024;

    /// The vocabulary of the given texts: pad 0, begin 1, end 2, unknown 3, then the tokens, at most `vocab_size` together. The order of
    /// the texts does not matter. Characters are all kept.
    pub fn train<'a>(
        kind: TokenKind,
        texts: impl Iterator<Item = &'a str> + Send,
        vocab_size: Option<usize>,
    ) -> Tokenizer {
        match kind {
            TokenKind::Characters => Tokenizer::Characters(Characters::train(texts)),
            TokenKind::Words => Tokenizer::Pieces(Pieces::train_words(texts, vocab_size).into()),
            TokenKind::Bpe => Tokenizer::Pieces(
                Pieces::train_bpe(texts, vocab_size.unwrap_or(Self::BPE_SIZE)).into(),
            ),
        }
    }

    /// The original's vocabulary: the distinct characters, sorted, then padding; no other special tokens.
    pub fn plain(characters: impl Iterator<Item = char>) -> Tokenizer {
        Tokenizer::Characters(Characters::plain(characters))
    }

    /// Number of ids.
    pub fn vocab_size(&self) -> usize {
        either!(self, it => it.vocab_size())
    }

    pub fn pad(&self) -> u32 {
        either!(self, it => it.pad())
    }

    pub fn begin(&self) -> Option<u32> {
        either!(self, it => it.begin())
    }

    pub fn end(&self) -> Option<u32> {
        either!(self, it => it.end())
    }

    pub fn unknown(&self) -> Option<u32> {
        either!(self, it => it.unknown())
    }

    /// The distinct characters or words of a text that are not in the vocabulary, in their order.
    pub fn unknown_parts(&self, text: &str) -> Vec<String> {
        match self {
            Tokenizer::Characters(it) => it
                .unknown_characters(text)
                .into_iter()
                .map(String::from)
                .collect(),
            Tokenizer::Pieces(it) => it.unknown_words(text),
        }
    }

    /// The ids of a text's tokens. What is outside the vocabulary becomes the unknown token, or, of characters, padding where there is
    /// none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        either!(self, it => it.encode(text))
    }

    /// The text of ids, which is the encoded one if all of it is in the vocabulary. The unknown token and ids outside the vocabulary
    /// become U+FFFD; other special tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        either!(self, it => it.decode(ids))
    }

    /// How a text has to end for a caption to go on from it: where spaces belong to the words that follow them, without one.
    pub fn as_prompt<'a>(&self, text: &'a str) -> &'a str {
        match self {
            Tokenizer::Characters(_) => text,
            Tokenizer::Pieces(_) => text.trim_end(),
        }
    }

    /// Writes `tokenizer.json`.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        std::fs::write(path, self.to_json()).map_err(|reason| TokenizerError::Write {
            path: path.display().to_string(),
            reason,
        })
    }

    /// What `tokenizer.json` holds: a format of our own for characters, that of Hugging Face's `tokenizers` for the others.
    pub fn to_json(&self) -> String {
        either!(self, it => it.to_json())
    }

    /// Reads `tokenizer.json` in either format. A file of Hugging Face's must have a token `<pad>`, and `<s>`, `</s>` and `<unk>` if it has
    /// begin, end and unknown.
    pub fn load(path: &Path) -> Result<Tokenizer, TokenizerError> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|reason| TokenizerError::Read {
            path: name(),
            reason,
        })?;
        Self::from_json(&text).map_err(|reason| TokenizerError::Invalid {
            path: name(),
            reason,
        })
    }

    /// The same of the text of such a file; what is wrong with it is said without a name.
    pub fn from_json(text: &str) -> Result<Tokenizer, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        if value.get("type").is_some() {
            Ok(Tokenizer::Characters(Characters::from_json(text)?))
        } else if value.get("model").is_some() {
            Ok(Tokenizer::Pieces(Pieces::from_json(text)?.into()))
        } else {
            Err("it has neither a `type`, as a character tokenizer, nor a `model`, as a tokenizer of Hugging Face's".into())
        }
    }
}

/// Text that is written token by token.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Bytes of the ids' text that were given out.
    given: usize,
}

impl<'a> TextStream<'a> {
    /// Goes on after a prompt, whose text is not given out.
    pub fn new(tokenizer: &'a Tokenizer, prompt: &[u32]) -> TextStream<'a> {
        TextStream {
            tokenizer,
            ids: prompt.to_vec(),
            given: tokenizer.decode(prompt).len(),
        }
    }

    /// The text that a token adds. A token that ends within a character adds nothing: the one that completes the character does.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids);
        // an unknown token, and nothing else that is whole, is written as this character
        let known =
            Some(id) != self.tokenizer.unknown() && (id as usize) < self.tokenizer.vocab_size();
        let open = matches!(self.tokenizer, Tokenizer::Pieces(_))
            && known
            && text.ends_with(char::REPLACEMENT_CHARACTER);
        let new = if open {
            ""
        } else {
            text.get(self.given..).unwrap_or_default()
        };
        self.given += new.len();
        new.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captions that are hard to give back exactly.
    const HARD: [&str; 24] = [
        "waving hand: medium-light skin tone",
        "man’s shoe",
        "keycap: #",
        "keycap: *",
        "keycap: 10",
        "Japanese “free of charge” button",
        "face with open eyes and hand over mouth",
        "1st place medal",
        "O button (blood type)",
        "SOON arrow",
        "ON! arrow",
        "A button (blood type)",
        "dotted six-pointed star",
        "couple with heart: woman, man, dark skin tone, light skin tone",
        "piñata",
        "Cocktail glass – ünïcödé 日本 👍🏽",
        "e\u{301}te\u{301}",
        "a  b   c",
        " starts and ends with spaces  ",
        "tab\tand\nline",
        "<pad> <s></s><unk>",
        "under_score ▁ Ġ �.",
        "!?",
        "x",
    ];

    const KINDS: [TokenKind; 3] = [TokenKind::Characters, TokenKind::Words, TokenKind::Bpe];

    /// The captions of the shipped data.
    fn shipped() -> Vec<String> {
        let mut reader = csv::Reader::from_path("data/inputs.csv").unwrap();
        let column = reader
            .headers()
            .unwrap()
            .iter()
            .position(|name| name == "caption")
            .unwrap();
        reader
            .records()
            .map(|record| record.unwrap()[column].to_owned())
            .collect()
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let mut captions = shipped();
        assert!(captions.len() > 12);
        captions.extend(HARD.map(str::to_owned));
        for kind in KINDS {
            let tokenizer = Tokenizer::train(kind, captions.iter().map(String::as_str), None);
            for caption in captions.iter().map(String::as_str).chain([""]) {
                let ids = tokenizer.encode(caption);
                assert_eq!(tokenizer.decode(&ids), caption, "{kind:?} {ids:?}");
                assert!(
                    ids.iter()
                        .all(|&id| id > 3 && (id as usize) < tokenizer.vocab_size()),
                    "{kind:?} {caption:?} {ids:?}"
                );
                assert_eq!(tokenizer.unknown_parts(caption), [""; 0], "{kind:?}");
                // and piece by piece, with special tokens around it
                let mut stream = TextStream::new(&tokenizer, &[1]);
                let pieces: Vec<String> = ids
                    .iter()
                    .copied()
                    .chain([2, 0])
                    .map(|id| stream.push(id))
                    .collect();
                assert_eq!(pieces.concat(), caption, "{kind:?} {pieces:?}");
            }
        }
    }

    #[test]
    fn words_are_the_same_wherever_they_stand_and_punctuation_is_apart() {
        let tokenizer = Tokenizer::train(
            TokenKind::Words,
            ["hand: red", "red hand", "a (red) hand"].into_iter(),
            None,
        );
        let [hand, red] = ["hand", "red"].map(|word| tokenizer.encode(word)[0]);
        // the most frequent first, then by the alphabet
        assert_eq!((hand, tokenizer.encode("red hand")), (4, vec![red, hand]));
        assert_eq!(tokenizer.encode("hand: red").len(), 3);
        assert_eq!(tokenizer.encode("a (red) hand").len(), 5);
        assert_eq!(
            (
                tokenizer.pad(),
                tokenizer.begin(),
                tokenizer.end(),
                tokenizer.unknown()
            ),
            (0, Some(1), Some(2), Some(3))
        );
        assert_eq!(tokenizer.encode("red foot"), [red, 3]);
        assert_eq!(
            tokenizer.decode(&[1, red, 3, 9999, hand, 2, 0]),
            "red \u{fffd} \u{fffd} hand"
        );
        assert_eq!(
            tokenizer.unknown_parts("a red foot, no foot"),
            ["foot", ",", "no"]
        );
        assert_eq!(tokenizer.as_prompt("a red "), "a red");
    }

    #[test]
    fn a_text_is_written_as_its_tokens_come() {
        let captions = ["red heart: dark", "naïve"];
        let written = |kind, prompt: &str, rest: &str| {
            let tokenizer = Tokenizer::train(kind, captions.into_iter(), None);
            let all = tokenizer.encode(&format!("{prompt}{rest}"));
            let prompt = tokenizer.encode(prompt);
            assert_eq!(all[..prompt.len()], prompt);
            let mut stream = TextStream::new(&tokenizer, &prompt);
            all[prompt.len()..]
                .iter()
                .map(|&id| stream.push(id))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            written(TokenKind::Words, "", "red heart: dark"),
            ["red", " heart", ":", " dark"]
        );
        assert_eq!(
            written(TokenKind::Words, "red", " heart: dark"),
            [" heart", ":", " dark"]
        );
        assert_eq!(
            written(TokenKind::Words, "red", " whale: dark"),
            [" \u{fffd}", ":", " dark"]
        );
        assert_eq!(
            written(TokenKind::Characters, "red", " he"),
            [" ", "h", "e"]
        );
        assert_eq!(
            written(TokenKind::Characters, "", "rqd"),
            ["r", "\u{fffd}", "d"]
        );
        // four bytes, none of them seen in training: nothing until the last
        assert_eq!(
            written(TokenKind::Bpe, "red heart: dark", "🐧!"),
            ["", "", "", "🐧", "!"]
        );
        // a text that ends within a character
        let tokenizer = Tokenizer::train(TokenKind::Bpe, captions.into_iter(), None);
        let ids = tokenizer.encode("red 🐧");
        let mut stream = TextStream::new(&tokenizer, &[]);
        assert_eq!(
            ids[..ids.len() - 1]
                .iter()
                .map(|&id| stream.push(id))
                .collect::<String>(),
            "red "
        );
    }

    #[test]
    fn the_order_of_texts_does_not_matter() {
        let mut captions = shipped();
        captions.extend(HARD.map(str::to_owned));
        for kind in KINDS {
            let train = |captions: &[String], size| {
                Tokenizer::train(kind, captions.iter().map(String::as_str), size).to_json()
            };
            let (all, some) = (train(&captions, None), train(&captions, Some(300)));
            for turn in [1, captions.len() / 2] {
                captions.rotate_left(turn);
                captions.reverse();
                assert_eq!(
                    (train(&captions, None), train(&captions, Some(300))),
                    (all.clone(), some.clone()),
                    "{kind:?}"
                );
            }
        }
    }

    #[test]
    fn a_vocabulary_has_at_most_the_size_that_was_asked_for() {
        let captions = shipped();
        let train = |kind, size| Tokenizer::train(kind, captions.iter().map(String::as_str), size);
        let words = train(TokenKind::Words, Some(8));
        assert_eq!(words.vocab_size(), 8);
        assert!(words.encode("red heart eggplant panda key").contains(&3));
        let bpe = train(TokenKind::Bpe, Some(270));
        assert_eq!(
            (bpe.vocab_size(), bpe.decode(&bpe.encode("no word of it ☂"))),
            (270, "no word of it ☂".into())
        );
        // whole words, when there is room
        assert_eq!(train(TokenKind::Bpe, None).encode("crescent moon").len(), 2);
    }

    #[test]
    fn files_round_trip_and_bad_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        let trained = KINDS.map(|kind| Tokenizer::train(kind, HARD.into_iter(), None));
        for tokenizer in trained.into_iter().chain([Tokenizer::plain("xyz".chars())]) {
            tokenizer.save(&path).unwrap();
            let loaded = Tokenizer::load(&path).unwrap();
            assert_eq!(loaded.to_json(), tokenizer.to_json());
            let special =
                |t: &Tokenizer| (t.vocab_size(), t.pad(), t.begin(), t.end(), t.unknown());
            assert_eq!(special(&loaded), special(&tokenizer));
            for text in HARD {
                assert_eq!(loaded.encode(text), tokenizer.encode(text));
                assert_eq!(
                    loaded.decode(&loaded.encode(text)),
                    tokenizer.decode(&tokenizer.encode(text))
                );
            }
        }
        let words = Tokenizer::train(TokenKind::Words, HARD.into_iter(), None).to_json();
        let bad = [
            "",
            "{}",
            "[]",
            r#"{"type":"words"}"#,
            r#"{"model":{"type":"Words"}}"#,
            r#"{"type":"characters","characters":["a","a"],"pad":0,"begin":null,"end":null,"unknown":null}"#,
            r#"{"type":"characters","characters":["a"],"pad":9,"begin":null,"end":null,"unknown":null}"#,
            &words.replace("<pad>", "<padding>"),
            &words.replace(r#""stop": 0"#, r#""stop": 1"#),
            // a model that needs its unknown token finds out too late
            &words.replace(r#""unk_token": "<unk>""#, r#""unk_token": "<none>""#),
            &words[..words.len() / 2],
        ];
        for text in bad {
            std::fs::write(&path, text).unwrap();
            let error = Tokenizer::load(&path).unwrap_err().to_string();
            assert!(error.contains("tokenizer.json"), "{error}");
        }
        let error = Tokenizer::load(&dir.path().join("absent.json"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("absent.json"), "{error}");
    }
}
