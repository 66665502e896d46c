//! The flat options that run folders stored before [`RunConfig`], read and upgraded.

use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::data::Source;
use crate::train::OptimizerConfig;

/// Options of a run folder written before configurations were nested.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::train) struct Options {
    budget: Budget,
    batch_size: usize,
    accumulate: usize,
    #[serde(default)]
    checkpoint_activations: bool,
    #[serde(default)]
    precision: Precision,
    learning_rate: f64,
    warmup: u64,
    schedule: Schedule,
    hyper: OptimizerConfig,
    #[serde(default)]
    objective: Objective,
    #[serde(default)]
    prototypes: bool,
    #[serde(default = "one")]
    variants: f64,
    #[serde(default)]
    freeze: Vec<Part>,
    #[serde(default)]
    patience: Option<u64>,
    seed: u64,
    source: Option<Source>,
    augment: Augment,
    log_every: u64,
    eval_every: u64,
    save_every: u64,
    #[serde(default = "two")]
    keep: usize,
    #[serde(default)]
    on_nan: OnNan,
}

fn one() -> f64 {
    1.0
}

fn two() -> usize {
    2
}

impl Options {
    /// The configuration of the run that is in `dir`, whose model and tokenizer are taken from that
    /// folder.
    pub fn upgrade(self, dir: &Path) -> RunConfig {
        let mut data = DataConfig::default();
        if let Some(source) = self.source {
            data.train = source.data;
            data.validation = source.val_data;
            data.validation_split = Some(source.val_split);
            data.allow_overlap = source.allow_overlap;
            data.image_column = source.image_column;
            data.caption_column = source.caption_column;
            data.images = source.images;
        }
        RunConfig {
            seed: self.seed,
            data,
            model: ModelConfig {
                file: Some(dir.join("config.json")),
                freeze: self.freeze,
                ..ModelConfig::default()
            },
            tune: TuneConfig::default(),
            tokenizer: TokenizerConfig {
                file: Some(dir.join("tokenizer.json")),
                ..TokenizerConfig::default()
            },
            init: InitConfig {
                prototypes: self.prototypes,
                ..InitConfig::default()
            },
            budget: self.budget,
            batch: BatchConfig {
                size: BatchSize::Pictures(self.batch_size),
                accumulate: self.accumulate,
                precision: self.precision,
                variants: self.variants,
                ..BatchConfig::default()
            },
            memory: MemoryConfig {
                checkpoint_activations: self.checkpoint_activations,
            },
            optimizer: self.hyper,
            schedule: ScheduleConfig {
                learning_rate: self.learning_rate,
                warmup: self.warmup,
                shape: self.schedule,
            },
            loss: LossConfig {
                captions: self.objective.captions,
                classes: self.objective.classes,
                label_smoothing: self.objective.smoothing,
            },
            augment: self.augment,
            guard: GuardConfig {
                on_nan: self.on_nan,
            },
            validation: ValidationConfig {
                every: self.eval_every,
                patience: self.patience,
            },
            checkpoint: CheckpointConfig {
                every: self.save_every,
                keep: self.keep,
                ..CheckpointConfig::default()
            },
            log: LogConfig {
                every: self.log_every.max(1),
            },
            tracking: TrackingConfig::default(),
        }
    }
}
