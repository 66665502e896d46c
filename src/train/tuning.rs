//! Tuning of pretrained models: questions about pictures with their answers, and what a frozen image
//! encoder makes of the pictures.

mod data;
mod exchange;
mod features;
mod feed;
mod validation;

pub(super) use data::{TuneData, read};
pub(super) use exchange::{Exchange, exchanges};
pub(super) use feed::{AnswerFeed, augmented};
pub(super) use validation::AnswerValidation;
