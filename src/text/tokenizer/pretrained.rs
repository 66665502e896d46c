//! Tokenizers of pretrained models, used as they are.

use std::sync::Arc;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::{AddedToken, Decoder, Tokenizer};

use super::pieces::strips_ends;

/// Ids with a meaning, from a model's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpecialIds {
    /// Padding.
    pub pad: Option<u32>,
    /// Begin of a text.
    pub begin: Option<u32>,
    /// End of a text.
    pub end: Option<u32>,
    /// Unknown text.
    pub unknown: Option<u32>,
}

/// Vocabulary of a pretrained model: BPE, WordPiece, Unigram or words.
///
/// Added tokens, such as `<image>`, are recognised inside a text. Which of them mean begin, end and
/// padding is for the model's configuration to say.
///
/// Clones share the vocabulary, which takes some 20 MB.
#[derive(Debug, Clone)]
pub struct Pretrained {
    inner: Arc<Tokenizer>,
    vocab_size: usize,
    special: SpecialIds,
}

/// Rules of GGUF files for splitting text into words, by their names in llama.cpp, that separate
/// digits and then split as GPT-2.
const SINGLE_DIGITS: [&str; 7] = [
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "codeshell",
    "exaone",
    "minerva-7b",
];

/// Rules of GGUF files that split as GPT-2.
const GPT2: [&str; 6] = [
    "gpt-2",
    "mpt",
    "olmo",
    "jais",
    "trillion",
    "granite-docling",
];

/// Ids without a token that a vocabulary may have, besides as many as it has tokens.
const MAX_HOLES: usize = 1024;

/// Type of tokens in GGUF files that steer a model, such as the end of a text.
const CONTROL: i32 = 3;
/// Type of tokens in GGUF files that were added to the vocabulary.
const USER_DEFINED: i32 = 4;

impl Pretrained {
    fn new(mut inner: Tokenizer, special: SpecialIds) -> Result<Pretrained, String> {
        // settings of the training that the file was saved in
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| error.to_string())?;
        // the library underflows if a token is shorter than the number of characters to strip
        if inner
            .get_decoder()
            .is_some_and(|decoder| strips_ends(&serde_json::to_value(decoder).unwrap_or_default()))
        {
            return Err("its decoder strips characters from the ends of tokens (`Strip` with a `stop` above 0), which is not supported".into());
        }
        let ids = inner.get_vocab(true);
        let highest = ids.values().max().ok_or("it has no tokens")?;
        let vocab_size = *highest as usize + 1;
        // a model has a row of weights for each id
        if vocab_size > 2 * ids.len() + MAX_HOLES {
            let tokens = ids.len();
            return Err(format!("it has {tokens} tokens with ids up to {highest}"));
        }
        // a model may name an unknown token that its vocabulary lacks, which fails only on first
        // use
        for text in ["a", "\u{10fffd}", " 1, "] {
            inner.encode(text, false).map_err(|error| {
                format!("it cannot split a text such as {text:?} into tokens: {error}")
            })?;
        }
        Ok(Pretrained {
            inner: inner.into(),
            vocab_size,
            special,
        })
    }

    /// Parses the content of `tokenizer.json`.
    ///
    /// # Errors
    /// A description of the defect.
    pub fn from_json(text: &str, special: SpecialIds) -> Result<Pretrained, String> {
        Self::new(text.parse().map_err(|error| format!("{error}"))?, special)
    }

    /// Creates a byte-level BPE vocabulary from the fields of a GGUF file: `tokenizer.ggml.tokens`,
    /// `merges` with a space between the two parts of each, `token_type`, which may be empty, and
    /// `pre`, the rule by which text is split into words.
    ///
    /// # Errors
    /// A rule that is not supported, merges of tokens that do not exist, or tokens listed twice.
    pub fn from_bpe(
        tokens: &[String],
        merges: &[String],
        token_types: &[i32],
        pre: &str,
        special: SpecialIds,
    ) -> Result<Pretrained, String> {
        let words = words(pre)?;
        if !token_types.is_empty() && token_types.len() != tokens.len() {
            let (tokens, types) = (tokens.len(), token_types.len());
            return Err(format!("it has {tokens} tokens and {types} token types"));
        }
        let mut vocabulary = Vocab::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if vocabulary.insert(token.clone(), id as u32).is_some() {
                return Err(format!("it lists the token {token:?} twice"));
            }
        }
        let pair = |merge: &String| {
            let (left, right) = merge.split_once(' ').unwrap_or_default();
            // the library panics on some merges whose result is no token
            if left.is_empty()
                || right.is_empty()
                || !vocabulary.contains_key(&[left, right].concat())
            {
                return Err(format!("the merge {merge:?} does not give a token"));
            }
            Ok((left.to_owned(), right.to_owned()))
        };
        let merges = merges.iter().map(pair).collect::<Result<_, String>>()?;
        let model = BPE::builder().vocab_and_merges(vocabulary, merges).build();
        let mut inner = Tokenizer::new(model.map_err(|error| error.to_string())?);
        inner
            .with_pre_tokenizer(Some(words))
            .with_decoder(Some(ByteLevel::new(true, true, true)));
        let added = |wanted: i32, special: bool| {
            let tokens = tokens
                .iter()
                .zip(token_types)
                .filter(move |(_, kind)| **kind == wanted);
            tokens.map(move |(token, _)| AddedToken::from(token, special).normalized(false))
        };
        inner
            .add_special_tokens(added(CONTROL, true))
            .and_then(|_| inner.add_tokens(added(USER_DEFINED, false)))
            .map_err(|error| error.to_string())?;
        Self::new(inner, special)
    }

    /// Returns the content of `tokenizer.json`. Special ids are not in it.
    pub fn to_json(&self) -> String {
        self.inner
            .to_string(false)
            .expect("tokens and ids are plain data")
    }

    /// Gives other ids a meaning.
    pub(super) fn with_special(self, special: SpecialIds) -> Pretrained {
        Pretrained { special, ..self }
    }

    /// Returns the name of a token.
    pub(super) fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns the ids with a meaning.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// Returns the number of ids, those between tokens that have none included.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the id of a token by its name, such as `<image>`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the name of a token.
    pub fn name(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns the vocabulary with a special token, which gets the next id unless it is there.
    pub fn with_token(&self, token: &str) -> Pretrained {
        if self.id(token).is_some() {
            return self.clone();
        }
        let mut inner = Tokenizer::clone(&self.inner);
        inner
            .add_special_tokens([AddedToken::from(token, true).normalized(false)])
            .expect("a new token is no duplicate");
        let vocab_size = self
            .vocab_size
            .max(inner.token_to_id(token).map_or(0, |id| id as usize + 1));
        Pretrained {
            inner: inner.into(),
            vocab_size,
            special: self.special,
        }
    }

    /// Returns the parts of a text that become the unknown token, in order, each once.
    pub fn unknown_parts(&self, text: &str) -> Vec<String> {
        let Ok(cut) = self.inner.encode(text, false) else {
            return vec![text.to_owned()];
        };
        let tokens = cut.get_ids().iter().zip(cut.get_offsets());
        let unknown = tokens.filter(|(id, _)| Some(**id) == self.special.unknown);
        let mut parts: Vec<String> = vec![];
        for (_, &(start, end)) in unknown {
            let part = text.get(start..end).unwrap_or_default().trim();
            if !parts.iter().any(|known| known == part) {
                parts.push(part.to_owned());
            }
        }
        parts
    }

    /// Converts a text to ids, without any token around it.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match self.inner.encode_fast(text, false) {
            Ok(cut) => cut.get_ids().to_vec(),
            // rules of a file may fail on some texts, such as regular expressions that give up:
            // such texts are unknown as a whole
            Err(_) => self.special.unknown.into_iter().collect(),
        }
    }

    /// Converts ids to text. Ids without a token become U+FFFD, and special tokens are omitted.
    pub fn decode(&self, ids: &[u32]) -> String {
        let added = self.inner.get_added_vocabulary();
        let special = self.special;
        let silent = [special.pad, special.begin, special.end];
        self.joined(ids.iter().filter(|&&id| {
            let is_special = self
                .inner
                .id_to_token(id)
                .is_some_and(|token| added.is_special_token(&token));
            !is_special && !silent.contains(&Some(id))
        }))
    }

    /// Converts ids to text with the names of special tokens.
    pub fn decode_with_special(&self, ids: &[u32]) -> String {
        self.joined(ids.iter())
    }

    fn joined<'a>(&self, ids: impl Iterator<Item = &'a u32>) -> String {
        let unknown = || char::REPLACEMENT_CHARACTER.to_string();
        let tokens: Vec<String> = ids
            .map(|&id| self.inner.id_to_token(id).unwrap_or_else(unknown))
            .collect();
        match self.inner.get_decoder() {
            Some(decoder) => decoder
                .decode(tokens.clone())
                .unwrap_or_else(|_| tokens.concat()),
            None => tokens.join(" "),
        }
    }
}

/// Returns the rule by which text is split into words, from its name in GGUF files.
fn words(pre: &str) -> Result<PreTokenizerWrapper, String> {
    let bytes = ByteLevel::new(false, true, true);
    if SINGLE_DIGITS.contains(&pre) {
        let digits = Digits::new(true);
        Ok(PreTokenizers::new(vec![digits.into(), bytes.into()]).into())
    } else if GPT2.contains(&pre) {
        Ok(bytes.into())
    } else {
        let known = [&SINGLE_DIGITS[..], &GPT2[..]].concat().join(", ");
        Err(format!(
            "its rule {pre:?} for splitting text into words is not supported; supported are {known}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    /// A vocabulary of all bytes, a few merges and three added tokens.
    fn bytes(pre: &str) -> Result<Pretrained, String> {
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort();
        let mut tokens = strings(&["<end>", "<image>", "<own>"]);
        tokens.extend(alphabet.into_iter().map(String::from));
        tokens.extend(strings(&["he", "Ġhe", "12"]));
        let types: Vec<i32> = [3, 3, 4]
            .into_iter()
            .chain([1; 400])
            .take(tokens.len())
            .collect();
        let merges = strings(&["h e", "Ġ he", "1 2"]);
        let special = SpecialIds {
            end: Some(0),
            ..SpecialIds::default()
        };
        Pretrained::from_bpe(&tokens, &merges, &types, pre, special)
    }

    #[test]
    fn added_tokens_are_recognised_in_text() {
        let tokenizer = bytes("smollm").unwrap();
        let [image, own, he] = ["<image>", "<own>", "he"].map(|name| tokenizer.id(name).unwrap());
        let text = "he<image> he<own><other>";
        let ids = tokenizer.encode(text);
        assert_eq!(
            ids[..5],
            [
                he,
                image,
                tokenizer.id("Ġhe").unwrap(),
                own,
                tokenizer.id("<").unwrap()
            ]
        );
        assert_eq!(tokenizer.decode_with_special(&ids), text);
        // control tokens are silent, tokens that were only added are text
        assert_eq!(tokenizer.decode(&ids), "he he<own><other>");
        assert_eq!(tokenizer.decode(&[he, 0, 9999, he]), "he\u{fffd}he");
        assert_eq!(tokenizer.vocab_size(), 3 + 256 + 3);
        assert_eq!(tokenizer.unknown_parts("日本"), [""; 0]);
    }

    #[test]
    fn rules_differ_in_digits() {
        let count = |pre: &str| bytes(pre).unwrap().encode("12").len();
        assert_eq!((count("smollm"), count("gpt-2")), (2, 1));
        let error = bytes("nonsense").unwrap_err();
        assert!(
            error.contains("nonsense") && error.contains("smollm"),
            "{error}"
        );
    }

    #[test]
    fn files_give_the_same_ids() {
        let tokenizer = bytes("smollm").unwrap();
        let read = Pretrained::from_json(&tokenizer.to_json(), tokenizer.special()).unwrap();
        for text in ["", " he\n12<image>", "naïve 🐕"] {
            assert_eq!(read.encode(text), tokenizer.encode(text));
            assert_eq!(
                read.decode(&read.encode(text)),
                tokenizer.decode(&tokenizer.encode(text))
            );
        }
    }

    #[test]
    fn damaged_vocabularies_are_refused() {
        let tokens = strings(&["a", "b", "ab"]);
        let build = |tokens: &[String], merges: &[&str], types: &[i32]| {
            let special = SpecialIds::default();
            Pretrained::from_bpe(tokens, &strings(merges), types, "gpt-2", special).unwrap_err()
        };
        assert!(build(&tokens, &["b a"], &[]).contains("b a"));
        assert!(build(&tokens, &["ab ab"], &[]).contains("ab ab"));
        assert!(build(&tokens, &["ab"], &[]).contains("ab"));
        assert!(build(&tokens, &["a b"], &[1]).contains("token types"));
        let twice = strings(&["a", "a"]);
        assert!(build(&twice, &[], &[]).contains("twice"));
        assert!(build(&[], &[], &[]).contains("no tokens"));
        let file = r#"{"added_tokens": [], "model": {"type": "BPE", "merges": [], "vocab": {"a": 4000000000}}}"#;
        assert!(
            Pretrained::from_json(file, SpecialIds::default())
                .unwrap_err()
                .contains("4000000000")
        );
    }
}
