//! The training loop: what to train on, for how long, and what to say on the way.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::concepts::is_variant;
use super::prototypes;
use super::state::saved_steps;
use super::{
    Batch, Concepts, Feed, Objective, Prefetcher, Progress, Recording, State, StepSizes, Text,
    TrainStep, Validation, ValidationResult,
};
use crate::data::{Batches, Dataset, Sample};
use crate::device::Finding;
use crate::device::{Device, DeviceError};
use crate::graph::{Precision, TensorRef};
use crate::image::Augment;
use crate::models::checkpoint::{self, CheckpointError, Values};
use crate::models::seemore::{Part, Vlm};
use crate::ops::{GradScaler, IGNORE};
use crate::text::Tokenizer;
use crate::train::{Hyper, Optimizer, Schedule, Spike, Steps};

/// When training ends. The first limit reached counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Optimizer steps.
    pub steps: Option<u64>,
    /// Seconds of training, validation at the end not included.
    pub seconds: Option<f64>,
}

impl Budget {
    /// The share of it that so many steps and seconds use up: 1 or more when a limit is reached.
    fn used(&self, step: u64, seconds: f64) -> f64 {
        let share = |done: f64, of: Option<f64>| of.map_or(0.0, |of| done / of.max(1e-9));
        share(step as f64, self.steps.map(|steps| steps as f64)).max(share(seconds, self.seconds))
    }
}

/// Everything that decides how a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    pub budget: Budget,
    /// Pictures in one optimizer step.
    pub batch_size: usize,
    /// Parts that a batch is computed in; divides `batch_size`.
    pub accumulate: usize,
    /// Whether blocks compute their intermediate values again in the backward pass, for less memory at the same numbers.
    #[serde(default)]
    pub checkpoint_activations: bool,
    /// Of the operands of matrix products and attention.
    #[serde(default)]
    pub precision: Precision,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// Steps until it is reached.
    pub warmup: u64,
    pub schedule: Schedule,
    pub hyper: Hyper,
    #[serde(default)]
    pub objective: Objective,
    /// Whether the class head starts with the mean of each concept's pictures.
    #[serde(default)]
    pub prototypes: bool,
    /// Share of the variants of concepts (samples whose caption is not their concept) that an epoch shows.
    #[serde(default = "all")]
    pub variants: f64,
    /// The parts that do not train.
    #[serde(default)]
    pub freeze: Vec<Part>,
    /// Validations without a better result until training ends.
    #[serde(default)]
    pub patience: Option<u64>,
    /// Decides the order of the data, augmentation and dropout.
    pub seed: u64,
    /// Where the data came from, for going on with the same.
    pub source: Option<crate::data::Source>,
    pub augment: Augment,
    /// Steps between two reports of the loss.
    pub log_every: u64,
    /// Steps between two validations; 0 for one at the end only.
    pub eval_every: u64,
    /// Steps between two saves; 0 for one at the end only.
    pub save_every: u64,
    /// Saved states that are kept, the newest ones.
    #[serde(default = "two")]
    pub keep: usize,
    /// What to do about a step whose loss or gradients are not finite.
    #[serde(default)]
    pub on_nan: OnNan,
}

/// What to do about a step whose loss or gradients are not finite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OnNan {
    /// Save what was there before it, and end
    #[default]
    Stop,
    /// Leave the step out, and end after 20 in a row
    Skip,
    /// Go back to the last save (or the start) with half the learning rate, 5 times at most
    Rollback,
}

/// Bad steps in a row after which a training that skips them ends.
const MOST_SKIPPED: u64 = 20;
/// Rollbacks after which a training ends.
const MOST_ROLLBACKS: u32 = 5;

/// The ending of a plural.
fn s(plural: bool) -> &'static str {
    if plural { "s" } else { "" }
}

fn two() -> usize {
    2
}

fn all() -> f64 {
    1.0
}

/// What can end training early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{0}")]
    Options(String),
    #[error(
        "a training step takes {need} MB on the device beside the {have} MB of parameters and optimizer state, and {adapter} has {free} MB left. Use a smaller --batch-size, compute it in parts with --accumulate {parts}, or keep less with --checkpoint-activations"
    )]
    Memory {
        need: u64,
        have: u64,
        free: u64,
        adapter: String,
        parts: usize,
    },
    #[error("preparing the next batch failed, which is a defect of this program: {0}")]
    Input(String),
    #[error(
        "{what}: training diverged. {kept}. Start again with a lower --lr, a longer --warmup or --clip 1, or let --on-nan rollback (or skip) find a way"
    )]
    Diverged { what: String, kept: String },
    #[error("cannot resume from {path}: {reason}")]
    Resume { path: String, reason: String },
}

/// What the loop says on its way.
#[derive(Debug)]
pub enum Event<'a> {
    /// Step number `step` was given to the device, which comes after every one. As long as the listener takes, training pauses.
    Submitted {
        step: u64,
    },
    /// The first step of this run is done, `after` so long since the trainer was made, with so many kernels compiled.
    Started {
        after: Duration,
        kernels: u64,
    },
    /// A step's loss, before its update. `step` counts from 1.
    Step {
        step: u64,
        steps: Option<u64>,
        loss: f32,
        gradient_norm: f32,
        learning_rate: f64,
        tokens_per_s: f64,
        /// What training waited for its pictures and captions, a step on average since the last report.
        waiting: Duration,
        elapsed: Duration,
        left: Duration,
        /// How the steps went so far, those of earlier runs included.
        steps_so_far: Steps,
    },
    /// So many of the pictures are validated on, which comes between the batches of a validation. As long as the listener takes,
    /// training pauses.
    Validating {
        step: u64,
        done: usize,
        of: usize,
    },
    Validated {
        step: u64,
        verdict: &'a ValidationResult,
    },
    Saved {
        step: u64,
        dir: &'a Path,
    },
    /// A save failed before the end of training, as on a full disk; the one before it is still there.
    SaveFailed {
        step: u64,
        error: &'a TrainError,
    },
    /// The loss of a step since the last report was far above the mean of those before it, as `count` of all steps were.
    Spike {
        spike: Spike,
        count: u64,
    },
    /// The loss or the gradients of a step were not finite: it was left out.
    Skipped {
        step: u64,
        what: &'a str,
    },
    /// The same, and training goes on from step `to` with the learning rate times `rate` from here on.
    RolledBack {
        step: u64,
        to: u64,
        rate: f64,
        what: &'a str,
    },
}

/// How training ended.
#[derive(Debug)]
pub struct Summary {
    /// Steps of the whole training, earlier runs that were resumed included.
    pub steps: u64,
    /// The time it took, likewise.
    pub elapsed: Duration,
    /// What this run waited for its pictures and captions, a step on average.
    pub waiting: Duration,
    /// The last reported loss on training data.
    pub loss: f32,
    pub verdict: Option<ValidationResult>,
    /// Whether the listener ended it before its budget was used up.
    pub interrupted: bool,
    /// The best validation, if there was more than one.
    pub best: Option<Best>,
}

/// A validation that none was better than so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub step: u64,
    pub exact_match: f64,
    pub loss: f32,
    /// Validations since then.
    pub since: u64,
}

impl Best {
    /// Takes a verdict in; returns whether it is the best: more exact matches, or as many at a lower loss.
    fn take(best: &mut Option<Best>, step: u64, verdict: &ValidationResult) -> bool {
        let ValidationResult {
            exact_match, loss, ..
        } = *verdict;
        let better = best.is_none_or(|best| {
            exact_match > best.exact_match || exact_match == best.exact_match && loss < best.loss
        });
        match best {
            Some(best) if !better => best.since += 1,
            _ => {
                *best = Some(Best {
                    step,
                    exact_match,
                    loss,
                    since: 0,
                })
            }
        }
        better
    }
}

/// Bytes on the device that training takes, validation excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    pub parameters: u64,
    /// Moments and gradients, and sums of gradients when they are accumulated.
    pub optimizer: u64,
    /// What a step takes beside them: its plan's peak.
    pub step: u64,
    /// The largest piece of that.
    pub largest: u64,
    /// What the device has left for the step, where it tells.
    pub free: Option<u64>,
}

impl Footprint {
    /// Fails when the step does not fit; `parts` are those to advise.
    fn check(&self, adapter: &str, parts: usize) -> Result<(), TrainError> {
        const MB: u64 = 1_000_000;
        match self.free.filter(|&free| self.step > free) {
            Some(free) => Err(TrainError::Memory {
                need: self.step / MB,
                have: (self.parameters + self.optimizer) / MB,
                free: free / MB,
                adapter: adapter.to_owned(),
                parts,
            }),
            None => Ok(()),
        }
    }
}

/// The time of one of `steps` steps.
fn mean(time: Duration, steps: u64) -> Duration {
    Duration::from_secs_f64(time.as_secs_f64() / steps.max(1) as f64)
}

/// A model in training.
pub struct Trainer<'a> {
    device: &'a Device,
    model: &'a Vlm,
    tokenizer: &'a Tokenizer,
    feed: Arc<Feed<'a>>,
    validation: Option<&'a Dataset>,
    options: Options,
    optimizer: Optimizer,
    concepts: Concepts,
    /// Taken when it runs.
    recording: Option<Recording>,
    /// The training set's fingerprint.
    data: u64,
    /// When it was made.
    made: Instant,
    step: u64,
    /// Seconds of earlier runs.
    before: f64,
    best: Option<Best>,
    out: Option<PathBuf>,
    /// What the learning rate is multiplied by, since rollbacks lowered it.
    rate: f64,
    rollbacks: u32,
    /// Whether a save of this run is in `out`.
    saved: bool,
    /// The state at the start, where a rollback may want it.
    start: Option<(Progress, Values)>,
    /// Spikes of the loss that were reported.
    spikes: u64,
}

/// How the steps of a run ended.
enum End {
    Finished(Box<Summary>),
    /// To go on from another step.
    RolledBack,
}

impl<'a> Trainer<'a> {
    /// Records the training step, without the memory that it takes. `out` is the folder that checkpoints go to.
    ///
    /// # Errors
    /// Options that do not fit together, an empty data set, a caption too long for the model, too little device memory.
    pub fn new(
        device: &'a Device,
        model: &'a Vlm,
        tokenizer: &'a Tokenizer,
        train: &'a Dataset,
        validation: Option<&'a Dataset>,
        options: Options,
        out: Option<PathBuf>,
    ) -> Result<Trainer<'a>, TrainError> {
        let made = Instant::now();
        let fail = |message: String| Err(TrainError::Options(message));
        if train.samples.is_empty() {
            return fail("there is nothing to train on".into());
        }
        if options.batch_size == 0
            || options.accumulate == 0
            || !options.batch_size.is_multiple_of(options.accumulate)
        {
            return fail(format!(
                "--accumulate {} must divide --batch-size {}",
                options.accumulate, options.batch_size
            ));
        }
        if options.budget.steps.is_none() && options.budget.seconds.is_none() {
            return fail("give --steps, --epochs or --max-time".into());
        }
        if options.objective.classes > 0.0 && model.config().classes == 0 {
            return fail(
                "--class-loss needs a model with a class head: `classes` in its configuration is 0"
                    .into(),
            );
        }
        let captions = |sample: &Sample| -> Vec<Text> {
            [&sample.caption]
                .into_iter()
                .chain(&sample.others)
                .map(|caption| Text::new(tokenizer, caption))
                .collect()
        };
        let texts: Vec<Vec<Text>> = train.samples.iter().map(captions).collect();
        let room = model.room();
        let longest = |texts: &Vec<Text>| texts.iter().map(Text::len).max().unwrap_or(0);
        let length = texts.iter().map(longest).max().unwrap_or(0).max(1);
        if length > room {
            let sample = &train.samples[texts
                .iter()
                .position(|texts| longest(texts) == length)
                .unwrap_or(0)];
            return fail(format!(
                "{}: the caption takes {length} positions and the model has room for {room}; shorten it, or raise `context` with --config",
                sample.id
            ));
        }
        // found out now, not after training
        if let Some(dir) = &out {
            checkpoint::make_folder(dir)?;
            let probe = dir.join(".seemore-probe");
            checkpoint::write_file(&probe, b"")?;
            std::fs::remove_file(&probe).map_err(|reason| CheckpointError::Write {
                path: probe.display().to_string(),
                reason,
            })?;
        }
        // what the loss does not depend on cannot train
        let (freeze, objective) = (options.freeze.clone(), options.objective);
        let trains = move |name: &str| {
            let learns = match Part::of(name) {
                Part::Encoder => name != "class.weight" || objective.classes > 0.0,
                Part::Projector | Part::Decoder => objective.captions > 0.0,
            } && (objective.pictures || !Part::needs_picture(name));
            learns && !freeze.contains(&Part::of(name))
        };
        if !model.parameters().iter().any(|(name, _)| trains(name)) {
            return fail("nothing is left to train: freeze less".into());
        }
        let concepts = Concepts::new(train);
        let scaler = GradScaler {
            freeze: options.on_nan != OnNan::Skip,
            ..GradScaler::of(options.precision)
        };
        let optimizer = Optimizer::new(device, model.storage(), options.hyper, scaler, &trains)?;
        let micro = options.batch_size / options.accumulate;
        let sizes = StepSizes {
            batch: micro,
            length,
            accumulate: options.accumulate,
            checkpoint: options.checkpoint_activations,
            precision: options.precision,
            objective,
        };
        let recording = TrainStep::record(device, model, &optimizer, &sizes, &trains)?;
        let classes = train
            .samples
            .iter()
            .map(|sample| concepts.of(sample).unwrap_or(IGNORE))
            .collect();
        let variant: Vec<bool> = train.samples.iter().map(is_variant).collect();
        if options.variants == 0.0 && variant.iter().all(|&variant| variant) {
            return fail(
                "every picture is a variant of its concept, and --variants 0 leaves none".into(),
            );
        }
        let feed = Arc::new(Feed {
            train,
            texts,
            classes,
            order: Batches::with_variants(
                &variant,
                options.variants,
                options.batch_size,
                options.seed,
            ),
            part: micro,
            length,
            pad: tokenizer.pad(),
            count_pads: model.config().count_pads,
            augment: options.augment,
            seed: options.seed,
        });
        Ok(Trainer {
            device,
            model,
            tokenizer,
            feed,
            validation,
            options,
            optimizer,
            concepts,
            recording: Some(recording),
            data: train.fingerprint(),
            made,
            step: 0,
            before: 0.0,
            best: None,
            out,
            rate: 1.0,
            rollbacks: 0,
            saved: false,
            start: None,
            spikes: 0,
        })
    }

    /// Goes on where the training that saved `state` stopped: parameters, optimizer state, position in the data, schedule.
    ///
    /// # Errors
    /// Other data, or tensors that are not those of this model.
    pub fn resume(&mut self, state: State) -> Result<(), TrainError> {
        let State {
            progress,
            tensors,
            path,
        } = state;
        if progress.data != self.data {
            let reason = "the training data are not those it was trained on: give the same --data, --val-data and --val-split".into();
            return Err(TrainError::Resume {
                path: path.display().to_string(),
                reason,
            });
        }
        checkpoint::restore(&self.optimizer.state(), tensors, &path)?;
        self.saved |= self.out.as_deref().is_some_and(|out| path.starts_with(out));
        (self.step, self.before, self.best, self.rate) = (
            progress.step,
            progress.seconds,
            progress.best,
            progress.rate,
        );
        self.spikes = self.optimizer.steps()?.spikes;
        Ok(())
    }

    /// Steps trained so far, those of earlier runs included.
    pub fn step(&self) -> u64 {
        self.step
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What it takes on the device. Parameters and optimizer state are there already, the step's memory is not.
    pub fn footprint(&self) -> Footprint {
        let parameters = 4 * self.model.parameter_count() as u64;
        Footprint {
            parameters,
            optimizer: (3
                + (self.options.accumulate > 1) as u64
                + (self.options.hyper.ema > 0.0) as u64)
                * parameters,
            step: self
                .recording
                .as_ref()
                .map_or(0, |recording| recording.memory().total()),
            largest: self
                .recording
                .as_ref()
                .map_or(0, |recording| recording.memory().largest),
            free: self.device.free_memory(),
        }
    }

    /// Allocates what a step takes and gives it back: to find out whether it fits where the device does not tell.
    pub fn try_out(mut self) -> Result<(), TrainError> {
        let recording = self.recording.take().expect("a trainer is tried out once");
        Ok(self
            .device
            .attempt(|| recording.plan_on_this_thread(self.device).map(drop))?)
    }

    /// Trains until the budget is used up, saves and validates. When `on` breaks, it saves and ends without validating.
    ///
    /// # Errors
    /// Too little memory for a step, found out before it is taken; a device, a file or numbers that fail on the way.
    pub fn run(
        mut self,
        on: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Summary, TrainError> {
        self.footprint()
            .check(self.device.name(), 2 * self.options.accumulate)?;
        let Options {
            prototypes,
            objective,
            ..
        } = &self.options;
        if self.step == 0 && *prototypes && objective.classes > 0.0 {
            prototypes::start(
                self.device,
                self.model,
                self.tokenizer,
                self.feed.train,
                &self.concepts,
            )?;
            self.optimizer.start_average()?;
        }
        let recording = self.recording.take().expect("a trainer runs once");
        let plan = recording.plan(self.device)?;
        if self.options.on_nan == OnNan::Rollback {
            self.start = Some((
                self.progress(self.before),
                checkpoint::snapshot(&self.optimizer.state())?,
            ));
        }
        let mut recorded = None;
        loop {
            let (feed, first, end) = (self.feed.clone(), self.step, self.options.budget.steps);
            let end = std::thread::scope(|scope| {
                self.train(
                    &plan,
                    Prefetcher::new(scope, feed, first, end),
                    &mut recorded,
                    on,
                )
            })?;
            if let End::Finished(summary) = end {
                return Ok(*summary);
            }
        }
    }

    /// The seed of a step: every one draws other dropout masks; the constant spreads seeds apart (2^32 over the golden ratio).
    fn seed_of(&self, step: u64) -> u32 {
        (self.options.seed as u32)
            .wrapping_mul(0x9E37_79B9)
            .wrapping_add(step as u32)
    }

    fn train(
        &mut self,
        plan: &TrainStep,
        mut input: Prefetcher,
        recorded: &mut Option<Validation>,
        on: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<End, TrainError> {
        let budget = self.options.budget;
        let steps = budget.steps;
        let mut start = Instant::now();
        let first = self.step;
        let (mut loss, mut tokens, mut since, mut reported, mut waited) =
            (f32::NAN, 0usize, Instant::now(), first, Duration::ZERO);
        let (mut verdict, mut interrupted) = (None, false);
        loop {
            let elapsed = self.before + start.elapsed().as_secs_f64();
            let progress = budget.used(self.step, elapsed);
            if progress >= 1.0 {
                break;
            }
            // a schedule over steps is the same on every machine; only without a number of steps does it follow the clock
            let warmup = self.options.warmup;
            let annealed = steps.map_or(progress, |steps| {
                self.step.saturating_sub(warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64
            });
            let learning_rate = self.rate
                * self.options.learning_rate
                * self.options.schedule.factor(self.step, warmup, annealed);
            let seed = self.seed_of(self.step);
            let batches = input.next().map_err(TrainError::Input)?;
            plan.run(
                &batches,
                seed,
                learning_rate as f32,
                self.optimizer.keep(self.step),
            )?;
            tokens += batches.iter().map(Batch::count).sum::<usize>();
            self.step += 1;

            let last = steps == Some(self.step);
            let asked = Instant::now();
            let mut stop = on(Event::Submitted { step: self.step }).is_break();
            // a pause is no training: it uses up none of the time
            (start, since) = (start + asked.elapsed(), since + asked.elapsed());
            if last
                || self.step == first + 1
                || self.step.is_multiple_of(self.options.log_every.max(1))
            {
                if self.look(plan, start, on)? {
                    return Ok(End::RolledBack);
                }
                let gradient_norm;
                (loss, gradient_norm) = (plan.loss()?, plan.gradient_norm()?);
                if self.step == first + 1 {
                    let kernels = self.device.created().pipelines;
                    stop |= on(Event::Started {
                        after: self.made.elapsed(),
                        kernels,
                    })
                    .is_break();
                }
                let now = self.before + start.elapsed().as_secs_f64();
                let done = budget.used(self.step, now).min(1.0);
                let here = start.elapsed().as_secs_f64();
                let rate = done - budget.used(first, self.before);
                let left = if rate > 0.0 {
                    here / rate * (1.0 - done)
                } else {
                    0.0
                };
                let event = Event::Step {
                    step: self.step,
                    steps,
                    loss,
                    gradient_norm,
                    learning_rate,
                    tokens_per_s: tokens as f64 / since.elapsed().as_secs_f64().max(1e-9),
                    waiting: mean(input.waited() - waited, self.step - reported),
                    elapsed: Duration::from_secs_f64(now),
                    left: Duration::from_secs_f64(left),
                    steps_so_far: self.optimizer.steps()?,
                };
                stop |= on(event).is_break();
                (tokens, since, reported, waited) = (0, Instant::now(), self.step, input.waited());
            }
            let step = self.step;
            let due = |every: u64| every > 0 && step.is_multiple_of(every) && !last;
            if (due(self.options.eval_every) || due(self.options.save_every))
                && self.look(plan, start, on)?
            {
                return Ok(End::RolledBack);
            }
            if due(self.options.eval_every) {
                let (found, paused) = self.validate(recorded, on)?;
                (start, since) = (start + paused, since + paused);
                match found {
                    Some(found) => {
                        stop |= on(Event::Validated {
                            step: self.step,
                            verdict: &found,
                        })
                        .is_break();
                        if Best::take(&mut self.best, self.step, &found) {
                            self.save_best()?;
                        }
                        verdict = Some(found);
                    }
                    // the listener ended it
                    None => stop |= self.validation.is_some(),
                }
            }
            if due(self.options.save_every) {
                match self.save(start, on) {
                    // a disk may be full for a while
                    Err(error @ TrainError::Checkpoint(CheckpointError::Write { .. })) => {
                        stop |= on(Event::SaveFailed {
                            step: self.step,
                            error: &error,
                        })
                        .is_break();
                    }
                    done => done?,
                }
            }
            if stop {
                interrupted = true;
                break;
            }
            if self
                .best
                .zip(self.options.patience)
                .is_some_and(|(best, patience)| best.since >= patience)
            {
                break;
            }
        }
        self.device.wait()?;
        let elapsed = Duration::from_secs_f64(self.before + start.elapsed().as_secs_f64());
        let waiting = mean(input.waited(), self.step - first);
        // the thread has nothing more to do, and the cores are wanted for validation
        drop(input);
        if self.look(plan, start, on)? {
            return Ok(End::RolledBack);
        }
        self.save(start, on)?;
        if !interrupted && let (Some(last), _) = self.validate(recorded, on)? {
            // there is nothing left to end
            let _ = on(Event::Validated {
                step: self.step,
                verdict: &last,
            });
            if self.best.is_some() && Best::take(&mut self.best, self.step, &last) {
                self.save_best()?;
            }
            verdict = Some(last);
        }
        let (steps, best) = (self.step, self.best);
        Ok(End::Finished(Box::new(Summary {
            steps,
            elapsed,
            waiting,
            loss,
            verdict,
            interrupted,
            best,
        })))
    }

    /// Looks how the steps since the last look went, which the device followed one by one, and does about bad ones what the options
    /// say. Returns whether training went back to an earlier step.
    fn look(
        &mut self,
        plan: &TrainStep,
        start: Instant,
        on: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<bool, TrainError> {
        let steps = self.optimizer.steps()?;
        if steps.spikes > self.spikes {
            self.spikes = steps.spikes;
            // to be known, not to be decided upon
            let _ = on(Event::Spike {
                spike: steps.spike,
                count: steps.spikes,
            });
        }
        let Some(step) = steps.bad else {
            return Ok(false);
        };
        let what = self.explain(plan, step)?;
        self.optimizer.forget();
        let fail = |what, trainer: &Trainer| {
            Err(TrainError::Diverged {
                what,
                kept: trainer.kept(),
            })
        };
        match self.options.on_nan {
            OnNan::Skip if steps.streak >= MOST_SKIPPED => fail(
                format!("{what}, and {} steps in a row were so", steps.streak),
                self,
            ),
            OnNan::Skip => {
                let _ = on(Event::Skipped { step, what: &what });
                Ok(false)
            }
            OnNan::Rollback if self.rollbacks >= MOST_ROLLBACKS => {
                fail(format!("{what}, after {MOST_ROLLBACKS} rollbacks"), self)
            }
            OnNan::Rollback => {
                let seconds = self.before + start.elapsed().as_secs_f64();
                let rate = self.rate / 2.0;
                match self.out.as_deref().filter(|_| self.saved) {
                    Some(dir) => self.resume(State::newest(dir)?)?,
                    None => {
                        let (progress, tensors) = self.start.clone().expect("kept for rollbacks");
                        self.resume(State {
                            progress,
                            tensors,
                            path: "the start of this run".into(),
                        })?;
                    }
                }
                (self.before, self.rate, self.rollbacks) = (seconds, rate, self.rollbacks + 1);
                let _ = on(Event::RolledBack {
                    step,
                    to: self.step,
                    rate,
                    what: &what,
                });
                Ok(true)
            }
            OnNan::Stop => {
                // the device has taken no step since
                self.step = step - 1;
                if self.step > 0 {
                    self.save(start, on)?;
                }
                fail(what, self)
            }
        }
    }

    /// What is in the folder of the run.
    fn kept(&self) -> String {
        match self.out.as_deref().map(|dir| (dir, saved_steps(dir))) {
            Some((dir, steps)) if self.saved && !steps.is_empty() => {
                let (plural, steps): (_, Vec<String>) =
                    (steps.len() > 1, steps.iter().map(u64::to_string).collect());
                format!(
                    "{} has the state{} after step{} {}",
                    dir.display(),
                    s(plural),
                    s(plural),
                    steps.join(" and ")
                )
            }
            _ => "Nothing was trained before it that could have been saved".into(),
        }
    }

    /// Says which number of a step was the first that is not finite, by computing the step again with the parameters of now.
    fn explain(&self, plan: &TrainStep, step: u64) -> Result<String, TrainError> {
        for (name, (_, data)) in checkpoint::snapshot(self.model.parameters())? {
            if let Some(value) = data.iter().find(|value| !value.is_finite()) {
                return Ok(format!("parameter {name} holds {value} at step {step}"));
            }
        }
        let batches = self.feed.batches(step - 1);
        let Some(finding) = plan.first_not_finite(&batches, self.seed_of(step - 1))? else {
            return Ok(format!(
                "the loss or a gradient was not finite at step {step}"
            ));
        };
        let Finding {
            call,
            dispatch,
            of,
            value,
            tensors,
        } = finding;
        // a packed tensor is several parameters
        let named = |tensor: &TensorRef| {
            self.model
                .parameters()
                .iter()
                .filter(|(_, known)| known.reference().offset_in(tensor).is_some())
                .collect::<Vec<_>>()
        };
        let names = tensors
            .iter()
            .flat_map(named)
            .map(|(name, _)| name.as_str())
            .take(4);
        let near = match names.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => String::new(),
            names => format!(", at {names}"),
        };
        let (kernel, entry) = (call.kernel, call.entry);
        Ok(format!(
            "{value} at step {step}, first in shaders/{kernel}.wgsl `{entry}` (dispatch {dispatch} of {of}{near})"
        ))
    }

    /// Measures the model by passes that are recorded the first time; also says what the listener took in between.
    fn validate(
        &self,
        recorded: &mut Option<Validation>,
        on: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(Option<ValidationResult>, Duration), TrainError> {
        let Some(dataset) = self.validation else {
            return Ok((None, Duration::ZERO));
        };
        let validation = match recorded {
            Some(validation) => validation,
            None => recorded.insert(Validation::new(
                self.device,
                self.model,
                self.tokenizer,
                dataset,
            )?),
        };
        self.optimizer.swap_average()?;
        let (step, of, mut paused) = (self.step, dataset.samples.len(), Duration::ZERO);
        let verdict = validation.run(
            self.tokenizer,
            dataset,
            self.model.config().count_pads,
            &mut |done| {
                let asked = Instant::now();
                let flow = on(Event::Validating { step, done, of });
                paused += asked.elapsed();
                flow
            },
        );
        self.optimizer.swap_average()?;
        Ok((verdict?, paused))
    }

    /// Saves the model alone into the folder `best` in the training's folder.
    fn save_best(&self) -> Result<(), TrainError> {
        let Some(dir) = self.out.as_ref().map(|out| out.join("best")) else {
            return Ok(());
        };
        checkpoint::save_description(&dir, self.model, Some(self.tokenizer))?;
        let parameters = checkpoint::snapshot(&self.optimizer.result())?;
        Ok(checkpoint::write_values(
            &dir.join("model.safetensors"),
            &parameters,
            Some(self.step),
        )?)
    }

    fn progress(&self, seconds: f64) -> Progress {
        Progress {
            step: self.step,
            seconds,
            options: self.options.clone(),
            data: self.data,
            best: self.best,
            rate: self.rate,
        }
    }

    /// Saves the state, and after it the model that it gives.
    fn save(
        &mut self,
        start: Instant,
        on: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let Some(dir) = self.out.clone() else {
            return Ok(());
        };
        let state = checkpoint::snapshot(&self.optimizer.state())?;
        // a model that diverged must not replace one that did not
        if let Some((name, _)) = state
            .iter()
            .find(|(_, (_, data))| data.iter().any(|value| !value.is_finite()))
        {
            return Err(TrainError::Diverged {
                what: format!("{name} is not finite at step {}", self.step),
                kept: self.kept(),
            });
        }
        let progress = self.progress(self.before + start.elapsed().as_secs_f64());
        State::write(&dir, &progress, &state, self.options.keep, !self.saved)?;
        if !self.saved {
            checkpoint::save_description(&dir, self.model, Some(self.tokenizer))?;
            self.saved = true;
        }
        let prefix = self.optimizer.result_prefix();
        let model = state
            .into_iter()
            .filter_map(|(name, values)| Some((name.strip_prefix(prefix)?.to_owned(), values)));
        checkpoint::write_values(
            &dir.join("model.safetensors"),
            &model.collect(),
            Some(self.step),
        )?;
        let json = serde_json::to_string_pretty(&progress).expect("progress is plain data");
        checkpoint::write_file(&dir.join("training.json"), json.as_bytes())?;
        // what happens to the loop after a save is not the listener's to decide
        let _ = on(Event::Saved {
            step: self.step,
            dir: &dir,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_fit_is_refused_with_advice() {
        let needs = |step, free| {
            Footprint {
                parameters: 4_000_000,
                optimizer: 8_000_000,
                step,
                largest: 0,
                free,
            }
            .check("the adapter", 2)
        };
        assert!(needs(7_000_000, Some(7_000_000)).is_ok() && needs(u64::MAX, None).is_ok());
        let text = needs(9_000_000, Some(7_000_000)).unwrap_err().to_string();
        for word in [
            "9 MB",
            "12 MB",
            "7 MB",
            "the adapter",
            "--batch-size",
            "--accumulate 2",
            "--checkpoint-activations",
        ] {
            assert!(text.contains(word), "no {word} in: {text}");
        }
    }
}
