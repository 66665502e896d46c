//! Configuration of CLIP's image encoder, from its `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::models::ConfigError;
use crate::models::pretrained::{Fields, VisionActivation, VisionConfig, VisionNames};

/// Sizes of an image encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The transformer.
    pub vision: VisionConfig,
    /// Width of the embeddings that pictures and texts share.
    pub projection_dim: usize,
}

/// Values of fields that a file leaves out: those of transformers' `CLIPVisionConfig`.
const DEFAULTS: VisionConfig = VisionConfig {
    image_size: 224,
    patch_size: 32,
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    layer_norm_eps: 1e-5,
    hidden_act: VisionActivation::QuickGelu,
};

/// Name of the layer to the embeddings that pictures and texts share.
pub(in crate::models) const PROJECTION: &str = "visual_projection";

/// Names of the tensors. The misspelt one is the files' own.
pub(in crate::models) const NAMES: VisionNames = VisionNames {
    patch: "vision_model.embeddings.patch_embedding",
    patch_bias: false,
    positions: "vision_model.embeddings.position_embedding.weight",
    positions_batched: false,
    class: Some([
        "vision_model.embeddings.class_embedding",
        "vision_model.pre_layrnorm",
    ]),
    blocks: "vision_model.encoder.layers",
    norm1: "layer_norm1",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.out_proj",
    norm2: "layer_norm2",
    mlp: ["mlp.fc1", "mlp.fc2"],
    norm: Some("vision_model.post_layernorm"),
};

/// Architectures that [`Config::load`] takes, by their `model_type`.
const ARCHITECTURES: [&str; 3] = [
    "clip",
    "clip_vision_model",
    "clip_vision_model_with_projection",
];

impl Config {
    /// Reads the `config.json` of a folder.
    ///
    /// # Errors
    /// Names the file, and the field that is absent or wrong.
    pub fn load(dir: &Path) -> Result<Config, ConfigError> {
        let path = dir.join("config.json");
        let name = || path.display().to_string();
        let text = std::fs::read(&path).map_err(|reason| ConfigError::Read {
            path: name(),
            reason,
        })?;
        let read = || -> Result<Config, ConfigError> {
            let fields: Map<String, Value> = serde_json::from_slice(&text)
                .map_err(|error| ConfigError::Syntax(error.to_string()))?;
            let model_type = fields.get("model_type").and_then(Value::as_str);
            match model_type.unwrap_or("clip") {
                known if ARCHITECTURES.contains(&known) => Config::from_huggingface(&fields),
                other => Err(ConfigError::NotClip {
                    model_type: other.to_owned(),
                }),
            }
        };
        read().map_err(|error| ConfigError::File {
            path: name(),
            error: Box::new(error),
        })
    }

    /// Reads the fields of a `config.json`: of a vision model alone, or of a whole CLIP model.
    ///
    /// # Errors
    /// Names the field that is absent or wrong.
    pub fn from_huggingface(fields: &Map<String, Value>) -> Result<Config, ConfigError> {
        let fields = Fields::new(fields);
        let vision = fields.object("vision_config")?.unwrap_or(fields.clone());
        let config = Config {
            vision: VisionConfig::from_huggingface(&vision, &DEFAULTS)?,
            projection_dim: match fields.has("projection_dim") {
                true => fields.size("projection_dim", None)?,
                false => vision.size("projection_dim", Some(512))?,
            },
        };
        config.vision.check(vision.path())?;
        Ok(config)
    }
}
