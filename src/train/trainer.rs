//! The training loop.

mod guard;
mod saving;
mod validating;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::concepts::is_variant;
use super::config::{BatchSize, Limits, OnNan, RunConfig};
use super::prototypes;
use super::ranks::{GradientSum, Traffic};
use super::tuning::{AnswerFeed, Exchange, TuneData};
use super::{
    AnswerSizes, Batch, Concepts, Event, Feed, Footprint, Observer, Optimizer, Prefetcher,
    Progress, Ranks, Recording, State, StepSizes, Text, TrainError, TrainStep, Tuned,
    ValidationResult,
};
use crate::data::{Batches, Dataset, Sample};
use crate::device::Device;
use crate::hint::Hint;
use crate::models::Model;
use crate::models::checkpoint::{self, CheckpointError, TensorFile, Values};
use crate::nn::ParameterInfo;
use crate::ops::{GradScaler, IGNORE};
use crate::text::Tokenizer;
pub use validating::Best;
use validating::Recorded;

/// What is trained, on what and where.
#[derive(Clone, Copy)]
pub(super) struct Setup<'a> {
    pub device: &'a Device,
    pub model: &'a Model,
    pub tokenizer: &'a Tokenizer,
    pub train: &'a Dataset,
    pub validation: Option<&'a Dataset>,
    /// Question to a pretrained model.
    pub tuning: Option<&'a Asked>,
    /// Processes that train together.
    pub ranks: &'a Ranks,
}

/// Questions about the pictures of a training, and what is trained of a pretrained model.
pub(super) struct Asked {
    pub data: TuneData,
    pub tuned: Vec<Tuned>,
    /// Exchanges of each training sample.
    pub train: Vec<Vec<Exchange>>,
    /// Exchanges of each validation sample.
    pub validation: Vec<Vec<Exchange>>,
    /// The question.
    pub question: String,
}

/// The outcome of a training.
#[derive(Debug)]
pub struct Summary {
    /// Steps trained, earlier runs included.
    pub steps: u64,
    /// Training time, earlier runs included.
    pub elapsed: Duration,
    /// Mean time per step of this run spent waiting for pictures and captions.
    pub waiting: Duration,
    /// Last reported loss on training data; not a number if none was reported.
    pub loss: f32,
    /// Last validation.
    pub validation: Option<ValidationResult>,
    /// Whether the observer ended the training before its budget was used up.
    pub interrupted: bool,
    /// Best validation, if there were several.
    pub best: Option<Best>,
}

/// A model in training.
pub(super) struct Trainer<'a> {
    device: &'a Device,
    model: &'a Model,
    tokenizer: &'a Tokenizer,
    feed: Arc<Feed<'a>>,
    validation: Option<&'a Dataset>,
    tuning: Option<&'a Asked>,
    ranks: &'a Ranks,
    config: RunConfig,
    limits: Limits,
    optimizer: Optimizer,
    concepts: Concepts,
    /// Taken when training starts.
    recording: Option<Recording>,
    /// Fingerprint of the training set.
    data: u64,
    /// When the trainer was made.
    made: Instant,
    step: u64,
    /// Training time of earlier runs, in seconds.
    before: f64,
    best: Option<Best>,
    out: Option<PathBuf>,
    /// Factor of the learning rate, halved by each rollback.
    rate: f64,
    rollbacks: u32,
    /// Whether `out` holds a save of this run.
    saved: bool,
    /// Whether `out` describes this run.
    described: bool,
    /// State at the start, kept when rollbacks may need it.
    start: Option<(Progress, Values)>,
    /// Number of loss spikes that were reported.
    spikes: u64,
}

/// How the steps of a run ended.
enum End {
    Finished(Box<Summary>),
    /// Training goes on from an earlier step.
    RolledBack,
}

/// Counters since the last report.
struct Reported {
    at: Instant,
    step: u64,
    tokens: usize,
    waited: Duration,
    traffic: Traffic,
}

/// Mean time of one of `steps` steps.
fn mean(time: Duration, steps: u64) -> Duration {
    Duration::from_secs_f64(time.as_secs_f64() / steps.max(1) as f64)
}

impl<'a> Trainer<'a> {
    /// Records the training step without allocating its memory. `out` is the run folder.
    ///
    /// # Errors
    /// Settings that do not fit the model or the data, an empty data set, a caption too long for
    /// the model, a folder that cannot be written, too little device memory for the optimizer.
    pub fn new(
        setup: Setup<'a>,
        config: RunConfig,
        out: Option<PathBuf>,
    ) -> Result<Trainer<'a>, TrainError> {
        let made = Instant::now();
        let Setup {
            device,
            model,
            tokenizer,
            train,
            validation,
            tuning,
            ranks,
        } = setup;
        let BatchSize::Pictures(batch_size) = config.batch.size else {
            return Err(TrainError::setting("batch.size", "is not resolved"));
        };
        config.check()?;
        if train.samples.is_empty() {
            return Err(TrainError::Nothing("there is nothing to train on".into()));
        }
        let objective = config.objective();
        if objective.classes > 0.0 && model.info().classes == 0 {
            return Err(TrainError::setting(
                "loss.classes",
                "needs a model with a class head: `classes` of the model's configuration is 0",
            ));
        }
        let (texts, length) = match tuning {
            Some(asked) => {
                let all = asked.train.iter().flatten();
                (vec![], all.map(Exchange::len).max().unwrap_or(1))
            }
            None => texts(tokenizer, train, model.room())?,
        };
        // found out now, not after training
        if let Some(dir) = &out {
            saving::probe(dir)?;
        }
        // what the loss does not depend on cannot train
        let freeze = config.model.freeze.clone();
        let tuned = tuning.map(|asked| asked.tuned.clone());
        let trains = move |info: &ParameterInfo| {
            if let Some(tuned) = &tuned {
                return Tuned::trains(tuned, info);
            }
            let role = info.role;
            let learns = role.learns_from_captions && objective.captions > 0.0
                || role.learns_from_classes && objective.classes > 0.0;
            let used = objective.pictures || !role.needs_image;
            learns && used && !freeze.contains(&role.part)
        };
        if !model.store().infos().iter().any(&trains) {
            return Err(TrainError::Nothing(
                "nothing is left to train: freeze fewer parts".into(),
            ));
        }
        let variant: Vec<bool> = train.samples.iter().map(is_variant).collect();
        if config.batch.variants == 0.0 && variant.iter().all(|&variant| variant) {
            return Err(TrainError::setting(
                "batch.variants",
                "is 0, which leaves no picture: every picture is a variant of its concept",
            ));
        }
        let concepts = Concepts::new(train);
        let scaler = GradScaler {
            freeze: config.guard.on_nan != OnNan::Skip,
            ..GradScaler::of(config.batch.precision)
        };
        let optimizer = Optimizer::new(device, model.store(), config.optimizer, scaler, &trains)?;
        let part = batch_size / config.batch.accumulate;
        let answers = tuning.map(|asked| {
            let most = |of: &dyn Fn(&Exchange) -> usize| {
                let all = asked.train.iter().flatten();
                all.map(of).max().unwrap_or(1)
            };
            let tiles = train.samples.iter().map(|it| asked.data.shown(it).tiles);
            AnswerSizes {
                tiles: part * tiles.max().unwrap_or(1),
                targets: part * most(&|it| it.targets.len()),
                encoded: asked.data.encoded(),
            }
        });
        let sizes = StepSizes {
            batch: part,
            length,
            accumulate: config.batch.accumulate,
            checkpoint: config.memory.checkpoint_activations,
            precision: config.batch.precision,
            objective,
            shared: ranks.are_several(),
            answers,
        };
        let recording = TrainStep::record(device, model, &optimizer, &sizes, &trains)?;
        let classes = train
            .samples
            .iter()
            .map(|sample| concepts.of(sample).unwrap_or(IGNORE))
            .collect();
        let repeats: Vec<usize> = train.samples.iter().map(|sample| sample.repeats).collect();
        let feed = Arc::new(Feed {
            train,
            texts,
            classes,
            order: Batches::with_variants(&variant, config.batch.variants, batch_size, config.seed)
                .repeated(&repeats),
            part,
            rank: (ranks.rank(), ranks.size()),
            length,
            pad: tokenizer.pad(),
            count_pads: model.info().count_pads,
            augment: config.augment,
            seed: config.seed,
            answers: tuning.map(|asked| AnswerFeed {
                model,
                data: &asked.data,
                exchanges: &asked.train,
                length,
                pad: tokenizer.pad(),
            }),
        });
        let epoch = train
            .samples
            .iter()
            .map(|sample| sample.repeats.max(1))
            .sum();
        let limits = config.budget.limits(config.model.preset, epoch, batch_size);
        Ok(Trainer {
            device,
            model,
            tokenizer,
            feed,
            validation,
            tuning,
            ranks,
            config,
            limits,
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
            described: false,
            start: None,
            spikes: 0,
        })
    }

    /// Goes on where the training that saved `state` stopped: parameters, optimizer state, position
    /// in the data, schedule.
    ///
    /// # Errors
    /// Other training data, or tensors that are not those of this model.
    pub fn resume(&mut self, state: State) -> Result<(), TrainError> {
        let State { progress, path } = state;
        if progress.data != self.data {
            return Err(TrainError::Resume {
                path,
                reason: "the training data are not those it was trained on".into(),
                hint: Some(Hint::SameData),
            });
        }
        TensorFile::open(&path)?
            .with_words()
            .restore(&self.optimizer.state())?;
        self.saved |= self.out.as_deref().is_some_and(|out| path.starts_with(out));
        self.take(&progress)
    }

    /// Takes over the state of rank 0: parameters, optimizer state and counters.
    ///
    /// # Errors
    /// A device that failed, or a rank that is lost.
    fn take_from_first(&mut self) -> Result<(), TrainError> {
        const PIECE: usize = 1 << 20;
        for (_, tensor) in self.optimizer.state() {
            for piece in tensor.pieces(PIECE) {
                match self.ranks.is_first() {
                    true => drop(self.ranks.sent_by_first(piece.read()?)?),
                    false => piece.write(&self.ranks.sent_by_first(vec![])?),
                }
            }
        }
        let progress = serde_json::to_string(&self.progress(self.before));
        let progress = self
            .ranks
            .text_of_first(&progress.expect("progress is plain data"))?;
        let progress = Progress::parse(&progress, Path::new(""))
            .map_err(|reason| TrainError::Nothing(format!("rank 0 sends no state: {reason}")))?;
        self.take(&progress)
    }

    /// Takes over the counters of a state whose tensors are on the device.
    fn take(&mut self, progress: &Progress) -> Result<(), TrainError> {
        (self.step, self.before, self.best, self.rate) = (
            progress.step,
            progress.seconds,
            progress.best,
            progress.rate,
        );
        self.spikes = self.optimizer.steps()?.spikes;
        Ok(())
    }

    /// Checks that all ranks start from the same.
    ///
    /// # Errors
    /// The first difference, on all ranks; a rank that is lost; a device that failed.
    pub fn check_start(&self) -> Result<(), TrainError> {
        if !self.ranks.are_several() {
            return Ok(());
        }
        let validation = self.validation.map_or(0, Dataset::fingerprint);
        let facts = [
            ("the training data", self.data),
            ("the validation data", validation),
            ("the step", self.step),
        ];
        self.ranks
            .check_start(&facts, &self.optimizer.state(), self.device)
    }

    /// Steps trained so far, earlier runs included.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// When training ends.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Device memory of the training. Parameters and optimizer state are allocated already, the
    /// memory of a step is not.
    pub fn footprint(&self) -> Footprint {
        let flats = self.model.store().flats().iter();
        let trained: u64 = flats.map(|flat| 4 * flat.len() as u64).sum();
        let frozen = self.model.store().frozen().iter();
        let frozen = frozen.flat_map(|matrix| &matrix.blocks);
        let frozen: u64 = frozen.map(|block| 4 * block.len() as u64).sum();
        // the gradients, their sums, the average
        let copies = 1
            + (self.config.batch.accumulate > 1 && !self.ranks.are_several()) as u64
            + (self.config.optimizer.ema > 0.0) as u64;
        let memory = self.recording.as_ref().map(Recording::memory);
        Footprint {
            parameters: trained + frozen,
            optimizer: copies * trained + self.config.optimizer.moments.bytes(trained / 4),
            step: memory.map_or(0, |memory| memory.total()),
            largest: memory.map_or(0, |memory| memory.largest),
            free: self.device.free_memory(),
        }
    }

    /// Allocates the memory of a step and frees it: whether it fits, on a device that does not
    /// report its memory.
    ///
    /// # Errors
    /// It does not fit.
    pub fn try_out(mut self) -> Result<(), TrainError> {
        let recording = self.recording.take().expect("a trainer is tried out once");
        Ok(self
            .device
            .attempt(|| recording.plan_on_this_thread(self.device).map(drop))?)
    }

    /// Trains until the budget is used up, saves and validates. When the observer breaks, saves and
    /// ends without validating.
    ///
    /// # Errors
    /// Too little memory for a step, found out before it is allocated; a device, a file or numbers
    /// that fail on the way.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Summary, TrainError> {
        let BatchSize::Pictures(pictures) = self.config.batch.size else {
            return Err(TrainError::setting("batch.size", "is not resolved"));
        };
        self.footprint()
            .check(self.device.name(), pictures, self.config.batch.accumulate)?;
        let init = &self.config.init;
        if self.step == 0
            && init.prototypes
            && init.load.is_none()
            && self.config.loss.classes > 0.0
        {
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
        let sum = match self.ranks.are_several() {
            true => Some(plan.sum(self.ranks, self.config.batch.allreduce)?),
            false => None,
        };
        if self.config.guard.on_nan == OnNan::Rollback {
            self.start = Some((
                self.progress(self.before),
                checkpoint::snapshot(&self.optimizer.state())?,
            ));
        }
        let mut recorded: Option<Recorded> = None;
        loop {
            let (feed, first, end) = (self.feed.clone(), self.step, self.limits.steps);
            let end = std::thread::scope(|scope| {
                let input = Prefetcher::new(scope, feed, first, end);
                self.train(&plan, sum.as_ref(), input, &mut recorded, observer)
            })?;
            if let End::Finished(summary) = end {
                return Ok(*summary);
            }
        }
    }

    /// The seed of a step, so that each one draws other dropout masks. The constant, 2^32 over the
    /// golden ratio, spreads seeds apart.
    fn seed_of(&self, step: u64) -> u32 {
        (self.config.seed as u32)
            .wrapping_mul(0x9E37_79B9)
            .wrapping_add(step as u32)
    }

    /// Learning rate of the next step when `used` of the budget is used up. A schedule over steps
    /// is the same on every machine; only without a number of steps does it follow the clock.
    fn learning_rate(&self, used: f64) -> f64 {
        let schedule = &self.config.schedule;
        let warmup = schedule.warmup;
        let annealed = self.limits.steps.map_or(used, |steps| {
            self.step.saturating_sub(warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64
        });
        self.rate * schedule.learning_rate * schedule.shape.factor(self.step, warmup, annealed)
    }

    /// Takes steps until the budget is used up, the observer breaks, or a rollback.
    fn train(
        &mut self,
        plan: &TrainStep,
        sum: Option<&GradientSum>,
        mut input: Prefetcher,
        recorded: &mut Option<Recorded>,
        observer: &mut dyn Observer,
    ) -> Result<End, TrainError> {
        let first = self.step;
        let mut start = Instant::now();
        let mut saved = start;
        let mut reported = Reported {
            at: start,
            step: first,
            tokens: 0,
            waited: Duration::ZERO,
            traffic: self.ranks.traffic(),
        };
        let (mut loss, mut validation, mut interrupted) = (f32::NAN, None, false);
        // the clock of rank 0 counts, and a wish to stop of any rank
        let (_, mut seconds) = self.ranks.agree([], self.before)?;
        let mut stops_later = false;
        loop {
            if !self.ranks.are_several() {
                seconds = self.before + start.elapsed().as_secs_f64();
            }
            let used = self.limits.used(self.step, seconds);
            if used >= 1.0 {
                break;
            }
            let learning_rate = self.learning_rate(used);
            let seed = self.seed_of(self.step);
            let batches = input.next().map_err(TrainError::Input)?;
            let keep = self.optimizer.keep(self.step);
            let rate = learning_rate as f32;
            match sum {
                Some(sum) => plan.run_shared(sum, &batches, seed, rate, keep)?,
                None => plan.run(&batches, seed, rate, keep)?,
            }
            reported.tokens += batches.iter().map(Batch::count).sum::<usize>();
            self.step += 1;

            let step = self.step;
            let last = self.limits.steps == Some(step);
            let asked = Instant::now();
            let mut stop = observer.on(Event::Submitted { step }).is_break();
            // a pause does not use up training time
            (start, reported.at) = (start + asked.elapsed(), reported.at + asked.elapsed());
            if last || step == first + 1 || step.is_multiple_of(self.config.log.every.max(1)) {
                if self.look(plan, start, observer)? {
                    return Ok(End::RolledBack);
                }
                loss = plan.loss()?;
                if step == first + 1 {
                    let started = Event::Started {
                        after: self.made.elapsed(),
                        kernels: self.device.created().pipelines,
                    };
                    stop |= observer.on(started).is_break();
                }
                let (waited, traffic) = (input.waited(), self.ranks.traffic());
                let event = Event::Step {
                    step,
                    steps: self.limits.steps,
                    loss,
                    gradient_norm: plan.gradient_norm()?,
                    learning_rate,
                    tokens_per_s: reported.tokens as f64
                        / reported.at.elapsed().as_secs_f64().max(1e-9),
                    waiting: mean(waited - reported.waited, step - reported.step),
                    exchange: traffic.since(reported.traffic).mean(step - reported.step),
                    elapsed: Duration::from_secs_f64(self.before + start.elapsed().as_secs_f64()),
                    left: self.left(first, start),
                    steps_so_far: self.optimizer.steps()?,
                };
                stop |= observer.on(event).is_break();
                reported = Reported {
                    at: Instant::now(),
                    step,
                    tokens: 0,
                    waited,
                    traffic,
                };
            }
            let due = |every: u64| every > 0 && step.is_multiple_of(every) && !last;
            let long = self.config.checkpoint.seconds;
            let overdue = long > 0.0 && !last && saved.elapsed().as_secs_f64() >= long;
            let overdue = overdue && self.out.is_some();
            let now = self.before + start.elapsed().as_secs_f64();
            let ([agreed_stop, overdue], agreed) = self
                .ranks
                .agree([stop | std::mem::take(&mut stops_later), overdue], now)?;
            (stop, seconds) = (agreed_stop, agreed);
            let (validates, saves) = (
                due(self.config.validation.every),
                due(self.config.checkpoint.every) || overdue,
            );
            if (validates || saves) && self.look(plan, start, observer)? {
                return Ok(End::RolledBack);
            }
            if validates {
                let (found, paused) = self.validate(recorded, observer)?;
                (start, reported.at) = (start + paused, reported.at + paused);
                match found {
                    Some(result) => {
                        let validated = Event::Validated {
                            step,
                            result: &result,
                        };
                        stops_later |= observer.on(validated).is_break();
                        if Best::take(&mut self.best, step, &result) {
                            self.save_best()?;
                        }
                        validation = Some((step, result));
                    }
                    // the observer ended it
                    None => stop |= self.validation.is_some(),
                }
            }
            if saves {
                // also after a failure, so that it is not tried at every step
                saved = Instant::now();
                match self.save(start, observer) {
                    // a disk may be full for a while
                    Err(error @ TrainError::Checkpoint(CheckpointError::Write { .. })) => {
                        let failed = Event::SaveFailed {
                            step,
                            error: &error,
                        };
                        stops_later |= observer.on(failed).is_break();
                    }
                    done => done?,
                }
            }
            if !self.ranks.are_several() {
                stop |= std::mem::take(&mut stops_later);
            }
            if stop {
                interrupted = true;
                break;
            }
            let patience = self.config.validation.patience;
            if (self.best.zip(patience)).is_some_and(|(best, patience)| best.since >= patience) {
                break;
            }
        }
        self.device.wait()?;
        let elapsed = Duration::from_secs_f64(self.before + start.elapsed().as_secs_f64());
        let waiting = mean(input.waited(), self.step - first);
        // the thread has nothing more to do, and validation needs the cores
        drop(input);
        if self.look(plan, start, observer)? {
            return Ok(End::RolledBack);
        }
        self.save(start, observer)?;
        // time or patience may have ended the training right after a validation
        let validated = matches!(validation, Some((step, _)) if step == self.step);
        let validates = !interrupted && !validated;
        if validates && let (Some(result), _) = self.validate(recorded, observer)? {
            // there is nothing left to end
            let _ = observer.on(Event::Validated {
                step: self.step,
                result: &result,
            });
            if self.best.is_some() && Best::take(&mut self.best, self.step, &result) {
                self.save_best()?;
            }
            validation = Some((self.step, result));
        }
        Ok(End::Finished(Box::new(Summary {
            steps: self.step,
            elapsed,
            waiting,
            loss,
            validation: validation.map(|(_, result)| result),
            interrupted,
            best: self.best,
        })))
    }

    /// Estimated training time left, from the pace since step `first` of this run.
    fn left(&self, first: u64, start: Instant) -> Duration {
        let here = start.elapsed().as_secs_f64();
        let done = self.limits.used(self.step, self.before + here).min(1.0);
        let here_done = done - self.limits.used(first, self.before);
        Duration::from_secs_f64(if here_done > 0.0 {
            here / here_done * (1.0 - done)
        } else {
            0.0
        })
    }
}

/// Encodes all captions; returns them with the number of positions of the longest.
///
/// # Errors
/// A caption of more than `room` positions.
fn texts(
    tokenizer: &Tokenizer,
    train: &Dataset,
    room: usize,
) -> Result<(Vec<Vec<Text>>, usize), TrainError> {
    let captions = |sample: &Sample| -> Vec<Text> {
        [&sample.caption]
            .into_iter()
            .chain(&sample.others)
            .map(|caption| Text::new(tokenizer, caption))
            .collect()
    };
    let texts: Vec<Vec<Text>> = train.samples.iter().map(captions).collect();
    let longest = |texts: &Vec<Text>| texts.iter().map(Text::len).max().unwrap_or(0);
    let lengths = texts.iter().map(longest);
    let (row, length) = lengths
        .enumerate()
        .max_by_key(|&(row, length)| (length, std::cmp::Reverse(row)))
        .unwrap_or((0, 0));
    if length > room {
        return Err(TrainError::CaptionTooLong {
            id: train.samples[row].id.clone(),
            length,
            room,
        });
    }
    Ok((texts, length.max(1)))
}
