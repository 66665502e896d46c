//! `seemore get`: downloads a pretrained model.

use std::path::Path;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::say;
use crate::cli::output::errln;
use crate::hub::{self, FetchObserver, HubError, RemoteFile, Repository};
use crate::models::library;

/// Arguments of `seemore get`.
#[derive(Args)]
pub struct GetArgs {
    /// Name of a known model (see `seemore models`), or a repository of the Hugging Face Hub:
    /// ORGANISATION/NAME
    #[arg(value_name = "MODEL")]
    name: String,
    /// Part of the names of the GGUF files to take, such as Q8_0, where there are several
    #[arg(long, value_name = "PART")]
    file: Option<String>,
    /// Show what would be downloaded, and stop
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &GetArgs) -> anyhow::Result<()> {
    let known = library::known(&args.name);
    let repository = known.map_or(args.name.as_str(), |model| model.repository);
    if !library::is_repository(repository) {
        bail!(
            "{} is neither a known model (see `seemore models`) nor a repository ORGANISATION/NAME",
            args.name
        );
    }
    if let Some(model) = known {
        say(&format!(
            "{}: {} MB, licence {}, {}",
            model.repository, model.megabytes, model.licence, model.purpose
        ));
    }
    let remote = match Repository::connect(repository) {
        Ok(remote) => remote,
        Err(error @ HubError::Download { .. }) => return without_network(args, repository, &error),
        Err(error) => return Err(error.into()),
    };
    let files = remote.files(args.file.as_deref())?;
    for file in &files {
        let megabytes = file.bytes as f64 / 1e6;
        let here = if remote.has(file) { "  here" } else { "" };
        say(&format!("  {megabytes:>9.1} MB  {}{here}", file.name));
    }
    if args.dry_run {
        return Ok(());
    }
    download(&remote, &files)?;
    let folder = remote.snapshot();
    say(&folder.display().to_string());
    if let Some(command) = command(&folder) {
        say(&format!("use it with: {command} --model {}", args.name));
    }
    Ok(())
}

/// Names the copy on this machine, or says how to get one by hand.
fn without_network(args: &GetArgs, repository: &str, error: &HubError) -> anyhow::Result<()> {
    let cache = library::cache_folder();
    let copy = cache.and_then(|cache| library::snapshot(&cache, repository));
    let Some(folder) = copy.filter(|folder| library::has_weights(folder)) else {
        bail!("{error}\n\n{}", by_hand(repository));
    };
    errln!("warning: {error}");
    say("the copy on this machine is");
    say(&folder.display().to_string());
    if let Some(command) = command(&folder) {
        say(&format!("use it with: {command} --model {}", args.name));
    }
    Ok(())
}

/// Says which files to copy where there is no network.
fn by_hand(repository: &str) -> String {
    let names = match repository.to_ascii_lowercase().ends_with("gguf") {
        true => vec!["one .gguf file of the language model, and the mmproj-*.gguf file beside it"],
        false => {
            let description = hub::DESCRIPTION.iter().copied();
            description.chain(["*.safetensors"]).collect()
        }
    };
    format!(
        "Without a network, download those of these files that https://huggingface.co/{repository}/tree/main has\n\
         on another machine, copy them into one folder, and give the folder to --model:\n  {}",
        names.join("\n  ")
    )
}

/// Shows a download as a bar, or as lines where there is none.
struct Bar(ProgressBar);

impl FetchObserver for Bar {
    fn begin(&self, file: &RemoteFile) {
        self.0.set_message(file.name.clone());
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn end(&self, file: &RemoteFile) {
        // a log has no bar
        if self.0.is_hidden() {
            let done = (100 * self.0.position()).checked_div(self.0.length().unwrap_or(0));
            errln!("{:>3} %  {}", done.unwrap_or(100), file.name);
        }
    }
}

fn download(remote: &Repository, files: &[RemoteFile]) -> anyhow::Result<()> {
    let bar = ProgressBar::new(files.iter().map(|file| file.bytes).sum());
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    let bar = Bar(bar);
    match remote.fetch(files, &bar) {
        Ok(_) => bar.0.finish_and_clear(),
        Err(error) => {
            bar.0.abandon();
            match error {
                HubError::Download { .. } => {
                    bail!("{error}; get it again to continue the download")
                }
                error => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Returns the command that uses the model of a folder; image encoders have none of their own.
fn command(folder: &Path) -> Option<&'static str> {
    Some(match library::takes_pictures(folder)? {
        true => "seemore caption photo.jpg",
        false => "seemore chat",
    })
}
