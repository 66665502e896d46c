//! Tokenizers: text as token ids, and back. Chat templates: conversations as text.

pub mod chat;
mod tokenizer;

pub use tokenizer::{Pretrained, SpecialIds, TextStream, TokenKind, Tokenizer, TokenizerError};
