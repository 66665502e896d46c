//! The course of one training, as the worker reports it.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;

use super::curve::Curve;
use crate::work::training::{Progress, Start, Step};

#[derive(Debug, Default)]
pub struct Course {
    pub stage: Stage,
    /// The folder to save into, once it is chosen.
    pub out: Option<PathBuf>,
    pub notes: Vec<String>,
    /// Counts the pictures that are being read.
    pub reading: Option<ProgressBar>,
    pub start: Option<Start>,
    pub last: Option<Step>,
    pub loss: Curve,
    pub validation: Curve,
    pub learning_rate: Curve,
    pub evaluations: Vec<Evaluation>,
    /// Pictures that the present validation has done, and all of them.
    pub validating: Option<[usize; 2]>,
    /// The step of the last save.
    pub saved: Option<u64>,
}

/// Where a training is.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Stage {
    /// Ordered, or reading its data.
    #[default]
    Preparing,
    Training,
    Paused,
    /// Saving, at the end that was asked for.
    Stopping,
    Ended {
        steps: u64,
        elapsed: Duration,
        interrupted: bool,
    },
    Failed(String),
}

impl Stage {
    /// Whether the worker is at it.
    pub fn runs(&self) -> bool {
        !matches!(self, Stage::Ended { .. } | Stage::Failed(_))
    }
}

/// What one validation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    pub step: u64,
    pub loss: f32,
    pub exact_match: f64,
    /// What was written of each of the shown pictures.
    pub written: Vec<String>,
}

impl Course {
    /// A training that goes on with this one has its curves and evaluations too.
    pub fn resumed(self) -> Course {
        let Course {
            loss,
            validation,
            learning_rate,
            evaluations,
            ..
        } = self;
        Course {
            loss,
            validation,
            learning_rate,
            evaluations,
            ..Course::default()
        }
    }

    pub fn take(&mut self, progress: Progress) {
        match progress {
            Progress::Preparing(out) => self.out = Some(out),
            Progress::Note(text) => self.notes.push(text),
            Progress::Reading(bar) => self.reading = Some(bar),
            Progress::Ready(start) => {
                // an order to pause or stop may have come before
                self.reading = None;
                self.start = Some(*start);
                if self.stage == Stage::Preparing {
                    self.stage = Stage::Training;
                }
            }
            Progress::Validating { done, of } => self.validating = Some([done, of]),
            Progress::Step(step) => {
                self.loss.push(step.step, step.loss as f64);
                self.learning_rate.push(step.step, step.learning_rate);
                self.last = Some(step);
            }
            Progress::Validated {
                step,
                loss,
                exact_match,
                written,
            } => {
                self.validating = None;
                self.validation.push(step, loss as f64);
                self.evaluations.push(Evaluation {
                    step,
                    loss,
                    exact_match,
                    written,
                });
            }
            Progress::Saved { step } => self.saved = Some(step),
            Progress::Paused { .. } => self.stage = Stage::Paused,
            Progress::Continued => self.stage = Stage::Training,
            Progress::Stopping => self.stage = Stage::Stopping,
            Progress::Ended {
                steps,
                elapsed,
                interrupted,
            } => {
                self.stage = Stage::Ended {
                    steps,
                    elapsed,
                    interrupted,
                }
            }
            Progress::Failed(message) => self.stage = Stage::Failed(message),
            Progress::Refused => {}
        }
    }

    /// The share of the training that is done, as far as that is known.
    pub fn share(&self) -> Option<f32> {
        let Step { elapsed, left, .. } = self.last?;
        let (elapsed, left) = (elapsed.as_secs_f32(), left.as_secs_f32());
        Some(elapsed / (elapsed + left).max(1e-9))
    }
}

#[cfg(test)]
mod tests {
    use seemore::train::Footprint;

    use super::*;

    fn step(step: u64, loss: f32, seconds: u64) -> Progress {
        let time = Duration::from_secs;
        Progress::Step(Step {
            step,
            steps: Some(40),
            loss,
            learning_rate: 1e-3,
            tokens_per_s: 100.0,
            elapsed: time(seconds),
            left: time(10 - seconds),
            free: None,
        })
    }

    fn ready() -> Progress {
        let footprint = Footprint {
            parameters: 4,
            optimizer: 12,
            step: 8,
            largest: 8,
            free: None,
        };
        Progress::Ready(Box::new(Start {
            parameters: 1,
            tokens: 30,
            pictures: [48, 12],
            step: 0,
            footprint,
            shown: vec![],
        }))
    }

    #[test]
    fn a_training_passes_through_its_stages() {
        let mut course = Course::default();
        assert!(course.stage.runs() && course.share().is_none());
        course.take(Progress::Reading(ProgressBar::hidden()));
        course.take(ready());
        assert!(course.stage == Stage::Training && course.reading.is_none());
        course.take(step(10, 2.0, 2));
        assert_eq!(course.share(), Some(0.2));
        course.take(Progress::Validating { done: 16, of: 48 });
        assert_eq!(course.validating, Some([16, 48]));
        course.take(Progress::Validated {
            step: 10,
            loss: 1.5,
            exact_match: 0.0,
            written: vec![],
        });
        assert_eq!(course.validating, None);
        course.take(Progress::Paused { step: 10 });
        assert!(course.stage == Stage::Paused && course.stage.runs());
        course.take(Progress::Continued);
        course.take(Progress::Stopping);
        assert_eq!(course.stage, Stage::Stopping);
        course.take(Progress::Ended {
            steps: 11,
            elapsed: Duration::from_secs(3),
            interrupted: true,
        });
        assert!(!course.stage.runs());
    }

    #[test]
    fn one_that_goes_on_keeps_its_curves() {
        let mut course = Course::default();
        course.take(step(10, 2.0, 2));
        course.take(Progress::Validated {
            step: 10,
            loss: 1.5,
            exact_match: 0.5,
            written: vec!["a cat".into()],
        });
        course.take(Progress::Ended {
            steps: 10,
            elapsed: Duration::from_secs(3),
            interrupted: true,
        });
        let mut course = course.resumed();
        assert!(course.stage == Stage::Preparing && course.last.is_none());
        course.take(step(20, 1.0, 4));
        assert_eq!(course.loss.points(false), [[10.0, 2.0], [20.0, 1.0]]);
        assert_eq!(course.evaluations.len(), 1);
    }
}
