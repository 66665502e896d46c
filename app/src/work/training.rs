//! A training: the very one of the command line. Between its steps, and between the batches of a validation, the other orders are followed, so that captions can be had meanwhile.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use clap::Parser;
use indicatif::ProgressBar;
use seemore::cli::train::{Listener, Ready, Run, TrainArgs};
use seemore::image::Picture;
use seemore::train::Spike;
use seemore::train::{Event, Footprint, Summary};

use crate::worker::{Bench, Order, Report};

/// What the window wants of training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Train as the program `train` does with these words.
    Start(Vec<OsString>),
    Pause,
    Continue,
    /// Save and end.
    Stop,
}

/// How a training goes on.
#[derive(Debug)]
pub enum Progress {
    /// The flags are good, and the folder to save into is chosen.
    Preparing(PathBuf),
    /// Something to know before the first step.
    Note(String),
    /// The pictures that are being read are counted here.
    Reading(ProgressBar),
    Ready(Box<Start>),
    Step(Step),
    /// So many of the pictures are validated on.
    Validating {
        done: usize,
        of: usize,
    },
    Validated {
        step: u64,
        loss: f32,
        exact_match: f64,
        /// What was written of each of the shown pictures.
        written: Vec<String>,
    },
    Saved {
        step: u64,
    },
    Paused {
        step: u64,
    },
    Continued,
    /// What is done is being saved.
    Stopping,
    Ended {
        steps: u64,
        elapsed: Duration,
        interrupted: bool,
    },
    /// Why there is no training, or no more.
    Failed(String),
    /// Another was wanted while one runs.
    Refused,
}

/// What a training begins with.
#[derive(Debug)]
pub struct Start {
    /// Of the model.
    pub parameters: usize,
    /// Of the tokenizer.
    pub tokens: usize,
    /// Pictures to train on and to validate on.
    pub pictures: [usize; 2],
    /// Steps that were trained before.
    pub step: u64,
    pub footprint: Footprint,
    /// Some of the pictures that are validated on, always the same.
    pub shown: Vec<Shown>,
}

/// A picture that the model is shown at every validation.
#[derive(Debug)]
pub struct Shown {
    /// Where it comes from.
    pub id: String,
    /// The true caption.
    pub caption: String,
    pub picture: Picture,
}

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub step: u64,
    /// Of the whole training, where it is not ended by time.
    pub steps: Option<u64>,
    pub loss: f32,
    pub learning_rate: f64,
    pub tokens_per_s: f64,
    pub elapsed: Duration,
    pub left: Duration,
    /// Bytes that the device has left, where it tells.
    pub free: Option<u64>,
}

/// The flags of the program `train`.
#[derive(Parser)]
#[command(name = "train", no_binary_name = true, disable_help_flag = true)]
struct Flags {
    #[command(flatten)]
    args: TrainArgs,
}

/// Most pictures that are shown at validations.
const SHOWN: usize = 8;

/// Follows one command while nothing is trained: there is nothing to pause or to stop then.
pub fn follow(bench: &mut Bench, command: Command) {
    let Command::Start(words) = command else {
        return;
    };
    let report = bench.report;
    report(Report::Train(match train(bench, words) {
        Ok(Summary {
            steps,
            elapsed,
            interrupted,
            ..
        }) => Progress::Ended {
            steps,
            elapsed,
            interrupted,
        },
        Err(error) => Progress::Failed(format!("{error:#}")),
    }));
}

fn train(bench: &mut Bench, words: Vec<OsString>) -> anyhow::Result<Summary> {
    let args = Flags::try_parse_from(words)?.args;
    let run = Run::new(&args)?;
    let watch = &mut Watch {
        bench,
        shown: vec![],
        paused: false,
    };
    watch.report(Progress::Preparing(run.out().to_owned()));
    run.tracked(&watch.bench.device.clone(), watch)
}

/// Reports what a training says, and follows orders between its steps.
struct Watch<'a, 'b> {
    bench: &'a mut Bench<'b>,
    /// Numbers of the shown pictures among those that are validated on.
    shown: Vec<usize>,
    paused: bool,
}

impl Watch<'_, '_> {
    fn report(&self, progress: Progress) {
        (self.bench.report)(Report::Train(progress));
    }

    /// Follows the orders that have come; as long as it is paused, those to come.
    fn follow(&mut self, step: u64) -> ControlFlow<()> {
        loop {
            let order = if self.paused {
                self.bench.orders.recv().map_err(TryRecvError::from)
            } else {
                self.bench.orders.try_recv()
            };
            match order {
                Ok(Order::Train(Command::Pause)) => {
                    self.paused = true;
                    self.report(Progress::Paused { step });
                }
                Ok(Order::Train(Command::Continue)) => {
                    self.paused = false;
                    self.report(Progress::Continued);
                }
                Ok(Order::Train(Command::Stop)) => {
                    self.report(Progress::Stopping);
                    return ControlFlow::Break(());
                }
                Ok(Order::Train(Command::Start(_))) => self.report(Progress::Refused),
                // a lost device trains no more; why, is said where the worker ends
                Ok(order) => self
                    .bench
                    .follow(order)
                    .map_or(ControlFlow::Break(()), ControlFlow::Continue)?,
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
                // the window is closed
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
            }
        }
    }
}

impl Listener for Watch<'_, '_> {
    fn note(&mut self, text: &str) {
        self.report(Progress::Note(text.to_owned()));
    }

    fn reading(&mut self, _path: &Path) -> ProgressBar {
        let bar = ProgressBar::hidden();
        self.report(Progress::Reading(bar.clone()));
        bar
    }

    fn ready(&mut self, ready: &Ready) -> anyhow::Result<()> {
        let Ready {
            parameters,
            tokens,
            step,
            footprint,
            ..
        } = *ready;
        let validation = ready
            .validation
            .map_or(&[][..], |validation| &validation.samples);
        self.shown = spread(validation.len(), SHOWN);
        let side = ready.train.side;
        let shown = |&i: &usize| {
            let sample = &validation[i];
            let picture = Picture {
                width: side,
                height: side,
                rgb: sample.rgb.clone(),
            };
            Shown {
                id: sample.id.clone(),
                caption: sample.caption.clone(),
                picture,
            }
        };
        let pictures = [ready.train.samples.len(), validation.len()];
        let shown = self.shown.iter().map(shown).collect();
        self.report(Progress::Ready(Box::new(Start {
            parameters,
            tokens,
            pictures,
            step,
            footprint,
            shown,
        })));
        Ok(())
    }

    fn on(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Submitted { step } => return self.follow(step),
            Event::Started { .. } => {}
            Event::Step {
                step,
                steps,
                loss,
                learning_rate,
                tokens_per_s,
                elapsed,
                left,
                ..
            } => {
                let free = self.bench.device.free_memory();
                self.report(Progress::Step(Step {
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
            Event::Validating { step, done, of } => {
                self.report(Progress::Validating { done, of });
                return self.follow(step);
            }
            Event::Validated { step, verdict } => {
                let written = self
                    .shown
                    .iter()
                    .map(|&i| verdict.captions[i].2.clone())
                    .collect();
                self.report(Progress::Validated {
                    step,
                    loss: verdict.loss,
                    exact_match: verdict.exact_match,
                    written,
                });
            }
            Event::Saved { step, .. } => self.report(Progress::Saved { step }),
            Event::SaveFailed { step, error } => {
                self.note(&format!("Step {step} was not saved: {error}. Training goes on, and the save before is still there"));
            }
            Event::Spike { spike, count } => {
                let Spike { step, loss, mean } = spike;
                self.note(&format!("The loss of step {step} jumped to {loss:.4} from {mean:.4} on average (spike {count} so far)"));
            }
            Event::Skipped { step, what } => {
                self.note(&format!("Step {step} was left out: {what}"))
            }
            Event::RolledBack { to, rate, what, .. } => {
                self.note(&format!(
                    "{what}. Back to step {to} with the learning rate times {rate}"
                ));
            }
        }
        ControlFlow::Continue(())
    }
}

/// At most `most` of `count` numbers, evenly apart.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|i| i * count / taken).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_shown_pictures_are_spread_over_all() {
        assert_eq!(spread(12, 4), [0, 3, 6, 9]);
        assert_eq!(spread(3, 8), [0, 1, 2]);
        assert!(spread(0, 8).is_empty());
    }
}
