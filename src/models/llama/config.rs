//! Configuration of a Llama-type model, from its `config.json`.

use serde::{Deserialize, Serialize};

use crate::device::DeviceError;
use crate::models::load::WeightRules;
use crate::models::pretrained::{
    Decoder, DecoderConfig, DecoderNames, Fields, Network, pretrained_info,
};
use crate::models::{ConfigError, FamilyConfig, ModelInfo, Overrides, VisionLanguage};
use crate::nn::Parameters;

/// Sizes of a Llama-type model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Config {
    /// The decoder, which is the whole model.
    pub text: DecoderConfig,
}

/// Names of the tensors.
pub(in crate::models) const NAMES: DecoderNames = DecoderNames {
    embedding: "model.embed_tokens",
    blocks: "model.layers",
    norm1: "input_layernorm",
    attention: [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
    ],
    norm2: "post_attention_layernorm",
    mlp: "mlp",
    norm: "model.norm",
    head: "lm_head",
};

impl Config {
    /// Reads the fields of a `config.json` of Hugging Face.
    pub(in crate::models) fn from_huggingface(fields: &Fields) -> Result<Config, ConfigError> {
        Ok(Config {
            text: DecoderConfig::from_huggingface(fields, false)?,
        })
    }
}

impl FamilyConfig for Config {
    fn info(&self) -> ModelInfo {
        pretrained_info(None, &self.text)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.text.check("")
    }

    fn apply(&mut self, _overrides: &Overrides) {}

    fn multiply_adds(&self, text: usize) -> f64 {
        self.text.multiply_adds(text, text)
    }

    fn weight_rules(&self) -> WeightRules {
        WeightRules {
            tied: NAMES.tied(&self.text),
            ..WeightRules::default()
        }
    }

    fn adapter_targets(&self) -> Option<String> {
        Some(NAMES.adapter_targets())
    }

    fn build(&self, p: &mut Parameters) -> Result<Box<dyn VisionLanguage>, DeviceError> {
        Ok(Box::new(Network {
            vision: None,
            decoder: Decoder::new(p, &self.text, &NAMES)?,
            in_front: false,
        }))
    }
}
