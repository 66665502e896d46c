//! Training: run configurations, the recorded step, and the loop around it.
//!
//! A [`RunConfig`] describes a run and [`TrainRun`] carries it out, reporting to an [`Observer`].
//! Below them, [`TrainStep`] is one recorded optimizer step for programs with a loop of their own.

mod batch;
mod batch_search;
mod concepts;
mod config;
mod error;
mod footprint;
mod gradients;
mod loss;
mod observer;
mod optimizer;
mod prefetch;
mod prototypes;
mod ranks;
mod run;
mod schedule;
mod scoring;
mod state;
mod step;
mod tracking;
mod trainer;
pub(crate) mod tuning;
mod validation;

pub use batch::{AnswerPlaces, Batch, Text};
pub use concepts::Concepts;
pub use config::{
    BatchConfig, BatchSize, Budget, CheckpointConfig, DataConfig, FeatureStore, GuardConfig,
    InitConfig, LogConfig, LossConfig, MemoryConfig, ModelConfig, OnNan, RunConfig, ScheduleConfig,
    TokenizerConfig, TrackingConfig, TuneConfig, Tuned, ValidationConfig,
};
pub use error::{ObserverError, TrainError};
pub use footprint::Footprint;
pub use gradients::Gradients;
pub use loss::Objective;
pub use observer::{Event, NamedSet, Note, Observer, Ready};
pub use optimizer::{Decay, Moments, Optimizer, OptimizerConfig, Rule, Spike, Steps, Update};
pub(crate) use prefetch::{Feed, Prefetcher};
pub use ranks::{RankError, Ranks, Share, Traffic};
pub use run::{FolderLock, TrainRun};
pub use schedule::Schedule;
pub(crate) use scoring::ScoringPass;
pub use state::{Progress, State};
pub use step::{AnswerSizes, Recording, StepSizes, TrainStep};
use trainer::Trainer;
pub use trainer::{Best, Summary};
pub use validation::{Validation, ValidationResult};
