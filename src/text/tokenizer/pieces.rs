//! Tokenizers of words or subwords, in the format of Hugging Face's `tokenizers`.

use std::collections::BTreeSet;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::{WordLevel, WordLevelTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::normalizers::Prepend;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, Decoder, SplitDelimiterBehavior, Tokenizer};

/// Names of padding, begin, end and unknown; training gives them the ids 0 to 3.
const SPECIAL: [&str; 4] = ["<pad>", "<s>", "</s>", "<unk>"];

/// Pattern of a word with the space before it, so that joined tokens give the text. Punctuation
/// marks are separate words, except for hyphens and apostrophes inside a word, and so are spaces
/// that no word follows.
const WORDS: &str = r" ?[\p{L}\p{M}\p{N}]+(?:[-’'][\p{L}\p{M}\p{N}]+)*| ?[^\s\p{L}\p{M}\p{N}]|\s";

/// Vocabulary of words or subwords.
///
/// A space is put in front of every text before it is split, so that its first word is the same
/// token as in the middle of a text.
#[derive(Debug, Clone)]
pub struct Pieces {
    inner: Tokenizer,
    vocab_size: usize,
    pad: u32,
    begin: Option<u32>,
    end: Option<u32>,
    unknown: Option<u32>,
}

impl Pieces {
    /// Trains a vocabulary of words and punctuation marks, sorted by frequency and then
    /// alphabetically. `vocab_size` limits its size, including the special tokens.
    pub fn train_words<'a>(
        texts: impl Iterator<Item = &'a str> + Send,
        vocab_size: Option<usize>,
    ) -> Pieces {
        let model = WordLevel::builder()
            .unk_token(SPECIAL[3].into())
            .build()
            .expect("no vocabulary to read");
        let trainer = WordLevelTrainer::builder()
            .vocab_size(vocab_size.unwrap_or(usize::MAX))
            .show_progress(false)
            .special_tokens(special_tokens())
            .build()
            .expect("all fields have values");
        let decoder = Decoders::new(vec![DecoderWrapper::Fuse(Fuse::new()), first_space()]);
        Self::train(
            model.into(),
            words().into(),
            decoder,
            TrainerWrapper::WordLevelTrainer(trainer),
            texts,
        )
    }

    /// Trains a byte-level BPE vocabulary (Radford et al. 2019): the 256 bytes, and merges of the
    /// most frequent neighbours within words until there are `vocab_size` tokens, including the
    /// special tokens, or no neighbours.
    pub fn train_bpe<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab_size: usize) -> Pieces {
        let model = BPE::builder()
            .unk_token(SPECIAL[3].into())
            .build()
            .expect("no vocabulary to read");
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .show_progress(false)
            .special_tokens(special_tokens())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        // only maps bytes: the text is already split
        let bytes = ByteLevel::new(false, false, false);
        let cut = PreTokenizers::new(vec![words().into(), bytes.into()]);
        let decoder = Decoders::new(vec![DecoderWrapper::ByteLevel(bytes), first_space()]);
        Self::train(
            model.into(),
            cut.into(),
            decoder,
            TrainerWrapper::BpeTrainer(trainer),
            texts,
        )
    }

    fn train<'a>(
        model: ModelWrapper,
        cut: PreTokenizerWrapper,
        decoder: Decoders,
        mut trainer: TrainerWrapper,
        texts: impl Iterator<Item = &'a str> + Send,
    ) -> Pieces {
        let mut inner = Tokenizer::new(model);
        inner
            .with_normalizer(Some(Prepend::new(" ".into())))
            .expect("there are no added tokens yet");
        inner
            .with_pre_tokenizer(Some(cut))
            .with_decoder(Some(decoder));
        inner
            .train(&mut trainer, texts)
            .expect("training on text in memory cannot fail");
        Self::new(inner).expect("the special tokens were given to the trainer")
    }

    fn new(mut inner: Tokenizer) -> Result<Pieces, String> {
        // "<s>" in a caption stands for these three characters
        inner.set_encode_special_tokens(true);
        let vocab_size = inner.get_vocab_size(true);
        if let Some((token, id)) = inner
            .get_vocab(true)
            .into_iter()
            .find(|(_, id)| *id as usize >= vocab_size)
        {
            return Err(format!(
                "token {token:?} has the id {id} in a vocabulary of {vocab_size}"
            ));
        }
        let [pad, begin, end, unknown] = SPECIAL.map(|name| inner.token_to_id(name));
        let pad = pad.ok_or_else(|| format!("it has no padding token {}", SPECIAL[0]))?;
        // the library underflows if a token is shorter than the number of characters to strip
        if inner
            .get_decoder()
            .is_some_and(|decoder| strips_ends(&serde_json::to_value(decoder).unwrap_or_default()))
        {
            return Err("its decoder strips characters from the ends of tokens (`Strip` with a `stop` above 0), which is not supported".into());
        }
        // a model may name an unknown token that its vocabulary lacks, which fails only on first
        // use
        for text in ["a", "\u{10fffd}", " 1, "] {
            inner.encode(text, false).map_err(|error| {
                format!("it cannot split a text such as {text:?} into tokens: {error}")
            })?;
        }
        Ok(Pieces {
            inner,
            vocab_size,
            pad,
            begin,
            end,
            unknown,
        })
    }

    /// Whether the content of a `tokenizer.json` has the special tokens of those trained here:
    /// padding, begin and end.
    pub(super) fn has_special(file: &serde_json::Value) -> bool {
        let has = |name: &&str| {
            let added = file["added_tokens"].as_array();
            let added =
                added.is_some_and(|tokens| tokens.iter().any(|token| token["content"] == **name));
            // tokens are the keys of an object, or with Unigram the first elements of pairs
            added
                || match &file["model"]["vocab"] {
                    serde_json::Value::Object(tokens) => tokens.contains_key(*name),
                    serde_json::Value::Array(tokens) => {
                        tokens.iter().any(|token| token[0] == **name)
                    }
                    _ => false,
                }
        };
        SPECIAL[..3].iter().all(has)
    }

    /// Parses the content of `tokenizer.json`.
    ///
    /// # Errors
    /// A description of the defect.
    pub fn from_json(text: &str) -> Result<Pieces, String> {
        Self::new(text.parse().map_err(|error| format!("{error}"))?)
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

    /// Returns the id of padding.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Returns the id of the begin of a text, if there is one.
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// Returns the id of the end of a text, if there is one.
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// Returns the id of unknown words, if there is one.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Returns the distinct words of a text that are not in the vocabulary, in order.
    pub fn unknown_words(&self, text: &str) -> Vec<String> {
        let Ok(cut) = self.inner.encode(text, false) else {
            return vec![text.to_owned()];
        };
        let mut seen = BTreeSet::new();
        let tokens = cut.get_ids().iter().zip(cut.get_offsets());
        let words = tokens
            .filter(|(id, _)| Some(**id) == self.unknown)
            .map(|(_, &(start, end))| text.get(start..end).unwrap_or_default().trim());
        words
            .filter(|word| seen.insert(*word))
            .map(str::to_owned)
            .collect()
    }

    /// Converts a text to ids. Words outside the vocabulary become the unknown token, or padding if
    /// there is none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // rules of a file may fail on some texts, such as regular expressions that give up: such
        // texts are unknown as a whole
        let unknown = self.unknown.unwrap_or(self.pad);
        let Ok(cut) = self.inner.encode_fast(text, false) else {
            return vec![unknown];
        };
        cut.get_ids()
            .iter()
            .map(|&id| {
                if (id as usize) < self.vocab_size {
                    id
                } else {
                    unknown
                }
            })
            .collect()
    }

    /// Returns the vocabulary entries of ids, without special tokens.
    fn tokens(&self, ids: &[u32]) -> Vec<String> {
        let silent = [Some(self.pad), self.begin, self.end];
        let known = |id: u32| {
            self.inner
                .id_to_token(id)
                .filter(|_| Some(id) != self.unknown)
        };
        let tokens = ids.iter().filter(|&&id| !silent.contains(&Some(id)));
        tokens
            .map(|&id| known(id).unwrap_or_else(|| format!(" {}", char::REPLACEMENT_CHARACTER)))
            .collect()
    }

    /// Converts ids to text. The unknown token and ids outside the vocabulary become U+FFFD. Other
    /// special tokens are omitted.
    pub fn decode(&self, ids: &[u32]) -> String {
        let tokens = self.tokens(ids);
        match self.inner.get_decoder() {
            Some(decoder) => decoder
                .decode(tokens)
                .unwrap_or_else(|_| self.tokens(ids).concat()),
            None => tokens.concat(),
        }
    }
}

/// Whether a decoder, or a decoder nested in it, strips characters from the ends of tokens.
pub(super) fn strips_ends(decoder: &serde_json::Value) -> bool {
    let strips =
        decoder["type"] == "Strip" && decoder["stop"].as_u64().is_some_and(|stop| stop > 0);
    strips
        || decoder["decoders"]
            .as_array()
            .is_some_and(|decoders| decoders.iter().any(strips_ends))
}

fn special_tokens() -> Vec<AddedToken> {
    SPECIAL.map(|name| AddedToken::from(name, true)).to_vec()
}

fn words() -> Split {
    let pattern = SplitPattern::Regex(WORDS.into());
    Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("the pattern is constant")
}

/// Removes the space that was put in front of the text.
fn first_space() -> DecoderWrapper {
    DecoderWrapper::Strip(Strip::new(' ', 1, 0))
}
