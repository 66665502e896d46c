//! Writing captions: sampling, beam search, and the captioner.

mod captioner;
mod generator;
mod search;

pub use captioner::{CaptionError, CaptionToken, Captioner, OTHERS, Whole};
pub use generator::{Choice, Generator, Map, Sampler, Sampling, ranked};
pub(crate) use generator::{Extent, Pass};
pub use search::{Hypothesis, Search, SearchOptions};
