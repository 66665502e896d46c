//! Reading, writing and checking of model configurations.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ModelConfig;
use crate::hint::{Hint, Hinted};

/// Version of the format of `config.json` that this library writes.
pub const VERSION: u32 = 2;

/// Widest attention head that the kernels support.
const MAX_HEAD_WIDTH: usize = 128;

/// Error about a model configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// File.
        path: String,
        /// Reason given by the system.
        reason: std::io::Error,
    },
    /// A file does not hold a valid configuration.
    #[error("{path}: {error}")]
    File {
        /// File.
        path: String,
        /// What is wrong with its contents.
        error: Box<ConfigError>,
    },
    /// The text is not JSON, a field is unknown, or a value has the wrong type.
    #[error("not a model configuration: {0}")]
    Syntax(String),
    /// The model family is unknown.
    #[error("unknown model family {family}; known families are {}", ModelConfig::FAMILIES.join(", "))]
    Family {
        /// Name of the family.
        family: String,
    },
    /// The architecture of a pretrained model is unknown.
    #[error(
        "unknown architecture {model_type}: choose a model of a known one ({} or nanoVLM)",
        super::family::ARCHITECTURES.join(", ")
    )]
    Architecture {
        /// `model_type` of the configuration.
        model_type: String,
    },
    /// The architecture of a pretrained model is an image encoder alone.
    #[error(
        "the architecture {model_type} is an image encoder, which writes no text: choose a model that writes, such as SmolVLM"
    )]
    EncoderOnly {
        /// `model_type` of the configuration.
        model_type: String,
    },
    /// The architecture is not an image encoder of the kind that is needed.
    #[error(
        "the architecture {model_type} is not an image encoder that is known: choose a CLIP model"
    )]
    NotClip {
        /// `model_type` of the configuration.
        model_type: String,
    },
    /// The model is a pretrained one where one of this library is needed.
    #[error(
        "it is a pretrained model of the family {family}, and one that was trained here from nothing is needed: pretrained models write captions and are tuned, and are not measured or packed"
    )]
    Pretrained {
        /// Name of the family.
        family: &'static str,
    },
    /// The version of the format is unknown.
    #[error(
        "the configuration has version {version}, and this program reads versions up to {VERSION}: update it"
    )]
    Version {
        /// Version that the configuration has.
        version: String,
    },
    /// A field is absent that has no default value.
    #[error("the configuration has no {field}")]
    Absent {
        /// Path of the field, such as `text_config.hidden_size`.
        field: String,
    },
    /// A value is out of range, or does not fit other values.
    #[error("the configuration has {field} = {value}: {rule}")]
    Field {
        /// Path of the field, such as `text.heads`.
        field: String,
        /// Its value.
        value: String,
        /// Rule that the value breaks.
        rule: String,
    },
}

impl ConfigError {
    pub(super) fn field(field: &str, value: impl ToString, rule: impl Into<String>) -> ConfigError {
        ConfigError::Field {
            field: field.to_owned(),
            value: value.to_string(),
            rule: rule.into(),
        }
    }
}

impl Hinted for ConfigError {
    fn hint(&self) -> Option<Hint> {
        match self {
            ConfigError::File { error, .. } => error.hint(),
            ConfigError::Syntax(_) => Some(Hint::ExampleConfig),
            _ => None,
        }
    }
}

/// Values that training or measurements decide; `None` keeps the configuration's own value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// Side of the input image, in pixels.
    pub image_size: Option<usize>,
    /// Number of tokens in the vocabulary.
    pub vocab_size: Option<usize>,
    /// Maximum number of positions, visual tokens included.
    pub context: Option<usize>,
    /// Number of classes of the class head.
    pub classes: Option<usize>,
    /// Dropout probability.
    pub dropout: Option<f32>,
}

/// Configuration as it is written to `config.json`.
#[derive(Serialize)]
pub(super) struct Tagged<'a, T> {
    pub(super) family: &'static str,
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) config: &'a T,
}

/// Reads a configuration from its fields. Errors name the path of the field.
pub(super) fn from_fields<T: DeserializeOwned>(
    fields: Map<String, Value>,
) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(Value::Object(fields))
        .map_err(|error| ConfigError::Syntax(error.to_string()))
}

impl ModelConfig {
    /// Reads a JSON file of any known version, and checks it.
    ///
    /// # Errors
    /// Names the file, and the field where one is wrong.
    pub fn load(path: &Path) -> Result<ModelConfig, ConfigError> {
        let name = || path.display().to_string();
        let text = std::fs::read(path).map_err(|reason| ConfigError::Read {
            path: name(),
            reason,
        })?;
        ModelConfig::parse(&text).map_err(|error| ConfigError::File {
            path: name(),
            error: Box::new(error),
        })
    }

    /// Reads a JSON file as [`load`](Self::load), of a model that this library trains.
    ///
    /// # Errors
    /// As [`load`](Self::load), and for a pretrained model.
    pub fn load_trainable(path: &Path) -> Result<ModelConfig, ConfigError> {
        let config = ModelConfig::load(path)?;
        match config.is_pretrained() {
            false => Ok(config),
            true => Err(ConfigError::File {
                path: path.display().to_string(),
                error: Box::new(ConfigError::Pretrained {
                    family: config.family(),
                }),
            }),
        }
    }

    /// Reads JSON text of any known version, and checks it.
    ///
    /// # Errors
    /// Names the field where one is wrong.
    pub fn parse(text: &[u8]) -> Result<ModelConfig, ConfigError> {
        let value =
            serde_json::from_slice(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let config = ModelConfig::from_json(value)?;
        config.check()?;
        Ok(config)
    }

    /// Formats the configuration as the text of a `config.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a configuration is plain data")
    }
}

/// Checks that every value lies between 1 and its maximum. Entries are field, value, maximum.
pub(super) fn check_sizes(sizes: &[(&str, usize, usize)]) -> Result<(), ConfigError> {
    for &(field, value, max) in sizes {
        if value == 0 || value > max {
            let rule = format!("it must be from 1 to {max}");
            return Err(ConfigError::field(field, value, rule));
        }
    }
    Ok(())
}

/// Checks that a value is at most `max`.
pub(super) fn check_max(field: &str, value: usize, max: usize) -> Result<(), ConfigError> {
    if value > max {
        let rule = format!("it must be at most {max}");
        return Err(ConfigError::field(field, value, rule));
    }
    Ok(())
}

/// Checks sizes and divisibility of `section.width`, `section.layers` and `section.heads`.
pub(super) fn check_stack(
    section: &str,
    width: usize,
    layers: usize,
    heads: usize,
) -> Result<(), ConfigError> {
    let field = |name: &str| format!("{section}.{name}");
    let heads_field = field("heads");
    check_sizes(&[
        (&field("width"), width, 1 << 14),
        (&heads_field, heads, 1 << 10),
    ])?;
    check_max(&field("layers"), layers, 1 << 10)?;
    if !width.is_multiple_of(heads) {
        let rule = format!("it must divide {section}.width = {width}");
        return Err(ConfigError::field(&heads_field, heads, rule));
    }
    let head = width / heads;
    if head > MAX_HEAD_WIDTH {
        let rule =
            format!("a head can be at most {MAX_HEAD_WIDTH} wide, not {head}: use more heads");
        return Err(ConfigError::field(&heads_field, heads, rule));
    }
    Ok(())
}

/// Checks `vision.image_size` and `vision.patch_size`.
pub(super) fn check_patches(image_size: usize, patch_size: usize) -> Result<(), ConfigError> {
    check_sizes(&[
        ("vision.image_size", image_size, 4096),
        ("vision.patch_size", patch_size, 512),
    ])?;
    if !image_size.is_multiple_of(patch_size) {
        let rule = format!("it must divide vision.image_size = {image_size}");
        return Err(ConfigError::field("vision.patch_size", patch_size, rule));
    }
    Ok(())
}

/// Checks `text.vocab_size`, and that `text.context` leaves room for text after `visual_tokens`.
pub(super) fn check_text(
    vocab_size: usize,
    context: usize,
    visual_tokens: usize,
) -> Result<(), ConfigError> {
    check_sizes(&[
        ("text.vocab_size", vocab_size, 1 << 20),
        ("text.context", context, 1 << 20),
    ])?;
    if context <= visual_tokens {
        let rule = format!("{visual_tokens} visual tokens leave no room for text");
        return Err(ConfigError::field("text.context", context, rule));
    }
    Ok(())
}

/// Checks `dropout` and `layernorm_eps`.
pub(super) fn check_arithmetic(dropout: f32, layernorm_eps: f32) -> Result<(), ConfigError> {
    if !(0.0..1.0).contains(&dropout) {
        let rule = "it must be at least 0 and below 1";
        return Err(ConfigError::field("dropout", dropout, rule));
    }
    if !(layernorm_eps > 0.0 && layernorm_eps < 1.0) {
        let rule = "it must lie between 0 and 1";
        return Err(ConfigError::field("layernorm_eps", layernorm_eps, rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
