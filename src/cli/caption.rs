//! `seemore caption`: writes captions for pictures.

mod inputs;
mod write;

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;

use super::devices::DeviceArgs;
use super::hint;
use super::model::ModelArgs;
use super::output::{print, printable};
use super::values::named;
use crate::caption::{CaptionOptions, CaptionToken, ModelInput, NameRanking, Sampling, Session};
use crate::cli::output::errln;
use crate::data::{Existing, PictureFile};
use crate::explain::heatmap::{self, Panel};
use crate::image::{ColorProfiles, MAX_BYTES, Picture};
use crate::text::Style;
pub(super) use write::WriteAs;

#[derive(Args)]
pub struct CaptionArgs {
    /// Pictures (PNG, JPEG, WebP, GIF, BMP, TIFF; at most 64 megapixels), folders or patterns such
    /// as '*.jpg'; `-` reads one from standard input
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    /// Levels of subfolders to search; 0 for the folder alone [default: all]
    #[arg(long, value_name = "LEVELS")]
    depth: Option<usize>,
    /// Text that the caption starts with; of pretrained models the question about the picture
    #[arg(long, default_value = "", hide_default_value = true)]
    prompt: String,
    /// Maximum length of the caption, in tokens [default: 64; of pretrained models what the style
    /// needs]
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<usize>,
    /// Text to put before each caption
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    prefix: String,
    /// Text to put after each caption
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    suffix: String,
    /// Take the colors of all pictures for sRGB, whatever their color profiles say
    #[arg(long)]
    ignore_icc: bool,

    /// Write captions to files instead of printing them; a run that is stopped goes on where it
    /// ended
    #[arg(long, value_name = "FORMAT", value_parser = named::<WriteAs>(), conflicts_with_all = ["attention", "n_best"], help_heading = "Files")]
    write: Option<WriteAs>,
    /// File to write, or folder of the text files [default: beside the pictures]
    #[arg(
        long,
        value_name = "FILE|DIR",
        requires = "write",
        help_heading = "Files"
    )]
    out: Option<PathBuf>,
    /// Treatment of pictures that have a caption
    #[arg(long, value_name = "ACTION", default_value = "skip", value_parser = named::<Existing>(), requires = "write", help_heading = "Files")]
    existing: Existing,
    /// Number of pictures at once [default: 16; 4 for pretrained models, 1 with --tiles]
    #[arg(long, value_name = "PICTURES", requires = "write", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Files")]
    batch_size: Option<u16>,
    /// Kind of caption to ask a pretrained model for [default: detailed]
    #[arg(long, value_parser = named::<Style>(), conflicts_with = "prompt", help_heading = "Pretrained models")]
    style: Option<Style>,
    #[command(flatten)]
    model: ModelArgs,

    /// Randomness of the choice of tokens; 0 takes the likeliest every time
    #[arg(long, default_value_t = 0.0, help_heading = "Sampling")]
    temperature: f32,
    /// Number of likeliest tokens to choose among; 0 for all
    #[arg(
        long,
        default_value_t = 0,
        value_name = "TOKENS",
        help_heading = "Sampling"
    )]
    top_k: usize,
    /// Probability mass of the likeliest tokens to choose among; 1 for all
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "PROBABILITY",
        help_heading = "Sampling"
    )]
    top_p: f32,
    /// Random seed
    #[arg(long, default_value_t = 0, help_heading = "Sampling")]
    seed: u64,

    /// Beam width, in hypotheses; 1 is greedy
    #[arg(long, default_value_t = 1, value_name = "HYPOTHESES", value_parser = clap::value_parser!(u16).range(1..), conflicts_with_all = ["attention", "temperature", "top_k", "top_p", "seed"], help_heading = "Beam search")]
    beam: u16,
    /// Length normalization: exponent of the length by which log-probabilities are divided
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "POWER",
        requires = "beam",
        help_heading = "Beam search"
    )]
    length_power: f64,
    /// Number of captions to print, each after its log-probability
    #[arg(
        long,
        value_name = "CAPTIONS",
        requires = "beam",
        help_heading = "Beam search"
    )]
    n_best: Option<usize>,

    /// Heat maps of each token's attention, as a PNG file; with several pictures, IMAGE-FILE.png
    /// for each
    #[arg(long, value_name = "FILE.png", help_heading = "Attention")]
    attention: Option<PathBuf>,
    /// Replace existing heat map files
    #[arg(long, help_heading = "Attention")]
    overwrite: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &CaptionArgs) -> anyhow::Result<()> {
    let sampling = sampling(args.temperature, args.top_k, args.top_p, args.seed)?;
    if !(args.length_power >= 0.0 && args.length_power.is_finite()) {
        bail!("--length-power {} must be at least 0", args.length_power);
    }
    if let Some(count) = args
        .n_best
        .filter(|count| !(1..=args.beam as usize).contains(count))
    {
        bail!("--n-best {count} must be from 1 to --beam {}", args.beam);
    }
    let inputs = inputs::find(&args.images, args.depth)?;
    if let Some(kind) = args.write {
        let sink = write::sink(kind, args.out.clone(), args.existing, &inputs)?;
        let load = || session(args);
        return write::run(&load, &inputs, sink, |session| {
            let mut options = options(args, session, sampling)?;
            let batch = args.batch_size.map(usize::from);
            options.batch_size = batch.unwrap_or(match session.model().dialogue() {
                // keys and values of many tiles take memory
                Some(_) if args.model.cuts_pictures() => 1,
                Some(_) => 4,
                None => 16,
            });
            let begin = begin(args, session).to_owned();
            let (prefix, suffix) = (args.prefix.clone(), args.suffix.clone());
            Ok(write::Job {
                options,
                profiles: ColorProfiles::unless(args.ignore_icc),
                text: Box::new(move |caption: &str| {
                    let caption = format!("{begin}{caption}");
                    format!("{prefix}{}{suffix}", caption.trim())
                }),
            })
        });
    }
    let mut heat_files = heat_files(args, &inputs.pictures)?;
    let session = session(args)?;
    let pretrained = session.model().dialogue().is_some();
    if args.attention.is_some() && !session.has_heat() {
        errln!("warning: this model has no attention to show: --attention writes nothing");
        heat_files.fill(None);
    }
    let options = options(args, &session, sampling)?;
    let count = inputs.pictures.len();
    let named = count > 1 || inputs.searched;
    let mut failures = 0;
    for (index, (picture, file)) in inputs.pictures.iter().zip(&heat_files).enumerate() {
        let path = &picture.path;
        if pretrained && count > 1 {
            errln!("[{}/{count}] {}", index + 1, path.display());
        }
        let options = CaptionOptions {
            heat: file.is_some(),
            ..options.clone()
        };
        match caption(args, &session, path, named, file.as_deref(), &options) {
            // the reader of standard output has closed it, or it cannot be written
            Ok(ControlFlow::Break(())) => break,
            Ok(ControlFlow::Continue(())) => {}
            Err(error) => {
                errln!("error: {error:#}");
                if let Some(advice) = hint::advice(&error) {
                    errln!("hint: {advice}");
                }
                failures += 1;
            }
        }
    }
    match failures {
        0 => Ok(()),
        _ => bail!("{failures} of {count} pictures were not captioned"),
    }
}

/// Loads the model.
fn session(args: &CaptionArgs) -> anyhow::Result<Session> {
    let session = args.model.load(&args.device.open()?)?;
    session.check_pictures()?;
    Ok(session)
}

/// Checks the flags against the model and returns how captions are written.
fn options(
    args: &CaptionArgs,
    session: &Session,
    sampling: Sampling,
) -> anyhow::Result<CaptionOptions> {
    let pretrained = session.model().dialogue().is_some();
    if args.style.is_some() && !pretrained {
        bail!("--style is for pretrained models, which take questions");
    }
    let unknown = session.tokenizer().unknown_parts(&args.prompt);
    if !unknown.is_empty() {
        let list: Vec<String> = unknown.iter().map(|part| format!("{part:?}")).collect();
        errln!(
            "warning: the model's vocabulary lacks parts of --prompt: {}",
            list.join(" ")
        );
    }
    Ok(CaptionOptions {
        prompt: match args.style {
            Some(style) => style.prompt(session.model().config().family()).to_owned(),
            None => args.prompt.clone(),
        },
        max_tokens: args.max_tokens.unwrap_or(match pretrained {
            true => args.style.unwrap_or_default().max_tokens(),
            false => 64,
        }),
        sampling,
        beam: args.beam as usize,
        length_power: args.length_power,
        ..CaptionOptions::default()
    })
}

/// Returns the sampling that flags ask for.
pub(super) fn sampling(
    temperature: f32,
    top_k: usize,
    top_p: f32,
    seed: u64,
) -> anyhow::Result<Sampling> {
    if !(temperature >= 0.0 && temperature.is_finite()) {
        bail!("--temperature {temperature} must be at least 0");
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        bail!("--top-p {top_p} must be above 0 and at most 1");
    }
    Ok(Sampling {
        temperature,
        top_k,
        top_p,
        seed,
    })
}

/// Times of the tokens of a text.
pub(super) struct Speed {
    start: Instant,
    first: Option<Instant>,
    tokens: usize,
}

impl Speed {
    pub(super) fn start() -> Speed {
        Speed {
            start: Instant::now(),
            first: None,
            tokens: 0,
        }
    }

    /// Counts a token.
    pub(super) fn token(&mut self) {
        self.first.get_or_insert_with(Instant::now);
        self.tokens += 1;
    }

    /// Prints the time to the first token and the rate of the others on standard error.
    pub(super) fn report(&self) {
        let Some(first) = self.first else {
            return;
        };
        let wait = (first - self.start).as_secs_f64();
        let rate = match self.tokens {
            0 | 1 => String::new(),
            tokens => {
                let rate = (tokens - 1) as f64 / first.elapsed().as_secs_f64();
                format!(", then {rate:.1} tokens/s")
            }
        };
        errln!(
            "first token after {wait:.2} s{rate} ({} tokens)",
            self.tokens
        );
    }
}

/// The heat map file of each picture. All are checked before the first caption, so that no file is
/// overwritten and no work lost.
fn heat_files(
    args: &CaptionArgs,
    pictures: &[PictureFile],
) -> anyhow::Result<Vec<Option<PathBuf>>> {
    let Some(file) = &args.attention else {
        return Ok(vec![None; pictures.len()]);
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
    let (mut files, mut seen) = (vec![], BTreeSet::new());
    for PictureFile { path: image, .. } in pictures {
        let output = if pictures.len() > 1 {
            let image = image.file_name().unwrap_or_default().to_string_lossy();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            file.with_file_name(format!("{image}-{name}"))
        } else {
            file.clone()
        };
        let shown = output.display();
        let is_output = |path: &PathBuf| matches!((path.canonicalize(), output.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if pictures.iter().any(|picture| is_output(&picture.path)) {
            bail!("--attention would overwrite the picture {shown}: give another name");
        }
        if output.exists() && !args.overwrite {
            bail!("{shown} is already there: give another name to --attention, or add --overwrite");
        }
        if !seen.insert(output.clone()) {
            bail!(
                "two pictures would have their attention written to {shown}: caption them one at a time"
            );
        }
        files.push(Some(output));
    }
    Ok(files)
}

/// Returns what captions start with: of pretrained models nothing, since they answer a question.
fn begin<'a>(args: &'a CaptionArgs, session: &Session) -> &'a str {
    match session.model().dialogue() {
        Some(_) => "",
        None => session.tokenizer().as_prompt(&args.prompt),
    }
}

/// Encodes the tiles of a picture, and says on standard error how many there are and, once the first
/// is encoded, how long all of them take.
fn encode(session: &Session, input: &ModelInput, prompt: &str) -> anyhow::Result<()> {
    // an error about the prompt comes before the work
    let length = session.prompt_length(prompt, input)?;
    let (tiles, tokens) = (input.tiles(), session.image_tokens(input));
    let plural = if tiles == 1 { "" } else { "s" };
    let cache = session.info().decoder.cache_bytes(length) as f64 / 1e6;
    errln!(
        "{tiles} tile{plural}, {tokens} image tokens of {length} in the prompt, {cache:.0} MB of keys and values"
    );
    let (start, mut told) = (Instant::now(), false);
    session.encode(input, &mut |done| {
        if !told && done < tiles {
            let all = start.elapsed().as_secs_f64() * tiles as f64 / done as f64;
            errln!("about {all:.1} s to encode them");
        }
        told = true;
    })?;
    Ok(())
}

/// Says on standard error if the name that a caption follows is more probably wrong than right, and
/// what other names there are.
fn report_doubt(session: &Session, input: &ModelInput, prompt: &str) -> anyhow::Result<()> {
    let ranking = session.caption_names(input, prompt, 4)?;
    let Some(ranking) = ranking.filter(NameRanking::is_unsure) else {
        return Ok(());
    };
    let percent = 100.0 * ranking.names[0].probability;
    let others: Vec<String> = ranking.names[1..]
        .iter()
        .map(|name| format!("{:?}", name.text))
        .collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!("; it may also be {}", others.join(" or ")),
    };
    errln!("note: the model is unsure ({percent:.0} %){others}");
    Ok(())
}

/// Prints the caption of one picture, token by token where there is no beam; breaks if nobody reads
/// on.
fn caption(
    args: &CaptionArgs,
    session: &Session,
    path: &Path,
    named: bool,
    heat_file: Option<&Path>,
    options: &CaptionOptions,
) -> anyhow::Result<ControlFlow<()>> {
    let profiles = ColorProfiles::unless(args.ignore_icc);
    let picture = if path.as_os_str() == "-" {
        let mut bytes = vec![];
        // one byte more than the limit tells a file that exceeds it
        std::io::stdin()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .context("standard input")?;
        if bytes.len() as u64 > MAX_BYTES {
            bail!(
                "standard input has more than {MAX_BYTES} bytes, the most that a picture may have; make it smaller"
            );
        }
        Picture::decode_with(&bytes, profiles).context("standard input")?
    } else {
        Picture::open_with(path, profiles)?
    };
    let mut speed = Speed::start();
    let input = session.input(&picture)?;
    if args.model.cuts_pictures() {
        encode(session, &input, &options.prompt)?;
    }
    let name = if named {
        format!("{}: ", path.display())
    } else {
        String::new()
    };
    let (prefix, suffix) = (&args.prefix, &args.suffix);
    if args.beam > 1 || args.n_best.is_some() {
        let found = session.n_best_of(&input, options)?;
        for caption in found.iter().take(args.n_best.unwrap_or(1)) {
            let probability = if args.n_best.is_some() {
                format!("{:.4}  ", caption.log_probability)
            } else {
                String::new()
            };
            let line = printable(&format!(
                "{name}{probability}{prefix}{}{}{suffix}",
                begin(args, session),
                caption.text
            ));
            if print(&format!("{line}\n")).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        report_doubt(session, &input, &options.prompt)?;
        return Ok(ControlFlow::Continue(()));
    }
    // printed with the first token, so that an error about the prompt comes alone
    let mut head = Some(format!("{name}{prefix}{}", begin(args, session)));
    let pretrained = session.model().dialogue().is_some();
    let (mut printed, mut tokens) = (ControlFlow::Continue(()), vec![]);
    session.stream_of(&input, options, &mut |token| {
        speed.token();
        // replies begin with the space between words
        let text = match head.is_some() && pretrained {
            true => token.text.trim_start(),
            false => &token.text,
        };
        let head = head.take().unwrap_or_default();
        printed = print(&printable(&format!("{head}{text}")));
        tokens.push(token.clone());
        printed
    })?;
    if printed.is_break() {
        return Ok(printed);
    }
    let end = printable(&format!("{}{suffix}", head.unwrap_or_default()));
    let printed = print(&format!("{end}\n"));
    if pretrained {
        speed.report();
    }
    if let Some(file) = heat_file {
        let panels: Vec<Panel> = tokens.iter().map(CaptionToken::panel).collect();
        heatmap::save(file, &session.visible_part(&picture), &panels)
            .with_context(|| format!("cannot write {}", file.display()))?;
        errln!("attention: {}", file.display());
    }
    report_doubt(session, &input, &options.prompt)?;
    Ok(printed)
}
