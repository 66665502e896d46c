//! Pictures, captions, and the order in which training sees them.

mod augment;
mod batches;
mod captioned;
mod dataset;
mod formats;
mod likeness;
mod lines;
mod source;
mod stats;

pub use augment::{Augment, Strength};
pub use batches::Batches;
pub use captioned::Captioned;
pub use dataset::{DataError, Dataset, Loaded, Problem, Sample};
pub use formats::{Format, Layout};
pub use likeness::{Likeness, Twin};
pub use source::Source;
pub use stats::{Across, Duplicates, FileStats, Pair, Sheet, Spread, Stats};
