//! `seemore data convert`: writes captions in another format.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use super::{LayoutArgs, reading};
use crate::cli::hint;
use crate::cli::output::{errln, outln};
use crate::cli::values::named;
use crate::data::{Format, Listing};

#[derive(Args)]
pub struct ConvertArgs {
    /// Files or folders to read, in any format that `train --data` takes
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Format to write
    #[arg(long, value_name = "FORMAT", value_parser = named::<Format>())]
    to: Format,
    /// File to write; of folder and metadata the folder
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,
    /// Folder for pictures that are embedded in their file and are to be named [default: beside
    /// --out]
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Replace existing files
    #[arg(long)]
    overwrite: bool,
    /// Stop at the first unusable row instead of leaving it out
    #[arg(long)]
    strict: bool,
    #[command(flatten, next_help_heading = "Reading")]
    layout: LayoutArgs,
}

pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    const SHOWN: usize = 10;
    let layout = args.layout.layout();
    if args.layout.ignore_icc {
        bail!("--ignore-icc does not apply: pictures are copied as they are");
    }
    let listing = Listing::read(&args.files, &layout)?;
    Listing::check(&[&listing], &layout)?;
    let is_input = |path: &Path| {
        args.files
            .iter()
            .any(|file| matches!((file.canonicalize(), path.canonicalize()), (Ok(a), Ok(b)) if a == b && !b.is_dir()))
    };
    if is_input(&args.out) {
        bail!(
            "--out {} is the file to convert: give another name",
            args.out.display()
        );
    }
    let bar = reading(&args.files[0], false);
    let pictures = args.pictures.clone().unwrap_or_else(|| beside(&args.out));
    let converted = listing.convert(
        &args.out,
        args.to,
        &pictures,
        args.overwrite,
        args.strict,
        &bar,
    )?;
    bar.finish_and_clear();
    let problems = &converted.problems;
    for problem in problems.iter().take(SHOWN) {
        errln!("left out: {problem}");
    }
    if problems.len() > SHOWN {
        errln!("left out: {} more", problems.len() - SHOWN);
    }
    if let Some(advice) = hint::advice_on(problems) {
        errln!("hint: {advice}");
    }
    for note in &converted.notes {
        errln!("note: {note}");
    }
    outln!(
        "{} pictures with {} captions in {}{}",
        converted.pictures,
        converted.captions,
        args.out.display(),
        match problems.len() {
            0 => String::new(),
            count => format!("; {count} left out"),
        }
    );
    Ok(())
}

/// The folder `NAME_pictures` beside a file, or `pictures` in a folder.
fn beside(out: &Path) -> PathBuf {
    match out.extension() {
        None => out.join("pictures"),
        Some(_) => {
            let stem = out.file_stem().unwrap_or_default().to_string_lossy();
            out.with_file_name(format!("{stem}_pictures"))
        }
    }
}
