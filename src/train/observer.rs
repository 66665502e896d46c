//! What a training reports, and to whom.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Footprint, ObserverError, RunConfig, Spike, Steps, Traffic, TrainError, ValidationResult,
};
use crate::data::{Dataset, Problem};
use crate::graph::Precision;
use crate::hint::Hint;
use crate::models::ModelConfig;
use crate::progress::{Progress, Silent};
use crate::track::{Notice, TrackError};

/// Follows a training: a terminal, a window, a tracker.
///
/// Every method has a default that does nothing and lets training go on, so `struct Quiet; impl
/// Observer for Quiet {}` is enough.
pub trait Observer {
    /// Receives a remark, before the first step or about trackers at the end.
    fn note(&mut self, _note: &Note) {}

    /// Returns where the progress of reading the pictures in `files` goes.
    fn reading(&mut self, _files: &[PathBuf]) -> Box<dyn Progress> {
        Box::new(Silent)
    }

    /// Everything is read and recorded; the first step comes next.
    ///
    /// # Errors
    /// Whatever must keep the training from starting.
    fn ready(&mut self, _ready: &Ready) -> Result<(), ObserverError> {
        Ok(())
    }

    /// Receives an event. [`ControlFlow::Break`] saves and ends the training.
    fn on(&mut self, _event: Event) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Discards everything.
impl Observer for () {}

/// Model, data and settings of a training that is about to start.
#[derive(Debug)]
pub struct Ready<'a> {
    /// Number of parameters of the model.
    pub parameters: usize,
    /// Number of tokens of the tokenizer.
    pub tokens: usize,
    /// Training pictures.
    pub train: &'a Dataset,
    /// Validation pictures.
    pub validation: Option<&'a Dataset>,
    /// Steps trained in earlier runs.
    pub step: u64,
    /// The configuration, with the batch size and the data that are used.
    pub config: &'a RunConfig,
    /// Sizes of the model.
    pub model: &'a ModelConfig,
    /// Run folder.
    pub out: &'a Path,
    /// One line about the device.
    pub adapter: String,
    /// Device memory, before the step takes its part.
    pub footprint: Footprint,
}

/// Answers to a question that pictures can be given.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSet {
    /// Question in the data.
    pub question: String,
    /// Number of answers.
    pub names: usize,
    /// Share of held-out pictures that are given theirs, of those whose answer other pictures have, too;
    /// `None` if each answer is that of one picture.
    pub right: Option<f64>,
}

/// A remark about a training. [`Display`](fmt::Display) words it in one or several lines.
#[derive(Debug)]
#[non_exhaustive]
pub enum Note {
    /// Training captions hold characters or words that the tokenizer does not know.
    UnknownText {
        /// Number of captions.
        captions: usize,
        /// File of the tokenizer.
        tokenizer: PathBuf,
    },
    /// How a file was read, such as the number of its subfolders.
    Data(String),
    /// Samples cannot be used and are left out.
    LeftOut {
        /// Each of them.
        problems: Vec<Problem>,
        /// Number of samples that are used.
        used: usize,
    },
    /// Training pictures are also validation pictures.
    Overlap {
        /// Number of training pictures.
        pictures: usize,
        /// Those that are equal to the pixel.
        exact: usize,
        /// Pictures left out of training.
        dropped: usize,
    },
    /// Training ends before the learning rate reaches its peak.
    ShortOfWarmup {
        /// Steps of the run.
        steps: u64,
        /// Steps of the warm-up.
        warmup: u64,
    },
    /// Several ranks share each batch.
    Ranks {
        /// Number of ranks.
        ranks: usize,
        /// Parts that a batch is computed in.
        parts: usize,
        /// Format in which gradients are exchanged.
        format: Precision,
    },
    /// The batch size that was found to fit.
    BatchSize {
        /// Pictures in a step.
        pictures: usize,
        /// Bytes that a step takes.
        bytes: u64,
        /// Why not twice as many.
        limit: String,
    },
    /// Values taken from another checkpoint.
    Loaded {
        /// Number of tensors.
        tensors: usize,
        /// File.
        path: PathBuf,
        /// Tensors of the model that start afresh, and why.
        fresh: Vec<String>,
    },
    /// The layer of the whole picture begins fitted to the words of the answers.
    Fitted {
        /// Number of pictures.
        pictures: usize,
        /// Part of what differs between the answers' words that follows from the pictures, 0 to 1.
        explained: f64,
        /// Sets of names that pictures can be given.
        named: Vec<NamedSet>,
    },
    /// Features of pictures that a frozen image encoder gave.
    Features {
        /// Number of pictures.
        pictures: usize,
        /// Number of pictures that were encoded now, not found in the cache.
        encoded: u64,
        /// Size of the features of all of them, in bytes.
        bytes: u64,
        /// Folder that they are in.
        folder: PathBuf,
    },
    /// Every step encodes its pictures.
    NoFeatures {
        /// Why.
        why: &'static str,
    },
    /// A tracker failed; training continues without it.
    TrackerFailed(TrackError),
    /// What a tracker reports at the end.
    Tracker(Notice),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Note::UnknownText {
                captions,
                tokenizer,
            } => write!(
                f,
                "warning: {captions} training captions contain text that {} does not know",
                tokenizer.display()
            ),
            Note::Data(note) => write!(f, "note: {note}"),
            Note::LeftOut { problems, used } => {
                const SHOWN: usize = 10;
                for problem in problems.iter().take(SHOWN) {
                    writeln!(f, "left out: {problem}")?;
                }
                if problems.len() > SHOWN {
                    writeln!(f, "left out: {} more", problems.len() - SHOWN)?;
                }
                write!(f, "{used} samples used, {} left out", problems.len())
            }
            Note::Overlap {
                pictures,
                exact,
                dropped,
            } => write!(
                f,
                "note: {}; {dropped} are left out of training",
                overlap(*pictures, *exact)
            ),
            Note::ShortOfWarmup { steps, warmup } => write!(
                f,
                "note: {steps} steps do not reach the peak learning rate: the warm-up takes {warmup}"
            ),
            Note::Ranks {
                ranks,
                parts,
                format,
            } => {
                write!(f, "{ranks} ranks: each batch is computed in {parts} parts")?;
                if parts % ranks != 0 {
                    let idle = ranks - parts % ranks;
                    write!(
                        f,
                        "; {idle} of the ranks wait while the others compute the last parts"
                    )?;
                }
                match format {
                    Precision::F32 => Ok(()),
                    Precision::F16 => write!(
                        f,
                        "\nwarning: gradients are exchanged in 16 bits, so results differ from those of one process"
                    ),
                }
            }
            Note::BatchSize {
                pictures,
                bytes,
                limit,
            } => write!(
                f,
                "batch size {pictures}: a step takes {:.1} MB; {limit}",
                *bytes as f64 / 1e6
            ),
            Note::Loaded {
                tensors,
                path,
                fresh,
            } => {
                const SHOWN: usize = 8;
                write!(f, "{tensors} tensors from {}", path.display())?;
                if fresh.is_empty() {
                    return Ok(());
                }
                let shown = &fresh[..fresh.len().min(SHOWN)];
                write!(f, "\nnote: these start afresh: {}", shown.join(", "))?;
                match fresh.len() - shown.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Note::Fitted {
                pictures,
                explained,
                named,
            } => {
                write!(
                    f,
                    "the position of the whole picture begins fitted to {pictures} answers: it explains {:.0} % of what differs between their words",
                    100.0 * explained
                )?;
                for NamedSet {
                    question,
                    names,
                    right,
                } in named
                {
                    write!(f, "\n{names} answers to \"{question}\"")?;
                    if let Some(right) = right {
                        let percent = 100.0 * right;
                        write!(f, ", right for {percent:.0} % of pictures held out")?;
                    }
                }
                Ok(())
            }
            Note::Features {
                pictures,
                encoded,
                bytes,
                folder,
            } => write!(
                f,
                "features of {pictures} pictures, {encoded} of them encoded now: {:.1} MB in {}",
                *bytes as f64 / 1e6,
                folder.display()
            ),
            Note::NoFeatures { why } => write!(
                f,
                "note: no features are kept, since {why}: every step encodes its pictures"
            ),
            Note::TrackerFailed(reason) => {
                write!(
                    f,
                    "warning: {reason}; training continues without this tracker"
                )
            }
            Note::Tracker(notice) => match notice {
                Notice::Failed(error) => write!(f, "warning: {error}"),
                notice => write!(f, "note: {notice}"),
            },
        }
    }
}

impl Note {
    /// Returns what a user can change about it, if anything.
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Note::LeftOut { problems, .. } => {
                problems.iter().find_map(|problem| problem.hint.clone())
            }
            Note::ShortOfWarmup { .. } => Some(Hint::Setting("schedule.warmup")),
            Note::Tracker(notice) => notice.hint(),
            _ => None,
        }
    }
}

/// Says how many training pictures are validation pictures.
pub(super) fn overlap(pictures: usize, exact: usize) -> String {
    format!(
        "{pictures} training pictures are also validation pictures, {exact} of them equal to the pixel"
    )
}

/// Something that happens between the first and the last step.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was given to the device. Training pauses while the observer handles it; the pause
    /// does not count as training time.
    Submitted {
        /// Number of the step, from 1.
        step: u64,
    },
    /// The first step of this run is done.
    Started {
        /// Time since the trainer was made.
        after: Duration,
        /// Kernels that were compiled.
        kernels: u64,
    },
    /// The loss of a step, before its update.
    Step {
        /// Number of the step, from 1.
        step: u64,
        /// Number of the last step, if the budget has one.
        steps: Option<u64>,
        /// Loss of the step.
        loss: f32,
        /// Norm of all gradients together, before clipping.
        gradient_norm: f32,
        /// Learning rate of the step.
        learning_rate: f64,
        /// Tokens to predict per second since the last report.
        tokens_per_s: f64,
        /// Mean time per step spent waiting for pictures and captions since the last report.
        waiting: Duration,
        /// Mean gradients per step sent to other ranks since the last report.
        exchange: Traffic,
        /// Training time, earlier runs included.
        elapsed: Duration,
        /// Estimated time left.
        left: Duration,
        /// Counters of all steps so far, earlier runs included.
        steps_so_far: Steps,
    },
    /// A batch of a validation is done. Training pauses while the observer handles it.
    Validating {
        /// Step of the validation.
        step: u64,
        /// Number of validation pictures done.
        done: usize,
        /// Number of validation pictures.
        of: usize,
    },
    /// A validation is done.
    Validated {
        /// Step of the validation.
        step: u64,
        /// Its result.
        result: &'a ValidationResult,
    },
    /// The state and the model were saved.
    Saved {
        /// Step of the state.
        step: u64,
        /// Run folder.
        dir: &'a Path,
    },
    /// A save failed before the end of training, as on a full disk; the one before it is still
    /// there.
    SaveFailed {
        /// Step of the state.
        step: u64,
        /// Why.
        error: &'a TrainError,
    },
    /// The loss of a step since the last report was far above the mean of those before it.
    Spike {
        /// The last such step.
        spike: Spike,
        /// Number of such steps so far.
        count: u64,
    },
    /// The loss or a gradient of a step was not finite, and the step was skipped.
    Skipped {
        /// Number of the step.
        step: u64,
        /// What was not finite.
        what: &'a str,
    },
    /// The loss or a gradient of a step was not finite, and training goes on from an earlier step.
    RolledBack {
        /// Number of the step.
        step: u64,
        /// Number of the last step that is kept.
        to: u64,
        /// Factor of the learning rate from here on.
        rate: f64,
        /// What was not finite.
        what: &'a str,
    },
}
