//! `seemore eval`: measures how good a model's captions are.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::data::{LayoutArgs, reading};
use super::devices::DeviceArgs;
use super::model::ModelArgs;
use super::progress::Reading;
use super::values::named;
use super::{hint, say, say_json};
use crate::caption::Session;
use crate::cli::output::errln;
use crate::data::{Dataset, Listing, Loaded, Sample};
use crate::eval::{
    EvalOptions, Evaluation, Predictions, Report, ScoredCaption, ScoredCaptions, coco_results,
    json_lines, references,
};
use crate::image::{ContactSheet, Picture, Preprocess};
use crate::models::checkpoint;
use crate::progress::{Progress, Silent};
use crate::text::Style;
use crate::train::{DataConfig, FeatureStore, Note, Observer, RunConfig, Text};

/// Bar of captions that are written.
const BAR: &str = "captioning {wide_bar} {percent} %, {eta} left";

/// Side of the pictures of a pretrained model in reports and on sheets, in pixels.
const SHOWN_SIDE: usize = 160;

#[derive(Args)]
pub struct EvalArgs {
    /// Pictures with captions, in any format that `train --data` takes; several are evaluated as
    /// one
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|DIR")]
    data: Vec<PathBuf>,
    /// Score the captions of a file instead of a model's: JSON Lines, or a JSON list such as the
    /// results of COCO
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "batch_size", "beam", "length_power", "max_tokens", "html", "sheet"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Question that a pretrained model is asked [default: the one that it was tuned with, else that
    /// of --style detailed]
    #[arg(long, value_name = "TEXT", help_heading = "Pretrained models")]
    prompt: Option<String>,
    /// Kind of caption that a pretrained model is asked for
    #[arg(long, value_parser = named::<Style>(), conflicts_with = "prompt", help_heading = "Pretrained models")]
    style: Option<Style>,
    /// Folder of the features of pictures, or off [default: that of trainings]
    #[arg(long, value_name = "DIR|off", help_heading = "Pretrained models")]
    feature_cache: Option<FeatureStore>,
    /// Number of pictures to evaluate, from the first [default: all]
    #[arg(long, value_name = "PICTURES")]
    limit: Option<usize>,
    /// Number of pictures at once [default: 64; 8 for pretrained models]
    #[arg(long, value_name = "PICTURES", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: Option<u16>,

    /// Beam width, in hypotheses; 1 is greedy
    #[arg(long, default_value_t = 1, value_name = "HYPOTHESES", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Captions")]
    beam: u16,
    /// Length normalization: exponent of the length by which log-probabilities are divided
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "POWER",
        help_heading = "Captions"
    )]
    length_power: f64,
    /// Maximum length of a caption, in tokens [default: 1.5 times the longest true one]
    #[arg(long, value_name = "TOKENS", help_heading = "Captions")]
    max_tokens: Option<usize>,

    /// Scores as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Report with confident mistakes and all pictures, as one HTML file
    #[arg(long, value_name = "FILE.html", help_heading = "Output")]
    html: Option<PathBuf>,
    /// Captions of all pictures: JSON Lines, or results of COCO if the name ends in .json
    #[arg(long, value_name = "FILE.jsonl|FILE.json", help_heading = "Output")]
    predictions: Option<PathBuf>,
    /// Contact sheet of pictures and captions, as a PNG file; the truth in brackets where a caption
    /// is wrong
    #[arg(long, value_name = "FILE.png", help_heading = "Output")]
    sheet: Option<PathBuf>,
    /// Number of pictures on the contact sheet
    #[arg(
        long,
        default_value_t = 48,
        value_name = "PICTURES",
        requires = "sheet",
        help_heading = "Output"
    )]
    sheet_size: usize,
    /// Replace existing output files
    #[arg(long, help_heading = "Output")]
    overwrite: bool,
    #[command(flatten, next_help_heading = "Data")]
    layout: LayoutArgs,
    /// Stop at the first unusable row instead of leaving it out
    #[arg(long, help_heading = "Data")]
    strict: bool,
    #[command(flatten, next_help_heading = "Device")]
    device: DeviceArgs,
}

pub fn run(args: &EvalArgs) -> anyhow::Result<()> {
    if !(args.length_power >= 0.0 && args.length_power.is_finite()) {
        bail!("--length-power {} must be at least 0", args.length_power);
    }
    for (flag, value) in [("--limit", args.limit), ("--max-tokens", args.max_tokens)] {
        if value == Some(0) {
            bail!("{flag} must be at least 1");
        }
    }
    let outputs = [
        ("--html", &args.html),
        ("--sheet", &args.sheet),
        ("--predictions", &args.predictions),
    ];
    for (flag, file) in outputs {
        if let Some(file) = file {
            check_output(flag, file, args)?;
        }
    }
    if let Some(from) = &args.from {
        return score(args, from);
    }
    let device = args.device.open()?;
    let session = args.model.load(&device)?;
    let pretrained = session.model().dialogue().is_some();
    let beam = args.beam as usize;
    let options = EvalOptions {
        batch: args
            .batch_size
            .unwrap_or(if pretrained { 8 } else { 64 })
            .into(),
        beam,
        length_power: args.length_power,
        max_tokens: args.max_tokens,
    };
    let (dataset, evaluation) = match pretrained {
        true => answers(args, &session, options)?,
        false => captions(args, &session, options)?,
    };
    write_predictions(args, &dataset.samples, &evaluation.captions)?;

    let dir = args.model.folder()?;
    let data: Vec<String> = args
        .data
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if args.json {
        let Evaluation {
            exact_match,
            scores,
            perplexity,
            captions_per_s,
            ref calibration,
            ..
        } = evaluation;
        let bins: Vec<_> = calibration
            .bins
            .iter()
            .map(|bin| json!({"from": bin.range.0, "to": bin.range.1, "n": bin.count, "probability": bin.probability, "accuracy": bin.accuracy}))
            .collect();
        let [bleu1, bleu2, bleu3, bleu4] = scores.bleu;
        let line = json!({
            "n": dataset.samples.len(), "exact_match": exact_match, "word_f1": scores.word_f1,
            "bleu1": bleu1, "bleu2": bleu2, "bleu3": bleu3, "bleu4": bleu4, "rouge_l": scores.rouge_l, "cider_d": scores.cider_d,
            "perplexity": perplexity, "captions_per_s": captions_per_s, "calibration": {"error": calibration.error, "bins": bins},
            "model": dir, "data": data, "adapter": device.adapter(), "beam": beam, "length_power": args.length_power,
        });
        say_json(&line.to_string());
    } else {
        evaluation
            .lines()
            .iter()
            .for_each(|(name, value)| say(&format!("{name:18} {value:>9}")));
    }
    if let Some(file) = &args.html {
        let adapter = device.adapter();
        let model = dir.display().to_string();
        let report = Report {
            evaluation: &evaluation,
            dataset: &dataset,
            model: &model,
            data: &data.join(", "),
            adapter: &adapter,
            beam,
        };
        checkpoint::write_file(file, report.to_string().as_bytes())?;
        errln!("report: {}", file.display());
    }
    if let Some(file) = &args.sheet {
        let mut sheet = ContactSheet::default();
        let all = dataset.samples.len();
        let shown = args.sheet_size.min(all);
        for place in 0..shown {
            // spread evenly over the data, in the middle of equal parts
            let index = (2 * place + 1) * all / (2 * shown);
            let (sample, scored) = (&dataset.samples[index], &evaluation.captions[index]);
            let text = if scored.exact {
                scored.caption.clone()
            } else {
                format!("{} [{}]", scored.caption, sample.caption)
            };
            let picture = Picture {
                width: dataset.side,
                height: dataset.side,
                rgb: sample.rgb.clone(),
            };
            sheet.add(&picture, &text);
        }
        sheet
            .save(file)
            .with_context(|| format!("cannot write {}", file.display()))?;
        errln!("sheet: {}", file.display());
    }
    Ok(())
}

/// Evaluates a model that was trained here.
fn captions(
    args: &EvalArgs,
    session: &Session,
    options: EvalOptions,
) -> anyhow::Result<(Dataset, Evaluation)> {
    let given = [
        ("--prompt", args.prompt.is_some()),
        ("--style", args.style.is_some()),
        ("--feature-cache", args.feature_cache.is_some()),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
        bail!("{flag} is for pretrained models, and this is none");
    }
    let mut dataset = load(args, session.info().preprocess)?;
    dataset.samples.truncate(args.limit.unwrap_or(usize::MAX));
    let (room, tokenizer) = (session.room(), session.tokenizer());
    let long = dataset
        .samples
        .iter()
        .flat_map(references)
        .filter(|truth| Text::new(tokenizer, truth).len() > room)
        .count();
    if long > 0 {
        errln!(
            "note: {long} true captions exceed the model's {room} text positions: it cannot write them, and perplexity counts only their beginnings"
        );
    }
    if tokenizer.begin().is_none() {
        errln!(
            "note: the model has no begin-of-text token: each caption starts from the first token of the true one"
        );
    }
    let bar = bar(BAR);
    let evaluation = Evaluation::run(session, &dataset, options, &bar)?;
    bar.finish_and_clear();
    Ok((dataset, evaluation))
}

/// Evaluates a pretrained model, and returns the samples with pixels only if pictures are to be
/// shown.
fn answers(
    args: &EvalArgs,
    session: &Session,
    options: EvalOptions,
) -> anyhow::Result<(Dataset, Evaluation)> {
    session.check_pictures()?;
    let layout = args.layout.layout();
    let mut config = RunConfig {
        data: DataConfig {
            train: args.data.clone(),
            strict: args.strict,
            ..DataConfig::of_layout(&layout)
        },
        ..RunConfig::default()
    };
    let family = session.model().config().family();
    let style = args.style.map(|style| style.prompt(family).to_owned());
    config.tune.prompt = args.prompt.clone().or(style);
    config.tune.tiles = session.tiling();
    if let Some(store) = &args.feature_cache {
        config.tune.features = store.clone();
    }
    let bar = bar(BAR);
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut notes = Notes { json: args.json };
    let measured = Evaluation::of_answers(session, &config, options, limit, &mut notes, &bar);
    let (mut dataset, evaluation) = measured?;
    bar.finish_and_clear();
    if args.html.is_some() || args.sheet.is_some() {
        let frame = Preprocess::from(SHOWN_SIDE);
        let shown = Dataset::load_all(&args.data, frame, &layout, false, &Silent)?.dataset;
        let pixels: HashMap<String, Vec<u8>> = shown
            .samples
            .into_iter()
            .map(|it| (it.id, it.rgb))
            .collect();
        dataset.side = SHOWN_SIDE;
        for sample in &mut dataset.samples {
            sample.rgb = pixels[&sample.id].clone();
        }
    }
    Ok((dataset, evaluation))
}

/// Shows what an evaluation of a pretrained model says about the data.
struct Notes {
    json: bool,
}

impl Observer for Notes {
    fn note(&mut self, note: &Note) {
        errln!("{}", hint::note(note));
    }

    fn reading(&mut self, files: &[PathBuf]) -> Box<dyn Progress> {
        let first = files.first().map_or(Path::new(""), PathBuf::as_path);
        Box::new(Reading(reading(first, self.json)))
    }
}

/// Scores captions that were made elsewhere.
fn score(args: &EvalArgs, from: &Path) -> anyhow::Result<()> {
    let layout = args.layout.layout();
    if layout.ignore_icc {
        bail!("--ignore-icc does not apply: --from scores captions without looking at pictures");
    }
    let listing = Listing::read(&args.data, &layout)?;
    Listing::check(&[&listing], &layout)?;
    let mut dataset = reported(listing.without_pictures(args.strict)?);
    dataset.samples.truncate(args.limit.unwrap_or(usize::MAX));
    let predictions = Predictions::read(from)?;
    let captions = predictions.captions(&dataset.samples, from)?;
    let count = captions.len();
    if predictions.len() > count {
        errln!(
            "note: {} of {} captions are of other pictures, or repeat one",
            predictions.len() - count,
            predictions.len()
        );
    }
    let written = captions.into_iter().map(|caption| (caption, f64::NAN));
    let scored = ScoredCaptions::new(&dataset.samples, written.collect());
    write_predictions(args, &dataset.samples, &scored.captions)?;
    let scores = &scored.scores;
    let [bleu1, bleu2, bleu3, bleu4] = scores.bleu;
    if args.json {
        let line = json!({
            "n": count, "exact_match": scored.exact_match, "word_f1": scores.word_f1,
            "bleu1": bleu1, "bleu2": bleu2, "bleu3": bleu3, "bleu4": bleu4, "rouge_l": scores.rouge_l, "cider_d": scores.cider_d,
            "from": from, "data": args.data,
        });
        say_json(&line.to_string());
        return Ok(());
    }
    say(&format!("{:18} {count:>9}", "pictures"));
    for (name, value) in [
        ("exact match", scored.exact_match),
        ("word F1", scores.word_f1),
        ("BLEU-1", bleu1),
        ("BLEU-2", bleu2),
        ("BLEU-3", bleu3),
        ("BLEU-4", bleu4),
        ("ROUGE-L", scores.rouge_l),
        ("CIDEr-D", scores.cider_d),
    ] {
        say(&format!("{name:18} {value:>9.4}"));
    }
    Ok(())
}

/// Writes the captions, if asked for.
fn write_predictions(
    args: &EvalArgs,
    samples: &[Sample],
    captions: &[ScoredCaption],
) -> anyhow::Result<()> {
    let Some(file) = &args.predictions else {
        return Ok(());
    };
    let results = file
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let text = match results {
        true => coco_results(samples, captions),
        false => json_lines(samples, captions),
    };
    checkpoint::write_file(file, text.as_bytes())?;
    errln!("captions: {}", file.display());
    Ok(())
}

/// Checks before any work that a file can be written.
fn check_output(flag: &str, file: &Path, args: &EvalArgs) -> anyhow::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail!(
            "{flag} {}: there is no folder {}",
            file.display(),
            folder.display()
        );
    }
    let inputs = args.data.iter().chain(&args.from);
    if inputs
        .into_iter()
        .any(|data| matches!((data.canonicalize(), file.canonicalize()), (Ok(a), Ok(b)) if a == b))
    {
        bail!(
            "{flag} would overwrite the data {}: give another name",
            file.display()
        );
    }
    if file.is_dir() || (file.exists() && !args.overwrite) {
        bail!(
            "{} is already there: give another name to {flag}, or add --overwrite",
            file.display()
        );
    }
    Ok(())
}

/// A progress bar on standard error, shown on terminals only.
fn bar(template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
    bar
}

/// Loads the pictures of all files and reports those that are left out.
fn load(args: &EvalArgs, frame: Preprocess) -> anyhow::Result<Dataset> {
    let bar = reading(&args.data[0], args.json);
    let loaded = Dataset::load_all(&args.data, frame, &args.layout.layout(), args.strict, &bar)?;
    bar.finish_and_clear();
    Ok(reported(loaded))
}

/// Reports how files were read and what is left out.
fn reported(loaded: Loaded) -> Dataset {
    const SHOWN: usize = 10;
    let Loaded {
        dataset,
        problems,
        notes,
    } = loaded;
    for note in notes {
        errln!("note: {note}");
    }
    problems
        .iter()
        .take(SHOWN)
        .for_each(|problem| errln!("left out: {problem}"));
    if !problems.is_empty() {
        errln!(
            "{} samples used, {} left out (--strict makes that an error)",
            dataset.samples.len(),
            problems.len()
        );
    }
    if let Some(advice) = hint::advice_on(&problems) {
        errln!("hint: {advice}");
    }
    dataset
}
