//! Training: batches, the recorded step, and the loop around it.

mod batch;
mod feed;
mod gradients;
mod loss;
mod step;
mod trainer;
mod validation;

pub use batch::{Batch, Text};
pub(crate) use feed::{Ahead, Feed};
pub use gradients::Gradients;
pub use step::{Recording, StepSizes, TrainStep};
pub use trainer::{Budget, Event, Footprint, Options, Summary, TrainError, Trainer};
pub use validation::{Validation, Verdict};
