//! Configuration of SmolVLM, from its `config.json`.

use serde::{Deserialize, Serialize};

use crate::device::DeviceError;
use crate::models::load::WeightRules;
use crate::models::pretrained::{
    Connector, Decoder, DecoderConfig, DecoderNames, Fields, Network, VisionActivation,
    VisionConfig, VisionNames, VisionTransformer, pretrained_info,
};
use crate::models::{
    ConfigError, FamilyConfig, ImagePlaceholder, ModelInfo, Overrides, VisionLanguage,
};
use crate::nn::{Linear, Parameters, Role};

/// Sizes and ids of a SmolVLM model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// SigLIP.
    pub vision: VisionConfig,
    /// SmolLM2.
    pub text: DecoderConfig,
    /// Patches along the side of a square that becomes one row.
    pub scale_factor: usize,
    /// Id of the token whose places the rows of a picture take.
    pub image_token_id: u32,
}

/// Values of fields that a file leaves out: those of transformers' `Idefics3VisionConfig`.
const VISION_DEFAULTS: VisionConfig = VisionConfig {
    image_size: 224,
    patch_size: 32,
    hidden_size: 1152,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 16,
    layer_norm_eps: 1e-6,
    hidden_act: VisionActivation::GeluPytorchTanh,
};

const VISION: VisionNames = VisionNames {
    patch: "model.vision_model.embeddings.patch_embedding",
    patch_bias: true,
    positions: "model.vision_model.embeddings.position_embedding.weight",
    positions_batched: false,
    class: None,
    blocks: "model.vision_model.encoder.layers",
    norm1: "layer_norm1",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.out_proj",
    norm2: "layer_norm2",
    mlp: ["mlp.fc1", "mlp.fc2"],
    norm: Some("model.vision_model.post_layernorm"),
};

const TEXT: DecoderNames = DecoderNames {
    embedding: "model.text_model.embed_tokens",
    blocks: "model.text_model.layers",
    norm1: "input_layernorm",
    attention: [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
    ],
    norm2: "post_attention_layernorm",
    mlp: "mlp",
    norm: "model.text_model.norm",
    head: "lm_head",
};

impl Config {
    /// Reads the fields of a `config.json` of Hugging Face, of transformers 5 or earlier.
    pub(in crate::models) fn from_huggingface(fields: &Fields) -> Result<Config, ConfigError> {
        let part = |name: &str| {
            let part = fields.object(name)?;
            part.ok_or_else(|| ConfigError::Absent { field: name.into() })
        };
        let (vision, text) = (part("vision_config")?, part("text_config")?);
        let tied = fields.flag("tie_word_embeddings", false)?;
        Ok(Config {
            vision: VisionConfig::from_huggingface(&vision, &VISION_DEFAULTS)?,
            text: DecoderConfig {
                // the file's own field decides: the one in text_config is a leftover
                tie_word_embeddings: match fields.has("tie_word_embeddings") {
                    true => tied,
                    false => text.flag("tie_word_embeddings", false)?,
                },
                ..DecoderConfig::from_huggingface(&text, tied)?
            },
            scale_factor: fields.size("scale_factor", Some(2))?,
            image_token_id: fields.value("image_token_id", Some(128_257))?,
        })
    }

    /// Number of rows that a tile becomes.
    pub fn tile_rows(&self) -> usize {
        (self.vision.grid() / self.scale_factor).pow(2)
    }
}

impl FamilyConfig for Config {
    fn info(&self) -> ModelInfo {
        ModelInfo {
            placeholder: Some(ImagePlaceholder {
                token: self.image_token_id,
                rows: self.tile_rows(),
            }),
            ..pretrained_info(Some((&self.vision, self.scale_factor)), &self.text)
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.vision.check("vision_config.")?;
        self.text.check("text_config.")?;
        if !self.vision.grid().is_multiple_of(self.scale_factor) {
            let rule = format!("it must divide {} patches", self.vision.grid());
            return Err(ConfigError::field("scale_factor", self.scale_factor, rule));
        }
        if self.image_token_id as usize >= self.text.vocab_size {
            let rule = "it must be an id of the vocabulary";
            return Err(ConfigError::field(
                "image_token_id",
                self.image_token_id,
                rule,
            ));
        }
        Ok(())
    }

    fn apply(&mut self, _overrides: &Overrides) {}

    fn multiply_adds(&self, text: usize) -> f64 {
        self.encoder_multiply_adds() + self.text.multiply_adds(self.tile_rows() + text, text)
    }

    fn encoder_multiply_adds(&self) -> f64 {
        let squares = self.vision.hidden_size * self.scale_factor.pow(2);
        let connector = self.tile_rows() * squares * self.text.hidden_size;
        self.vision.multiply_adds(0) + connector as f64
    }

    fn weight_rules(&self) -> WeightRules {
        WeightRules {
            tied: TEXT.tied(&self.text),
            ..WeightRules::default()
        }
    }

    fn adapter_targets(&self) -> Option<String> {
        Some(TEXT.adapter_targets())
    }

    fn build(&self, p: &mut Parameters) -> Result<Box<dyn VisionLanguage>, DeviceError> {
        let squares = self.vision.hidden_size * self.scale_factor.pow(2);
        let vision = p.with_role(Role::ENCODER, |p| {
            VisionTransformer::new(p, &self.vision, &VISION)
        })?;
        let projection = p.with_role(Role::PROJECTOR, |p| {
            let name = "model.connector.modality_projection.proj";
            Linear::new(p, name, squares, self.text.hidden_size, false)
        })?;
        let connector = Connector::linear(self.scale_factor, projection);
        Ok(Box::new(Network {
            vision: Some((vision, connector)),
            decoder: p.with_role(Role::DECODER, |p| Decoder::new(p, &self.text, &TEXT))?,
            in_front: false,
        }))
    }
}
