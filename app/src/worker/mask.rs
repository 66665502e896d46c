//! Captions a picture with hidden patches.

use std::ops::ControlFlow;
use std::sync::Arc;

use seemore::caption::{CaptionToken, Session};
use seemore::image::Picture;

use super::caption::options;
use super::{Event, Worker};
use crate::generation::GenerationSettings;
use crate::hint;
use crate::pictures::PictureSource;

/// Colour of hidden patches.
pub const GREY: [u8; 3] = [127; 3];

/// A picture to caption with hidden patches. Its result is an [`Event::Masked`].
#[derive(Debug, Clone)]
pub struct MaskJob {
    /// Number of the job, repeated in the result.
    pub number: u64,
    /// Where the picture can be read.
    pub source: Arc<PictureSource>,
    /// Text that the caption starts with, or the question that it answers.
    pub prompt: String,
    /// Tokens of the caption of the whole picture.
    pub tokens: Vec<u32>,
    /// Number of patches along a side of the picture.
    pub side: usize,
    /// Hidden patches, row by row.
    pub patches: Vec<usize>,
    /// Settings that the caption is generated with.
    pub settings: GenerationSettings,
}

/// Captions of a picture with and without its hidden patches.
#[derive(Debug, Clone)]
pub struct Masked {
    /// Number of the job.
    pub number: u64,
    /// Number of hidden patches.
    pub hidden: usize,
    /// Caption of the picture with hidden patches.
    pub caption: String,
    /// Probabilities of the tokens of the caption of the whole picture, first given the whole one,
    /// then given the one with hidden patches.
    pub probabilities: Vec<(f32, f32)>,
}

impl MaskJob {
    /// Captions the picture.
    pub(super) fn run(&self, worker: &mut Worker) {
        let masked = self
            .compute(worker)
            .map_err(|error| hint::explain(error.as_ref()));
        worker.events.send(Event::Masked(masked));
    }

    fn compute(&self, worker: &mut Worker) -> anyhow::Result<Masked> {
        let picture = worker.picture(&self.source)?;
        let session = worker.model(0)?;
        let (before, _) = self.score(session, &picture, &[])?;
        let (after, caption) = self.score(session, &picture, &self.patches)?;
        Ok(Masked {
            number: self.number,
            hidden: self.patches.len(),
            caption,
            probabilities: before.into_iter().zip(after).collect(),
        })
    }

    /// Returns the probabilities of the caption's tokens, and the caption that the model writes.
    fn score(
        &self,
        session: &Session,
        picture: &Picture,
        patches: &[usize],
    ) -> anyhow::Result<(Vec<f32>, String)> {
        let input = session.masked_input(picture, self.side, patches, GREY)?;
        let mut options = options(session, &self.settings, &self.prompt);
        options.heat = false;
        let mut probabilities = vec![];
        session.score_of(
            &input,
            &self.tokens,
            &options,
            &mut |token: &CaptionToken| {
                probabilities.push(token.choice.probability);
                ControlFlow::Continue(())
            },
        )?;
        let caption = match patches.is_empty() {
            true => String::new(),
            false => {
                let on = &mut |_: &CaptionToken| ControlFlow::Continue(());
                session.stream_of(&input, &options, on)?.text
            }
        };
        Ok((probabilities, caption))
    }
}
