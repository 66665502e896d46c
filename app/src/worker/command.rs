//! Commands to the worker thread.

use super::{AttentionJob, BatchJob, CaptionJob, LoadModel, MaskJob, Program, Slot, TrainCommand};

/// A command to the worker thread, which runs commands in the order in which they were sent.
///
/// Results and failures come back as [`Event`](super::Event)s.
#[derive(Debug, Clone)]
pub enum Command {
    /// List the checkpoint folders that can be chosen as models.
    ListCheckpoints,
    /// Load a model.
    LoadModel(LoadModel),
    /// Unload the model in a slot.
    UnloadModel(Slot),
    /// Caption a picture, token by token, or answer a question about it.
    Caption(CaptionJob),
    /// Caption several pictures at once.
    Batch(BatchJob),
    /// Count the tokens of a text.
    CountTokens(String),
    /// Compute the attention of all layers and heads for a caption.
    Attention(AttentionJob),
    /// Caption a picture with hidden patches.
    Mask(MaskJob),
    /// Run a program of the chosen model once and list its dispatches.
    Inspect(Program),
    /// Start, pause, continue or stop a training.
    Train(TrainCommand),
}
