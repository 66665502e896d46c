//! `seemore data`: statistics of captioned pictures, and conversion between formats.

mod convert;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::output::printable;
use super::{say, say_json};
use crate::data::{Across, DataError, Duplicates, FileStats, Layout, Likeness, Spread, Stats};

/// Arguments of `seemore data`.
#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count pictures, captions, words and duplicates in files and between them
    Stats(StatsArgs),
    /// Alias of stats, which fails if a file has no usable picture
    Check(StatsArgs),
    /// Write captions in another format
    Convert(convert::ConvertArgs),
}

#[derive(Args)]
struct StatsArgs {
    /// Files or folders to read: pictures with captions beside them, metadata.csv, CSV, TSV, JSON
    /// Lines, JSON lists, COCO, Karpathy's splits, Flickr8k, WebDataset or Parquet
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Draw a contact sheet of pictures with their captions, spread evenly over the files
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Maximum number of pictures on the contact sheet
    #[arg(
        long,
        default_value_t = 144,
        value_name = "PICTURES",
        requires = "sheet"
    )]
    sheet_size: usize,
    /// Replace an existing contact sheet
    #[arg(long)]
    overwrite: bool,
    /// Fail if any row or picture cannot be used
    #[arg(long)]
    strict: bool,
    /// Print the statistics as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layout: LayoutArgs,
}

/// Facts about caption files that the files themselves do not tell.
#[derive(Args, Default)]
pub(super) struct LayoutArgs {
    /// Column or field with the pictures [default: the first usual name, such as image or file_name]
    #[arg(long, value_name = "NAME")]
    pub image_column: Option<String>,
    /// Column or field with the captions, or the ending of caption files [default: the first usual
    /// name, such as caption or text]
    #[arg(long, value_name = "NAME")]
    pub caption_column: Option<String>,
    /// Folder of the pictures that files name [default: the file's own folder]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Parts of the data set to read, such as train [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub split: Vec<String>,
    /// Levels of subfolders to read; 0 for the folder alone [default: all]
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
    /// Take the colors of all pictures for sRGB, whatever their color profiles say
    #[arg(long)]
    pub ignore_icc: bool,
}

impl LayoutArgs {
    /// Returns how the files are read.
    pub fn layout(&self) -> Layout {
        Layout {
            image_column: self.image_column.clone(),
            caption_column: self.caption_column.clone(),
            images: self.images.clone(),
            splits: self.split.clone(),
            depth: self.depth,
            ignore_icc: self.ignore_icc,
        }
    }
}

/// Shortens a text for a table, to one line.
pub(super) fn cut(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

/// Returns a progress bar for decoding pictures; hidden if asked for, or without a terminal.
pub(super) fn reading(what: &Path, hidden: bool) -> ProgressBar {
    let bar = if hidden || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    bar.set_style(
        ProgressStyle::with_template("reading {msg} {wide_bar} {pos}/{len}")
            .expect("the template is constant"),
    );
    bar.set_message(printable(&what.display().to_string()));
    bar
}

/// Runs `seemore data`.
pub fn run(args: &DataArgs) -> anyhow::Result<()> {
    match &args.command {
        Command::Stats(args) | Command::Check(args) => stats(args),
        Command::Convert(args) => convert::run(args),
    }
}

/// Prints statistics, and fails if nothing in a file is usable or, if asked to, anything is not.
fn stats(args: &StatsArgs) -> anyhow::Result<()> {
    if let Some(sheet) = &args.sheet {
        let shown = sheet.display();
        if sheet
            .extension()
            .is_none_or(|ending| !ending.eq_ignore_ascii_case("png"))
        {
            bail!("--sheet {shown} must end in .png");
        }
        if sheet.exists() && !args.overwrite {
            bail!("{shown} already exists: give another name to --sheet, or add --overwrite");
        }
    }
    let bar = reading(&args.files[0], args.json);
    let (stats, sheet) = Stats::read(
        &args.files,
        &args.layout.layout(),
        args.sheet.as_ref().map_or(0, |_| args.sheet_size),
        &bar,
    )?;
    bar.finish_and_clear();
    if let Some(path) = &args.sheet {
        sheet
            .save(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        say_json(&serde_json::to_string(&stats)?);
    } else {
        stats.files.iter().for_each(file);
        stats.across.iter().for_each(across);
        if stats.across.is_empty() && stats.files.len() > 1 {
            say("no picture of one file is in another file");
        }
    }
    if let Some(empty) = stats.files.iter().find(|file| file.pictures == 0) {
        return Err(DataError::Empty {
            path: empty.file.display().to_string(),
            first: empty.first_problem.clone(),
        }
        .into());
    }
    let left_out: usize = stats.files.iter().map(|file| file.left_out).sum();
    if args.strict && left_out > 0 {
        bail!("{left_out} rows or pictures cannot be used");
    }
    Ok(())
}

fn file(stats: &FileStats) {
    let line = |name: &str, text: String| say(&format!("  {name:<18} {text}"));
    let spread = |Spread { min, median, max }: Spread| {
        if min == max {
            min.to_string()
        } else {
            format!("{min} .. {median} .. {max}")
        }
    };
    say(&format!("{}", stats.file.display()));
    let form = format!("{:?}", stats.format).to_lowercase();
    line(
        "pictures",
        format!("{} ({form}, {})", stats.pictures, HumanBytes(stats.bytes)),
    );
    line(
        "pixels",
        format!(
            "{} wide, {} high",
            spread(stats.width),
            spread(stats.height)
        ),
    );
    let several = if stats.captions == stats.pictures {
        String::new()
    } else {
        format!(", {} per picture", spread(stats.captions_a_picture))
    };
    line(
        "captions",
        format!(
            "{}{several}, {} distinct",
            stats.captions, stats.distinct_captions
        ),
    );
    line(
        "length",
        format!(
            "{} words, {} characters",
            spread(stats.words),
            spread(stats.characters)
        ),
    );
    line(
        "vocabulary",
        format!(
            "{} words, {} characters",
            stats.vocabulary, stats.distinct_characters
        ),
    );
    let often: Vec<String> = stats
        .most_frequent
        .iter()
        .take(5)
        .map(|(caption, count)| format!("{count} x \"{}\"", cut(caption)))
        .collect();
    if stats.distinct_captions < stats.captions {
        line("most frequent", often.join(", "));
    }
    line(
        "concepts",
        format!(
            "{} distinct, {} pictures without one",
            stats.distinct_concepts, stats.without_concept
        ),
    );
    line("repeated pictures", duplicates(&stats.repeats));
    for note in &stats.notes {
        line("note", note.clone());
    }
    if stats.left_out > 0 {
        line("left out", stats.left_out.to_string());
        stats
            .problems
            .iter()
            .for_each(|problem| say(&format!("    {problem}")));
    }
}

fn across(
    Across {
        file,
        other,
        duplicates: found,
    }: &Across,
) {
    say(&format!(
        "{} has pictures of {}: {}",
        file.display(),
        other.display(),
        duplicates(found)
    ));
    for pair in found.examples.iter().take(5) {
        let [(id, caption), (other, known)] =
            [0, 1].map(|side| (&pair.ids[side], cut(&pair.captions[side])));
        let alike = if pair.likeness == Likeness::Exact {
            "is"
        } else {
            "is nearly"
        };
        say(&format!("    {id} ({caption}) {alike} {other} ({known})"));
    }
}

fn duplicates(found: &Duplicates) -> String {
    match found.exact + found.near {
        0 => "none".into(),
        _ => format!(
            "{} exact, {} nearly equal; {} of them with the same caption",
            found.exact, found.near, found.same_caption
        ),
    }
}
