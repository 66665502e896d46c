//! Captions: a session writes them token by token, greedily, by sampling or with a beam.

mod cancel;
mod error;
mod generator;
mod passes;
mod recent;
mod sampling;
mod search;
mod session;
mod tail;

pub use cancel::Cancel;
pub use error::CaptionError;
pub use generator::Generator;
pub use passes::{AttentionPass, RelevancePass};
pub use sampling::{Choice, Sampler, Sampling, ranked};
pub use search::{Hypothesis, Search, SearchOptions};
pub use session::{
    ALTERNATIVES, Caption, CaptionOptions, CaptionToken, ModelInput, NameRanking, RankedName,
    Session,
};
pub use tail::Tail;
