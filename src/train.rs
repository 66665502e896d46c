//! Training: batches, the recorded step, and the loop around it.

mod batch;
mod concepts;
mod feed;
mod gradients;
mod loss;
mod prototypes;
mod state;
mod step;
mod trainer;
mod validation;

pub use batch::{Batch, Text};
pub use concepts::Concepts;
pub(crate) use feed::{Ahead, Feed};
pub use gradients::Gradients;
pub use loss::Objective;
pub(crate) use loss::{Loss, Scale};
pub use state::{Progress, State};
pub use step::{Recording, StepSizes, TrainStep};
pub use trainer::{Budget, Event, Footprint, OnNan, Options, Summary, TrainError, Trainer};
pub use validation::{Validation, Verdict};
