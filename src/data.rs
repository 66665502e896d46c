//! Pictures, captions, and the order in which training sees them.

mod augment;
mod batches;
mod dataset;
mod lines;
mod picture;
mod tokenizer;

pub use augment::{Augment, Strength};
pub use batches::Batches;
pub use dataset::{Columns, DataError, Dataset, Loaded, Problem, Sample};
pub use picture::{DEVIATION, MAX_PIXELS, MAX_SIDE, MEAN, Picture, PictureError, normalise};
pub use tokenizer::{TextStream, TokenKind, Tokenizer, TokenizerError};
