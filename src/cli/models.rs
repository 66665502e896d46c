//! `seemore models`: lists pretrained models that are known and those on this machine.

use clap::Args;
use serde_json::json;

use super::{say, say_json};
use crate::models::checkpoint;
use crate::models::composition::missing_parts;
use crate::models::library::{self, KNOWN};

/// Arguments of `seemore models`.
#[derive(Args)]
pub struct ModelsArgs {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ModelsArgs) -> anyhow::Result<()> {
    let cache = library::cache_folder();
    let here = cache
        .as_ref()
        .map_or(vec![], |cache| library::cached(cache));
    let folder = |repository: &str| {
        let found = here.iter().find(|(name, _)| name == repository);
        found.map(|(_, folder)| folder)
    };
    if args.json {
        for model in KNOWN {
            let whole = folder(model.repository).filter(|folder| library::has_weights(folder));
            let folder = whole.map(|folder| folder.display().to_string());
            say_json(&json!({
                "name": model.name, "repository": model.repository, "megabytes": model.megabytes,
                "licence": model.licence, "purpose": model.purpose, "folder": folder,
            })
            .to_string());
        }
        for (repository, folder) in &here {
            if library::known(repository).is_none() {
                say_json(
                    &json!({
                        "repository": repository, "folder": folder.display().to_string(),
                        "megabytes": library::folder_bytes(folder) / 1_000_000,
                    })
                    .to_string(),
                );
            }
        }
        return Ok(());
    }
    say("Known models (seemore get NAME):");
    for model in KNOWN {
        let here = match folder(model.repository) {
            Some(folder) if library::has_weights(folder) => "here",
            Some(_) => "partly",
            None => "",
        };
        say(&format!(
            "  {:<18} {:>5} MB  {:<11} {:<7} {}",
            model.name, model.megabytes, model.licence, here, model.purpose
        ));
    }
    say("\nOn this machine:");
    if let Some(shipped) = checkpoint::shipped() {
        say(&format!("  {} (shipped, drawings)", shipped.display()));
    }
    if let Some(photo) = checkpoint::shipped_photo() {
        let needs = match &missing_parts(&photo)[..] {
            [] => String::new(),
            parts => format!("; it needs {}", parts.join(" and ")),
        };
        say(&format!(
            "  {} (shipped, photographs of single things{needs})",
            photo.display()
        ));
    }
    for (repository, folder) in &here {
        let megabytes = library::folder_bytes(folder) / 1_000_000;
        let note = match library::has_weights(folder) {
            true => "",
            false => ", not whole: `seemore get` continues the download",
        };
        say(&format!(
            "  {repository} ({megabytes} MB{note}) {}",
            folder.display()
        ));
    }
    if here.is_empty() && checkpoint::shipped().is_none() {
        say("  none");
    }
    if let Some(cache) = &cache {
        say(&format!(
            "\nCache of the Hugging Face Hub: {}",
            cache.display()
        ));
    }
    Ok(())
}
