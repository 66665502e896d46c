//! Trains a model. Between its steps and the batches of a validation, other commands run, so that
//! captions can be written meanwhile.

mod request;
mod sample_file;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use seemore::image::Picture;
use seemore::progress::Progress;
use seemore::track::Target;
use seemore::train::{
    self, Footprint, Note, Observer, ObserverError, Ready, Spike, Summary, TrainError, TrainRun,
};

use super::{Command, Event, Worker};
use crate::hint;
use crate::pictures::THUMBNAIL;
use crate::progress::Counter;

pub use request::{Overrides, RunRequest};
pub(crate) use sample_file::StoredValidation;
pub use sample_file::Validation;

/// A command about training. Its results are [`TrainEvent`]s.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainCommand {
    /// Start a training.
    Start(RunRequest),
    /// Pause after the current step.
    Pause,
    /// Continue a paused training.
    Continue,
    /// Save and end after the current step.
    Stop,
}

/// Progress of a training.
#[derive(Debug, Clone)]
pub enum TrainEvent {
    /// The options are valid and the output folder is chosen.
    Preparing(PathBuf),
    /// Something to know about the run.
    Note(String),
    /// Pictures are being read and counted.
    Reading(Counter),
    /// The first step is about to run.
    Ready(Box<TrainInfo>),
    /// A step was done.
    Step(Step),
    /// A validation is running.
    Validating {
        /// Number of pictures that are done.
        done: usize,
        /// Number of validation pictures.
        total: usize,
    },
    /// A validation was done.
    Validated(Validation),
    /// The state after a step was saved.
    Saved {
        /// The step.
        step: u64,
    },
    /// The training is paused.
    Paused {
        /// The last step.
        step: u64,
    },
    /// The training continues after a pause.
    Continued,
    /// The training is about to save and end.
    Stopping,
    /// The training has ended.
    Ended {
        /// Number of steps, including those before a resume.
        steps: u64,
        /// Time of this run.
        elapsed: Duration,
        /// Whether it was stopped early.
        interrupted: bool,
    },
    /// The training has failed or could not start. The text says why and what to do.
    Failed(String),
    /// A training was not started because another one is running.
    Busy,
}

/// Facts about a training, known before its first step.
#[derive(Debug, Clone)]
pub struct TrainInfo {
    /// Number of parameters.
    pub parameters: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Number of training and validation pictures.
    pub pictures: [usize; 2],
    /// Steps that were done before a resume.
    pub step: u64,
    /// Memory on the device.
    pub footprint: Footprint,
    /// Validation pictures whose captions are shown, the same at every validation.
    pub samples: Vec<Sample>,
}

/// A validation picture whose captions are shown.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Where it comes from, such as a row of a file.
    pub id: String,
    /// The true caption.
    pub caption: String,
    /// The picture, if it is in memory or in a file of its own.
    pub picture: Option<Picture>,
}

/// Figures of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Number of the step, from 1.
    pub step: u64,
    /// Number of steps in the training, unless it ends by time.
    pub steps: Option<u64>,
    /// Loss of the step.
    pub loss: f32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Speed in tokens per second.
    pub tokens_per_s: f64,
    /// Time since the run began.
    pub elapsed: Duration,
    /// Estimated time until its end.
    pub left: Duration,
    /// Free memory on the device in bytes, if it is known.
    pub free: Option<u64>,
}

/// File in the run folder with the figures of the training, from which later sessions draw its
/// curves.
pub const METRICS: &str = "metrics.csv";

/// Maximum number of samples.
const SAMPLES: usize = 8;

/// Runs a whole training. While none is running, there is nothing to pause, continue or stop.
pub(super) fn run(worker: &mut Worker, command: TrainCommand) {
    let TrainCommand::Start(request) = command else {
        return;
    };
    let event = match train(worker, request) {
        Ok(Summary {
            steps,
            elapsed,
            interrupted,
            ..
        }) => TrainEvent::Ended {
            steps,
            elapsed,
            interrupted,
        },
        Err(error) => TrainEvent::Failed(hint::explain(&error)),
    };
    worker.events.send(Event::Train(event));
}

fn train(worker: &mut Worker, request: RunRequest) -> Result<Summary, TrainError> {
    let mut run = TrainRun::new(request.config()?)?;
    run.track(Target::Csv(run.out().join(METRICS)));
    let mut observer = WorkerObserver {
        worker,
        folder: run.out().to_owned(),
        samples: vec![],
        ids: vec![],
        paused: false,
    };
    observer.send(TrainEvent::Preparing(run.out().to_owned()));
    let device = observer.worker.device.clone();
    run.start(&device, &mut observer)
}

/// Sends the events of a training to the window and runs other commands between its steps.
struct WorkerObserver<'a> {
    worker: &'a mut Worker,
    /// Run folder.
    folder: PathBuf,
    /// Indices of the samples among the validation pictures.
    samples: Vec<usize>,
    /// Their names.
    ids: Vec<String>,
    paused: bool,
}

impl WorkerObserver<'_> {
    fn send(&self, event: TrainEvent) {
        self.worker.events.send(Event::Train(event));
    }

    fn add_note(&self, text: String) {
        self.send(TrainEvent::Note(text));
    }

    /// Runs the commands that have arrived; while paused, also those to come.
    fn run_commands(&mut self, step: u64) -> ControlFlow<()> {
        loop {
            let command = match self.worker.receive(self.paused) {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
                // the window has closed
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
            };
            match command {
                Command::Train(TrainCommand::Pause) => {
                    self.paused = true;
                    self.send(TrainEvent::Paused { step });
                }
                Command::Train(TrainCommand::Continue) => {
                    self.paused = false;
                    self.send(TrainEvent::Continued);
                }
                Command::Train(TrainCommand::Stop) => {
                    self.send(TrainEvent::Stopping);
                    return ControlFlow::Break(());
                }
                Command::Train(TrainCommand::Start(_)) => self.send(TrainEvent::Busy),
                // a lost device is reported where the worker ends
                command => self
                    .worker
                    .run(command)
                    .map_or(ControlFlow::Break(()), ControlFlow::Continue)?,
            }
        }
    }
}

impl Observer for WorkerObserver<'_> {
    fn note(&mut self, note: &Note) {
        let text = note.to_string();
        self.add_note(match note.hint().and_then(|hint| hint::advice(&hint)) {
            Some(advice) => format!("{}. {advice}", text.trim_end_matches('.')),
            None => text,
        });
    }

    fn reading(&mut self, _files: &[PathBuf]) -> Box<dyn Progress> {
        let counter = Counter::default();
        self.send(TrainEvent::Reading(counter.clone()));
        Box::new(counter)
    }

    fn ready(&mut self, ready: &Ready) -> Result<(), ObserverError> {
        let validation = ready
            .validation
            .map_or(&[][..], |validation| &validation.samples);
        self.samples = spread(validation.len(), SAMPLES);
        let id = |&i: &usize| validation[i].id.clone();
        self.ids = self.samples.iter().map(id).collect();
        if ready.step == 0
            && let Err(error) = sample_file::clear(&self.folder)
        {
            self.add_note(format!("Captions of an earlier training remain: {error}."));
        }
        let side = ready.train.side;
        let sample = |&i: &usize| {
            let sample = &validation[i];
            Sample {
                id: sample.id.clone(),
                caption: sample.caption.clone(),
                picture: picture(&sample.rgb, side, sample.picture.as_deref()),
            }
        };
        self.send(TrainEvent::Ready(Box::new(TrainInfo {
            parameters: ready.parameters,
            vocab_size: ready.tokens,
            pictures: [ready.train.samples.len(), validation.len()],
            step: ready.step,
            footprint: ready.footprint,
            samples: self.samples.iter().map(sample).collect(),
        })));
        Ok(())
    }

    fn on(&mut self, event: train::Event) -> ControlFlow<()> {
        match event {
            train::Event::Submitted { step } => return self.run_commands(step),
            train::Event::Started { .. } => {}
            train::Event::Step {
                step,
                steps,
                loss,
                learning_rate,
                tokens_per_s,
                elapsed,
                left,
                ..
            } => {
                let free = self.worker.device.free_memory();
                self.send(TrainEvent::Step(Step {
                    step,
                    steps,
                    loss,
                    learning_rate,
                    tokens_per_s,
                    elapsed,
                    left,
                    free,
                }));
            }
            train::Event::Validating { step, done, of } => {
                self.send(TrainEvent::Validating { done, total: of });
                return self.run_commands(step);
            }
            train::Event::Validated { step, result } => {
                let caption = |&i: &usize| result.captions[i].2.clone();
                let validation = Validation {
                    step,
                    loss: result.loss,
                    exact_match: result.exact_match,
                    captions: self.samples.iter().map(caption).collect(),
                };
                let stored = StoredValidation {
                    ids: self.ids.clone(),
                    validation: validation.clone(),
                };
                if let Err(error) = stored.append(&self.folder) {
                    self.add_note(format!(
                        "The captions of step {step} are not kept in the run folder: {error}."
                    ));
                }
                self.send(TrainEvent::Validated(validation));
            }
            train::Event::Saved { step, .. } => self.send(TrainEvent::Saved { step }),
            train::Event::SaveFailed { step, error } => self.add_note(format!(
                "Step {step} was not saved: {error}. Training continues; the last save is intact."
            )),
            train::Event::Spike { spike, count } => {
                let Spike { step, loss, mean } = spike;
                self.add_note(format!(
                    "Loss spike {count} at step {step}: {loss:.4}, while the mean is {mean:.4}."
                ));
            }
            train::Event::Skipped { step, what } => {
                self.add_note(format!("Step {step} was skipped: {what}."));
            }
            train::Event::RolledBack { to, rate, what, .. } => self.add_note(format!(
                "{what}. Rolled back to step {to}; the learning rate is now multiplied by {rate}."
            )),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Returns the picture of a sample with `side` pixels in each direction; of tuning, which keeps no
/// pixels and whose `side` is 0, that of its file.
fn picture(rgb: &[u8], side: usize, file: Option<&Path>) -> Option<Picture> {
    if side > 0 {
        return Some(Picture {
            width: side,
            height: side,
            rgb: rgb.to_vec(),
        });
    }
    let picture = Picture::open(file?).ok()?;
    Some(picture.resize(THUMBNAIL))
}

/// Returns at most `max` of `count` indices, evenly spaced.
fn spread(count: usize, max: usize) -> Vec<usize> {
    let taken = count.min(max);
    (0..taken).map(|i| i * count / taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_tuning_show_the_picture_of_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("red.png");
        image::RgbImage::from_pixel(8, 8, image::Rgb([200, 0, 0]))
            .save(&path)
            .unwrap();
        // tuning keeps a key in place of pixels
        let shown = picture(&[7; 32], 0, Some(&path)).unwrap();
        assert_eq!(
            (shown.width, &shown.rgb[..3]),
            (THUMBNAIL, &[200, 0, 0][..])
        );
        assert_eq!(picture(&[7; 32], 0, None), None);
    }

    #[test]
    fn samples_are_evenly_spaced() {
        assert_eq!(spread(12, 4), [0, 3, 6, 9]);
        assert_eq!(spread(3, 8), [0, 1, 2]);
        assert!(spread(0, 8).is_empty());
    }
}
