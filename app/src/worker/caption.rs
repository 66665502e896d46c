//! Captions one picture, token by token, and answers questions about it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use seemore::caption::{
    Cancel, Caption, CaptionOptions, CaptionToken, NameRanking, Sampling, Session,
};
use seemore::image::Picture;
use seemore::text::chat::{Message, Part, Role};

use super::{Event, Slot, Worker};
use crate::generation::GenerationSettings;
use crate::hint;
use crate::pictures::PictureSource;

/// Number of names that are reported of a picture.
const NAMES: usize = 4;

/// A picture to caption, or a question to answer about it. Its results are [`CaptionEvent`]s.
#[derive(Debug, Clone)]
pub struct CaptionJob {
    /// Number of the job; later jobs have higher numbers.
    pub number: u64,
    /// Model that writes.
    pub slot: Slot,
    /// Where the picture can be read.
    pub source: Arc<PictureSource>,
    /// Questions and answers before this one.
    pub history: Vec<(String, String)>,
    /// Text that the caption starts with, or the question that it answers; empty for none.
    pub prompt: String,
    /// Settings that the text is generated with. Their prefix is not read.
    pub settings: GenerationSettings,
    /// Cancels the job.
    pub cancel: Cancel,
}

/// Progress of a caption job.
#[derive(Debug, Clone)]
pub struct CaptionEvent {
    /// Number of the job.
    pub job: u64,
    /// Progress that is reported.
    pub progress: CaptionProgress,
}

/// Progress of a caption job.
#[derive(Debug, Clone)]
pub enum CaptionProgress {
    /// The model has begun.
    Started,
    /// Names that the model is given for the picture, the most probable first, see
    /// [`Session::caption_names`]. Its tokens follow.
    Names(NameRanking),
    /// The next token.
    Token(CaptionToken),
    /// Captions found by beam search, the most likely first. Its tokens follow.
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
    /// Writes the text.
    pub(super) fn run(&self, worker: &mut Worker) {
        if let Err(error) = self.caption(worker) {
            worker.events.send(Event::Caption(CaptionEvent {
                job: self.number,
                progress: CaptionProgress::Failed(hint::explain(error.as_ref())),
            }));
        }
    }

    fn caption(&self, worker: &mut Worker) -> anyhow::Result<()> {
        let events = worker.events.clone();
        let send = |progress| {
            events.send(Event::Caption(CaptionEvent {
                job: self.number,
                progress,
            }))
        };
        let start = Instant::now();
        if !self.cancel.is_cancelled() {
            let picture = worker.picture(&self.source)?;
            let session = worker.model(self.slot)?;
            send(CaptionProgress::Started);
            self.write(session, &picture, &send)?;
        }
        send(CaptionProgress::Finished {
            seconds: start.elapsed().as_secs_f64(),
            cancelled: self.cancel.is_cancelled(),
        });
        Ok(())
    }

    fn write(
        &self,
        session: &Session,
        picture: &Picture,
        send: &dyn Fn(CaptionProgress),
    ) -> anyhow::Result<()> {
        let options = options(session, &self.settings, &self.prompt);
        let mut on = |token: &CaptionToken| {
            send(CaptionProgress::Token(token.clone()));
            match self.cancel.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        if !self.history.is_empty() {
            let messages = self.messages();
            session.reply(&messages, std::slice::from_ref(picture), &options, &mut on)?;
            return Ok(());
        }
        let input = session.input(picture)?;
        if let Some(names) = session.caption_names(&input, &self.prompt, NAMES)? {
            send(CaptionProgress::Names(names));
        }
        if self.settings.beams > 1 {
            let beams = session.n_best_of(&input, &options)?;
            let best = beams.first().map(|best| best.tokens.clone());
            send(CaptionProgress::Beams(beams));
            if !self.cancel.is_cancelled() {
                session.score_of(&input, &best.unwrap_or_default(), &options, &mut on)?;
            }
        } else {
            session.stream_of(&input, &options, &mut on)?;
        }
        Ok(())
    }

    /// Returns the questions and answers so far and the new question. The picture stands before the
    /// first one.
    fn messages(&self) -> Vec<Message> {
        let mut messages = vec![];
        for (index, (question, answer)) in self.history.iter().enumerate() {
            let picture = (index == 0).then_some(Part::Image);
            let parts = picture.into_iter().chain([Part::text(question)]);
            messages.push(Message::new(Role::User, parts.collect()));
            messages.push(Message::text(Role::Assistant, answer.trim()));
        }
        messages.push(Message::text(Role::User, &self.prompt));
        messages
    }
}

/// Returns the library's options for settings of the window.
pub(super) fn options(
    session: &Session,
    settings: &GenerationSettings,
    prompt: &str,
) -> CaptionOptions {
    let &GenerationSettings {
        temperature,
        top_k,
        top_p,
        seed,
        max_len,
        beams,
        prefix: _,
    } = settings;
    CaptionOptions {
        prompt: prompt.to_owned(),
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
    }
}
