//! Tokenizers: text as token ids, and back; and chat templates.

pub mod chat;
mod tokenizer;

pub use chat::{ChatError, ChatTemplate, Message, Part, TemplateTokens};
pub use tokenizer::{BytePairs, Pretrained, TextStream, TokenKind, Tokenizer, TokenizerError};
