//! Captions one picture, token by token.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use seemore::caption::{Cancel, Caption, CaptionOptions, CaptionToken, Sampling};
use seemore::image::Picture;

use crate::generation::GenerationSettings;
use crate::hint;
use crate::worker::{Command, Slot, Worker};

/// Width and height of the picture that heat maps are drawn over, in pixels.
pub const INPUT_SIZE: usize = 320;

/// Command that captions a picture. Its results are [`CaptionEvent`]s.
#[derive(Debug, Clone)]
pub struct CaptionJob {
    /// Number of the job; later jobs have higher numbers.
    pub number: u64,
    /// Model that writes the caption.
    pub slot: Slot,
    /// The picture at its own size.
    pub picture: Arc<Picture>,
    /// How the caption is generated.
    pub settings: GenerationSettings,
    /// Cancels the job.
    pub cancel: Cancel,
}

/// Progress of a caption job.
#[derive(Debug)]
pub struct CaptionEvent {
    /// Number of the job.
    pub job: u64,
    /// Progress that is reported.
    pub progress: CaptionProgress,
}

/// Progress of a caption job.
#[derive(Debug)]
pub enum CaptionProgress {
    /// The part of the picture that the model sees, [`INPUT_SIZE`] pixels wide and high.
    Input(Picture),
    /// The next token.
    Token(CaptionToken),
    /// Captions found by beam search, the most likely first.
    Beams(Vec<Caption>),
    /// The job has ended.
    Finished {
        /// Seconds since it began.
        seconds: f64,
        /// Whether it was cancelled.
        cancelled: bool,
    },
    /// The job has failed. The text says why and what to do.
    Failed(String),
}

impl CaptionJob {
    fn caption(&self, worker: &mut Worker) -> anyhow::Result<()> {
        let events = worker.events().clone();
        let send = |progress| {
            events.page(CaptionEvent {
                job: self.number,
                progress,
            })
        };
        let start = Instant::now();
        let session = worker.model(self.slot)?;
        let GenerationSettings {
            temperature,
            top_k,
            top_p,
            seed,
            max_len,
            ref prefix,
            beams,
        } = self.settings;
        let options = CaptionOptions {
            prompt: prefix.clone(),
            max_tokens: max_len,
            sampling: Sampling {
                temperature,
                top_k,
                top_p,
                seed,
            },
            beam: beams,
            heat: session.has_heat(),
            ..CaptionOptions::default()
        };
        let picture = &self.picture;
        if !self.cancel.is_cancelled() {
            let input = session.visible_part(picture).resize(INPUT_SIZE);
            send(CaptionProgress::Input(input));
            session.stream(picture, &options, &mut |token| {
                send(CaptionProgress::Token(token.clone()));
                match self.cancel.is_cancelled() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
        }
        if beams > 1 && !self.cancel.is_cancelled() {
            send(CaptionProgress::Beams(session.n_best(picture, &options)?));
        }
        send(CaptionProgress::Finished {
            seconds: start.elapsed().as_secs_f64(),
            cancelled: self.cancel.is_cancelled(),
        });
        Ok(())
    }
}

impl Command for CaptionJob {
    fn run(self: Box<Self>, worker: &mut Worker) {
        if let Err(error) = self.caption(worker) {
            worker.events().page(CaptionEvent {
                job: self.number,
                progress: CaptionProgress::Failed(hint::explain(error.as_ref())),
            });
        }
    }
}
