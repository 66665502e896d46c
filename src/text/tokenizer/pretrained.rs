//! Tokenizers of pretrained models, as their files say.

use serde_json::{Value, json};
use tokenizers::Tokenizer;

/// Tokens of a byte-level BPE vocabulary, as GGUF files hold them.
#[derive(Debug, Clone, Copy)]
pub struct BytePairs<'a> {
    /// Tokens, each at its id, in the alphabet of byte-level BPE.
    pub tokens: &'a [String],
    /// Pairs of tokens to merge, the first first, with a space between.
    pub merges: &'a [String],
    /// Kind of each token: 1 for text, 3 for a control token, 4 for one that a user added.
    pub kinds: &'a [i64],
    /// Name of the rule that cuts a text before the merges: `smollm`, `gpt-2` or `llama-bpe`.
    pub cut: &'a str,
}

/// A tokenizer of Hugging Face, with special tokens that stand in texts by their names.
#[derive(Debug, Clone)]
pub struct Pretrained {
    inner: Tokenizer,
    vocab_size: usize,
    pad: Option<u32>,
    ends: Vec<u32>,
}

impl Pretrained {
    fn new(inner: Tokenizer) -> Result<Pretrained, String> {
        for text in ["a", "\u{10fffd}", " 1, "] {
            inner.encode(text, false).map_err(|error| {
                format!("it cannot split a text such as {text:?} into tokens: {error}")
            })?;
        }
        let largest = inner.get_vocab(true).into_values().max();
        Ok(Pretrained {
            vocab_size: largest.map_or(0, |id| id as usize + 1),
            inner,
            pad: None,
            ends: vec![],
        })
    }

    /// Parses the content of `tokenizer.json`.
    ///
    /// # Errors
    /// A description of the defect.
    pub fn from_json(text: &str) -> Result<Pretrained, String> {
        Self::new(text.parse().map_err(|error| format!("{error}"))?)
    }

    /// Builds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// A description of the defect.
    pub fn from_pairs(pairs: BytePairs) -> Result<Pretrained, String> {
        let bytes = |regex: bool| {
            json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": regex,
            })
        };
        let sequence = |parts: Vec<Value>| json!({"type": "Sequence", "pretokenizers": parts});
        let cut = match pairs.cut {
            "smollm" => sequence(vec![
                json!({"type": "Digits", "individual_digits": true}),
                bytes(true),
            ]),
            "gpt-2" | "default" => bytes(true),
            "llama-bpe" | "llama3" => sequence(vec![
                json!({
                    "type": "Split", "behavior": "Isolated", "invert": false,
                    "pattern": {"Regex": LLAMA3},
                }),
                bytes(false),
            ]),
            other => {
                return Err(format!(
                    "its texts are cut by the rule `{other}`; known are smollm, gpt-2 and llama-bpe"
                ));
            }
        };
        let added = |(id, token): (usize, &String)| match pairs.kinds.get(id) {
            Some(kind @ (3 | 4)) => Some(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": *kind == 3,
            })),
            _ => None,
        };
        let numbered = || pairs.tokens.iter().enumerate();
        let vocab = numbered().map(|(id, token)| (token.clone(), id.into()));
        let file = json!({
            "version": "1.0",
            "added_tokens": numbered().filter_map(added).collect::<Vec<_>>(),
            "normalizer": null,
            "pre_tokenizer": cut,
            "post_processor": null,
            "decoder": bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": pairs.cut.starts_with("llama"),
                "vocab": vocab.collect::<serde_json::Map<_, _>>(),
                "merges": pairs.merges,
            },
        });
        Self::from_json(&file.to_string())
    }

    /// Sets the ids of padding and of the tokens that end a text, which other files know.
    pub fn with_special(mut self, pad: Option<u32>, ends: Vec<u32>) -> Pretrained {
        (self.pad, self.ends) = (pad, ends);
        self
    }

    /// Returns the content of `tokenizer.json`.
    pub fn to_json(&self) -> String {
        self.inner
            .to_string(true)
            .expect("tokens and ids are plain data")
    }

    /// Returns the number of ids.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the id of padding; 0 where there is none, since padding is never read.
    pub fn pad(&self) -> u32 {
        self.pad.unwrap_or(0)
    }

    /// Returns the ids of the tokens that end a text.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns the id of a token, by its name.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the token of an id, as the vocabulary has it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Converts a text to ids. Names of special tokens become these tokens. A text on which the
    /// rules of the file give up has none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let cut = self.inner.encode_fast(text, false);
        cut.map_or(vec![], |cut| cut.get_ids().to_vec())
    }

    /// Converts ids to text, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).unwrap_or_default()
    }
}

/// Words, numbers of up to three digits and punctuation, as Llama 3 cuts texts.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
