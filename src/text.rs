//! Tokenizers: text as token ids, and back. Chat templates: conversations as text. Styles of
//! captions.

pub mod chat;
mod style;
mod tokenizer;

pub use style::Style;
pub use tokenizer::{Pretrained, SpecialIds, TextStream, TokenKind, Tokenizer, TokenizerError};
