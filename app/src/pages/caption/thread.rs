//! A caption and the questions and answers that follow it.

use std::path::PathBuf;

use seemore::caption::{Cancel, CaptionToken, NameRanking};

use crate::generation::GenerationSettings;
use crate::worker::CaptionProgress;

/// Probability of the average token below which a caption is uncertain.
const UNCERTAIN: f32 = 0.5;

/// One model's answers about a picture.
#[derive(Default)]
pub struct Thread {
    /// The caption, then the answers to questions about it.
    pub turns: Vec<Turn>,
    /// Number of times that the caption was written again with the same settings.
    pub varied: u64,
    /// Model that writes.
    pub model: Option<PathBuf>,
}

/// A text by a model.
#[derive(Default)]
pub struct Turn {
    /// Number of the job that writes it; 0 before it is sent.
    pub job: u64,
    /// Cancels that job.
    pub cancel: Cancel,
    pub status: Status,
    /// Text that the caption starts with, or the question that it answers.
    pub prompt: String,
    pub settings: GenerationSettings,
    /// Names that the model was given for the picture.
    pub names: Option<NameRanking>,
    pub tokens: Vec<CaptionToken>,
    pub beams: Vec<seemore::caption::Caption>,
}

/// Status of a text.
#[derive(Clone, Copy, PartialEq, Default)]
pub enum Status {
    /// There is no job, or it has failed.
    #[default]
    Idle,
    Queued,
    /// Its job was sent.
    Sent,
    Writing,
    Done {
        seconds: f64,
        cancelled: bool,
    },
}

impl Status {
    pub fn is_busy(self) -> bool {
        matches!(self, Status::Queued | Status::Sent | Status::Writing)
    }
}

impl Thread {
    /// Returns the caption.
    pub fn caption(&self) -> Option<&Turn> {
        self.turns.first()
    }

    /// Returns the caption's text, `prefix` included, as far as it is written.
    pub fn text(&self, is_prefix: bool) -> String {
        self.caption().map_or(String::new(), |turn| {
            let prefix = if is_prefix { turn.prompt.as_str() } else { "" };
            format!("{prefix}{}", turn.written()).trim().to_owned()
        })
    }

    pub fn is_busy(&self) -> bool {
        self.turns.iter().any(|turn| turn.status.is_busy())
    }

    /// Cancels what is being written and what waits.
    pub fn cancel(&mut self) {
        for turn in &mut self.turns {
            turn.cancel.cancel();
            if turn.status == Status::Queued {
                turn.status = Status::Idle;
            }
        }
        self.turns
            .retain(|turn| turn.status != Status::Idle || turn.job > 0);
    }
}

impl Turn {
    /// Returns a text that waits to be written.
    pub fn queued(prompt: String, settings: GenerationSettings) -> Turn {
        Turn {
            status: Status::Queued,
            prompt,
            settings,
            ..Turn::default()
        }
    }

    /// Returns what the model has written so far.
    pub fn written(&self) -> String {
        let texts = self.tokens.iter().map(|token| token.text.as_str());
        texts.collect()
    }

    /// Returns the probability of the average token, as a geometric mean, times that of the name
    /// that the model was given for the picture, if it was.
    pub fn confidence(&self) -> Option<f32> {
        let logs = self
            .tokens
            .iter()
            .map(|token| token.choice.probability.ln());
        let count = self.tokens.len();
        let first = self
            .names
            .as_ref()
            .and_then(|ranking| ranking.names.first());
        let name = first.map_or(1.0, |name| name.probability);
        (count > 0).then(|| (logs.sum::<f32>() / count as f32).exp() * name)
    }

    /// Whether the text is written and uncertain.
    pub fn is_uncertain(&self) -> bool {
        !self.status.is_busy() && self.confidence().is_some_and(|mean| mean < UNCERTAIN)
    }

    pub fn update(&mut self, progress: &CaptionProgress) {
        match progress {
            CaptionProgress::Started => self.status = Status::Writing,
            CaptionProgress::Names(names) => self.names = Some(names.clone()),
            CaptionProgress::Token(token) => {
                self.status = Status::Writing;
                self.tokens.push(token.clone());
            }
            CaptionProgress::Beams(beams) => self.beams.clone_from(beams),
            &CaptionProgress::Finished { seconds, cancelled } => {
                self.status = Status::Done { seconds, cancelled }
            }
            CaptionProgress::Failed(_) => self.status = Status::Idle,
        }
    }
}
