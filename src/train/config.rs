//! The description of a training run: everything that decides what is trained, on what and how.
//!
//! The command line and the window edit a [`RunConfig`], a run folder stores one, and
//! [`TrainRun`](super::TrainRun) carries one out.

mod batch_size;
mod check;
mod file;
mod legacy;
mod tune;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use batch_size::BatchSize;
pub(super) use legacy::Options;
pub use tune::{FeatureStore, TuneConfig, Tuned};

use super::state::Progress;
use super::{Objective, OptimizerConfig, Schedule, State, TrainError};
use crate::data::Layout;
use crate::graph::Precision;
use crate::image::Augment;
use crate::models::{Part, Preset};
use crate::text::TokenKind;
use crate::track::Target;

/// Pictures that are trained on when no others are named.
const SHIPPED_TRAIN: &str = "data/inputs.csv";
/// Pictures that are validated on beside [`SHIPPED_TRAIN`].
const SHIPPED_VALIDATION: &str = "data/inputs_val.csv";

/// A complete description of a training run, nested by topic.
///
/// The default trains the preset `seemore` on the shipped drawings. It can be written as TOML or
/// JSON and read back; a file may leave out whatever keeps its default, and unknown names are
/// refused.
///
/// ```
/// use seemore::models::Preset;
/// use seemore::train::RunConfig;
///
/// let mut config = RunConfig::default();
/// config.model.preset = Preset::Tiny;
/// config.budget.steps = Some(100);
/// assert_eq!(RunConfig::from_toml(&config.to_toml()?)?, config);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Seed of everything random: the same seed on the same adapter gives the same losses, bit for
    /// bit.
    #[serde(with = "file::seed")]
    pub seed: u64,
    /// What is trained and validated on.
    pub data: DataConfig,
    /// The model and which parts of it train.
    pub model: ModelConfig,
    /// Trained parts of a pretrained model, and the question it is asked.
    pub tune: TuneConfig,
    /// The tokenizer of the captions.
    pub tokenizer: TokenizerConfig,
    /// Parameter values to start from.
    pub init: InitConfig,
    /// When training ends.
    pub budget: Budget,
    /// How many pictures a step takes, and which.
    pub batch: BatchConfig,
    /// Device memory against computing time.
    pub memory: MemoryConfig,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ScheduleConfig,
    /// What is minimized.
    pub loss: LossConfig,
    /// Random changes of the training pictures: the name `none`, `light` or `strong`, or a table.
    #[serde(with = "file::augment")]
    pub augment: Augment,
    /// Steps whose loss or gradients are not finite.
    pub guard: GuardConfig,
    /// Measurements on pictures that are not trained on.
    pub validation: ValidationConfig,
    /// What is saved, where and when.
    pub checkpoint: CheckpointConfig,
    /// Reports of the loss.
    pub log: LogConfig,
    /// Trackers that receive the metrics.
    pub tracking: TrackingConfig,
}

/// What is trained and validated on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Files or folders of pictures with captions to train on; empty for the shipped drawings.
    pub train: Vec<PathBuf>,
    /// Files or folders of pictures to validate on; empty to take them out of `train`.
    pub validation: Vec<PathBuf>,
    /// Fraction of the training pictures to validate on when `validation` is empty; 0.1 if not
    /// given.
    pub validation_split: Option<f64>,
    /// Whether pictures may be in both sets. Those equal to the pixel are then left out of
    /// training; otherwise they are an error.
    pub allow_overlap: bool,
    /// Whether a row that cannot be used is an error; otherwise it is left out.
    pub strict: bool,
    /// Column or field with the pictures; empty for the first of the usual names that a file has.
    pub image_column: String,
    /// Column or field with the captions, or the ending of caption files; empty for the usual
    /// names.
    pub caption_column: String,
    /// Folder of the pictures that files name; beside the file if not given.
    pub images: Option<PathBuf>,
    /// Parts of the data set to train on, such as `train`; all if empty.
    pub splits: Vec<String>,
    /// Parts of `validation` to validate on, such as `val`, or of `train` if `validation` is empty;
    /// all of `validation` if not given.
    pub validation_splits: Vec<String>,
    /// Levels of subfolders to read; all if not given.
    pub depth: Option<usize>,
    /// Whether the color profiles of pictures have no effect.
    pub ignore_icc: bool,
    /// Text file whose lines the decoder trains on, instead of captions of pictures.
    pub text: Option<PathBuf>,
}

impl DataConfig {
    /// The validation fraction when none is given.
    pub const VALIDATION_SPLIT: f64 = 0.1;

    /// Fraction of the training pictures to validate on where no validation files are given.
    pub fn validation_share(&self) -> f64 {
        self.validation_split
            .unwrap_or(DataConfig::VALIDATION_SPLIT)
    }

    /// Data whose files state the other facts than those of a layout, without files.
    pub fn of_layout(layout: &Layout) -> DataConfig {
        DataConfig {
            image_column: layout.image_column.clone().unwrap_or_default(),
            caption_column: layout.caption_column.clone().unwrap_or_default(),
            images: layout.images.clone(),
            splits: layout.splits.clone(),
            depth: layout.depth,
            ignore_icc: layout.ignore_icc,
            ..DataConfig::default()
        }
    }

    /// Facts that the files do not state.
    pub fn layout(&self) -> Layout {
        // the names that earlier versions stored by default are among the usual ones
        let column = |name: &String, before: &str| {
            Some(name.clone()).filter(|name| !name.is_empty() && name != before)
        };
        Layout {
            image_column: column(&self.image_column, "b64string_images"),
            caption_column: column(&self.caption_column, "caption"),
            images: self.images.clone(),
            splits: self.splits.clone(),
            depth: self.depth,
            ignore_icc: self.ignore_icc,
        }
    }

    /// Names the shipped drawings where no data are named.
    ///
    /// # Errors
    /// The shipped drawings are not in the current folder.
    pub(super) fn resolve(&mut self) -> Result<(), TrainError> {
        if !self.train.is_empty() || self.text.is_some() {
            return Ok(());
        }
        let mut files = vec![SHIPPED_TRAIN];
        // the shipped validation pictures belong to the shipped training pictures
        if self.validation.is_empty() && self.validation_split.is_none() {
            files.push(SHIPPED_VALIDATION);
            self.validation = vec![SHIPPED_VALIDATION.into()];
        }
        if let Some(absent) = files.iter().find(|file| !Path::new(file).exists()) {
            return Err(TrainError::setting(
                "data.train",
                format!("is empty and {absent} is not in the current folder"),
            ));
        }
        self.train = vec![SHIPPED_TRAIN.into()];
        Ok(())
    }
}

/// The model and which parts of it train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Named model sizes, used when `file` is not given.
    pub preset: Preset,
    /// Model sizes from a JSON file, such as the `config.json` of a checkpoint.
    pub file: Option<PathBuf>,
    /// Pretrained model to tune: a folder, a GGUF file, a repository of the Hugging Face Hub or its
    /// short name. Sizes, tokenizer and values are then its own.
    pub base: Option<PathBuf>,
    /// Dropout probability; the model's own if not given.
    pub dropout: Option<f32>,
    /// Parts that do not train and cost no backward work.
    pub freeze: Vec<Part>,
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig {
            preset: Preset::Seemore,
            file: None,
            base: None,
            dropout: None,
            freeze: vec![],
        }
    }
}

/// The tokenizer of the captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    /// What a token stands for in a tokenizer made from the training captions, used when `file` is
    /// not given.
    pub kind: TokenKind,
    /// A `tokenizer.json` to use.
    pub file: Option<PathBuf>,
    /// Name of the token for padding in `file`; the usual one if not given.
    pub pad_token: Option<String>,
    /// Name of the token for the end of a text in `file`; the usual one if not given.
    pub end_token: Option<String>,
    /// Largest vocabulary of words or byte pairs, in tokens; all words, or 1024 for byte pairs, if
    /// not given.
    pub vocab_size: Option<usize>,
}

impl Default for TokenizerConfig {
    fn default() -> TokenizerConfig {
        TokenizerConfig {
            kind: TokenKind::Characters,
            file: None,
            pad_token: None,
            end_token: None,
            vocab_size: None,
        }
    }
}

/// Parameter values to start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitConfig {
    /// Checkpoint folder whose values are taken where name and shape agree.
    pub load: Option<PathBuf>,
    /// Parts to take from `load`; all if empty.
    pub parts: Vec<Part>,
    /// Whether the class head of a new model starts with the mean image vector of each concept,
    /// instead of at random.
    pub prototypes: bool,
}

impl Default for InitConfig {
    fn default() -> InitConfig {
        InitConfig {
            load: None,
            parts: vec![],
            prototypes: true,
        }
    }
}

/// When training ends: at the first limit reached.
///
/// Without any limit training takes 200 steps, and models other than the preset `tiny` stop after
/// 210 seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Optimizer steps, those of resumed runs included.
    pub steps: Option<u64>,
    /// Passes over the training pictures, used when `steps` is not given.
    pub epochs: Option<f64>,
    /// Training time in seconds, without the final validation.
    pub seconds: Option<f64>,
}

/// The limits of a run in steps and seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub steps: Option<u64>,
    pub seconds: Option<f64>,
}

impl Budget {
    /// Converts the budget for a training set of `samples` pictures.
    pub(super) fn limits(&self, preset: Preset, samples: usize, batch_size: usize) -> Limits {
        if *self == Budget::default() {
            return Limits {
                // the default model takes 35 s on two CPU cores
                steps: Some(200),
                seconds: (preset != Preset::Tiny).then_some(210.0),
            };
        }
        let of_epochs =
            |epochs: f64| ((epochs * samples as f64 / batch_size as f64).ceil() as u64).max(1);
        Limits {
            steps: self.steps.or(self.epochs.map(of_epochs)),
            seconds: self.seconds,
        }
    }
}

impl Limits {
    /// Fraction of the budget that `step` steps and `seconds` use up: at least 1 when a limit is
    /// reached.
    pub fn used(&self, step: u64, seconds: f64) -> f64 {
        let fraction = |done: f64, of: Option<f64>| of.map_or(0.0, |of| done / of.max(1e-9));
        fraction(step as f64, self.steps.map(|steps| steps as f64))
            .max(fraction(seconds, self.seconds))
    }
}

/// How many pictures a step takes, and which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Pictures in one optimizer step, or `auto` for the largest power of two times `accumulate`
    /// that fits the device and the data.
    pub size: BatchSize,
    /// Parts that a batch is computed in; must divide `size`.
    pub accumulate: usize,
    /// Number format of the operands of matrix products and attention.
    pub precision: Precision,
    /// Number format in which ranks exchange gradients: f16 halves the traffic, and gives other
    /// results than one process.
    pub allreduce: Precision,
    /// Fraction of the variants that an epoch shows: pictures whose caption is not their concept.
    pub variants: f64,
}

impl Default for BatchConfig {
    fn default() -> BatchConfig {
        BatchConfig {
            size: BatchSize::Pictures(16),
            accumulate: 1,
            precision: Precision::F32,
            allreduce: Precision::F32,
            variants: 1.0,
        }
    }
}

/// Device memory against computing time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Whether the backward pass recomputes the intermediate values of each block, for less memory
    /// at the same result.
    pub checkpoint_activations: bool,
}

/// The learning rate over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps until the peak is reached.
    pub warmup: u64,
    /// Course of the learning rate after warm-up.
    pub shape: Schedule,
}

impl Default for ScheduleConfig {
    fn default() -> ScheduleConfig {
        ScheduleConfig {
            learning_rate: 1e-3,
            warmup: 10,
            shape: Schedule::Cosine,
        }
    }
}

/// What is minimized: weighted cross entropies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of the caption loss; 0 trains the image encoder alone.
    pub captions: f32,
    /// Weight of the class loss, which names a picture's concept by a class head on the image
    /// vector; 0 for no class head.
    pub classes: f32,
    /// Probability mass of the target that is spread over the whole vocabulary.
    pub label_smoothing: f32,
}

impl Default for LossConfig {
    fn default() -> LossConfig {
        LossConfig {
            captions: 1.0,
            classes: 0.0,
            label_smoothing: 0.0,
        }
    }
}

/// Steps whose loss or gradients are not finite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardConfig {
    /// What to do about such a step.
    pub on_nan: OnNan,
}

/// What to do about a step whose loss or gradients are not finite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNan {
    /// Save the state before the step, then end with an error.
    #[default]
    Stop,
    /// Skip the step; end after 20 in a row.
    Skip,
    /// Return to the last save, or the start, with half the learning rate; at most 5 times.
    Rollback,
}

/// Measurements on pictures that are not trained on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between two validations; 0 for one at the end only.
    pub every: u64,
    /// Validations without improvement after which training ends.
    pub patience: Option<u64>,
}

/// What is saved, where and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Run folder; the first free one of `runs/PRESET-1`, `runs/PRESET-2`, .. if not given.
    pub out: Option<PathBuf>,
    /// Whether a checkpoint that is already in `out` may be replaced.
    pub overwrite: bool,
    /// Steps between two saves; 0 for none by steps. There is always one at the end.
    pub every: u64,
    /// Longest time between two saves, in seconds; 0 for none by time.
    pub seconds: f64,
    /// Number of saved states to keep, the newest ones.
    pub keep: usize,
    /// Run folder whose training goes on from its newest state.
    pub resume: Option<PathBuf>,
}

impl Default for CheckpointConfig {
    fn default() -> CheckpointConfig {
        CheckpointConfig {
            out: None,
            overwrite: false,
            every: 0,
            seconds: 300.0,
            keep: 2,
            resume: None,
        }
    }
}

/// Reports of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Steps between two reports.
    pub every: u64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { every: 5 }
    }
}

/// Trackers that receive the metrics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackingConfig {
    /// Where metrics go: `csv=FILE`, `tensorboard=DIR` or `mlflow=URI`.
    #[serde(with = "file::targets")]
    pub targets: Vec<Target>,
    /// Least number of steps between two rows or points.
    pub every: u64,
    /// Experiment on the MLflow server; `seemore` if not given.
    pub experiment: Option<String>,
    /// Name of the run on the MLflow server; the name of the run folder if not given.
    pub run: Option<String>,
}

impl Default for RunConfig {
    fn default() -> RunConfig {
        RunConfig {
            seed: 1337,
            data: DataConfig::default(),
            model: ModelConfig::default(),
            tune: TuneConfig::default(),
            tokenizer: TokenizerConfig::default(),
            init: InitConfig::default(),
            budget: Budget::default(),
            batch: BatchConfig::default(),
            memory: MemoryConfig::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            loss: LossConfig::default(),
            augment: Augment::light(),
            guard: GuardConfig::default(),
            validation: ValidationConfig::default(),
            checkpoint: CheckpointConfig::default(),
            log: LogConfig::default(),
            tracking: TrackingConfig::default(),
        }
    }
}

impl RunConfig {
    /// Describes a new training with the model, tokenizer, settings and data of the one that wrote
    /// `dir`.
    ///
    /// # Errors
    /// `dir` has no readable `training.json`.
    pub fn like(dir: &Path) -> Result<RunConfig, TrainError> {
        let mut config = Progress::load(dir)?.config;
        if config.model.base.is_some() {
            return Ok(config);
        }
        config.model.file = Some(dir.join("config.json"));
        config.tokenizer = TokenizerConfig {
            file: Some(dir.join("tokenizer.json")),
            ..TokenizerConfig::default()
        };
        Ok(config)
    }

    /// Describes the training that goes on where the one that wrote `dir` stopped, in the same
    /// folder.
    ///
    /// # Errors
    /// `dir` has no state to go on from.
    pub fn resume(dir: &Path) -> Result<RunConfig, TrainError> {
        let mut config = State::newest_progress(dir)?.config;
        config.checkpoint.resume = Some(dir.to_owned());
        Ok(config)
    }

    /// Whether a training described by `other` can go on under this configuration: all that decides
    /// the result of a step is equal. Data, budget, validation, saves, reports, trackers and memory
    /// may differ.
    pub fn continues(&self, other: &RunConfig) -> bool {
        let fixed = |config: &RunConfig| RunConfig {
            data: DataConfig::default(),
            budget: Budget::default(),
            memory: MemoryConfig::default(),
            guard: GuardConfig::default(),
            validation: ValidationConfig::default(),
            checkpoint: CheckpointConfig::default(),
            log: LogConfig::default(),
            tracking: TrackingConfig::default(),
            ..config.clone()
        };
        fixed(self) == fixed(other)
    }

    /// The configuration as a run folder stores it: without the folder, what it replaces or goes on
    /// from, and trackers, so that running it again starts a new run beside it.
    pub fn stored(&self) -> RunConfig {
        RunConfig {
            checkpoint: CheckpointConfig {
                out: None,
                overwrite: false,
                resume: None,
                ..self.checkpoint.clone()
            },
            tracking: TrackingConfig::default(),
            ..self.clone()
        }
    }

    /// What a step minimizes.
    pub(super) fn objective(&self) -> Objective {
        Objective {
            captions: self.loss.captions,
            classes: self.loss.classes,
            smoothing: self.loss.label_smoothing,
            pictures: self.data.text.is_none(),
        }
    }
}

#[cfg(test)]
mod tests;
