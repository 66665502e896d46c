//! Tokenizers of characters, words or subwords.

mod characters;
mod pieces;
mod pretrained;
mod special;
mod stream;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use characters::Characters;
pub use pieces::Pieces;
pub use pretrained::{Pretrained, SpecialIds};
pub use special::SpecialNames;
pub use stream::TextStream;

use crate::atomic_file;
use crate::file_kind::{FileKind, START};

/// Reason why a tokenizer cannot be read or written. Messages name the file and include the cause,
/// which is therefore not reported as a source.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Path of the file.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// Path of the file.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
    /// The content is not a tokenizer.
    #[error("{path} is not a tokenizer: {reason}")]
    Invalid {
        /// Path of the file.
        path: String,
        /// Description of the defect.
        reason: String,
    },
}

/// Unit of text that a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenKind {
    /// Single characters.
    Characters,
    /// Words, each with the space before it, and punctuation marks.
    Words,
    /// Bytes and frequent byte sequences within words (byte-pair encoding).
    Bpe,
}

/// Converts between text and token ids.
///
/// Every vocabulary that was trained here has a padding token and, except for vocabularies of the
/// original seemore, tokens for the begin and the end of a text and for unknown text. Those of
/// pretrained models have what the model's configuration names.
#[derive(Debug, Clone)]
pub enum Tokenizer {
    /// One token per character.
    Characters(Characters),
    /// Words or subwords.
    Pieces(Box<Pieces>),
    /// The vocabulary of a pretrained model.
    Pretrained(Box<Pretrained>),
}

/// Name of the file beside `tokenizer.json` that names tokens with a meaning.
pub const CONFIG: &str = "tokenizer_config.json";

/// Evaluates an expression on whichever tokenizer it is.
macro_rules! either {
    ($tokenizer:expr, $it:ident => $value:expr) => {
        match $tokenizer {
            Tokenizer::Characters($it) => $value,
            Tokenizer::Pieces($it) => $value,
            Tokenizer::Pretrained($it) => $value,
        }
    };
}

impl Tokenizer {
    /// Default size of a BPE vocabulary: the bytes and about 800 sequences, enough for the frequent
    /// words of short captions.
    pub const BPE_SIZE: usize = 1024;

    /// Trains a tokenizer on texts, whose order does not matter.
    ///
    /// The ids are: padding 0, begin 1, end 2, unknown 3, then the tokens. `vocab_size` limits the
    /// size of the vocabulary, including these four; characters are never limited.
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

    /// Creates a vocabulary of the original seemore: the distinct characters, sorted, then padding.
    /// It has no other special tokens.
    pub fn plain(characters: impl Iterator<Item = char>) -> Tokenizer {
        Tokenizer::Characters(Characters::plain(characters))
    }

    /// Returns the number of ids.
    pub fn vocab_size(&self) -> usize {
        either!(self, it => it.vocab_size())
    }

    /// Returns the id of padding. A pretrained vocabulary without one gives the end of a text, or
    /// 0: padded positions are not read, so any id may fill them.
    pub fn pad(&self) -> u32 {
        match self {
            Tokenizer::Characters(it) => it.pad(),
            Tokenizer::Pieces(it) => it.pad(),
            Tokenizer::Pretrained(it) => it.special().pad.or(it.special().end).unwrap_or(0),
        }
    }

    /// Returns the id of the begin of a text, if there is one.
    pub fn begin(&self) -> Option<u32> {
        match self {
            Tokenizer::Characters(it) => it.begin(),
            Tokenizer::Pieces(it) => it.begin(),
            Tokenizer::Pretrained(it) => it.special().begin,
        }
    }

    /// Returns the id of the end of a text, if there is one.
    pub fn end(&self) -> Option<u32> {
        match self {
            Tokenizer::Characters(it) => it.end(),
            Tokenizer::Pieces(it) => it.end(),
            Tokenizer::Pretrained(it) => it.special().end,
        }
    }

    /// Returns the id of unknown text, if there is one.
    pub fn unknown(&self) -> Option<u32> {
        match self {
            Tokenizer::Characters(it) => it.unknown(),
            Tokenizer::Pieces(it) => it.unknown(),
            Tokenizer::Pretrained(it) => it.special().unknown,
        }
    }

    /// Returns the distinct characters or words of a text that are not in the vocabulary, in order.
    pub fn unknown_parts(&self, text: &str) -> Vec<String> {
        match self {
            Tokenizer::Characters(it) => it
                .unknown_characters(text)
                .into_iter()
                .map(String::from)
                .collect(),
            Tokenizer::Pieces(it) => it.unknown_words(text),
            Tokenizer::Pretrained(it) => it.unknown_parts(text),
        }
    }

    /// Converts a text to ids. Text outside the vocabulary becomes the unknown token, or padding if
    /// there is none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        either!(self, it => it.encode(text))
    }

    /// Converts ids to text; the inverse of [`encode`](Self::encode) for text within the
    /// vocabulary. The unknown token and ids outside the vocabulary become U+FFFD. Other special
    /// tokens are omitted.
    pub fn decode(&self, ids: &[u32]) -> String {
        either!(self, it => it.decode(ids))
    }

    /// Returns the part of a text to use as a prompt: without trailing white space where spaces
    /// belong to the words after them. Prompts of pretrained models are left as they are: their
    /// templates end in white space on purpose.
    pub fn as_prompt<'a>(&self, text: &'a str) -> &'a str {
        match self {
            Tokenizer::Characters(_) | Tokenizer::Pretrained(_) => text,
            Tokenizer::Pieces(_) => text.trim_end(),
        }
    }

    /// Writes `tokenizer.json` atomically.
    ///
    /// # Errors
    /// A file that cannot be written; the message names it.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        atomic_file::write(path, self.to_json().as_bytes()).map_err(|reason| {
            TokenizerError::Write {
                path: path.display().to_string(),
                reason,
            }
        })
    }

    /// Returns the content of `tokenizer.json`: a format of this library for characters, the format
    /// of Hugging Face's `tokenizers` for the others.
    pub fn to_json(&self) -> String {
        either!(self, it => it.to_json())
    }

    /// Reads `tokenizer.json` in either format. In a file of Hugging Face's `tokenizers`, tokens
    /// for padding, begin, end and unknown are found by the names that `tokenizer_config.json`
    /// beside it gives, or by their usual names, such as `<pad>`, `[PAD]` or `<|endoftext|>`.
    ///
    /// # Errors
    /// A file that cannot be read or is not a tokenizer; the message names it.
    pub fn load(path: &Path) -> Result<Tokenizer, TokenizerError> {
        Self::load_named(path, &SpecialNames::default())
    }

    /// Like [`load`](Self::load), with the names of some tokens.
    ///
    /// # Errors
    /// As [`load`](Self::load), and a name that is no token, or that a format of this library does
    /// not take.
    pub fn load_named(path: &Path, names: &SpecialNames) -> Result<Tokenizer, TokenizerError> {
        let beside = std::fs::read(path.with_file_name(CONFIG)).ok();
        let beside: Option<Value> = beside.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self::read(path, |text| {
            Self::from_json_named(text, names, beside.as_ref())
        })
    }

    /// Returns the content of a `tokenizer_config.json` with the names of tokens that
    /// `tokenizer.json` does not tell; `None` if there are none.
    pub fn config_json(&self) -> Option<String> {
        match self {
            Tokenizer::Pretrained(it) => special::config_json(it),
            _ => None,
        }
    }

    /// Reads the `tokenizer.json` of a pretrained model, with ids from its configuration. The names
    /// of tokens have no meaning.
    ///
    /// # Errors
    /// A file that cannot be read or is not a tokenizer; the message names it.
    pub fn load_pretrained(path: &Path, special: SpecialIds) -> Result<Tokenizer, TokenizerError> {
        Self::read(path, |text| {
            let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
            check_merges(&value)?;
            Ok(Tokenizer::Pretrained(
                Pretrained::from_json(text, special)?.into(),
            ))
        })
    }

    /// Creates the byte-level BPE vocabulary of a GGUF file; see [`Pretrained::from_bpe`].
    ///
    /// # Errors
    /// A description of the defect, without a file name.
    pub fn from_bpe(
        tokens: &[String],
        merges: &[String],
        token_types: &[i32],
        pre: &str,
        special: SpecialIds,
    ) -> Result<Tokenizer, String> {
        let pretrained = Pretrained::from_bpe(tokens, merges, token_types, pre, special)?;
        Ok(Tokenizer::Pretrained(pretrained.into()))
    }

    fn read(
        path: &Path,
        parse: impl FnOnce(&str) -> Result<Tokenizer, String>,
    ) -> Result<Tokenizer, TokenizerError> {
        let name = || path.display().to_string();
        let bytes = std::fs::read(path).map_err(|reason| TokenizerError::Read {
            path: name(),
            reason,
        })?;
        let invalid = |reason: String| TokenizerError::Invalid {
            path: name(),
            reason,
        };
        if let Some(kind) = FileKind::of(&bytes[..bytes.len().min(START)]) {
            return Err(invalid(format!("it is {}", kind.name())));
        }
        let text = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text".into()))?;
        parse(&text).map_err(invalid)
    }

    /// Parses the content of `tokenizer.json`; see [`load`](Self::load).
    ///
    /// # Errors
    /// A description of the defect, without a file name.
    pub fn from_json(text: &str) -> Result<Tokenizer, String> {
        Self::from_json_named(text, &SpecialNames::default(), None)
    }

    fn from_json_named(
        text: &str,
        names: &SpecialNames,
        beside: Option<&Value>,
    ) -> Result<Tokenizer, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check_merges(&value)?;
        if value.get("type").is_some() {
            if !names.is_empty() {
                return Err("its special tokens have no other names: it holds characters".into());
            }
            Ok(Tokenizer::Characters(Characters::from_json(text)?))
        } else if value.get("model").is_some() {
            // words trained here have padding; other words without it are an error there
            let own = value["model"]["type"] == "WordLevel" || Pieces::has_special(&value);
            if own && names.is_empty() {
                return Ok(Tokenizer::Pieces(Pieces::from_json(text)?.into()));
            }
            let vocabulary = Pretrained::from_json(text, SpecialIds::default())?;
            let special = names.ids(&vocabulary, &value, beside)?;
            Ok(Tokenizer::Pretrained(
                vocabulary.with_special(special).into(),
            ))
        } else {
            Err("it has neither the field `type` of a character tokenizer nor the field `model` of Hugging Face's tokenizers".into())
        }
    }
}

/// Checks that merges of BPE give tokens: the library panics on some that do not.
fn check_merges(file: &Value) -> Result<(), String> {
    let model = &file["model"];
    let (Some(vocabulary), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
    else {
        return Ok(());
    };
    let prefix = model["continuing_subword_prefix"]
        .as_str()
        .unwrap_or_default();
    for merge in merges {
        let (left, right) = match merge {
            Value::String(pair) => pair.split_once(' ').unwrap_or_default(),
            pair => (
                pair[0].as_str().unwrap_or_default(),
                pair[1].as_str().unwrap_or_default(),
            ),
        };
        let result = right
            .get(prefix.len()..)
            .map(|right| [left, right].concat());
        if !result.is_some_and(|token| vocabulary.contains_key(&token)) {
            return Err(format!("the merge {merge} does not give a token"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captions that are hard to reproduce exactly.
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
    fn decoding_reverses_encoding() {
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
                // also token by token, with special tokens around
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
    fn word_tokens_do_not_depend_on_position_and_exclude_punctuation() {
        let tokenizer = Tokenizer::train(
            TokenKind::Words,
            ["hand: red", "red hand", "a (red) hand"].into_iter(),
            None,
        );
        let [hand, red] = ["hand", "red"].map(|word| tokenizer.encode(word)[0]);
        // the most frequent first, then in alphabetical order
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
    fn streams_text_token_by_token() {
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
        // four bytes that training has not seen: no text until the last
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
    fn training_ignores_the_order_of_texts() {
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
    fn respects_the_vocabulary_size() {
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
        // whole words, given enough room
        assert_eq!(train(TokenKind::Bpe, None).encode("crescent moon").len(), 2);
    }

    #[test]
    fn files_round_trip_and_errors_name_the_file() {
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
            // a missing unknown token would fail only when it is needed
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
