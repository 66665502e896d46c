//! The history of one training, as its events report it.

use std::path::PathBuf;
use std::time::Duration;

use super::curve::Curve;
use super::runs::StoredRun;
use crate::progress::Counter;
use crate::worker::{Step, StoredValidation, TrainEvent, TrainInfo, Validation};

/// Everything the page shows about a training.
#[derive(Debug, Default)]
pub struct History {
    /// Where the training is.
    pub stage: Stage,
    /// Output folder, once it is chosen.
    pub output: Option<PathBuf>,
    /// Notes about the run, the newest last.
    pub notes: Vec<String>,
    /// Counts the pictures that are being read.
    pub reading: Option<Counter>,
    /// Facts about the training, once they are known.
    pub info: Option<TrainInfo>,
    /// The last step.
    pub last: Option<Step>,
    /// Training loss.
    pub loss: Curve,
    /// Validation loss.
    pub validation_loss: Curve,
    /// Learning rate.
    pub learning_rate: Curve,
    /// Results of every validation.
    pub validations: Vec<Validation>,
    /// Results that an earlier session has stored, until it is known which samples they are about.
    stored: Vec<StoredValidation>,
    /// Number of pictures that the present validation has done, and of all of them.
    pub validating: Option<[usize; 2]>,
    /// Step of the last save.
    pub saved: Option<u64>,
}

/// Stage of a training.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Stage {
    /// Requested, or reading its data.
    #[default]
    Preparing,
    /// Running steps and validations.
    Training,
    /// Paused by the user.
    Paused,
    /// Saving, as the user asked it to stop.
    Stopping,
    /// Ended and saved.
    Ended {
        /// Number of steps.
        steps: u64,
        /// Time of this run.
        elapsed: Duration,
        /// Whether it was stopped early.
        interrupted: bool,
    },
    /// Failed, for this reason.
    Failed(String),
}

impl Stage {
    /// Whether the training is in progress.
    pub fn is_running(&self) -> bool {
        !matches!(self, Stage::Ended { .. } | Stage::Failed(_))
    }
}

impl History {
    /// Returns the history of a training that resumes this one, with its curves and validations.
    pub fn resumed(&self) -> History {
        History {
            loss: self.loss.clone(),
            validation_loss: self.validation_loss.clone(),
            learning_rate: self.learning_rate.clone(),
            validations: self.validations.clone(),
            ..History::default()
        }
    }

    /// Returns the history of a training that an earlier session has run.
    pub fn of_run(run: &StoredRun) -> History {
        History {
            loss: run.loss.clone(),
            validation_loss: run.validation_loss.clone(),
            learning_rate: run.learning_rate.clone(),
            stored: run.validations.clone(),
            ..History::default()
        }
    }

    /// Whether there is something to look at.
    pub fn has_results(&self) -> bool {
        self.loss.last().is_some() || !self.validations.is_empty()
    }

    /// Adds an event.
    pub fn add(&mut self, event: TrainEvent) {
        match event {
            TrainEvent::Preparing(output) => self.output = Some(output),
            TrainEvent::Note(text) => self.notes.push(text),
            TrainEvent::Reading(counter) => self.reading = Some(counter),
            TrainEvent::Ready(info) => {
                self.reading = None;
                // steps after the last save are repeated
                self.loss.truncate(info.step);
                self.validation_loss.truncate(info.step);
                self.learning_rate.truncate(info.step);
                let ids: Vec<&str> = info.samples.iter().map(|it| it.id.as_str()).collect();
                let stored = std::mem::take(&mut self.stored).into_iter();
                let stored = stored.filter(|stored| stored.ids == ids);
                self.validations
                    .extend(stored.map(|stored| stored.validation));
                self.validations.retain(|it| it.step <= info.step);
                self.info = Some(*info);
                // a command to pause or stop may have come before
                if self.stage == Stage::Preparing {
                    self.stage = Stage::Training;
                }
            }
            TrainEvent::Validating { done, total } => self.validating = Some([done, total]),
            TrainEvent::Step(step) => {
                self.loss.push(step.step, step.loss as f64);
                self.learning_rate.push(step.step, step.learning_rate);
                self.last = Some(step);
            }
            TrainEvent::Validated(validation) => {
                self.validating = None;
                let loss = validation.loss as f64;
                self.validation_loss.push(validation.step, loss);
                self.validations.push(validation);
            }
            TrainEvent::Saved { step } => self.saved = Some(step),
            TrainEvent::Paused { .. } => self.stage = Stage::Paused,
            TrainEvent::Continued => self.stage = Stage::Training,
            TrainEvent::Stopping => self.stage = Stage::Stopping,
            TrainEvent::Ended {
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
            TrainEvent::Failed(message) => self.stage = Stage::Failed(message),
            TrainEvent::Busy => {}
        }
    }

    /// Returns the share of the training that is done, estimated from its times.
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
    use crate::worker::Sample;

    fn step(step: u64, loss: f32, seconds: u64) -> TrainEvent {
        let time = Duration::from_secs;
        TrainEvent::Step(Step {
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

    fn ready(step: u64, samples: Vec<Sample>) -> TrainEvent {
        let footprint = Footprint {
            parameters: 4,
            optimizer: 12,
            step: 8,
            largest: 8,
            free: None,
        };
        TrainEvent::Ready(Box::new(TrainInfo {
            parameters: 1,
            vocab_size: 30,
            pictures: [48, 12],
            step,
            footprint,
            samples,
        }))
    }

    fn validated(captions: Vec<String>) -> TrainEvent {
        TrainEvent::Validated(Validation {
            step: 10,
            loss: 1.5,
            exact_match: 0.0,
            captions,
        })
    }

    fn interrupted(steps: u64) -> TrainEvent {
        TrainEvent::Ended {
            steps,
            elapsed: Duration::from_secs(3),
            interrupted: true,
        }
    }

    #[test]
    fn events_move_a_training_through_its_stages() {
        let mut history = History::default();
        assert!(history.stage.is_running() && history.share().is_none());
        history.add(TrainEvent::Reading(Counter::default()));
        history.add(ready(0, vec![]));
        assert!(history.stage == Stage::Training && history.reading.is_none());
        history.add(step(10, 2.0, 2));
        assert_eq!(history.share(), Some(0.2));
        history.add(TrainEvent::Validating {
            done: 16,
            total: 48,
        });
        assert_eq!(history.validating, Some([16, 48]));
        history.add(validated(vec![]));
        assert_eq!(history.validating, None);
        history.add(TrainEvent::Paused { step: 10 });
        assert!(history.stage == Stage::Paused && history.stage.is_running());
        history.add(TrainEvent::Continued);
        history.add(TrainEvent::Stopping);
        assert_eq!(history.stage, Stage::Stopping);
        history.add(interrupted(11));
        assert!(!history.stage.is_running());
    }

    #[test]
    fn resuming_keeps_curves_and_validations() {
        let mut history = History::default();
        history.add(step(10, 2.0, 2));
        history.add(validated(vec!["a cat".into()]));
        history.add(interrupted(10));
        let mut history: History = history.resumed();
        assert!(history.stage == Stage::Preparing && history.last.is_none());
        history.add(step(20, 1.0, 4));
        assert_eq!(history.loss.points(false), [[10.0, 2.0], [20.0, 1.0]]);
        assert_eq!(history.validations.len(), 1);
    }

    #[test]
    fn validations_of_an_earlier_session_are_shown_if_their_samples_are_the_same() {
        let stored = |step: u64, id: &str| StoredValidation {
            ids: vec![id.into()],
            validation: Validation {
                step,
                loss: 1.0,
                exact_match: 0.0,
                captions: vec!["a dog".into()],
            },
        };
        let run = StoredRun {
            validations: vec![stored(5, "other"), stored(10, "cat"), stored(20, "cat")],
            ..StoredRun::default()
        };
        let mut history = History::of_run(&run);
        let sample = Sample {
            id: "cat".into(),
            caption: "a cat".into(),
            picture: None,
        };
        history.add(ready(10, vec![sample]));
        assert_eq!(history.validations, [stored(10, "cat").validation]);
    }
}
