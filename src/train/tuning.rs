//! Tuning of pretrained models: questions about pictures with their answers, and what a frozen image
//! encoder makes of the pictures.

mod data;
mod exchange;
mod features;
mod feed;
mod fit;
mod validation;

pub(crate) use data::{Sets, TuneData, read};
pub(crate) use exchange::{Exchange, exchanges};
pub(super) use feed::{AnswerFeed, augmented};
pub(crate) use fit::{Answered, fit};
pub(crate) use validation::AnswerValidation;
