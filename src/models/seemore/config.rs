//! Configuration of the seemore family.

use serde::{Deserialize, Serialize};

use super::Network;
use crate::device::DeviceError;
use crate::image::Preprocess;
use crate::models::config::{check_arithmetic, check_max, check_patches, check_stack, check_text};
use crate::models::{
    ConfigError, FamilyConfig, ImageTokens, ModelInfo, Overrides, StackInfo, VisionLanguage,
};
use crate::nn::{AttentionScale, Parameters, Projection, Residual};

/// Image features that the decoder sees in front of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualTokens {
    /// One token: the encoder's CLS row (seemore).
    Cls,
    /// One token per patch, from the encoder (LLaVA).
    Patches,
    /// One token per patch, straight from the pixels: no encoder (Fuyu).
    Fuyu,
}

/// Sizes of the image encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VisionConfig {
    /// Side of the square input image, in pixels.
    pub image_size: usize,
    /// Side of a square patch, in pixels; divides `image_size`.
    pub patch_size: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of attention heads; divides `width`.
    pub heads: usize,
    /// Whether a CLS token stands in front of the patches.
    pub cls_token: bool,
    /// Classes that a head on the CLS row tells apart, for an auxiliary loss; 0 for no head.
    /// Training sets it.
    pub classes: usize,
}

impl Default for VisionConfig {
    fn default() -> VisionConfig {
        VisionConfig {
            image_size: 96,
            patch_size: 16,
            width: 512,
            layers: 3,
            heads: 8,
            cls_token: true,
            classes: 0,
        }
    }
}

/// Layers between image features and decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectorConfig {
    /// Kind of the projector.
    pub kind: Projection,
}

impl Default for ProjectorConfig {
    fn default() -> ProjectorConfig {
        ProjectorConfig {
            kind: Projection::Mlp,
        }
    }
}

/// Sizes of the decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Number of tokens in the vocabulary. Training sets it from the tokenizer.
    pub vocab_size: usize,
    /// Maximum number of positions, visual tokens and text together.
    pub context: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of attention heads; divides `width`.
    pub heads: usize,
}

impl Default for TextConfig {
    fn default() -> TextConfig {
        TextConfig {
            vocab_size: 66,
            context: 1000,
            width: 128,
            layers: 8,
            heads: 8,
        }
    }
}

/// Configuration of a model of the seemore family. The default is preset `seemore`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Image encoder.
    pub vision: VisionConfig,
    /// Layers between image features and decoder.
    pub projector: ProjectorConfig,
    /// Decoder.
    pub text: TextConfig,
    /// Image features that the decoder sees.
    pub visual_tokens: VisualTokens,
    /// Probability that dropout zeroes an element during training.
    pub dropout: f32,
    /// Epsilon of all LayerNorms.
    pub layernorm_eps: f32,
    /// Width whose square root divides attention scores.
    pub attention_scale: AttentionScale,
    /// Start of the second residual connection of a block.
    pub residual: Residual,
    /// Whether padding after a caption counts in the loss, as in the original seemore.
    pub count_pads: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            vision: VisionConfig::default(),
            projector: ProjectorConfig::default(),
            text: TextConfig::default(),
            visual_tokens: VisualTokens::Cls,
            dropout: 0.1,
            layernorm_eps: 1e-5,
            attention_scale: AttentionScale::Head,
            residual: Residual::Prenorm,
            count_pads: false,
        }
    }
}

impl Config {
    /// Preset `seemore-original`: the arithmetic of the original seemore, for its checkpoints.
    // ANCHOR: original
    pub fn original() -> Config {
        Config {
            attention_scale: AttentionScale::Width,
            residual: Residual::AfterLn2,
            count_pads: true,
            ..Config::default()
        }
    }
    // ANCHOR_END: original

    /// Preset `llava`: all patch tokens go to the decoder (Liu et al. 2023).
    pub fn llava() -> Config {
        Config {
            visual_tokens: VisualTokens::Patches,
            ..Config::default()
        }
    }

    /// Preset `fuyu`: patches go straight to the projector.
    pub fn fuyu() -> Config {
        Config {
            visual_tokens: VisualTokens::Fuyu,
            ..Config::default()
        }
    }

    /// Preset `tiny`: trains in seconds on a CPU.
    pub fn tiny() -> Config {
        Config {
            vision: VisionConfig {
                image_size: 32,
                patch_size: 8,
                width: 64,
                layers: 2,
                heads: 4,
                ..VisionConfig::default()
            },
            text: TextConfig {
                context: 96,
                width: 32,
                layers: 2,
                heads: 4,
                ..TextConfig::default()
            },
            dropout: 0.0,
            ..Config::default()
        }
    }

    /// Lists the fields because of which the original seemore would compute other logits with this
    /// model's parameters.
    pub fn differences_from_original(&self) -> Vec<String> {
        let original = Config::original();
        let mut list = vec![];
        if self.attention_scale != original.attention_scale {
            list.push("its attention_scale is \"head\" (the original's \"width\")".to_string());
        }
        if self.residual != original.residual {
            list.push("its residual is \"prenorm\" (the original's \"after_ln2\")".to_string());
        }
        if self.layernorm_eps != original.layernorm_eps {
            list.push(format!(
                "its layernorm_eps is {} (the original's {})",
                self.layernorm_eps, original.layernorm_eps
            ));
        }
        list
    }

    /// Width of the image features that the projector takes.
    pub(super) fn feature_width(&self) -> usize {
        match self.visual_tokens {
            VisualTokens::Fuyu => 3 * self.vision.patch_size * self.vision.patch_size,
            VisualTokens::Cls | VisualTokens::Patches => self.vision.width,
        }
    }
}

impl FamilyConfig for Config {
    fn info(&self) -> ModelInfo {
        let (vision, text) = (&self.vision, &self.text);
        let patches = (vision.image_size / vision.patch_size.max(1)).pow(2);
        let encoder = StackInfo::new(
            vision.layers,
            vision.width,
            vision.heads,
            self.attention_scale,
        );
        let has_encoder = self.visual_tokens != VisualTokens::Fuyu;
        ModelInfo {
            preprocess: Preprocess {
                side: vision.image_size,
                crop: false,
            },
            patch_size: vision.patch_size,
            cls_tokens: (has_encoder && vision.cls_token) as usize,
            encoder: has_encoder.then_some(encoder),
            decoder: StackInfo::new(text.layers, text.width, text.heads, self.attention_scale),
            image_tokens: match self.visual_tokens {
                VisualTokens::Cls => ImageTokens::Cls,
                VisualTokens::Patches => ImageTokens::Patches,
                VisualTokens::Fuyu => ImageTokens::Pixels,
            },
            visual_tokens: match self.visual_tokens {
                VisualTokens::Cls => 1,
                VisualTokens::Patches | VisualTokens::Fuyu => patches,
            },
            placeholder: None,
            whole_values: 0,
            whole_rows: 0,
            conditioned: false,
            context: text.context,
            vocab_size: text.vocab_size,
            classes: vision.classes,
            dropout: self.dropout,
            count_pads: self.count_pads,
            uniform_start: vision.classes == 0,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (vision, text) = (&self.vision, &self.text);
        check_patches(vision.image_size, vision.patch_size)?;
        check_stack("vision", vision.width, vision.layers, vision.heads)?;
        check_stack("text", text.width, text.layers, text.heads)?;
        if text.layers == 0 {
            let rule = "it must be at least 1";
            return Err(ConfigError::field("text.layers", text.layers, rule));
        }
        check_max("vision.classes", vision.classes, 1 << 20)?;
        if vision.classes > 0 && self.visual_tokens == VisualTokens::Fuyu {
            let rule = "a class head needs an image encoder";
            return Err(ConfigError::field("vision.classes", vision.classes, rule));
        }
        if vision.classes > 0 && !vision.cls_token {
            let rule = "a class head needs the CLS row: set vision.cls_token to true";
            return Err(ConfigError::field("vision.classes", vision.classes, rule));
        }
        if self.visual_tokens == VisualTokens::Cls && !vision.cls_token {
            let rule = "visual_tokens \"cls\" needs it: set it to true";
            return Err(ConfigError::field("vision.cls_token", false, rule));
        }
        check_text(text.vocab_size, text.context, self.info().visual_tokens)?;
        check_arithmetic(self.dropout, self.layernorm_eps)
    }

    fn apply(&mut self, overrides: &Overrides) {
        let Overrides {
            image_size,
            vocab_size,
            context,
            classes,
            dropout,
        } = *overrides;
        let (vision, text) = (&mut self.vision, &mut self.text);
        vision.image_size = image_size.unwrap_or(vision.image_size);
        vision.classes = classes.unwrap_or(vision.classes);
        text.vocab_size = vocab_size.unwrap_or(text.vocab_size);
        text.context = context.unwrap_or(text.context);
        self.dropout = dropout.unwrap_or(self.dropout);
    }

    fn multiply_adds(&self, text: usize) -> f64 {
        let info = self.info();
        let projector = self
            .projector
            .kind
            .multiply_adds(self.feature_width(), self.text.width);
        info.encoder_multiply_adds()
            + info.visual_tokens as f64 * projector
            + info.decoder_multiply_adds(text)
    }

    fn build(&self, p: &mut Parameters) -> Result<Box<dyn VisionLanguage>, DeviceError> {
        Ok(Box::new(Network::new(p, self)?))
    }
}
