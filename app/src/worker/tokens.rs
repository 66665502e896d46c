//! Counts the tokens of a text, which only the model's tokenizer knows.

use super::{Event, Worker};

/// Number of tokens of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenCount {
    /// The text.
    pub text: String,
    /// Number of its tokens; `None` without a model.
    pub tokens: Option<usize>,
}

/// Sends the number of tokens of a text.
pub(super) fn count(worker: &Worker, text: String) {
    let model = worker.model(0).ok();
    let tokens = model.map(|model| model.tokenizer().encode(&text).len());
    worker
        .events
        .send(Event::TokensCounted(TokenCount { text, tokens }));
}
