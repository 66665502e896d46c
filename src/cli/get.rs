//! `seemore get`: downloads a pretrained model.

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::say;
use crate::hub::{HubError, Repository};
use crate::models::library;
use crate::progress::Progress;

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
    anyhow::ensure!(
        library::is_repository(repository),
        "{} is neither a known model (see `seemore models`) nor a repository ORGANISATION/NAME",
        args.name
    );
    if let Some(model) = known {
        say(&format!(
            "{}: {} MB, licence {}, {}",
            model.repository, model.megabytes, model.licence, model.purpose
        ));
    }
    let cache = library::cache_folder().unwrap_or_default();
    let by_hand = || {
        format!(
            "without a network, copy config.json, generation_config.json, preprocessor_config.json or processor_config.json, \
             tokenizer.json, tokenizer_config.json, chat_template.json or chat_template.jinja, and *.safetensors of \
             https://huggingface.co/{repository} into a folder, and give that folder to --model"
        )
    };
    let remote = Repository::new(repository)?;
    let files = match remote.files(args.file.as_deref()) {
        Ok(files) => files,
        Err(error @ HubError::Download { .. }) => {
            if let Some(folder) = library::snapshot(&cache, repository) {
                say(&format!(
                    "the Hub cannot be reached; the copy on this machine is {}",
                    folder.display()
                ));
                return Ok(());
            }
            return Err(error).with_context(by_hand);
        }
        Err(error) => return Err(error.into()),
    };
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    for file in &files {
        say(&format!(
            "  {:>9.1} MB  {}",
            file.bytes as f64 / 1e6,
            file.name
        ));
    }
    if args.dry_run {
        return Ok(());
    }
    let bar = ProgressBar::new(total);
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
    let mut folder = None;
    for file in &files {
        bar.set_message(file.name.clone());
        let path = remote.download(file, &bar as &dyn Progress)?;
        folder = path.parent().map(ToOwned::to_owned);
    }
    bar.finish_and_clear();
    if let Some(folder) = folder {
        say(&format!("{}", folder.display()));
        say(&format!(
            "use it with: seemore caption photo.jpg --model {}",
            args.name
        ));
    }
    Ok(())
}
