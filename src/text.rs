//! Tokenizers: text as token ids, and back. Chat templates: conversations as text. Styles of
//! captions.

pub mod chat;
mod style;
mod tokenizer;

pub use style::Style;
pub(crate) use tokenizer::CONFIG as TOKENIZER_CONFIG;
pub use tokenizer::{
    Pretrained, SpecialIds, SpecialNames, TextStream, TokenKind, Tokenizer, TokenizerError,
};
