//! Reasons that a caption cannot be written.

use crate::device::DeviceError;
use crate::hint::{Hint, Hinted};
use crate::models::DialogueError;
use crate::models::checkpoint::CheckpointError;

/// Why a caption cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptionError {
    /// The checkpoint cannot be loaded.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The device failed, or has too little memory.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The checkpoint folder has no tokenizer, without which tokens are no text.
    #[error("{0} has no tokenizer.json")]
    NoTokenizer(String),
    /// The tokenizer has no begin-of-text token and the prompt is empty, so there is nothing to
    /// continue.
    #[error("this model has no begin-of-text token, so a caption cannot start from nothing")]
    NoPrompt,
    /// The model cannot be asked this.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// The model takes no pictures.
    #[error("this model takes text only: choose one with an image encoder")]
    TextOnly,
    /// The prompt does not fit into the model's context.
    #[error(
        "the prompt takes {have} positions and the model has room for {room}: shorten the prompt"
    )]
    PromptTooLong {
        /// Number of positions that the prompt takes.
        have: usize,
        /// Number of text positions in the model's context.
        room: usize,
    },
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Hinted for CaptionError {
    fn hint(&self) -> Option<Hint> {
        match self {
            CaptionError::NoTokenizer(_) => Some(Hint::AddTokenizer),
            CaptionError::NoPrompt => Some(Hint::GivePrompt),
            CaptionError::Checkpoint(error) => error.hint(),
            _ => None,
        }
    }
}
