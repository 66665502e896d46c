//! `seemore train` (and `train`): pictures with captions in, a checkpoint out.

mod terminal;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use super::AdapterArgs;
use super::data::LayoutArgs;
use super::hint;
use crate::data::{Dataset, Layout, Likeness, Loaded, Problem, Source};
use crate::device::Device;
use crate::graph::Precision;
use crate::image::Preprocess;
use crate::image::{Augment, Strength};
use crate::models::checkpoint;
use crate::models::seemore::{Config, Part, Preset, Vlm};
use crate::text::{TokenKind, Tokenizer};
use crate::track::{self, End, Names, Target, Tracked};
use crate::train::{
    Budget, Concepts, Event, Footprint, Objective, OnNan, Options, Progress, State, Summary, Text,
    Trainer,
};
use crate::train::{Decay, Hyper, Rule, Schedule};
use terminal::Terminal;

/// The flags whose values a training that is like another, or goes on, takes from it.
const LIKE: [&str; 28] = [
    "config",
    "preset",
    "dropout",
    "batch_size",
    "accumulate",
    "lr",
    "warmup",
    "schedule",
    "optimizer",
    "weight_decay",
    "decay",
    "beta2",
    "ema",
    "label_smoothing",
    "class_loss",
    "caption_loss",
    "no_prototypes",
    "variants",
    "freeze",
    "clip",
    "augment",
    "augment_config",
    "no_augment",
    "precision",
    "tokenizer",
    "vocab_size",
    "image_column",
    "caption_column",
];

#[derive(Args)]
pub struct TrainArgs {
    /// Pictures with captions, several files together: CSV (base64 pictures), JSONL, COCO captions JSON, captions.txt of Flickr8k, or a folder (pictures with .txt captions beside them). A picture may have 64,000,000 pixels, 65,535 along a side and 579,108,864 bytes; decoding the largest takes 840 MB of memory, on each core at once; larger ones are reported and left out [default: data/inputs.csv]
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., action = clap::ArgAction::Append)]
    data: Vec<PathBuf>,
    /// Pictures to validate on, never trained on, in the same forms [default: data/inputs_val.csv when --data is not given]
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., action = clap::ArgAction::Append)]
    val_data: Vec<PathBuf>,
    /// Go on where pictures of --data are also in --val-data, to the pixel or to the eye; the former are not trained on
    #[arg(long)]
    allow_overlap: bool,
    /// Share of the pictures of --data to validate on instead, taken out before training [default: 0.1 without --val-data]
    #[arg(long, value_name = "SHARE", conflicts_with = "val_data")]
    val_split: Option<f64>,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Stop at the first row that cannot be used, instead of leaving it out
    #[arg(long)]
    strict: bool,

    /// Named model sizes
    #[arg(long, value_enum, default_value = "seemore")]
    preset: Preset,
    /// Model sizes from a JSON file instead, as config.json of a checkpoint
    #[arg(long, value_name = "FILE.json", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Probability with which training zeroes an element [default: the preset's]
    #[arg(long, value_name = "PROBABILITY")]
    dropout: Option<f32>,

    /// What a token of the captions is: characters, words or bpe (pieces of words), from the captions to train on; or a tokenizer.json to use
    #[arg(long, default_value = "characters", value_name = "KIND|FILE.json", value_parser = vocabulary)]
    tokenizer: Vocabulary,
    /// Most tokens of a vocabulary of words or bpe [default: all words, or 1024 of bpe]
    #[arg(long, value_name = "TOKENS")]
    vocab_size: Option<usize>,

    /// Optimizer steps [default: 200 for preset tiny, else 160, with a limit of 210 s, when neither --epochs nor --max-time is given]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Passes over the training data, instead of --steps
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<f64>,
    /// Longest training time, as 90, 90s, 15m or 2h. With --steps or --epochs, whichever ends first counts and the learning rate follows the steps
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    max_time: Option<f64>,
    /// Pictures in one optimizer step; auto for the largest power of two that fits the device's memory, and the data
    #[arg(long, visible_alias = "batch", default_value = "16", value_name = "PICTURES|auto", value_parser = batch_size)]
    batch_size: BatchSize,
    /// Parts that a batch is computed in, for less memory at the same result
    #[arg(long, default_value_t = 1, value_name = "PARTS")]
    accumulate: usize,
    /// Keep only the input of each transformer block for the backward pass and compute the rest again: the same result in less memory (of large batches half), for about a fifth more time
    #[arg(long)]
    checkpoint_activations: bool,
    /// Peak learning rate
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Steps until the peak learning rate is reached
    #[arg(long, default_value_t = 10, value_name = "STEPS")]
    warmup: u64,
    /// How the learning rate goes after the warm-up
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: Schedule,
    /// Update rule
    #[arg(long, value_enum, default_value = "adamw")]
    optimizer: Rule,
    /// Share of each weight that AdamW takes off in a step, times the learning rate
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    /// Which parameters weight decay takes its share of
    #[arg(long, value_enum, default_value = "all")]
    decay: Decay,
    /// How long AdamW remembers squared gradients
    #[arg(long, default_value_t = 0.999, value_parser = share)]
    beta2: f64,
    /// What each step keeps of the moving average of the weights, which is then what is validated and saved; 0 for no average, 0.998 for one over some 500 steps
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    ema: f64,
    /// Share of the wanted distribution that is spread over all tokens, so that the model is not too sure
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share_f32)]
    label_smoothing: f32,
    /// Weight of a second loss: naming the picture's concept (the data's column `concept`, or the caption) by a class head on the image vector. Captions are written without it, but it teaches the encoder early
    #[arg(long, default_value_t = 0.0, value_name = "WEIGHT", value_parser = weight)]
    class_loss: f32,
    /// Weight of the captions' loss; 0 trains the image encoder alone, with --class-loss
    #[arg(long, default_value_t = 1.0, value_name = "WEIGHT", value_parser = weight)]
    caption_loss: f32,
    /// Start the class head at random, instead of with the mean of each concept's pictures as the untrained encoder sees them
    #[arg(long)]
    no_prototypes: bool,
    /// Share of the variants (pictures whose caption is not their concept, as by a skin tone) that each epoch shows, others each time
    #[arg(long, default_value_t = 1.0, value_name = "SHARE", value_parser = share)]
    variants: f64,
    /// Parts of the model that do not train, and cost no backward work
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    freeze: Vec<Part>,
    /// Start with the values of a checkpoint, where this model has tensors of the same name and shape
    #[arg(long, value_name = "DIR")]
    load: Option<PathBuf>,
    /// Take only these parts from --load
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "PARTS",
        requires = "load"
    )]
    load_parts: Vec<Part>,
    /// Train the decoder on the lines of a text file instead of captions of pictures
    #[arg(long, value_name = "FILE.txt", conflicts_with_all = ["data", "val_data", "class_loss"])]
    text: Option<PathBuf>,
    /// Do as the training that wrote this folder did, from the start: its model, tokenizer, options and data
    #[arg(long, value_name = "DIR", conflicts_with_all = LIKE)]
    like: Option<PathBuf>,
    /// End after so many validations (--eval-every) without a better one
    #[arg(long, value_name = "VALIDATIONS", requires = "eval_every", value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
    /// Most that the norm of all gradients may be; 0 for no limit
    #[arg(long, default_value_t = 1.0, value_name = "NORM")]
    clip: f64,
    /// What the operands of matrix products and attention are rounded to; sums, weights and everything else stay f32. With f16 the loss is scaled so that small gradients do not vanish, and steps that overflow are skipped and counted
    #[arg(long, value_enum, default_value = "f32")]
    precision: Precision,
    /// How much every picture is changed each time that it is shown: none; light shifts, scales, turns and tints it a little; strong does more of that, and mirrors it where the caption allows
    #[arg(long, value_enum, default_value = "light")]
    augment: Strength,
    /// The changes from a JSON file instead, as `augment` in the training.json of a run; what it leaves out is not done
    #[arg(long, value_name = "FILE.json", conflicts_with = "augment")]
    augment_config: Option<PathBuf>,
    /// The same as --augment none
    #[arg(long, conflicts_with_all = ["augment", "augment_config"])]
    no_augment: bool,
    /// Seed of everything random: the same seed on the same adapter gives the same losses, bit for bit
    #[arg(long, default_value_t = 1337)]
    seed: u64,

    /// Checkpoint folder to write [default: the first free of runs/PRESET-1, runs/PRESET-2, ..]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a checkpoint that is already in --out
    #[arg(long)]
    overwrite: bool,
    /// Steps between two saves; 0 saves at the end only [default: 0]
    #[arg(long, value_name = "STEPS")]
    save_every: Option<u64>,
    /// Saved states to keep, the newest ones: --resume goes on from the last [default: 2]
    #[arg(long, value_name = "STATES", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    /// What to do about a step whose loss or gradients are not finite, which the device sees at every step [default: stop]
    #[arg(long, value_enum)]
    on_nan: Option<OnNan>,
    /// Steps between two validations; 0 validates at the end only [default: 0]
    #[arg(long, value_name = "STEPS")]
    eval_every: Option<u64>,
    /// Steps between two reports of the loss [default: 5]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    log_every: Option<u64>,
    /// Go on with the training that wrote this folder, with its options and data, into the same folder unless --out is given; add --steps, --epochs or --max-time to train longer, --data and --val-data if the files have moved
    #[arg(long, value_name = "DIR", conflicts_with_all = ["like", "seed", "val_split", "load", "text"].into_iter().chain(LIKE))]
    resume: Option<PathBuf>,
    /// Tell others of the training: csv=FILE (a row a report), tensorboard=DIR (event files), mlflow=URI (parameters, metrics, and at the end the model; kept in tracking/ of the run's folder while the server is not there). May be given several times
    #[arg(long, value_name = "KIND=WHERE", action = clap::ArgAction::Append)]
    track: Vec<Target>,
    /// Steps between two rows or points, at least; reports come every --log-every steps
    #[arg(long, value_name = "STEPS", default_value_t = 0, requires = "track")]
    track_every: u64,
    /// Experiment on the MLflow server [default: seemore]
    #[arg(long, value_name = "NAME", requires = "track")]
    track_experiment: Option<String>,
    /// Name of the run on the MLflow server [default: the name of the run's folder]
    #[arg(long, value_name = "NAME", requires = "track")]
    track_run: Option<String>,
    /// Report as JSON, one object a line on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    adapter: AdapterArgs,
}

/// Pictures in one optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchSize {
    /// As many as fit.
    Auto,
    Pictures(usize),
}

/// The value of `--batch-size`.
fn batch_size(text: &str) -> Result<BatchSize, String> {
    match text.parse() {
        Ok(pictures) => Ok(BatchSize::Pictures(pictures)),
        Err(_) if text == "auto" => Ok(BatchSize::Auto),
        Err(_) => Err("give a number of pictures, or auto".into()),
    }
}

/// Where the tokenizer of a new model comes from.
#[derive(Debug, Clone)]
enum Vocabulary {
    Train(TokenKind),
    File(PathBuf),
}

/// The value of `--tokenizer`.
fn vocabulary(text: &str) -> Result<Vocabulary, String> {
    match TokenKind::from_str(text, false) {
        Ok(kind) => Ok(Vocabulary::Train(kind)),
        Err(_) if text.ends_with(".json") => Ok(Vocabulary::File(text.into())),
        Err(_) => Err("it is characters, words, bpe, or a file that ends in .json".into()),
    }
}

impl Vocabulary {
    /// Made from the captions to train on, or read.
    fn tokenizer(
        &self,
        vocab_size: Option<usize>,
        train: &Dataset,
        listener: &mut dyn Listener,
    ) -> anyhow::Result<Tokenizer> {
        let captions = || train.samples.iter().map(|sample| sample.caption.as_str());
        let kind = match self {
            Vocabulary::Train(kind) => *kind,
            Vocabulary::File(_) if vocab_size.is_some() => {
                bail!("--vocab-size is for a tokenizer that is made here, not for a file")
            }
            Vocabulary::File(path) => {
                let tokenizer = Tokenizer::load(path)?;
                let strange = captions()
                    .filter(|caption| !tokenizer.unknown_parts(caption).is_empty())
                    .count();
                if strange > 0 {
                    listener.note(&format!(
                        "warning: {strange} captions to train on hold what {} does not know",
                        path.display()
                    ));
                }
                return Ok(tokenizer);
            }
        };
        // the special tokens and one other; and the 256 bytes
        match (kind, vocab_size) {
            (TokenKind::Characters, Some(_)) => {
                bail!("--vocab-size is for words or bpe: all characters are kept")
            }
            (TokenKind::Words, Some(size)) if size < 5 => {
                bail!("--vocab-size {size} must be at least 5")
            }
            (TokenKind::Bpe, Some(size)) if size < 260 => {
                bail!(
                    "--vocab-size {size} must be at least 260 for bpe: four tokens and the 256 bytes"
                )
            }
            _ => Ok(Tokenizer::train(kind, captions(), vocab_size)),
        }
    }
}

/// Seconds of a time such as 90, 90s, 15m or 2h.
fn seconds(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim().char_indices().last() {
        Some((at, 's')) => (&text.trim()[..at], 1.0),
        Some((at, 'm')) => (&text.trim()[..at], 60.0),
        Some((at, 'h')) => (&text.trim()[..at], 3600.0),
        _ => (text.trim(), 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value * unit),
        _ => Err("give a time above 0 as 90, 90s, 15m or 2h".into()),
    }
}

/// Tokens that the model knows: as many as the tokenizer, but of words and pieces of words a multiple of 64, which makes the products
/// with the vocabulary faster. The tokens beyond the tokenizer's are never the right ones.
fn vocab_size(tokenizer: &Tokenizer) -> usize {
    match tokenizer {
        Tokenizer::Characters(_) => tokenizer.vocab_size(),
        _ => tokenizer.vocab_size().next_multiple_of(64),
    }
}

/// A share from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("give a number from 0 to 1".into()),
    }
}

fn share_f32(text: &str) -> Result<f32, String> {
    share(text).map(|value| value as f32)
}

/// What a loss is multiplied by.
fn weight(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("give a number that is 0 or more".into()),
    }
}

/// What follows a training: a terminal, or a window.
pub trait Listener {
    /// Something to know before the first step, one or several lines.
    fn note(&mut self, text: &str);
    /// A bar to count the pictures that are read, those of `path` and the files after it.
    fn reading(&mut self, path: &Path) -> ProgressBar;
    /// All is read and recorded; the first step comes next.
    fn ready(&mut self, ready: &Ready) -> anyhow::Result<()>;
    /// A break ends the training, which then saves.
    fn on(&mut self, event: Event) -> ControlFlow<()>;
}

/// What will be trained, on what.
pub struct Ready<'a> {
    /// Of the model.
    pub parameters: usize,
    /// Of the tokenizer.
    pub tokens: usize,
    pub train: &'a Dataset,
    pub validation: Option<&'a Dataset>,
    /// Steps of the training that goes on.
    pub step: u64,
    pub options: &'a Options,
    pub config: &'a Config,
    /// One line about what it is trained on.
    pub adapter: String,
    /// On the device, before any of it is taken for the step.
    pub footprint: Footprint,
}

pub fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let run = Run::new(args)?;
    let device = args.adapter.device()?;
    let mut terminal = Terminal::new(args.json);
    let summary = run.tracked(&device, &mut terminal)?;
    terminal.finish(&summary, run.out())
}

/// A training that the flags ask for.
pub struct Run<'a> {
    args: &'a TrainArgs,
    augment: Augment,
    out: PathBuf,
}

impl<'a> Run<'a> {
    /// Checks what can be checked of the flags alone, and takes the folder to save into.
    pub fn new(args: &'a TrainArgs) -> anyhow::Result<Run<'a>> {
        for (flag, zero) in [
            ("--batch-size", args.batch_size == BatchSize::Pictures(0)),
            ("--accumulate", args.accumulate == 0),
        ] {
            if zero {
                bail!("{flag} must be at least 1");
            }
        }
        if let Some(epochs) = args.epochs
            && !(epochs > 0.0 && epochs.is_finite())
        {
            bail!("--epochs {epochs} must be above 0");
        }
        for (flag, value) in [("--clip", args.clip), ("--weight-decay", args.weight_decay)] {
            if !(value >= 0.0 && value.is_finite()) {
                bail!("{flag} {value} must be 0 or more");
            }
        }
        if !(args.lr > 0.0 && args.lr.is_finite()) {
            bail!("--lr {} must be above 0", args.lr);
        }
        if let Some(share) = args.val_split
            && !(0.0..1.0).contains(&share)
        {
            bail!("--val-split {share} must be at least 0 and below 1");
        }
        Ok(Run {
            args,
            augment: augment(args)?,
            out: out_folder(args)?,
        })
    }

    /// The folder to save into.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Trains as [`train`](Self::train) does, and tells the trackers that the flags ask for.
    pub fn tracked(&self, device: &Device, listener: &mut dyn Listener) -> anyhow::Result<Summary> {
        let args = self.args;
        if args.track.is_empty() {
            return self.train(device, listener);
        }
        let names = Names {
            experiment: args.track_experiment.clone(),
            run: args.track_run.clone(),
        };
        let trackers = track::trackers(
            &args.track,
            &names,
            &self.out,
            args.resume.is_some(),
            args.overwrite,
        )?;
        let mut tracked = Tracked::new(listener, trackers, args.track_every);
        let result = self.train(device, &mut tracked);
        let end = match &result {
            Ok(summary) if summary.interrupted => End::Stopped,
            Ok(_) => End::Finished,
            Err(_) => End::Failed,
        };
        for notice in tracked.end(end, &self.out) {
            listener.note(&hint::notice(&notice));
        }
        result
    }

    /// Reads the data, makes or loads the model, and trains it.
    pub fn train(&self, device: &Device, listener: &mut dyn Listener) -> anyhow::Result<Summary> {
        let (args, plain, device) = (self.args, device, &self.args.adapter.tuned(device));
        let resumed = args.resume.as_deref().map(State::newest).transpose()?;
        // the folder that the model's sizes and tokens are taken from
        let from = args.resume.as_deref().or(args.like.as_deref());
        let mut config = match (from, &args.config) {
            (Some(dir), _) => Config::load(&dir.join("config.json"))?,
            (None, Some(path)) => Config::load(path)?,
            (None, None) => args.preset.config(),
        };
        if let Some(dropout) = args.dropout {
            config.dropout = dropout;
            config.check()?;
        }

        let saved = match (&resumed, &args.like) {
            (Some(state), _) => Some(state.progress.options.clone()),
            (None, like) => like
                .as_deref()
                .map(Progress::load)
                .transpose()?
                .map(|progress| progress.options),
        };
        let seed = if args.resume.is_some() {
            saved.as_ref().map_or(args.seed, |options| options.seed)
        } else {
            args.seed
        };
        let (train, validation) = match &args.text {
            Some(path) => (Dataset::from_lines(path)?, None),
            None => load_data(
                args,
                &source(args, saved.as_ref()),
                config.frame(),
                seed,
                listener,
            )?,
        };
        let tokenizer = match from {
            Some(dir) => Tokenizer::load(&dir.join("tokenizer.json"))?,
            None => args
                .tokenizer
                .tokenizer(args.vocab_size, &train, listener)?,
        };
        if resumed.is_none() {
            config.vocab_size = vocab_size(&tokenizer);
            if args.class_loss > 0.0 || args.like.is_some() && config.classes > 0 {
                config.classes = Concepts::new(&train).len();
                config.check()?;
            }
        }
        let model = Vlm::new(device, &config, args.seed)?;
        let length = |caption: &str| Text::new(&tokenizer, caption).len();
        let (mut train, too_long) = train.without_long_captions(model.room(), length);
        train.mark_variants();
        report_problems(args, &too_long, train.samples.len(), listener)?;
        if train.samples.is_empty() {
            bail!("no caption is left to train on");
        }
        let validation = match validation {
            Some(validation) => {
                let (validation, too_long) = validation.without_long_captions(model.room(), length);
                report_problems(args, &too_long, validation.samples.len(), listener)?;
                Some(validation).filter(|validation| !validation.samples.is_empty())
            }
            None => None,
        };
        let options = match saved {
            Some(saved) => Options {
                seed,
                ..resumed_options(args, saved, train.samples.len())
            },
            None => {
                let options =
                    |batch_size| options(args, self.augment, train.samples.len(), batch_size);
                match args.batch_size {
                    BatchSize::Pictures(pictures) => options(pictures),
                    BatchSize::Auto => options(largest_batch(
                        plain, &model, &tokenizer, &train, &options, listener,
                    )?),
                }
            }
        };
        let budget = options.budget;
        if let Some(steps) = budget.steps.filter(|&steps| steps <= options.warmup) {
            let warmup = options.warmup;
            listener.note(&format!("note: {steps} steps do not reach the peak learning rate, the warm-up takes {warmup} (--warmup)"));
        }
        if let Some(dir) = &args.load {
            load_values(args, dir, &model, listener)?;
        }
        let mut trainer = Trainer::new(
            device,
            &model,
            &tokenizer,
            &train,
            validation.as_ref(),
            options,
            Some(self.out.clone()),
        )?;
        if let (Some(dir), Some(state)) = (&args.resume, resumed) {
            trainer.resume(state)?;
            if budget.steps.is_some_and(|steps| steps <= trainer.step()) {
                bail!(
                    "{} is trained for {} steps already: give more --steps to go on",
                    dir.display(),
                    trainer.step()
                );
            }
        }
        listener.ready(&Ready {
            parameters: model.parameter_count(),
            tokens: tokenizer.vocab_size(),
            train: &train,
            validation: validation.as_ref(),
            step: trainer.step(),
            options: trainer.options(),
            config: &config,
            adapter: device.adapter(),
            footprint: trainer.footprint(),
        })?;
        Ok(trainer.run(&mut |event| listener.on(event))?)
    }
}

/// The largest batch, of a power of two parts, whose step takes four fifths of what the device has left, and which the data fill. It
/// is found by recording steps, and where the device does not tell what it has left by allocating them.
fn largest_batch(
    device: &Device,
    model: &Vlm,
    tokenizer: &Tokenizer,
    train: &Dataset,
    options: &dyn Fn(usize) -> Options,
    listener: &mut dyn Listener,
) -> anyhow::Result<usize> {
    const MOST: usize = 4096;
    let (mut found, mut pictures) = (None, options(1).accumulate);
    let mut next = "the data have no more".to_owned();
    while pictures <= train.samples.len().min(MOST) || found.is_none() {
        let tried = Trainer::new(
            device,
            model,
            tokenizer,
            train,
            None,
            options(pictures),
            None,
        )
        .and_then(|trainer| {
            let footprint = trainer.footprint();
            if footprint.free.is_none() {
                trainer.try_out()?;
            }
            Ok(footprint)
        });
        const MB: u64 = 1_000_000;
        let too_much = match &tried {
            Ok(footprint) if footprint.largest > device.max_bytes() => Some(format!(
                "{pictures} need {} MB in one piece, and {} has at most {}",
                footprint.largest / MB,
                device.name(),
                device.max_bytes() / MB
            )),
            Ok(footprint) => footprint
                .free
                .filter(|free| footprint.step > free / 5 * 4)
                .map(|free| {
                    format!(
                        "{pictures} need {} MB of the {} that are left",
                        footprint.step / MB,
                        free / MB
                    )
                }),
            Err(error) => Some(format!("{pictures}: {error}")),
        };
        match (too_much, tried) {
            (None, Ok(footprint)) => found = Some((pictures, footprint)),
            // not even the smallest: training says why
            (Some(_), _) if found.is_none() => return Ok(pictures),
            (Some(why), _) => {
                next = why;
                break;
            }
            (None, Err(error)) => return Err(error.into()),
        }
        pictures *= 2;
    }
    let (pictures, footprint) = found.expect("the smallest fits");
    listener.note(&format!(
        "batch size {pictures}: a step takes {:.1} MB; {next}",
        footprint.step as f64 / 1e6
    ));
    Ok(pictures)
}

/// Fills the model with the values that `--load` has for it, and says what was filled and what was not.
fn load_values(
    args: &TrainArgs,
    dir: &Path,
    model: &Vlm,
    listener: &mut dyn Listener,
) -> anyhow::Result<()> {
    let path = dir.join("model.safetensors");
    let values = checkpoint::read_values(&path)?;
    let wanted =
        |name: &str| args.load_parts.is_empty() || args.load_parts.contains(&Part::of(name));
    let (mut filled, mut missing) = (0, vec![]);
    for (name, tensor) in model.parameters().iter().filter(|(name, _)| wanted(name)) {
        match values.get(name) {
            Some((shape, data)) if shape == tensor.shape() => {
                tensor.write(data);
                filled += 1;
            }
            Some((shape, _)) => missing.push(format!(
                "{name} ({shape:?} there, {:?} here)",
                tensor.shape()
            )),
            None => missing.push(format!("{name} (not there)")),
        }
    }
    if filled == 0 {
        bail!(
            "{} has nothing for this model: give the same --preset or --config, or other --load-parts",
            path.display()
        );
    }
    listener.note(&format!("{filled} tensors from {}", path.display()));
    if !missing.is_empty() {
        let more = if missing.len() > 8 {
            format!(" and {} more", missing.len() - 8)
        } else {
            String::new()
        };
        listener.note(&format!(
            "note: these start afresh: {}{more}",
            missing[..missing.len().min(8)].join(", ")
        ));
    }
    Ok(())
}

/// The steps that `--steps` or `--epochs` asks for.
fn steps(args: &TrainArgs, samples: usize, batch_size: usize) -> Option<u64> {
    let of_epochs =
        |epochs: f64| ((epochs * samples as f64 / batch_size as f64).ceil() as u64).max(1);
    args.steps.or(args.epochs.map(of_epochs))
}

/// The options of an earlier run, with those that may change in between.
fn resumed_options(args: &TrainArgs, saved: Options, samples: usize) -> Options {
    let steps = steps(args, samples, saved.batch_size);
    let budget = if steps.is_none() && args.max_time.is_none() {
        saved.budget
    } else {
        Budget {
            steps,
            seconds: args.max_time,
        }
    };
    Options {
        budget,
        log_every: args.log_every.unwrap_or(saved.log_every),
        eval_every: args.eval_every.unwrap_or(saved.eval_every),
        save_every: args.save_every.unwrap_or(saved.save_every),
        keep: args.keep.map_or(saved.keep, |keep| keep as usize),
        on_nan: args.on_nan.unwrap_or(saved.on_nan),
        checkpoint_activations: args.checkpoint_activations || saved.checkpoint_activations,
        source: Some(source(args, Some(&saved))),
        ..saved
    }
}

/// The data that the flags ask for, or those of the run that goes on.
fn source(args: &TrainArgs, resumed: Option<&Options>) -> Source {
    let (data, val_data) = (paths(&args.data), paths(&args.val_data));
    let given =
        |paths: Vec<PathBuf>, other: Vec<PathBuf>| if paths.is_empty() { other } else { paths };
    match resumed.and_then(|options| options.source.clone()) {
        // files may have moved since
        Some(before) => Source {
            data: given(data, before.data),
            val_data: given(val_data, before.val_data),
            images: args.layout.images.clone().or(before.images),
            allow_overlap: args.allow_overlap || before.allow_overlap,
            ..before
        },
        None => {
            // the shipped pictures to validate on belong to the shipped pictures to train on
            let shipped = data.is_empty() && args.val_split.is_none();
            let Layout {
                image_column,
                caption_column,
                images,
            } = args.layout.layout();
            Source {
                data: given(data, vec!["data/inputs.csv".into()]),
                val_data: given(
                    val_data,
                    if shipped {
                        vec!["data/inputs_val.csv".into()]
                    } else {
                        vec![]
                    },
                ),
                val_split: args.val_split.unwrap_or(0.1),
                image_column,
                caption_column,
                images,
                allow_overlap: args.allow_overlap,
            }
        }
    }
}

/// The files that a flag names, also with commas between them.
fn paths(given: &[PathBuf]) -> Vec<PathBuf> {
    let split = |path: &PathBuf| match path.to_str() {
        // a comma may belong to the name
        Some(text) if !path.exists() => text
            .split(',')
            .filter(|part| !part.is_empty())
            .map(PathBuf::from)
            .collect(),
        _ => vec![path.clone()],
    };
    given.iter().flat_map(split).collect()
}

/// The changes that the flags ask for.
fn augment(args: &TrainArgs) -> anyhow::Result<Augment> {
    match &args.augment_config {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let augment: Augment = serde_json::from_str(&text)
                .with_context(|| format!("{} is no augmentation", path.display()))?;
            augment
                .check()
                .map_err(|reason| anyhow!("{}: {reason}", path.display()))?;
            Ok(augment)
        }
        None if args.no_augment => Ok(Augment::none()),
        None => Ok(args.augment.into()),
    }
}

fn options(args: &TrainArgs, augment: Augment, samples: usize, batch_size: usize) -> Options {
    let unlimited = args.steps.is_none() && args.epochs.is_none() && args.max_time.is_none();
    // what two CPU cores do in less than four minutes, validation included
    let (most_steps, seconds) = if args.preset == Preset::Tiny {
        (200, None)
    } else {
        (160, Some(210.0))
    };
    let default = unlimited.then_some(most_steps);
    Options {
        budget: Budget {
            steps: steps(args, samples, batch_size).or(default),
            seconds: args.max_time.or(seconds.filter(|_| unlimited)),
        },
        batch_size,
        accumulate: args.accumulate,
        checkpoint_activations: args.checkpoint_activations,
        precision: args.precision,
        learning_rate: args.lr,
        warmup: args.warmup,
        schedule: args.schedule,
        hyper: Hyper {
            rule: args.optimizer,
            beta1: 0.9,
            beta2: args.beta2,
            eps: 1e-8,
            weight_decay: args.weight_decay,
            clip: args.clip,
            decay: args.decay,
            ema: args.ema,
        },
        objective: Objective {
            captions: args.caption_loss,
            classes: args.class_loss,
            smoothing: args.label_smoothing,
            pictures: args.text.is_none(),
        },
        prototypes: args.class_loss > 0.0 && !args.no_prototypes && args.load.is_none(),
        variants: args.variants,
        freeze: args.freeze.clone(),
        patience: args.patience,
        seed: args.seed,
        augment,
        source: Some(source(args, None)),
        log_every: args.log_every.unwrap_or(5),
        eval_every: args.eval_every.unwrap_or(0),
        save_every: args.save_every.unwrap_or(0),
        keep: args.keep.unwrap_or(2) as usize,
        on_nan: args.on_nan.unwrap_or_default(),
    }
}

/// The folder to save into; never one that holds a checkpoint, unless that was asked for.
fn out_folder(args: &TrainArgs) -> anyhow::Result<PathBuf> {
    let taken = |dir: &Path| dir.join("model.safetensors").exists();
    match (&args.out, &args.resume) {
        (None, Some(resume)) => Ok(resume.clone()),
        (Some(out), resume) => {
            if taken(out) && !args.overwrite && resume.as_ref() != Some(out) {
                bail!(
                    "{} already holds a checkpoint: choose another --out, add --overwrite, or go on with --resume",
                    out.display()
                );
            }
            Ok(out.clone())
        }
        (None, None) => {
            let name = args
                .preset
                .to_possible_value()
                .map_or("run".into(), |value| value.get_name().to_owned());
            std::fs::create_dir_all("runs")
                .context("cannot make the folder runs/; choose another with --out")?;
            for dir in (1..).map(|number| PathBuf::from(format!("runs/{name}-{number}"))) {
                match std::fs::create_dir(&dir) {
                    Ok(()) => return Ok(dir),
                    // also when another run has just taken it
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                    Err(error) => bail!(
                        "cannot make the folder {}: {error}; choose another with --out",
                        dir.display()
                    ),
                }
            }
            unreachable!("numbers do not end")
        }
    }
}

/// The training set, and the pictures to validate on.
fn load_data(
    args: &TrainArgs,
    source: &Source,
    frame: Preprocess,
    seed: u64,
    listener: &mut dyn Listener,
) -> anyhow::Result<(Dataset, Option<Dataset>)> {
    if let (true, Some(absent)) = (
        args.data.is_empty(),
        source.data.iter().find(|path| !path.exists()),
    ) {
        bail!(
            "{} is not here: run this in the repository's folder, or give --data",
            absent.display()
        );
    }
    let layout = source.layout();
    let train = load(args, &source.data, frame, &layout, listener)?;
    let (train, validation) = if source.val_data.is_empty() {
        train.split(source.val_split, seed)
    } else {
        let validation = load(args, &source.val_data, frame, &layout, listener)?;
        (
            without_overlap(train, &validation, source.allow_overlap, listener)?,
            validation,
        )
    };
    Ok((
        train,
        Some(validation).filter(|validation| !validation.samples.is_empty()),
    ))
}

/// Fails where pictures to train on are also there to validate on; if that is allowed, leaves the equal ones out.
fn without_overlap(
    train: Dataset,
    validation: &Dataset,
    allowed: bool,
    listener: &mut dyn Listener,
) -> anyhow::Result<Dataset> {
    const SHOWN: usize = 5;
    let twins = train.overlap(validation);
    if twins.is_empty() {
        return Ok(train);
    }
    let exact = twins
        .iter()
        .filter(|twin| twin.likeness == Likeness::Exact)
        .count();
    let count = format!(
        "{} pictures to train on are also there to validate on, {exact} of them to the pixel",
        twins.len()
    );
    if !allowed {
        let pairs = twins.iter().take(SHOWN).map(|twin| {
            let alike = if twin.likeness == Likeness::Exact {
                "is"
            } else {
                "is nearly"
            };
            format!(
                "\n  {} {alike} {}",
                train.samples[twin.left].id, validation.samples[twin.right].id
            )
        });
        let (pairs, more) = (
            pairs.collect::<String>(),
            if twins.len() > SHOWN { "\n  .." } else { "" },
        );
        bail!(
            "{count}:{pairs}{more}\ntake them out of one of the files, or go on with --allow-overlap, which leaves the equal ones out of training"
        );
    }
    let (train, dropped) = train.without(validation);
    listener.note(&format!(
        "note: {count}; {dropped} are left out of training (--allow-overlap)"
    ));
    if train.samples.is_empty() {
        bail!("no picture is left to train on: all are there to validate on");
    }
    Ok(train)
}

fn load(
    args: &TrainArgs,
    paths: &[PathBuf],
    frame: Preprocess,
    layout: &Layout,
    listener: &mut dyn Listener,
) -> anyhow::Result<Dataset> {
    let bar = listener.reading(&paths[0]);
    let Loaded { dataset, problems } = Dataset::load_all(paths, frame, layout, args.strict, &bar)?;
    bar.finish_and_clear();
    report_problems(args, &problems, dataset.samples.len(), listener)?;
    Ok(dataset)
}

/// Lists what had to be left out, or fails of it when strict.
fn report_problems(
    args: &TrainArgs,
    problems: &[Problem],
    used: usize,
    listener: &mut dyn Listener,
) -> anyhow::Result<()> {
    const SHOWN: usize = 10;
    let Some(first) = problems.first() else {
        return Ok(());
    };
    if args.strict {
        bail!("{first} (fatal because of --strict)");
    }
    for problem in problems.iter().take(SHOWN) {
        listener.note(&format!("left out: {problem}"));
    }
    if problems.len() > SHOWN {
        listener.note(&format!("left out: {} more", problems.len() - SHOWN));
    }
    listener.note(&format!(
        "{used} samples used, {} left out (--strict makes that an error)",
        problems.len()
    ));
    if let Some(advice) = hint::advice_on(problems) {
        listener.note(&format!("hint: {advice}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        assert_eq!(
            [
                seconds("90"),
                seconds("90s"),
                seconds("1.5m"),
                seconds("2h")
            ],
            [Ok(90.0), Ok(90.0), Ok(90.0), Ok(7200.0)]
        );
        for bad in ["", "0", "-3", "inf", "m", "1d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
