//! `seemore caption`: pictures in, captions out.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::AdapterArgs;
use crate::caption::Captioner;
use crate::caption::Sampling;
use crate::explain::heatmap;
use crate::image::{MAX_BYTES, Picture};
use crate::models::checkpoint;

#[derive(Args)]
pub struct CaptionArgs {
    /// Pictures (PNG, JPEG, WebP, GIF or BMP; at most 64,000,000 pixels, 65,535 along a side and 579,108,864 bytes; decoding the largest takes 840 MB of memory); `-` reads one from standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Checkpoint folder [default: the newest in runs/]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Write a picture that shows where the model looked for each token; with several pictures, IMAGE's file name is put in front, as in IMAGE.jpg-FILE.png
    #[arg(long, value_name = "FILE.png")]
    attention: Option<PathBuf>,
    /// Replace the files of --attention that are there; never a picture that is captioned
    #[arg(long)]
    overwrite: bool,
    /// Text that the caption starts with
    #[arg(long, default_value = "")]
    prompt: String,
    /// Most tokens to write; the model's room for positions is a limit, too
    #[arg(long, default_value_t = 64, value_name = "TOKENS")]
    max_tokens: usize,
    /// 0 takes the likeliest token every time; higher is more varied
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Choose among the so many likeliest tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    top_k: usize,
    /// Choose among the likeliest tokens that together reach this probability; 1 for all
    #[arg(long, default_value_t = 1.0, value_name = "PROBABILITY")]
    top_p: f32,
    /// Seed of the choice when the temperature is above 0
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Hypotheses kept while the caption is written, of which the likeliest whole caption is taken; 1 takes the likeliest token every time
    #[arg(long, default_value_t = 1, value_name = "HYPOTHESES", value_parser = clap::value_parser!(u16).range(1..), conflicts_with_all = ["attention", "temperature", "top_k", "top_p", "seed"])]
    beam: u16,
    /// Rank hypotheses by their log-probability over their length to this power: 0 by the probability of the whole caption, 1 by the mean of its tokens
    #[arg(long, default_value_t = 0.0, value_name = "POWER", requires = "beam")]
    length_power: f64,
    /// Print so many captions of the beam, each with its log-probability in front
    #[arg(long, value_name = "CAPTIONS", requires = "beam")]
    n_best: Option<usize>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

pub fn run(args: &CaptionArgs) -> anyhow::Result<()> {
    if !(args.temperature >= 0.0 && args.temperature.is_finite()) {
        bail!("--temperature {} must be 0 or more", args.temperature);
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        bail!("--top-p {} must be above 0 and at most 1", args.top_p);
    }
    if !(args.length_power >= 0.0 && args.length_power.is_finite()) {
        bail!("--length-power {} must be 0 or more", args.length_power);
    }
    if let Some(count) = args
        .n_best
        .filter(|count| !(1..=args.beam as usize).contains(count))
    {
        bail!("--n-best {count} must be from 1 to --beam {}", args.beam);
    }
    let mut looks = looks(args)?;
    let dir = match &args.model {
        Some(dir) => dir.clone(),
        None => default_model()?,
    };
    let device = args.adapter.open()?;
    eprintln!("model: {}", dir.display());
    let mut captioner = Captioner::load(&device, &dir)?;
    let unknown = captioner.tokenizer().unknown_parts(&args.prompt);
    if !unknown.is_empty() {
        let list: Vec<String> = unknown.iter().map(|part| format!("{part:?}")).collect();
        eprintln!(
            "warning: the model does not know this of --prompt: {}",
            list.join(" ")
        );
    }
    if args.attention.is_some() && !captioner.looks() {
        eprintln!("warning: this model has no attention to show: --attention writes nothing");
        looks.fill(None);
    }
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
    };
    let mut failures = 0;
    for (path, look) in args.images.iter().zip(&looks) {
        match caption(args, &mut captioner, path, look.as_deref(), sampling) {
            Ok(()) => {}
            // whoever read the captions has read enough
            Err(error)
                if error
                    .downcast_ref::<std::io::Error>()
                    .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) =>
            {
                break;
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                failures += 1;
            }
        }
    }
    match failures {
        0 => Ok(()),
        _ => bail!(
            "{failures} of {} pictures were not captioned",
            args.images.len()
        ),
    }
}

/// For each picture, the file that `--attention` writes. All are checked before the first caption, so that none is overwritten
/// and no work is lost.
fn looks(args: &CaptionArgs) -> anyhow::Result<Vec<Option<PathBuf>>> {
    let Some(file) = &args.attention else {
        return Ok(vec![None; args.images.len()]);
    };
    if file
        .extension()
        .is_none_or(|ending| !ending.eq_ignore_ascii_case("png"))
    {
        bail!("--attention {} must end in .png", file.display());
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail!(
            "--attention {}: there is no folder {}",
            file.display(),
            folder.display()
        );
    }
    let (mut looks, mut seen) = (vec![], BTreeSet::new());
    for image in &args.images {
        let look = if args.images.len() > 1 {
            let image = image.file_name().unwrap_or_default().to_string_lossy();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            file.with_file_name(format!("{image}-{name}"))
        } else {
            file.clone()
        };
        let shown = look.display();
        let is_look = |path: &PathBuf| matches!((path.canonicalize(), look.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if args.images.iter().any(is_look) {
            bail!("--attention would overwrite the picture {shown}: give another name");
        }
        if look.exists() && !args.overwrite {
            bail!("{shown} is already there: give another name to --attention, or add --overwrite");
        }
        if !seen.insert(look.clone()) {
            bail!(
                "two pictures would have their attention written to {shown}: caption them one at a time"
            );
        }
        looks.push(Some(look));
    }
    Ok(looks)
}

fn caption(
    args: &CaptionArgs,
    captioner: &mut Captioner,
    path: &Path,
    look: Option<&Path>,
    sampling: Sampling,
) -> anyhow::Result<()> {
    let picture = if path.as_os_str() == "-" {
        let mut bytes = vec![];
        // a byte more than is decoded, which tells that there are more
        std::io::stdin()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .context("standard input")?;
        if bytes.len() as u64 > MAX_BYTES {
            bail!(
                "standard input has more than {MAX_BYTES} bytes, which no picture has; make it smaller"
            );
        }
        Picture::decode(&bytes).context("standard input")?
    } else {
        Picture::open(path)?
    };
    let mut out = std::io::stdout();
    let name = if args.images.len() > 1 {
        format!("{}: ", path.display())
    } else {
        String::new()
    };
    if args.beam > 1 || args.n_best.is_some() {
        let found = captioner.likeliest(
            &picture,
            &args.prompt,
            args.max_tokens,
            args.beam as usize,
            args.length_power,
        )?;
        for whole in found.iter().take(args.n_best.unwrap_or(1)) {
            let probability = if args.n_best.is_some() {
                format!("{:.4}  ", whole.log_probability)
            } else {
                String::new()
            };
            writeln!(out, "{name}{probability}{}{}", args.prompt, whole.text)?;
        }
        return Ok(());
    }
    // printed with the first token, when nothing can be wrong with the prompt any more
    let mut head = Some(format!(
        "{name}{}",
        captioner.tokenizer().as_prompt(&args.prompt)
    ));
    let mut printed = Ok(());
    let mut show = |token: &crate::caption::CaptionToken| {
        printed = write!(out, "{}{}", head.take().unwrap_or_default(), token.text)
            .and_then(|()| out.flush());
        printed.is_ok()
    };
    let written = captioner.caption(
        &picture,
        &args.prompt,
        args.max_tokens,
        sampling,
        look.is_some(),
        &mut show,
    )?;
    printed?;
    writeln!(out, "{}", head.unwrap_or_default())?;
    if let Some(file) = look {
        heatmap::save(file, &captioner.shown(&picture), &written)
            .with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("attention: {}", file.display());
    }
    Ok(())
}

/// The model to use when none is named: the shipped one, else that of the last run.
pub(super) fn default_model() -> anyhow::Result<PathBuf> {
    let nothing = "no --model given, and neither data/checkpoints/emoji nor a checkpoint in runs/ is here: train one with `seemore train`";
    checkpoint::shipped().or_else(newest_run).context(nothing)
}

/// The checkpoint folder in `runs/` that was written last.
fn newest_run() -> Option<PathBuf> {
    let folders = std::fs::read_dir("runs")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let dated = folders.filter_map(|dir| {
        Some((
            dir.join("model.safetensors")
                .metadata()
                .ok()?
                .modified()
                .ok()?,
            dir,
        ))
    });
    dated.max().map(|(_, dir)| dir)
}
