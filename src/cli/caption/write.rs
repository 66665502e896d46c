//! Captions of many pictures, written to files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;

use super::inputs::Inputs;
use crate::caption::{Cancel, CaptionError, CaptionOptions, ModelInput, Session};
use crate::cli::output::{errln, outln};
use crate::data::{CaptionSink, Existing, Format, PictureFile};
use crate::image::{ColorProfiles, Picture};

/// Kind of files that captions are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteAs {
    /// A `.txt` file for each picture.
    Txt,
    /// A `.caption` file for each picture.
    Caption,
    /// JSON Lines.
    Jsonl,
    /// CSV with the names of pictures.
    Csv,
    /// COCO captions.
    Coco,
    /// `metadata.csv` of ImageFolder.
    Metadata,
}

/// Opens what the captions are written to; `out` is a file or folder, by default beside the
/// pictures.
pub fn sink(
    kind: WriteAs,
    out: Option<PathBuf>,
    existing: Existing,
    inputs: &Inputs,
) -> anyhow::Result<CaptionSink> {
    let (format, name) = match kind {
        WriteAs::Txt => return Ok(CaptionSink::sidecars("txt", out, existing)),
        WriteAs::Caption => return Ok(CaptionSink::sidecars("caption", out, existing)),
        WriteAs::Jsonl => (Format::Jsonl, "captions.jsonl"),
        WriteAs::Csv => (Format::Flickr, "captions.csv"),
        WriteAs::Coco => (Format::Coco, "captions.json"),
        WriteAs::Metadata => (Format::Metadata, "metadata.csv"),
    };
    let path = match out {
        Some(out) if out.is_dir() || kind == WriteAs::Metadata && out.extension().is_none() => {
            out.join(name)
        }
        Some(out) => out,
        None => inputs.folder.clone().unwrap_or_default().join(name),
    };
    Ok(CaptionSink::file(&path, format, existing)?)
}

/// Time from which a run is long enough to be announced.
const ANNOUNCED: Duration = Duration::from_secs(10);

/// How captions are made and what stands around them.
pub struct Job {
    pub options: CaptionOptions,
    pub profiles: ColorProfiles,
    /// Puts the text to write together from the caption of the model.
    pub text: Box<dyn Fn(&str) -> String>,
}

/// Captions the pictures that have none, and prints how many were written, kept and not possible.
pub fn run(
    session: &dyn Fn() -> anyhow::Result<Session>,
    inputs: &Inputs,
    mut sink: CaptionSink,
    job: impl FnOnce(&Session) -> anyhow::Result<Job>,
) -> anyhow::Result<()> {
    if inputs
        .pictures
        .iter()
        .any(|picture| picture.path.as_os_str() == "-")
    {
        bail!("--write needs pictures in files, not standard input");
    }
    let resumed = sink.resumed();
    let todo: Vec<&PictureFile> = inputs
        .pictures
        .iter()
        .filter(|it| !sink.keeps(it))
        .collect();
    let kept = inputs.pictures.len() - todo.len();
    if resumed > 0 {
        errln!("note: {resumed} captions of a run that was stopped are taken up");
    }
    let (mut written, mut failed, mut unsure) = (0, 0, vec![]);
    let mut stopped = false;
    let start = Instant::now();
    if !todo.is_empty() {
        let session = session()?;
        let job = job(&session)?;
        let stop = on_signal()?;
        let bar = bar(todo.len());
        let begun = Instant::now();
        let failure = |picture: &PictureFile, reason: &str| {
            let text = match reason.contains(&picture.path.display().to_string()) {
                true => format!("error: {reason}"),
                false => format!("error: {}: {reason}", picture.path.display()),
            };
            bar.suspend(|| errln!("{text}"));
        };
        for batch in todo.chunks(job.options.batch_size.max(1)) {
            if stop.load(Ordering::Relaxed) {
                stopped = true;
                break;
            }
            let open = |picture: &&PictureFile| -> Result<ModelInput, String> {
                let opened = Picture::open_with(&picture.path, job.profiles);
                let opened = opened.map_err(|error| error.to_string())?;
                session.input(&opened).map_err(|error| error.to_string())
            };
            let opened: Vec<Result<ModelInput, String>> = batch.par_iter().map(open).collect();
            let (mut pictures, mut ready) = (vec![], vec![]);
            for (&picture, input) in batch.iter().zip(opened) {
                match input {
                    Ok(input) => {
                        pictures.push(picture);
                        ready.push(input);
                    }
                    Err(reason) => {
                        failed += 1;
                        failure(picture, &reason);
                    }
                }
            }
            let mut options = job.options.clone();
            options.sampling.seed = options
                .sampling
                .seed
                .wrapping_add((written + failed) as u64);
            let prompts = vec![options.prompt.as_str(); ready.len()];
            let captions = match session.captions_of(&ready, &prompts, &options, &Cancel::new()) {
                Ok(captions) => captions,
                Err(error) => {
                    bar.finish_and_clear();
                    return Err(saved(sink, written, error));
                }
            };
            for (picture, caption) in pictures.into_iter().zip(captions) {
                let text = (job.text)(&caption.text);
                if caption.text.trim().is_empty() && job.options.prompt.is_empty() {
                    failed += 1;
                    failure(picture, "the model wrote nothing");
                    continue;
                }
                sink.add(picture, &text)?;
                written += 1;
                if caption.is_unsure() {
                    unsure.push(picture.path.display().to_string());
                }
            }
            bar.inc(batch.len() as u64);
            let left = todo.len() - bar.position() as usize;
            if bar.position() as usize == batch.len() && left > 0 {
                announce(
                    &bar,
                    &session,
                    &ready,
                    left,
                    begun.elapsed() / batch.len() as u32,
                );
            }
        }
        bar.finish_and_clear();
    }
    let place = sink.finish()?;
    let place = place.map_or(String::new(), |path| format!("; in {}", path.display()));
    let time = match written {
        0 => String::new(),
        _ => format!(
            " in {}",
            HumanDuration(Duration::from_secs(start.elapsed().as_secs()))
        ),
    };
    if !unsure.is_empty() {
        errln!("note: the model is unsure of {}", listed(&unsure));
    }
    outln!("{written} captions written{time}, {kept} pictures had one, {failed} failed{place}");
    if stopped {
        bail!("stopped: the same command goes on where this one ended");
    }
    match failed {
        0 => Ok(()),
        _ => bail!(
            "{failed} of {} pictures were not captioned",
            inputs.pictures.len()
        ),
    }
}

/// Returns the first names of a list, and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Says what is to come once the first pictures are captioned: how long it takes and, of a
/// pretrained model, what a picture takes.
fn announce(
    bar: &ProgressBar,
    session: &Session,
    first: &[ModelInput],
    left: usize,
    each: Duration,
) {
    let all = each * left as u32;
    if all < ANNOUNCED {
        return;
    }
    let tokens = match first.iter().map(|input| session.image_tokens(input)).max() {
        Some(tokens) if tokens > 0 => {
            let cache = session.info().decoder.cache_bytes(tokens) as f64 / 1e6;
            format!(", {tokens} image tokens and {cache:.0} MB of their keys and values each")
        }
        _ => String::new(),
    };
    bar.suspend(|| {
        errln!("{left} more pictures{tokens}: about {}", HumanDuration(all));
    });
}

/// Ends the captions of a failed run, so that those it wrote are kept.
fn saved(sink: CaptionSink, written: usize, error: CaptionError) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    match sink.finish() {
        Ok(_) if written == 0 => error,
        Ok(_) => error.context(format!("after {written} captions, which are kept")),
        Err(second) => error.context(second.to_string()),
    }
}

/// Returns a flag that signals set once; a second one ends the program.
fn on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        errln!("\nfinishing these pictures; Ctrl-C again stops at once");
    })?;
    Ok(stop)
}

fn bar(pictures: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(pictures as u64), ProgressDrawTarget::stderr());
    let style = "captioning {wide_bar} {pos}/{len}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is constant"));
    bar
}
