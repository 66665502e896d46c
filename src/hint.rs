//! What a user can change to get past an error.
//!
//! An error of the library says what happened and where. What to do about it differs between the
//! command line, which has flags, and the window, which has labels: errors return a [`Hint`], and
//! each front end words it.

use std::path::PathBuf;

/// A way past an error, for a front end to put into its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Train or evaluate with fewer pictures at once, or choose a smaller model.
    SmallerBatch,
    /// Compute each batch in this many parts (gradient accumulation), recompute activations, or use
    /// a smaller batch.
    LessMemory {
        /// Number of parts to suggest.
        parts: usize,
    },
    /// Use another device.
    OtherDevice,
    /// Go on from the last saved state.
    Resume,
    /// Use a lower learning rate, a longer warm-up or gradient clipping; unless that has failed, let
    /// training roll back or skip steps.
    Stabilize {
        /// Whether steps were skipped or rolled back.
        guarded: bool,
    },
    /// Leave out the setting at this dotted path of a [`RunConfig`](crate::train::RunConfig).
    LeaveOut(&'static str),
    /// Name the columns of the pictures and captions.
    NameColumns,
    /// Give the folder that holds the pictures.
    ImagesFolder,
    /// Choose another output, or allow it to be replaced.
    OutputExists,
    /// Allow rows that cannot be used to be left out.
    NotStrict,
    /// Track the training on an MLflow server.
    TrackRun,
    /// Send the remaining tracking data of a run.
    SendTracking {
        /// Folder of the run.
        run: PathBuf,
    },
    /// Change the setting at this dotted path of a [`RunConfig`](crate::train::RunConfig).
    Setting(&'static str),
    /// Give the training data and the validation data that the run was trained with.
    SameData,
    /// Allow training pictures to be validation pictures, too; equal ones are then left out of
    /// training.
    AllowOverlap,
    /// Choose another run folder, allow its checkpoint to be replaced, or continue its training.
    RunExists,
    /// Save more often than at the end.
    SaveOften,
    /// Use the sizes of the model that is loaded, or load other parts of it.
    OtherParts,
    /// Give the text that the caption starts with.
    GivePrompt,
    /// Put the tokenizer that the model was trained with into its folder, or import the model again
    /// with its characters.
    AddTokenizer,
    /// Start a new training from this model instead of resuming.
    StartFrom,
    /// Give a number of steps, a number of epochs or a time limit.
    GiveBudget,
    /// Train a preset to get a folder with a valid model configuration.
    ExampleConfig,
    /// Give a folder that a training has written.
    CheckpointFolder,
    /// Show pictures to a pretrained model in fewer tiles.
    FewerTiles,
    /// Name the file of the image encoder.
    NameEncoder,
    /// Get a damaged file again.
    FetchAgain,
    /// Raise the time limit of the device (`SEEMORE_TIMEOUT`).
    RaiseTimeout,
    /// Download a pretrained model, or copy its files here and name their folder.
    DownloadModel {
        /// Name of the model or of its repository.
        name: String,
    },
    /// Choose one of the models that are known or on this machine.
    ChooseModel,
}

/// An error that knows a way past it.
pub trait Hinted: std::error::Error {
    /// The way past this error, if there is one beyond what the message says.
    fn hint(&self) -> Option<Hint>;
}
