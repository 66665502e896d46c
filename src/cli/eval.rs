//! `seemore eval`: measures how good a model's captions are.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::data::{LayoutArgs, reading};
use super::devices::DeviceArgs;
use super::{default_model, hint, say, say_json};
use crate::cli::output::errln;
use crate::caption::Session;
use crate::data::{Dataset, Loaded};
use crate::eval::{EvalOptions, Evaluation, Report, references};
use crate::image::{ContactSheet, Picture, Preprocess};
use crate::models::checkpoint;
use crate::train::Text;

#[derive(Args)]
pub struct EvalArgs {
    /// Pictures with captions, in any format that `train --data` takes; several are evaluated as
    /// one
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|DIR")]
    data: Vec<PathBuf>,
    /// Checkpoint folder [default: the shipped data/checkpoints/emoji, else the newest in runs/]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Number of pictures to evaluate, from the first [default: all]
    #[arg(long, value_name = "PICTURES")]
    limit: Option<usize>,
    /// Number of pictures at once
    #[arg(long, default_value_t = 64, value_name = "PICTURES", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,

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
    for (flag, file) in [("--html", &args.html), ("--sheet", &args.sheet)] {
        if let Some(file) = file {
            check_output(flag, file, args)?;
        }
    }
    let dir = match &args.model {
        Some(dir) => dir.clone(),
        None => default_model()?,
    };
    let device = args.device.open()?;
    let session = Session::load(&device, &dir)?;
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
    let beam = args.beam as usize;
    let options = EvalOptions {
        batch: args.batch_size as usize,
        beam,
        length_power: args.length_power,
        max_tokens: args.max_tokens,
    };
    let bar = bar("captioning {wide_bar} {percent} %, {eta} left");
    let evaluation = Evaluation::run(&session, &dataset, options, &bar)?;
    bar.finish_and_clear();

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
    if args
        .data
        .iter()
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
    const SHOWN: usize = 10;
    let bar = reading(&args.data[0], args.json);
    let Loaded {
        dataset,
        problems,
        notes,
    } = Dataset::load_all(&args.data, frame, &args.layout.layout(), args.strict, &bar)?;
    bar.finish_and_clear();
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
    Ok(dataset)
}
