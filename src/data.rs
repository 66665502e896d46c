//! Captioned pictures: file formats, data sets, statistics, and the order in which training sees
//! the samples.
//!
//! [`Dataset::load`] reads any [`Format`]. A format is one file in `formats/` and one line in the
//! table of `formats.rs`.

mod batches;
mod caption_sink;
mod captioned;
mod convert;
mod dataset;
mod duplicates;
mod error;
mod formats;
mod listing;
mod load;
mod record;
mod sample;
mod sharing;
mod source;
mod stats;
#[cfg(test)]
mod testing;

pub use batches::Batches;
pub use caption_sink::{CaptionSink, Existing};
pub use captioned::Captioned;
pub use convert::Converted;
pub use dataset::Dataset;
pub use duplicates::{Likeness, Twin};
pub use error::{DataError, Problem};
pub use formats::{Format, Layout, PictureFile, PictureFolder, Setting, is_picture, pictures_in};
pub use listing::Listing;
pub use load::Loaded;
pub use sample::{Sample, Turn};
pub use sharing::Sharing;
pub use source::Source;
pub use stats::{Across, Duplicates, FileStats, Pair, Spread, Stats};
