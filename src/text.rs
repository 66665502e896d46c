//! Text as tokens, and back.

mod tokenizer;

pub use tokenizer::{TextStream, TokenKind, Tokenizer, TokenizerError};
