//! The flags of `train`, one entry for each.
//!
//! A new setting is a field of [`RunConfig`](crate::train::RunConfig) and an entry here.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::builder::TypedValueParser;
use clap::{Arg, ArgAction, value_parser};

use super::flag::{Flag, arg, choice, field, list, optional, switch, text, value};
use crate::cli::values::named;
use crate::image::{Augment, Strength, Tiling};
use crate::models::{Part, Preset};
use crate::named::Named;
use crate::text::TokenKind;
use crate::track::Target;
use crate::train::{BatchSize, FeatureStore, Tuned};

/// Returns the name of the flag that changes the setting at a dotted path.
pub fn flag_of(field: &str) -> Option<String> {
    flags()
        .iter()
        .find(|flag| flag.field == field)
        .map(|flag| flag.name().to_owned())
}

/// Returns all flags in the order of the help text.
pub fn flags() -> Vec<Flag> {
    let sections = [
        ("Data", data()),
        ("Model", model()),
        ("Pretrained models", tuning()),
        ("Length", length()),
        ("Batch and memory", batch()),
        ("Optimizer", optimizer()),
        ("Augmentation", augmentation()),
        ("Run folder", folder()),
        ("Reports", reports()),
    ];
    sections
        .into_iter()
        .flat_map(|(heading, flags)| {
            flags
                .into_iter()
                .map(move |flag| flag.with(|arg| arg.help_heading(heading)))
        })
        .collect()
}

fn data() -> Vec<Flag> {
    vec![
        paths(
            "data",
            "data.train",
            "Training pictures with captions: a folder, CSV, JSON, COCO, WebDataset and more (docs/data.md) [default: data/inputs.csv]",
        ),
        paths(
            "val-data",
            "data.validation",
            "Validation pictures, never trained on [default: data/inputs_val.csv without --data]",
        ),
        optional(
            "val-split",
            "FRACTION",
            field!(data.validation_split),
            below_one,
            "Fraction of --data to validate on instead [default: 0.1 without --val-data]",
        )
        .with(|arg| arg.conflicts_with("val-data")),
        switch(
            "allow-overlap",
            field!(data.allow_overlap),
            true,
            "Leave training pictures out that are also in --val-data, instead of failing",
        )
        .rare(),
        switch(
            "strict",
            field!(data.strict),
            true,
            "Fail on the first row that cannot be used, instead of leaving it out",
        )
        .rare(),
        text(
            "image-column",
            "NAME",
            field!(data.image_column),
            "Column or field with the pictures [default: the first usual name, such as image or file_name]",
        )
        .rare(),
        text(
            "caption-column",
            "NAME",
            field!(data.caption_column),
            "Column or field with the captions, or the ending of caption files [default: the first usual name, such as caption or text]",
        )
        .rare(),
        optional(
            "images",
            "DIR",
            field!(data.images),
            value_parser!(PathBuf),
            "Folder of the pictures that files name [default: the file's own folder]",
        )
        .rare(),
        list(
            "split",
            "NAMES",
            field!(data.splits),
            value_parser!(String),
            "Parts of --data to train on, such as train [default: all]",
        )
        .with(|arg| arg.value_delimiter(','))
        .rare(),
        list(
            "val-parts",
            "NAMES",
            field!(data.validation_splits),
            value_parser!(String),
            "Parts to validate on, such as val, of --val-data, or of --data without that [default: all of --val-data]",
        )
        .with(|arg| arg.value_delimiter(',').conflicts_with("val-split"))
        .rare(),
        optional(
            "depth",
            "LEVELS",
            field!(data.depth),
            value_parser!(u64).map(|depth| depth as usize),
            "Levels of subfolders to read; 0 for the folder alone [default: all]",
        )
        .rare(),
        switch(
            "ignore-icc",
            field!(data.ignore_icc),
            true,
            "Take the colors of all pictures for sRGB, whatever their color profiles say",
        )
        .rare(),
        optional(
            "text",
            "FILE.txt",
            field!(data.text),
            value_parser!(PathBuf),
            "Text file whose lines the decoder trains on, instead of pictures",
        )
        .with(|arg| arg.conflicts_with_all(["data", "val-data", "class-loss"]))
        .rare(),
    ]
}

fn model() -> Vec<Flag> {
    vec![
        Flag::custom(
            arg("preset", "NAME", "Named model sizes [default: seemore]")
                .value_parser(named::<Preset>()),
            "model.preset",
            |matches, config| {
                config.model.preset = *matches.get_one("preset").expect("it is given");
                config.model.file = None;
                Ok(())
            },
        ),
        optional(
            "config",
            "FILE.json",
            field!(model.file),
            value_parser!(PathBuf),
            "Model sizes from a file, such as the config.json of a checkpoint",
        )
        .with(|arg| arg.conflicts_with("preset"))
        .rare(),
        optional(
            "dropout",
            "PROBABILITY",
            field!(model.dropout),
            below_one_f32,
            "Dropout probability [default: the model's]",
        )
        .rare(),
        Flag::custom(
            arg(
                "tokenizer",
                "KIND|FILE.json",
                "Tokens: characters, words, bpe, or a tokenizer.json [default: characters]",
            )
            .value_parser(vocabulary),
            "tokenizer.kind",
            |matches, config| {
                let vocabulary: &Vocabulary = matches.get_one("tokenizer").expect("it is given");
                match vocabulary {
                    Vocabulary::Train(kind) => {
                        config.tokenizer.kind = *kind;
                        config.tokenizer.file = None;
                    }
                    Vocabulary::File(path) => config.tokenizer.file = Some(path.clone()),
                }
                Ok(())
            },
        ),
        optional(
            "pad-token",
            "TOKEN",
            field!(tokenizer.pad_token),
            value_parser!(String),
            "Token of a --tokenizer file for padding [default: <pad>, [PAD] and the like, else the end of a text]",
        )
        .rare(),
        optional(
            "eos-token",
            "TOKEN",
            field!(tokenizer.end_token),
            value_parser!(String),
            "Token of a --tokenizer file for the end of a text [default: </s>, <|endoftext|> and the like]",
        )
        .rare(),
        optional(
            "vocab-size",
            "TOKENS",
            field!(tokenizer.vocab_size),
            value_parser!(u64).map(|size| size as usize),
            "Largest vocabulary of words or bpe [default: all words, 1024 for bpe]",
        )
        .rare(),
        optional(
            "load",
            "DIR",
            field!(init.load),
            value_parser!(PathBuf),
            "Checkpoint to start from, for tensors of the same name and shape",
        ),
        list(
            "load-parts",
            "PARTS",
            field!(init.parts),
            named::<Part>(),
            "Parts to take from --load [default: all]",
        )
        .with(|arg| arg.value_delimiter(','))
        .rare(),
        list(
            "freeze",
            "PARTS",
            field!(model.freeze),
            named::<Part>(),
            "Parts that do not train",
        )
        .with(|arg| arg.value_delimiter(','))
        .rare(),
        switch(
            "no-prototypes",
            field!(init.prototypes),
            false,
            "Start the class head at random, instead of with the mean image vector of each concept",
        )
        .rare(),
    ]
}

/// Learning rate for whole parts of a pretrained model, which forget with a higher one.
const RATE_OF_PARTS: f64 = 5e-5;

fn tuning() -> Vec<Flag> {
    vec![
        Flag::custom(
            arg(
                "model",
                "MODEL",
                "Pretrained model to tune: a folder, or a name of `seemore models`; pictures are then not changed unless --augment is given",
            )
            .value_parser(value_parser!(PathBuf))
            .conflicts_with_all(["preset", "config", "tokenizer", "load", "freeze"]),
            "model.base",
            |matches, config| {
                config.model.base = matches.get_one("model").cloned();
                config.augment = Augment::none();
                config.tune.round = true;
                Ok(())
            },
        ),
        Flag::custom(
            arg(
                "tune",
                "PARTS",
                "What trains of --model [default: projector of a new composition, else lora]",
            )
            .value_parser(named::<Tuned>())
            .value_delimiter(',')
            .action(ArgAction::Append),
            "tune.parts",
            |matches, config| {
                let parts = matches.get_many("tune").expect("it is given");
                config.tune.parts = parts.copied().collect();
                let whole = [Tuned::Decoder, Tuned::All];
                if whole.iter().any(|part| config.tune.parts.contains(part)) {
                    config.schedule.learning_rate = RATE_OF_PARTS;
                }
                Ok(())
            },
        ),
        value(
            "rank",
            "ROWS",
            field!(tune.rank),
            value_parser!(u64).map(|rank| rank as usize),
            "Rank of adapters",
        )
        .rare(),
        value(
            "alpha",
            "NUMBER",
            field!(tune.alpha),
            value_parser!(f64),
            "Numerator of the adapters' scale, alpha / rank",
        )
        .rare(),
        switch(
            "rslora",
            field!(tune.rslora),
            true,
            "Scale adapters by alpha / sqrt(rank)",
        )
        .rare(),
        value(
            "lora-dropout",
            "PROBABILITY",
            field!(tune.dropout),
            value_parser!(f32),
            "Dropout in front of adapters",
        )
        .rare(),
        optional(
            "targets",
            "REGEX",
            field!(tune.targets),
            value_parser!(String),
            "Whole names of layers with adapters [default: linear layers of the decoder]",
        )
        .rare(),
        choice(
            "style",
            "STYLE",
            field!(tune.style),
            "Kind of caption that the captions are, which decides the question",
        )
        .rare(),
        optional(
            "prompt",
            "TEXT",
            field!(tune.prompt),
            value_parser!(String),
            "Question about a picture, in place of that of --style",
        )
        .with(|arg| arg.conflicts_with("style"))
        .rare(),
        value(
            "tiles",
            "TILES",
            field!(tune.tiles),
            |text: &str| text.parse::<Tiling>(),
            "Tiles that the model sees a picture in: 1, auto, or at most so many along the longer edge",
        )
        .rare(),
        switch(
            "fit",
            field!(tune.fit),
            true,
            "Begin with the position of the whole picture fitted to the words of the answers, for a new composition",
        )
        .rare(),
        paths(
            "fit-data",
            "tune.fit_data",
            "Further pictures with questions and answers that --fit finds names in, not trained on",
        )
        .with(|arg| arg.requires("fit"))
        .rare(),
        value(
            "feature-cache",
            "DIR|off",
            field!(tune.features),
            |text: &str| text.parse::<FeatureStore>(),
            "Folder of the features of a frozen image encoder; off encodes pictures in every step",
        )
        .rare(),
        switch(
            "exact",
            field!(tune.round),
            false,
            "Compute exactly with frozen weights of 16 bits or less, instead of in bf16 where that is faster",
        )
        .rare(),
    ]
}

fn length() -> Vec<Flag> {
    vec![
        optional(
            "steps",
            "STEPS",
            field!(budget.steps),
            value_parser!(u64).range(1..),
            "Optimizer steps [default: 200, or 210 s where they take longer]",
        ),
        optional(
            "epochs",
            "NUMBER",
            field!(budget.epochs),
            value_parser!(f64),
            "Passes over the training pictures, instead of --steps",
        )
        .with(|arg| arg.conflicts_with("steps")),
        optional(
            "max-time",
            "TIME",
            field!(budget.seconds),
            seconds,
            "Longest training time, such as 90s, 15m or 2h",
        ),
        optional(
            "patience",
            "VALIDATIONS",
            field!(validation.patience),
            value_parser!(u64).range(1..),
            "Validations without improvement after which training ends; needs --eval-every",
        )
        .rare(),
        value(
            "seed",
            "NUMBER",
            field!(seed),
            value_parser!(u64),
            "Seed of everything random; repeats a run bit for bit on the same adapter",
        ),
    ]
}

fn batch() -> Vec<Flag> {
    vec![
        value(
            "batch-size",
            "PICTURES|auto",
            field!(batch.size),
            |text: &str| text.parse::<BatchSize>(),
            "Pictures in one step; auto for as many as fit the device",
        )
        .with(|arg| arg.visible_alias("batch")),
        value(
            "accumulate",
            "PARTS",
            field!(batch.accumulate),
            value_parser!(u64).map(|parts| parts as usize),
            "Parts that a batch is computed in, for less memory at the same result",
        )
        .rare(),
        switch(
            "checkpoint-activations",
            field!(memory.checkpoint_activations),
            true,
            "Recompute activations in the backward pass: about half the memory of large batches, a fifth more time",
        )
        .rare(),
        choice(
            "precision",
            "FORMAT",
            field!(batch.precision),
            "Number format of the operands of matrix products and attention; f16 scales the loss",
        )
        .rare(),
        choice(
            "allreduce",
            "FORMAT",
            field!(batch.allreduce),
            "Number format in which ranks exchange gradients (docs/cluster.md); with f16 results differ from those of one process",
        )
        .rare(),
        value(
            "variants",
            "FRACTION",
            field!(batch.variants),
            fraction,
            "Fraction of the variants that an epoch shows: pictures whose caption is not their concept",
        )
        .rare(),
    ]
}

fn optimizer() -> Vec<Flag> {
    vec![
        value(
            "lr",
            "RATE",
            field!(schedule.learning_rate),
            value_parser!(f64),
            "Peak learning rate",
        ),
        value(
            "warmup",
            "STEPS",
            field!(schedule.warmup),
            value_parser!(u64),
            "Steps until the peak learning rate",
        )
        .rare(),
        choice(
            "schedule",
            "NAME",
            field!(schedule.shape),
            "Learning-rate schedule after warm-up",
        )
        .rare(),
        choice(
            "optimizer",
            "NAME",
            field!(optimizer.rule),
            "Update rule",
        )
        .rare(),
        value(
            "weight-decay",
            "NUMBER",
            field!(optimizer.weight_decay),
            value_parser!(f64),
            "AdamW weight decay, per step and unit of learning rate",
        )
        .rare(),
        choice(
            "decay",
            "PARAMETERS",
            field!(optimizer.decay),
            "Parameters that weight decay applies to",
        )
        .rare(),
        choice(
            "moments",
            "TYPE",
            field!(optimizer.moments),
            "How the moments of gradients are kept",
        )
        .rare(),
        value(
            "beta2",
            "NUMBER",
            field!(optimizer.beta2),
            below_one,
            "Decay of AdamW's second moment",
        )
        .rare(),
        value(
            "clip",
            "NORM",
            field!(optimizer.clip),
            value_parser!(f64),
            "Largest norm of all gradients together; 0 for no limit",
        )
        .rare(),
        value(
            "ema",
            "NUMBER",
            field!(optimizer.ema),
            below_one,
            "Decay of the exponential moving average of the weights, which is then validated and saved; 0 disables it",
        )
        .rare(),
        value(
            "label-smoothing",
            "FRACTION",
            field!(loss.label_smoothing),
            below_one_f32,
            "Label smoothing: probability mass spread over the whole vocabulary",
        )
        .rare(),
        value(
            "class-loss",
            "WEIGHT",
            field!(loss.classes),
            weight,
            "Weight of the class loss, which names a picture's concept by a class head; 0 for no class head",
        )
        .rare(),
        value(
            "caption-loss",
            "WEIGHT",
            field!(loss.captions),
            weight,
            "Weight of the caption loss; 0 trains the image encoder alone",
        )
        .rare(),
        choice(
            "on-nan",
            "ACTION",
            field!(guard.on_nan),
            "Action on a step whose loss or gradients are not finite",
        )
        .rare(),
    ]
}

fn augmentation() -> Vec<Flag> {
    vec![
        Flag::custom(
            arg(
                "augment",
                "STRENGTH",
                "Random changes of the training pictures [default: light]",
            )
            .value_parser(named::<Strength>()),
            "augment",
            |matches, config| {
                let strength: Strength = *matches.get_one("augment").expect("it is given");
                config.augment = strength.into();
                Ok(())
            },
        ),
        Flag::custom(
            arg(
                "augment-config",
                "FILE.json",
                "Random changes from a file; what it leaves out is not done",
            )
            .value_parser(value_parser!(PathBuf))
            .conflicts_with("augment"),
            "augment",
            |matches, config| {
                let path: &PathBuf = matches.get_one("augment-config").expect("it is given");
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let augment: Augment = serde_json::from_str(&text)
                    .with_context(|| format!("{} is not an augmentation", path.display()))?;
                augment
                    .check()
                    .map_err(|reason| anyhow!("{}: {reason}", path.display()))?;
                config.augment = augment;
                Ok(())
            },
        )
        .rare(),
        Flag::custom(
            Arg::new("no-augment")
                .long("no-augment")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["augment", "augment-config"])
                .help("Alias of --augment none"),
            "augment",
            |_, config| {
                config.augment = Augment::none();
                Ok(())
            },
        )
        .rare(),
    ]
}

fn folder() -> Vec<Flag> {
    vec![
        optional(
            "out",
            "DIR",
            field!(checkpoint.out),
            value_parser!(PathBuf),
            "Run folder [default: the first free one of runs/PRESET-1, runs/PRESET-2, ..]",
        ),
        switch(
            "overwrite",
            field!(checkpoint.overwrite),
            true,
            "Replace a checkpoint in --out",
        ),
        value(
            "save-every",
            "STEPS",
            field!(checkpoint.every),
            value_parser!(u64),
            "Steps between saves; 0 saves by time and at the end",
        ),
        value(
            "save-time",
            "TIME",
            field!(checkpoint.seconds),
            seconds_or_none,
            "Longest time between saves, such as 90s, 15m or 2h; 0 for none by time; in seconds",
        )
        .rare(),
        value(
            "keep",
            "STATES",
            field!(checkpoint.keep),
            value_parser!(u64).range(1..).map(|keep| keep as usize),
            "Saved states to keep, the newest ones",
        )
        .rare(),
    ]
}

fn reports() -> Vec<Flag> {
    vec![
        value(
            "eval-every",
            "STEPS",
            field!(validation.every),
            value_parser!(u64),
            "Steps between validations; 0 validates at the end only",
        ),
        value(
            "log-every",
            "STEPS",
            field!(log.every),
            value_parser!(u64).range(1..),
            "Steps between reports of the loss",
        )
        .rare(),
        list(
            "track",
            "KIND=WHERE",
            field!(tracking.targets),
            |text: &str| text.parse::<Target>(),
            "Tracker: csv=FILE, tensorboard=DIR or mlflow=URI; may be repeated",
        ),
        value(
            "track-every",
            "STEPS",
            field!(tracking.every),
            value_parser!(u64),
            "Fewest steps between tracked rows or points",
        )
        .rare(),
        optional(
            "track-experiment",
            "NAME",
            field!(tracking.experiment),
            value_parser!(String),
            "Experiment on the MLflow server [default: seemore]",
        )
        .rare(),
        optional(
            "track-run",
            "NAME",
            field!(tracking.run),
            value_parser!(String),
            "Name of the run on the MLflow server [default: the name of the run folder]",
        )
        .rare(),
    ]
}

/// A flag with files or folders, separated by spaces or commas.
fn paths(name: &'static str, path: &'static str, help: &str) -> Flag {
    let arg = arg(name, "FILE|DIR", help)
        .value_parser(value_parser!(PathBuf))
        .num_args(1..)
        .action(ArgAction::Append);
    Flag::custom(arg, path, move |matches, config| {
        let given = matches.get_many::<PathBuf>(name).expect("it is given");
        let paths = given.flat_map(|path| split(path)).collect();
        match path {
            "data.train" => config.data.train = paths,
            "tune.fit_data" => config.tune.fit_data = paths,
            _ => config.data.validation = paths,
        }
        Ok(())
    })
}

/// The paths of a value, with commas between them unless it is the name of a file.
fn split(path: &Path) -> Vec<PathBuf> {
    match path.to_str() {
        Some(text) if !path.exists() => text
            .split(',')
            .filter(|part| !part.is_empty())
            .map(PathBuf::from)
            .collect(),
        _ => vec![path.to_owned()],
    }
}

/// The value of `--tokenizer`.
#[derive(Debug, Clone)]
enum Vocabulary {
    Train(TokenKind),
    File(PathBuf),
}

/// Parses the value of `--tokenizer`.
fn vocabulary(text: &str) -> Result<Vocabulary, String> {
    match TokenKind::named(text) {
        Some(kind) => Ok(Vocabulary::Train(kind)),
        None if text.ends_with(".json") => Ok(Vocabulary::File(text.into())),
        None => Err("expected characters, words, bpe, or a file that ends in .json".into()),
    }
}

/// Parses a time such as 90, 90s, 15m or 2h into seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value * unit),
        _ => Err("expected a time above 0, such as 90, 90s, 15m or 2h".into()),
    }
}

/// Parses a duration, or 0.
fn seconds_or_none(text: &str) -> Result<f64, String> {
    match text {
        "0" => Ok(0.0),
        text => seconds(text),
    }
}

/// Parses a number from 0 to 1.
fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// Parses a number of at least 0 and below 1.
fn below_one(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("expected a number of at least 0 and below 1".into()),
    }
}

fn below_one_f32(text: &str) -> Result<f32, String> {
    // also after rounding
    match below_one(text)? as f32 {
        value if value < 1.0 => Ok(value),
        _ => Err("expected a number of at least 0 and below 1".into()),
    }
}

/// Parses the weight of a loss.
fn weight(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number of at least 0".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn parses_times_with_units() {
        assert_eq!(
            ["90", "90s", "1.5m", "2h"].map(seconds),
            [Ok(90.0), Ok(90.0), Ok(90.0), Ok(7200.0)]
        );
        for bad in ["", "0", "-3", "inf", "m", "1d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
