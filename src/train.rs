//! Training: batches, the recorded step, and the loop around it.

mod batch;
mod concepts;
mod gradients;
mod loss;
mod optimizer;
mod prefetch;
mod prototypes;
mod state;
mod step;
mod trainer;
mod validation;

pub use batch::{Batch, Text};
pub use concepts::Concepts;
pub use gradients::Gradients;
pub use loss::Objective;
pub(crate) use loss::{Loss, Scale};
pub use optimizer::{Decay, Hyper, Optimizer, Rule, Schedule, Spike, Steps, Update};
pub(crate) use prefetch::{Feed, Prefetcher};
pub use state::{Progress, State};
pub use step::{Recording, StepSizes, TrainStep};
pub use trainer::{Budget, Event, Footprint, OnNan, Options, Summary, TrainError, Trainer};
pub use validation::{Validation, ValidationResult};
