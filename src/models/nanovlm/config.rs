//! Configuration of nanoVLM, from its `config.json`.

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

/// Sizes of a nanoVLM model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// SigLIP.
    pub vision: VisionConfig,
    /// SmolLM2.
    pub text: DecoderConfig,
    /// Patches along the side of a square that becomes one row.
    pub pixel_shuffle_factor: usize,
    /// Id of the token whose places the rows of a picture take; without one, as in the first
    /// release, they stand in front of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_token_id: Option<u32>,
}

const VISION: VisionNames = VisionNames {
    patch: "vision_encoder.patch_embedding.conv",
    patch_bias: true,
    positions: "vision_encoder.patch_embedding.position_embedding",
    positions_batched: true,
    class: None,
    blocks: "vision_encoder.blocks",
    norm1: "ln1",
    qkv: &["attn.qkv_proj"],
    out: "attn.out_proj",
    norm2: "ln2",
    mlp: ["mlp.fc1", "mlp.fc2"],
    norm: Some("vision_encoder.layer_norm"),
};

const TEXT: DecoderNames = DecoderNames {
    embedding: "decoder.token_embedding",
    blocks: "decoder.blocks",
    norm1: "norm1",
    attention: ["attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"],
    norm2: "norm2",
    mlp: "mlp",
    norm: "decoder.norm",
    head: "decoder.head",
};

impl Config {
    /// Reads the fields of a `config.json` of any release. The id of the placeholder is in the
    /// tokenizer: see [`with_placeholder`](Self::with_placeholder).
    pub(in crate::models) fn from_huggingface(fields: &Fields) -> Result<Config, ConfigError> {
        let size = |field: &str| fields.size(field, None);
        fields.same("vit_cls_flag", false)?;
        fields.same("lm_use_tokens", false)?;
        let (width, heads) = (size("lm_hidden_dim")?, size("lm_n_heads")?);
        Ok(Config {
            vision: VisionConfig {
                image_size: size("vit_img_size")?,
                patch_size: size("vit_patch_size")?,
                hidden_size: size("vit_hidden_dim")?,
                intermediate_size: size("vit_inter_dim")?,
                num_hidden_layers: size("vit_n_blocks")?,
                num_attention_heads: size("vit_n_heads")?,
                layer_norm_eps: fields.float("vit_ln_eps", Some(1e-6))? as f32,
                hidden_act: VisionActivation::GeluPytorchTanh,
            },
            text: DecoderConfig {
                vocab_size: size("lm_vocab_size")?,
                hidden_size: width,
                intermediate_size: size("lm_inter_dim")?,
                num_hidden_layers: size("lm_n_blocks")?,
                num_attention_heads: heads,
                num_key_value_heads: size("lm_n_kv_heads")?,
                head_dim: width / heads,
                max_position_embeddings: size("lm_max_position_embeddings")?,
                rms_norm_eps: fields.float("lm_rms_eps", Some(1e-5))? as f32,
                rope_theta: fields.float("lm_re_base", Some(100_000.0))?,
                rope_scaling: None,
                tie_word_embeddings: fields.flag("lm_tie_weights", true)?,
                attention_bias: false,
                mlp_bias: false,
            },
            pixel_shuffle_factor: size("mp_pixel_shuffle_factor")?,
            image_token_id: None,
        })
    }

    /// Returns the configuration with the id of the placeholder token, which the tokenizer knows.
    pub fn with_placeholder(self, image_token_id: Option<u32>) -> Config {
        Config {
            image_token_id,
            ..self
        }
    }

    /// Number of rows that a tile becomes.
    pub fn tile_rows(&self) -> usize {
        (self.vision.grid() / self.pixel_shuffle_factor).pow(2)
    }
}

impl FamilyConfig for Config {
    fn info(&self) -> ModelInfo {
        let rows = self.tile_rows();
        ModelInfo {
            placeholder: self
                .image_token_id
                .map(|token| ImagePlaceholder { token, rows }),
            visual_tokens: match self.image_token_id {
                Some(_) => 0,
                None => rows,
            },
            ..pretrained_info(Some((&self.vision, self.pixel_shuffle_factor)), &self.text)
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.vision.check("vit_")?;
        self.text.check("lm_")?;
        let factor = self.pixel_shuffle_factor;
        if !self.vision.grid().is_multiple_of(factor) {
            let rule = format!("it must divide {} patches", self.vision.grid());
            return Err(ConfigError::field("mp_pixel_shuffle_factor", factor, rule));
        }
        Ok(())
    }

    fn apply(&mut self, _overrides: &Overrides) {}

    fn multiply_adds(&self, text: usize) -> f64 {
        self.encoder_multiply_adds() + self.text.multiply_adds(self.tile_rows() + text, text)
    }

    fn encoder_multiply_adds(&self) -> f64 {
        let squares = self.vision.hidden_size * self.pixel_shuffle_factor.pow(2);
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
        let squares = self.vision.hidden_size * self.pixel_shuffle_factor.pow(2);
        let vision = p.with_role(Role::ENCODER, |p| {
            VisionTransformer::new(p, &self.vision, &VISION)
        })?;
        let projection = p.with_role(Role::PROJECTOR, |p| {
            Linear::new(p, "MP.proj", squares, self.text.hidden_size, false)
        })?;
        let connector = Connector::linear(self.pixel_shuffle_factor, projection);
        Ok(Box::new(Network {
            vision: Some((vision, connector)),
            decoder: p.with_role(Role::DECODER, |p| Decoder::new(p, &self.text, &TEXT))?,
            in_front: self.image_token_id.is_none(),
        }))
    }
}
