//! Pictures, captions, and the order in which training sees them.

mod augment;
mod batches;
mod dataset;
mod formats;
mod likeness;
mod picture;
mod source;
mod stats;
mod tokenizer;

pub use augment::Augment;
pub use batches::Batches;
pub use dataset::{DataError, Dataset, Loaded, Problem, Sample};
pub use formats::{Format, Layout};
pub use likeness::{Likeness, Twin};
pub use picture::{MAX_PIXELS, MAX_SIDE, Picture, PictureError, normalise};
pub use source::Source;
pub use stats::{Across, Duplicates, FileStats, Pair, Sheet, Spread, Stats};
pub use tokenizer::{CharTokenizer, TokenizerError};
