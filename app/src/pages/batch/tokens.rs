//! The number of tokens of a caption, which only the model's tokenizer knows.

use crate::worker::{Command, Worker};

/// Command that counts the tokens of a text. Its result is a [`TokenCount`].
#[derive(Debug, Clone, PartialEq)]
pub struct CountTokens {
    /// The text.
    pub text: String,
}

/// Result of a [`CountTokens`].
#[derive(Debug, Clone, PartialEq)]
pub struct TokenCount {
    /// The text.
    pub text: String,
    /// Number of its tokens; `None` without a model.
    pub tokens: Option<usize>,
}

impl Command for CountTokens {
    fn run(self: Box<Self>, worker: &mut Worker) {
        let count = |text: &str| Some(worker.model(0).ok()?.tokenizer().encode(text).len());
        let tokens = count(&self.text);
        worker.events().page(TokenCount {
            text: self.text,
            tokens,
        });
    }
}

/// The number of tokens of the caption in the editor.
#[derive(Default)]
pub struct Counter {
    asked: Option<String>,
    counted: Option<TokenCount>,
}

impl Counter {
    /// Takes the result of a command.
    pub fn take(&mut self, count: TokenCount) {
        self.counted = Some(count);
    }

    /// Forgets the count, as another model has other tokens.
    pub fn clear(&mut self) {
        *self = Counter::default();
    }

    /// Returns a command to send if the tokens of a text are not known yet.
    pub fn ask(&mut self, text: &str) -> Option<CountTokens> {
        if self.asked.as_deref() == Some(text) {
            return None;
        }
        self.asked = Some(text.to_owned());
        Some(CountTokens {
            text: text.to_owned(),
        })
    }

    /// Returns the number of tokens of a text, once it is known.
    pub fn get(&self, text: &str) -> Option<usize> {
        self.counted
            .as_ref()
            .filter(|count| count.text == text)?
            .tokens
    }
}
