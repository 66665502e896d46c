//! `seemore models`: lists pretrained models that are known and those on this machine.

use clap::Args;
use serde_json::json;

use super::say;
use crate::models::checkpoint;
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
            let folder = folder(model.repository).map(|folder| folder.display().to_string());
            say(&json!({
                "name": model.name, "repository": model.repository, "megabytes": model.megabytes,
                "licence": model.licence, "purpose": model.purpose, "folder": folder,
            })
            .to_string());
        }
        for (repository, folder) in &here {
            if library::known(repository).is_none() {
                say(&json!({
                    "repository": repository, "folder": folder.display().to_string(),
                    "megabytes": library::folder_bytes(folder) / 1_000_000,
                })
                .to_string());
            }
        }
        return Ok(());
    }
    say("Known models (seemore get NAME):");
    for model in KNOWN {
        let here = if folder(model.repository).is_some() {
            "here"
        } else {
            ""
        };
        say(&format!(
            "  {:<18} {:>5} MB  {:<11} {:<5} {}",
            model.name, model.megabytes, model.licence, here, model.purpose
        ));
    }
    say("\nOn this machine:");
    if let Some(shipped) = checkpoint::shipped() {
        say(&format!("  {} (shipped, drawings)", shipped.display()));
    }
    for (repository, folder) in &here {
        let megabytes = library::folder_bytes(folder) / 1_000_000;
        say(&format!(
            "  {repository} ({megabytes} MB) {}",
            folder.display()
        ));
    }
    if let Some(cache) = cache {
        say(&format!(
            "\nCache of the Hugging Face Hub: {}",
            cache.display()
        ));
    }
    Ok(())
}
