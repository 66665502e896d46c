//! Tokenizers: text as token ids, and back.

mod tokenizer;

pub use tokenizer::{TextStream, TokenKind, Tokenizer, TokenizerError};
