//! Folders of tuned models, which hold what training changed and refer to the model that it
//! changed.
//!
//! `base.json` names the base model, `model.safetensors` holds tensors in place of its own, and
//! PEFT's files hold an adapter. A folder with PEFT's files alone names its base model in them. The
//! folder of a tuned composition is a composition.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::peft::{ADAPTER_CONFIG, Adapter, is_adapter, save_adapter};
use super::safetensors::{Metadata, write_tensors};
use super::{CheckpointError, Opened, WeightFiles, WeightRules, make_folder, referred, write_file};
use crate::device::Tensor;
use crate::models::{Model, ModelConfig, composition, library};
use crate::ops::Encoding;

/// Description of a folder that changes a model.
const BASE: &str = "base.json";

/// Files of all kinds of models that training writes.
const STALE: [&str; 6] = [
    BASE,
    "config.json",
    "model.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
];

/// Weights that take the place of the base model's, or are a composition's own.
pub(super) const WEIGHTS: &str = "model.safetensors";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Base {
    /// Folder or file, relative to the folder or absolute, or repository on the Hugging Face Hub.
    model: String,
    /// Question that the model was trained to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
}

/// Returns what a folder calls the model that it changes; `None` if it changes none.
pub(super) fn base(dir: &Path) -> Result<Option<Base>, CheckpointError> {
    let path = dir.join(BASE);
    if path.is_file() {
        let name = path.display().to_string();
        let text = std::fs::read(&path).map_err(|reason| CheckpointError::Read {
            path: name.clone(),
            reason,
        })?;
        let base: Base =
            serde_json::from_slice(&text).map_err(|error| CheckpointError::Adapter {
                path: name,
                reason: format!("it does not name a base model: {error}"),
            })?;
        return Ok(Some(base));
    }
    if !dir.join(ADAPTER_CONFIG).is_file() || dir.join("config.json").is_file() {
        return Ok(None);
    }
    let adapter = Adapter::load(dir)?;
    match adapter.base {
        Some(model) => Ok(Some(Base {
            model,
            prompt: None,
        })),
        None => Err(CheckpointError::Adapter {
            path: dir.join(ADAPTER_CONFIG).display().to_string(),
            reason: "it does not name the model that it is for (base_model_name_or_path)".into(),
        }),
    }
}

/// Opens the model `base` with what a folder changes of it.
pub(super) fn open(
    dir: &Path,
    base: Base,
    encoder: Option<&Path>,
    quantize: Option<Encoding>,
) -> Result<Opened, CheckpointError> {
    let of_base = |error| CheckpointError::Base {
        path: dir.display().to_string(),
        model: base.model.clone(),
        error: Box::new(error),
    };
    let folder = referred(dir, &base.model).map_err(of_base)?;
    let opened = Opened::open(&folder, encoder, quantize).map_err(of_base)?;
    let mut opened = opened.ok_or_else(|| {
        of_base(CheckpointError::NotAdaptable {
            path: folder.display().to_string(),
        })
    })?;
    opened.prompt = base.prompt.clone().or(opened.prompt);
    if dir.join(WEIGHTS).is_file() {
        let own = WeightFiles::open(dir, &WeightRules::default(), quantize)?;
        opened.weights = opened.weights.and(own, |_| false);
        opened.base = dir.to_owned();
    }
    if !dir.join(ADAPTER_CONFIG).is_file() {
        return Ok(opened);
    }
    // an adapter that was trained on holds all of the one before
    opened.weights.retain(|name| !is_adapter(name));
    opened.lora = None;
    opened.with_adapter(dir)
}

/// Returns the descriptions of a tuned model or a composition in the folder `from`, by the names of
/// their files, as a copy in the folder `to` has them; `None` if it is neither.
pub(super) fn shared_description(
    from: &Path,
    to: &Path,
) -> Result<Option<Vec<(&'static str, String)>>, CheckpointError> {
    let pretty = |value: &serde_json::Value| {
        serde_json::to_string_pretty(value).expect("names are plain data")
    };
    let mut files = vec![];
    let config = from.join("config.json");
    if from.join(BASE).is_file() {
        if let Some(mut base) = base(from)? {
            base.model = shared_reference(from, &base.model, to);
            let base = serde_json::to_value(&base).expect("names are plain data");
            files.push((BASE, pretty(&base)));
        }
    } else if config.is_file() {
        let ModelConfig::Composition(mut config) = ModelConfig::load(&config)? else {
            return Ok(None);
        };
        for part in [&mut config.encoder.model, &mut config.decoder.model] {
            *part = shared_reference(from, part, to);
        }
        files.push(("config.json", ModelConfig::from(config).to_json()));
    } else if !from.join(ADAPTER_CONFIG).is_file() {
        return Ok(None);
    }
    if from.join(ADAPTER_CONFIG).is_file() {
        let mut adapter = Adapter::load(from)?;
        let base = adapter.base.as_mut();
        if let Some(base) = base {
            *base = shared_reference(from, base, to);
        }
        files.push((ADAPTER_CONFIG, pretty(&adapter.fields())));
    }
    Ok(Some(files))
}

/// Returns a reference of a folder as another folder has it: a repository if there is one.
fn shared_reference(from: &Path, reference: &str, to: &Path) -> String {
    let path = std::path::absolute(from.join(reference)).unwrap_or_default();
    let moved = || composition::reference_from(from, reference, to);
    library::repository_of(&path).unwrap_or_else(moved)
}

/// Returns what a folder calls the base model of a tuned one.
fn reference(dir: &Path, model: &Model) -> String {
    let base = model.base().unwrap_or(Path::new(""));
    let absolute = std::path::absolute(base).unwrap_or(base.to_owned());
    match library::repository_of(&absolute) {
        Some(repository) => repository,
        None if base.is_absolute() => absolute.display().to_string(),
        None => composition::relative(dir, &absolute),
    }
}

/// Writes what of a tuned model training does not change into a folder, which is created if it does
/// not exist: the description of a composition, or the name of the base model.
///
/// # Errors
/// Names the file that cannot be written.
pub fn save_tuned_description(
    dir: &Path,
    model: &Model,
    prompt: Option<&str>,
) -> Result<(), CheckpointError> {
    make_folder(dir)?;
    // those of a model that was in the folder before
    for name in STALE {
        match std::fs::remove_file(dir.join(name)) {
            Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => {
                return Err(CheckpointError::Write {
                    path: dir.join(name).display().to_string(),
                    reason,
                });
            }
            _ => {}
        }
    }
    let prompt = prompt.or(model.prompt()).map(str::to_owned);
    let ModelConfig::Composition(config) = model.config() else {
        let base = Base {
            model: reference(dir, model),
            prompt,
        };
        let text = serde_json::to_string_pretty(&base).expect("a name is plain data");
        return write_file(&dir.join(BASE), text.as_bytes());
    };
    let from = model.base().unwrap_or(Path::new(""));
    let mut config = composition::Config {
        prompt,
        ..config.clone()
    };
    for part in [&mut config.encoder.model, &mut config.decoder.model] {
        *part = composition::reference_from(from, part, dir);
    }
    let template = from.join("chat_template.jinja");
    if template.is_file() && std::path::absolute(from).ok() != std::path::absolute(dir).ok() {
        let text = std::fs::read(&template).map_err(|reason| CheckpointError::Read {
            path: template.display().to_string(),
            reason,
        })?;
        write_file(&dir.join("chat_template.jinja"), &text)?;
    }
    let described = ModelConfig::from(config);
    write_file(&dir.join("config.json"), described.to_json().as_bytes())
}

/// Writes the values of a tuned model into a folder: the adapter of `named` into PEFT's files, and
/// the others, with `notes`, in place of the base model's. A composition's folder has its projector
/// in any case.
///
/// # Errors
/// Names the file that cannot be written.
pub fn save_tuned(
    dir: &Path,
    model: &Model,
    named: &[(String, Tensor)],
    notes: Metadata,
) -> Result<(), CheckpointError> {
    make_folder(dir)?;
    let others = named.iter().filter(|(name, _)| !is_adapter(name));
    let others: Vec<(String, Tensor)> = others.cloned().collect();
    if !others.is_empty() {
        write_tensors(&dir.join(WEIGHTS), &others, notes)?;
    }
    let Some(config) = model.lora() else {
        return Ok(());
    };
    let base = match model.config() {
        // the adapter is for the decoder
        ModelConfig::Composition(config) => {
            let from = model.base().unwrap_or(Path::new(""));
            composition::reference_from(from, &config.decoder.model, dir)
        }
        _ => reference(dir, model),
    };
    let adapter = Adapter {
        config: config.clone(),
        base: Some(base),
    };
    save_adapter(dir, &adapter, named)
}
