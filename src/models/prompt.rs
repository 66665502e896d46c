//! Prompts with pictures.

/// Reason why pictures cannot be put into a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The prompt and the pictures do not fit together.
    #[error(
        "the prompt has {placeholders} places for pictures, and {pictures} pictures were given"
    )]
    Pictures {
        /// Number of places in the prompt.
        placeholders: usize,
        /// Number of pictures.
        pictures: usize,
    },
    /// The model has no token for a tile.
    #[error("the model's vocabulary has no token {token}; cut pictures into fewer tiles")]
    NoToken {
        /// Name of the token.
        token: String,
    },
}
