//! Files of pretrained models: opened and described, before anything is on a device.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::gguf_model::{GgufModel, has_gguf, is_gguf};
use super::impostor::unmask;
use super::peft::{ADAPTER_CONFIG, Adapter, is_adapter};
use super::{CheckpointError, WeightFiles, tuned};
use crate::models::{Dialogue, ModelConfig, composition, nanovlm};
use crate::nn::LoraConfig;
use crate::ops::Encoding;
use crate::text::{Tokenizer, TokenizerError};

/// A pretrained model whose files are open.
pub(in crate::models) struct Opened {
    pub config: ModelConfig,
    pub dialogue: Dialogue,
    pub tokenizer: Tokenizer,
    pub weights: WeightFiles,
    /// Adapters, whose values are among the weights.
    pub lora: Option<LoraConfig>,
    /// Folder or file that another folder can refer to for these weights without their adapter.
    pub base: PathBuf,
    /// Folder or file with the description of the model.
    pub root: PathBuf,
    /// Question that the model was trained to answer.
    pub prompt: Option<String>,
}

impl Opened {
    /// Opens the model in a folder or GGUF file. `encoder` is the file with the image encoder of a
    /// GGUF model; matrices are converted to `quantize` while they are read. Returns `None` for a
    /// folder that is not a pretrained model.
    ///
    /// # Errors
    /// Names the file that is absent or damaged, or that does not fit the others.
    pub(in crate::models) fn open(
        dir: &Path,
        encoder: Option<&Path>,
        quantize: Option<Encoding>,
    ) -> Result<Option<Opened>, CheckpointError> {
        if is_gguf(dir) || (!has_safetensors(dir) && has_gguf(dir)) {
            let files = GgufModel::open(dir, encoder)?;
            let config = files.config()?;
            config.check()?;
            let (dialogue, tokenizer) = Dialogue::of_gguf(files.text(), files.vision(), &config)?;
            let weights = files.weights(quantize)?;
            return Ok(Some(Opened {
                config,
                dialogue,
                tokenizer,
                weights,
                lora: None,
                base: dir.to_owned(),
                root: dir.to_owned(),
                prompt: None,
            }));
        }
        if let Some(base) = tuned::base(dir)? {
            return tuned::open(dir, base, encoder, quantize).map(Some);
        }
        if let Some(encoder) = encoder {
            return Err(CheckpointError::EncoderUnused {
                path: dir.display().to_string(),
                encoder: encoder.display().to_string(),
            });
        }
        if dir.is_file() {
            let path = dir.display().to_string();
            return Err(unmask(dir).unwrap_or(CheckpointError::NotAFolder { path }));
        }
        let file = dir.join("config.json");
        if !file.is_file() {
            return Ok(None);
        }
        let read = ModelConfig::load(&file);
        let config = read.map_err(|error| unmask(&file).unwrap_or(error.into()))?;
        match config {
            ModelConfig::Composition(config) => {
                let opened = composition::open(dir, config, quantize)?;
                match dir.join(ADAPTER_CONFIG).is_file() {
                    true => opened.with_adapter(dir).map(Some),
                    false => Ok(Some(opened)),
                }
            }
            config if config.is_pretrained() => huggingface(dir, config, quantize).map(Some),
            _ => Ok(None),
        }
    }
}

impl Opened {
    /// Adds the adapter in a folder.
    ///
    /// # Errors
    /// An adapter that is damaged or of a kind that is not supported, or a model that has one.
    pub(in crate::models) fn with_adapter(self, dir: &Path) -> Result<Opened, CheckpointError> {
        if self.lora.is_some() {
            return Err(CheckpointError::Adapter {
                path: self.base.display().to_string(),
                reason: "it has an adapter already: merge it into the model first".into(),
            });
        }
        let Adapter { config, .. } = Adapter::load(dir)?;
        let weights = self.weights.and(Adapter::weights(dir)?, is_adapter);
        Ok(Opened {
            weights,
            lora: Some(config),
            ..self
        })
    }
}

/// Whether a folder has weights as safetensors.
fn has_safetensors(dir: &Path) -> bool {
    let names = ["model.safetensors", "model.safetensors.index.json"];
    names.iter().any(|name| dir.join(name).is_file())
}

/// Opens a folder as the programs of Hugging Face write it.
fn huggingface(
    dir: &Path,
    config: ModelConfig,
    quantize: Option<Encoding>,
) -> Result<Opened, CheckpointError> {
    let vocabulary = dir.join("tokenizer.json");
    let unmasked = |error| unmask(&vocabulary).unwrap_or(error);
    let config = match config {
        ModelConfig::Nanovlm(config) => {
            let id = token_id(&vocabulary, nanovlm::PLACEHOLDER).map_err(unmasked)?;
            config.with_placeholder(id).into()
        }
        config => config,
    };
    let (dialogue, tokenizer) = Dialogue::load(dir, &config).map_err(unmasked)?;
    let weights = WeightFiles::open(dir, &config.weight_rules(), quantize)?;
    Ok(Opened {
        config,
        dialogue,
        tokenizer,
        weights,
        lora: None,
        base: dir.to_owned(),
        root: dir.to_owned(),
        prompt: None,
    })
}

/// Returns the id of a special token in a `tokenizer.json`, if it has it.
fn token_id(path: &Path, content: &str) -> Result<Option<u32>, CheckpointError> {
    #[derive(Deserialize)]
    struct Added {
        id: u32,
        content: String,
    }
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    let text = std::fs::read(path).map_err(|reason| CheckpointError::Read {
        path: path.display().to_string(),
        reason,
    })?;
    let file: File = serde_json::from_slice(&text).map_err(|error| TokenizerError::Invalid {
        path: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let mut tokens = file.added_tokens.into_iter();
    let found = tokens.find(|token| token.content == content);
    Ok(found.map(|token| token.id))
}

/// Returns the folder or file that a model's folder refers to: relative to it, absolute, or a
/// repository of the Hugging Face Hub that is on this machine.
///
/// # Errors
/// If there is no such model on this machine.
pub(in crate::models) fn referred(dir: &Path, reference: &str) -> Result<PathBuf, CheckpointError> {
    let path = dir.join(reference);
    match path.exists() {
        true => Ok(path),
        false => Ok(crate::models::library::locate_repository(reference)?),
    }
}
