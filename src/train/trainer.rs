//! The training loop: what to train on, for how long, and what to say on the way.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::concepts::is_variant;
use super::prototypes;
use super::{Ahead, Batch, Concepts, Feed, Objective, Recording, StepSizes, Text, TrainStep, Validation, Verdict};
use crate::checkpoint::{self, CheckpointError};
use crate::data::{Augment, Batches, Dataset, Sample, Tokenizer};
use crate::gpu::{Gpu, GpuError};
use crate::model::{Part, Vlm};
use crate::ops::{GradScaler, IGNORE};
use crate::optim::{Hyper, Optimizer, Schedule, Steps};
use crate::tape::Precision;

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
}

fn all() -> f64 {
    1.0
}

/// What can end training early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{0}")]
    Options(String),
    #[error(
        "a training step takes {need} MB on the device beside the {have} MB of parameters and optimizer state, and {adapter} has {free} MB left. Use a smaller --batch-size, compute it in parts with --accumulate {parts}, or keep less with --checkpoint-activations"
    )]
    Memory { need: u64, have: u64, free: u64, adapter: String, parts: usize },
    #[error("preparing the next batch failed, which is a defect of this program: {0}")]
    Input(String),
    #[error("{what} at step {step}: training diverged, and this was not saved. Use a lower --lr, a longer --warmup or --clip 1")]
    Diverged { step: u64, what: String },
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
        verdict: &'a Verdict,
    },
    Saved {
        step: u64,
        dir: &'a Path,
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
    pub verdict: Option<Verdict>,
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
    fn take(best: &mut Option<Best>, step: u64, verdict: &Verdict) -> bool {
        let Verdict { exact_match, loss, .. } = *verdict;
        let better = best.is_none_or(|best| exact_match > best.exact_match || exact_match == best.exact_match && loss < best.loss);
        match best {
            Some(best) if !better => best.since += 1,
            _ => *best = Some(Best { step, exact_match, loss, since: 0 }),
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

/// What a run needs to go on, beside the model: `training.json`.
#[derive(Serialize, Deserialize)]
struct Progress {
    step: u64,
    seconds: f64,
    options: Options,
    /// Of the training set.
    data: u64,
    #[serde(default)]
    best: Option<Best>,
}

impl Progress {
    fn load(dir: &Path) -> Result<Progress, TrainError> {
        let fail = |reason: String| TrainError::Resume { path: dir.display().to_string(), reason };
        let path = dir.join("training.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| fail(format!("{}: {error}. Only folders that training saved can be resumed", path.display())))?;
        serde_json::from_str(&text).map_err(|error| fail(format!("{}: {error}", path.display())))
    }
}

/// A model in training.
pub struct Trainer<'a> {
    gpu: &'a Gpu,
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
}

impl<'a> Trainer<'a> {
    /// Records the training step, without the memory that it takes. `out` is the folder that checkpoints go to.
    ///
    /// # Errors
    /// Options that do not fit together, an empty data set, a caption too long for the model, too little device memory.
    pub fn new(
        gpu: &'a Gpu,
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
        if options.batch_size == 0 || options.accumulate == 0 || !options.batch_size.is_multiple_of(options.accumulate) {
            return fail(format!("--accumulate {} must divide --batch-size {}", options.accumulate, options.batch_size));
        }
        if options.budget.steps.is_none() && options.budget.seconds.is_none() {
            return fail("give --steps, --epochs or --max-time".into());
        }
        if options.objective.classes > 0.0 && model.config().classes == 0 {
            return fail("--class-loss needs a model with a class head: `classes` in its configuration is 0".into());
        }
        let captions = |sample: &Sample| -> Vec<Text> {
            [&sample.caption].into_iter().chain(&sample.others).map(|caption| Text::new(tokenizer, caption)).collect()
        };
        let texts: Vec<Vec<Text>> = train.samples.iter().map(captions).collect();
        let room = model.room();
        let longest = |texts: &Vec<Text>| texts.iter().map(Text::len).max().unwrap_or(0);
        let length = texts.iter().map(longest).max().unwrap_or(0).max(1);
        if length > room {
            let sample = &train.samples[texts.iter().position(|texts| longest(texts) == length).unwrap_or(0)];
            return fail(format!(
                "{}: the caption takes {length} positions and the model has room for {room}; shorten it, or raise `context` with --config",
                sample.id
            ));
        }
        // found out now, not after training
        if let Some(dir) = &out {
            checkpoint::save_description(dir, model, Some(tokenizer))?;
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
        let optimizer = Optimizer::new(gpu, model.storage(), options.hyper, GradScaler::of(options.precision), &trains)?;
        let micro = options.batch_size / options.accumulate;
        let sizes = StepSizes {
            batch: micro,
            length,
            accumulate: options.accumulate,
            checkpoint: options.checkpoint_activations,
            precision: options.precision,
            objective,
        };
        let recording = TrainStep::record(gpu, model, &optimizer, &sizes, &trains)?;
        let classes = train.samples.iter().map(|sample| concepts.of(sample).unwrap_or(IGNORE)).collect();
        let variant: Vec<bool> = train.samples.iter().map(is_variant).collect();
        if options.variants == 0.0 && variant.iter().all(|&variant| variant) {
            return fail("every picture is a variant of its concept, and --variants 0 leaves none".into());
        }
        let feed = Arc::new(Feed {
            train,
            texts,
            classes,
            order: Batches::with_variants(&variant, options.variants, options.batch_size, options.seed),
            part: micro,
            length,
            pad: tokenizer.pad(),
            count_pads: model.config().count_pads,
            augment: options.augment,
            seed: options.seed,
        });
        Ok(Trainer {
            gpu,
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
        })
    }

    /// Goes on where the training that saved the folder `dir` stopped: optimizer state, position in the data, schedule.
    /// The model's parameters are loaded by the caller.
    pub fn resume(&mut self, dir: &Path) -> Result<(), TrainError> {
        let progress = Progress::load(dir)?;
        let fail = |reason: String| TrainError::Resume { path: dir.display().to_string(), reason };
        if progress.data != self.data {
            return Err(fail("the training data are not those it was trained on: give the same --data, --val-data and --val-split".into()));
        }
        let moments = dir.join("training.safetensors");
        for path in [&dir.join("model.safetensors"), &moments] {
            let step = checkpoint::saved_step(path)?;
            if step != Some(progress.step) {
                let step = step.map_or("no known step".into(), |step| format!("step {step}"));
                return Err(fail(format!(
                    "{} is of {step}, training.json of step {}: a save was interrupted",
                    path.display(),
                    progress.step
                )));
            }
        }
        // model.safetensors holds the average, if there is one; the parameters proper are among the state
        self.optimizer.start_average()?;
        checkpoint::restore(&self.optimizer.state(), checkpoint::read_values(&moments)?, &moments)?;
        (self.step, self.before, self.best) = (progress.step, progress.seconds, progress.best);
        Ok(())
    }

    /// The options that a folder was trained with.
    pub fn saved_options(dir: &Path) -> Result<Options, TrainError> {
        Ok(Progress::load(dir)?.options)
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
            optimizer: (3 + (self.options.accumulate > 1) as u64 + (self.options.hyper.ema > 0.0) as u64) * parameters,
            step: self.recording.as_ref().map_or(0, |recording| recording.memory().total()),
            free: self.gpu.free_memory(),
        }
    }

    /// Trains until the budget is used up, saves and validates. When `on` breaks, it saves and ends without validating.
    ///
    /// # Errors
    /// Too little memory for a step, found out before it is taken; a device, a file or numbers that fail on the way.
    pub fn run(mut self, on: &mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<Summary, TrainError> {
        self.footprint().check(self.gpu.name(), 2 * self.options.accumulate)?;
        let Options { prototypes, objective, .. } = &self.options;
        if self.step == 0 && *prototypes && objective.classes > 0.0 {
            prototypes::start(self.gpu, self.model, self.tokenizer, self.feed.train, &self.concepts)?;
            self.optimizer.start_average()?;
        }
        let recording = self.recording.take().expect("a trainer runs once");
        let plan = recording.plan(self.gpu)?;
        let (feed, first, end) = (self.feed.clone(), self.step, self.options.budget.steps);
        std::thread::scope(|scope| self.train(&plan, Ahead::new(scope, feed, first, end), on))
    }

    fn train(&mut self, plan: &TrainStep, mut input: Ahead, on: &mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<Summary, TrainError> {
        let budget = self.options.budget;
        let steps = budget.steps;
        let mut start = Instant::now();
        let first = self.step;
        let (mut loss, mut tokens, mut since, mut reported, mut waited) = (f32::NAN, 0usize, Instant::now(), first, Duration::ZERO);
        let (mut verdict, mut interrupted, mut recorded) = (None, false, None);
        loop {
            let elapsed = self.before + start.elapsed().as_secs_f64();
            let progress = budget.used(self.step, elapsed);
            if progress >= 1.0 {
                break;
            }
            // a schedule over steps is the same on every machine; only without a number of steps does it follow the clock
            let warmup = self.options.warmup;
            let annealed =
                steps.map_or(progress, |steps| self.step.saturating_sub(warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64);
            let learning_rate = self.options.learning_rate * self.options.schedule.factor(self.step, warmup, annealed);
            // every step draws other dropout masks; the constant spreads seeds apart (2^32 over the golden ratio)
            let seed = (self.options.seed as u32).wrapping_mul(0x9E37_79B9).wrapping_add(self.step as u32);
            let batches = input.next().map_err(TrainError::Input)?;
            plan.run(&batches, seed, learning_rate as f32, self.optimizer.keep(self.step))?;
            tokens += batches.iter().map(Batch::count).sum::<usize>();
            self.step += 1;

            let last = steps == Some(self.step);
            let asked = Instant::now();
            let mut stop = on(Event::Submitted { step: self.step }).is_break();
            // a pause is no training: it uses up none of the time
            (start, since) = (start + asked.elapsed(), since + asked.elapsed());
            if last || self.step == first + 1 || self.step.is_multiple_of(self.options.log_every.max(1)) {
                let gradient_norm;
                (loss, gradient_norm) = self.measured(plan)?;
                if self.step == first + 1 {
                    let kernels = self.gpu.created().pipelines;
                    stop |= on(Event::Started { after: self.made.elapsed(), kernels }).is_break();
                }
                let now = self.before + start.elapsed().as_secs_f64();
                let done = budget.used(self.step, now).min(1.0);
                let here = start.elapsed().as_secs_f64();
                let rate = done - budget.used(first, self.before);
                let left = if rate > 0.0 { here / rate * (1.0 - done) } else { 0.0 };
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
            let due = |every: u64| every > 0 && self.step.is_multiple_of(every) && !last;
            if due(self.options.eval_every) {
                let (found, paused) = self.validate(&mut recorded, on)?;
                (start, since) = (start + paused, since + paused);
                match found {
                    Some(found) => {
                        stop |= on(Event::Validated { step: self.step, verdict: &found }).is_break();
                        if Best::take(&mut self.best, self.step, &found) {
                            self.save_best(plan)?;
                        }
                        verdict = Some(found);
                    }
                    // the listener ended it
                    None => stop |= self.validation.is_some(),
                }
            }
            if due(self.options.save_every) {
                self.save(plan, start, on)?;
            }
            if stop {
                interrupted = true;
                break;
            }
            if self.best.zip(self.options.patience).is_some_and(|(best, patience)| best.since >= patience) {
                break;
            }
        }
        self.gpu.wait()?;
        let elapsed = Duration::from_secs_f64(self.before + start.elapsed().as_secs_f64());
        let waiting = mean(input.waited(), self.step - first);
        // the thread has nothing more to do, and the cores are wanted for validation
        drop(input);
        self.save(plan, start, on)?;
        if interrupted {
            return Ok(Summary { steps: self.step, elapsed, waiting, loss, verdict, interrupted, best: self.best });
        }
        if let (Some(last), _) = self.validate(&mut recorded, on)? {
            // there is nothing left to end
            let _ = on(Event::Validated { step: self.step, verdict: &last });
            if self.best.is_some() && Best::take(&mut self.best, self.step, &last) {
                self.save_best(plan)?;
            }
            verdict = Some(last);
        }
        Ok(Summary { steps: self.step, elapsed, waiting, loss, verdict, interrupted, best: self.best })
    }

    /// Loss and gradient norm of the last step, which must be finite.
    fn measured(&self, plan: &TrainStep) -> Result<(f32, f32), TrainError> {
        let (loss, norm, steps) = (plan.loss()?, plan.gradient_norm()?, self.optimizer.steps()?);
        let diverged = |what| Err(TrainError::Diverged { step: self.step, what });
        if self.options.precision == Precision::F16 {
            // a step is skipped now and then, to find how far the loss can be scaled up
            return if steps.can_scale_down() { Ok((loss, norm)) } else { diverged("no gradient fits 16 bits, however small".into()) };
        }
        for (what, value) in [("loss", loss), ("norm of the gradients", norm)] {
            if !value.is_finite() {
                return diverged(format!("the {what} is {value}"));
            }
        }
        if steps.skipped > 0 {
            return diverged(format!("{} steps were skipped since their gradients were not finite", steps.skipped));
        }
        Ok((loss, norm))
    }

    /// Measures the model by passes that are recorded the first time; also says what the listener took in between.
    fn validate(
        &self,
        recorded: &mut Option<Validation>,
        on: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(Option<Verdict>, Duration), TrainError> {
        let Some(dataset) = self.validation else { return Ok((None, Duration::ZERO)) };
        let validation = match recorded {
            Some(validation) => validation,
            None => recorded.insert(Validation::new(self.gpu, self.model, self.tokenizer, dataset)?),
        };
        self.optimizer.swap_average()?;
        let (step, of, mut paused) = (self.step, dataset.samples.len(), Duration::ZERO);
        let verdict = validation.run(self.tokenizer, dataset, self.model.config().count_pads, &mut |done| {
            let asked = Instant::now();
            let flow = on(Event::Validating { step, done, of });
            paused += asked.elapsed();
            flow
        });
        self.optimizer.swap_average()?;
        Ok((verdict?, paused))
    }

    /// Saves the model alone into the folder `best` in the training's folder.
    fn save_best(&self, plan: &TrainStep) -> Result<(), TrainError> {
        let Some(dir) = self.out.as_ref().map(|out| out.join("best")) else { return Ok(()) };
        self.measured(plan)?;
        checkpoint::save_description(&dir, self.model, Some(self.tokenizer))?;
        let parameters = checkpoint::snapshot(&self.optimizer.result())?;
        Ok(checkpoint::write_values(&dir.join("model.safetensors"), &parameters, Some(self.step))?)
    }

    fn save(&self, plan: &TrainStep, start: Instant, on: &mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<(), TrainError> {
        let Some(dir) = &self.out else { return Ok(()) };
        self.measured(plan)?;
        let parameters = checkpoint::snapshot(&self.optimizer.result())?;
        // a model that diverged must not replace one that did not
        if let Some((name, _)) = parameters.iter().find(|(_, (_, data))| data.iter().any(|value| !value.is_finite())) {
            return Err(TrainError::Diverged { step: self.step, what: format!("parameter {name} is not finite") });
        }
        let step = Some(self.step);
        checkpoint::save_description(dir, self.model, Some(self.tokenizer))?;
        checkpoint::write_values(&dir.join("model.safetensors"), &parameters, step)?;
        let moments = checkpoint::snapshot(&self.optimizer.state())?;
        checkpoint::write_values(&dir.join("training.safetensors"), &moments, step)?;
        let progress = Progress {
            step: self.step,
            seconds: self.before + start.elapsed().as_secs_f64(),
            options: self.options.clone(),
            data: self.data,
            best: self.best,
        };
        let json = serde_json::to_string_pretty(&progress).expect("progress is plain data");
        checkpoint::write_file(&dir.join("training.json"), json.as_bytes())?;
        // what happens to the loop after a save is not the listener's to decide
        let _ = on(Event::Saved { step: self.step, dir });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_fit_is_refused_with_advice() {
        let needs = |step, free| Footprint { parameters: 4_000_000, optimizer: 8_000_000, step, free }.check("the adapter", 2);
        assert!(needs(7_000_000, Some(7_000_000)).is_ok() && needs(u64::MAX, None).is_ok());
        let text = needs(9_000_000, Some(7_000_000)).unwrap_err().to_string();
        for word in ["9 MB", "12 MB", "7 MB", "the adapter", "--batch-size", "--accumulate 2", "--checkpoint-activations"] {
            assert!(text.contains(word), "no {word} in: {text}");
        }
    }
}
