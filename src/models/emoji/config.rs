//! Configuration of the emoji family.

use serde::{Deserialize, Serialize};

use super::Network;
use crate::device::DeviceError;
use crate::image::Preprocess;
use crate::models::config::{
    check_arithmetic, check_max, check_patches, check_sizes, check_stack, check_text,
};
use crate::models::{
    ConfigError, FamilyConfig, ImageTokens, ModelInfo, Overrides, StackInfo, VisionLanguage,
};
use crate::nn::{AttentionScale, Parameters, Projection, Residual};

/// Image features that the decoder takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualTokens {
    /// One vector: the encoder's CLS row.
    Cls,
    /// One token per patch.
    Patches,
    /// One token per patch, straight from the pixels: no encoder, and therefore no class head,
    /// oriented gradients or colour histogram.
    Fuyu,
    /// One vector made of all patch rows: each is narrowed to `pool_width` values, these are laid
    /// side by side, so that places in the image keep their meaning, and mixed by a linear layer.
    /// The encoder has no CLS token.
    Pooled,
}

/// Way that the decoder takes in the visual tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// In front of the text, at positions of their own.
    Prefix,
    /// Normalised and added to the embedding of every text position; for a single visual token.
    Add,
}

/// Layer that scores tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Linear layer with weights of its own.
    Linear,
    /// `20 cos(x, token embedding)`, with embeddings shared by input and output (Press & Wolf
    /// 2017).
    Cosine,
}

/// Input and image encoder.
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
    /// Image features that the decoder takes in.
    pub tokens: VisualTokens,
    /// Whether a CLS token stands in front of the patches; pooled patches have none.
    pub cls_token: bool,
    /// Values that each patch keeps when patches are pooled.
    pub pool_width: usize,
    /// Whether images are cropped to what is drawn on their plain background before they are
    /// resized.
    pub crop: bool,
    /// Whether images are seen as ink on white paper, 0 for white to 1, instead of normalised.
    pub ink: bool,
    /// Whether the patch embedding sees histograms of oriented gradients beside the pixels. Needs
    /// `ink` and an even `patch_size`.
    pub oriented_gradients: bool,
    /// Levels of red, green and blue in the colour histogram that is added to every text position:
    /// a multiple of 4, or 0 for no histogram. Needs `ink`.
    pub color_levels: usize,
}

impl Default for VisionConfig {
    fn default() -> VisionConfig {
        VisionConfig {
            image_size: 48,
            patch_size: 8,
            width: 192,
            layers: 1,
            heads: 6,
            tokens: VisualTokens::Pooled,
            cls_token: true,
            pool_width: 32,
            crop: true,
            ink: true,
            oriented_gradients: true,
            color_levels: 8,
        }
    }
}

/// Head that tells concepts apart by the cosine between their rows and the image vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassHeadConfig {
    /// Number of concepts; 0 for no head. Training sets it.
    pub classes: usize,
    /// Whether the decoder is given the guess of the head: the concepts' embeddings, weighted by
    /// their probabilities, are normalised and added to every text position.
    pub guess: bool,
}

impl Default for ClassHeadConfig {
    fn default() -> ClassHeadConfig {
        ClassHeadConfig {
            classes: 0,
            guess: true,
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
            kind: Projection::Linear,
        }
    }
}

/// Decoder.
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
    /// Way that the decoder takes in the visual tokens.
    pub fusion: Fusion,
    /// Layer that scores tokens.
    pub output: Output,
}

impl Default for TextConfig {
    fn default() -> TextConfig {
        TextConfig {
            vocab_size: 66,
            context: 32,
            width: 192,
            layers: 1,
            heads: 6,
            fusion: Fusion::Add,
            output: Output::Cosine,
        }
    }
}

/// Configuration of a model of the emoji family. The default is preset `emoji`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Input and image encoder.
    pub vision: VisionConfig,
    /// Head that tells concepts apart.
    pub class_head: ClassHeadConfig,
    /// Layers between image features and decoder.
    pub projector: ProjectorConfig,
    /// Decoder.
    pub text: TextConfig,
    /// Probability that dropout zeroes an element during training.
    pub dropout: f32,
    /// Epsilon of all LayerNorms.
    pub layernorm_eps: f32,
    /// Width whose square root divides attention scores.
    pub attention_scale: AttentionScale,
    /// Start of the second residual connection of a block.
    pub residual: Residual,
    /// Whether padding after a caption counts in the loss.
    pub count_pads: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            vision: VisionConfig::default(),
            class_head: ClassHeadConfig::default(),
            projector: ProjectorConfig::default(),
            text: TextConfig::default(),
            dropout: 0.0,
            layernorm_eps: 1e-5,
            attention_scale: AttentionScale::Head,
            residual: Residual::Prenorm,
            count_pads: false,
        }
    }
}

impl Config {
    /// Number of patches of an image.
    pub(super) fn patches(&self) -> usize {
        (self.vision.image_size / self.vision.patch_size.max(1)).pow(2)
    }

    /// Whether the model has an image encoder.
    pub(super) fn has_encoder(&self) -> bool {
        self.vision.tokens != VisualTokens::Fuyu
    }

    /// Whether the encoder has a CLS token.
    pub(super) fn has_cls(&self) -> bool {
        self.vision.cls_token && self.has_encoder() && self.vision.tokens != VisualTokens::Pooled
    }

    /// Width of the image features that the projector takes.
    pub(super) fn feature_width(&self) -> usize {
        match self.vision.tokens {
            VisualTokens::Fuyu => 3 * self.vision.patch_size * self.vision.patch_size,
            VisualTokens::Cls | VisualTokens::Patches | VisualTokens::Pooled => self.vision.width,
        }
    }

    /// Whether the decoder is given the class head's guess.
    pub(super) fn guesses(&self) -> bool {
        self.class_head.guess && self.class_head.classes > 0
    }
}

impl FamilyConfig for Config {
    fn info(&self) -> ModelInfo {
        let (vision, text) = (&self.vision, &self.text);
        let encoder = StackInfo::new(
            vision.layers,
            vision.width,
            vision.heads,
            self.attention_scale,
        );
        ModelInfo {
            preprocess: Preprocess {
                side: vision.image_size,
                crop: vision.crop,
            },
            patch_size: vision.patch_size,
            cls_tokens: self.has_cls() as usize,
            encoder: self.has_encoder().then_some(encoder),
            decoder: StackInfo::new(text.layers, text.width, text.heads, self.attention_scale),
            image_tokens: match vision.tokens {
                VisualTokens::Cls => ImageTokens::Cls,
                VisualTokens::Patches => ImageTokens::Patches,
                VisualTokens::Fuyu => ImageTokens::Pixels,
                VisualTokens::Pooled => ImageTokens::Pooled,
            },
            visual_tokens: match (text.fusion, vision.tokens) {
                (Fusion::Add, _) => 0,
                (Fusion::Prefix, VisualTokens::Patches | VisualTokens::Fuyu) => self.patches(),
                (Fusion::Prefix, VisualTokens::Cls | VisualTokens::Pooled) => 1,
            },
            placeholder: None,
            whole_values: 0,
            whole_rows: 0,
            conditioned: text.fusion == Fusion::Add || self.guesses() || vision.color_levels > 0,
            context: text.context,
            vocab_size: text.vocab_size,
            classes: self.class_head.classes,
            dropout: self.dropout,
            count_pads: self.count_pads,
            uniform_start: text.output == Output::Linear && self.class_head.classes == 0,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (vision, text) = (&self.vision, &self.text);
        let fail = |field, value: &dyn ToString, rule| {
            Err(ConfigError::field(field, value.to_string(), rule))
        };
        check_patches(vision.image_size, vision.patch_size)?;
        check_stack("vision", vision.width, vision.layers, vision.heads)?;
        check_sizes(&[
            ("vision.pool_width", vision.pool_width, 1 << 14),
            ("text.layers", text.layers, 1 << 10),
        ])?;
        check_stack("text", text.width, text.layers, text.heads)?;
        check_max("class_head.classes", self.class_head.classes, 1 << 20)?;
        if vision.oriented_gradients && !vision.patch_size.is_multiple_of(2) {
            let rule = "it must be even when vision.oriented_gradients is true";
            return fail("vision.patch_size", &vision.patch_size, rule);
        }
        let needs_encoder = "it needs an image encoder: vision.tokens \"fuyu\" has none";
        if !self.has_encoder() && self.class_head.classes > 0 {
            return fail(
                "class_head.classes",
                &self.class_head.classes,
                needs_encoder,
            );
        }
        if !self.has_encoder() && vision.oriented_gradients {
            return fail("vision.oriented_gradients", &true, needs_encoder);
        }
        if !self.has_encoder() && vision.color_levels > 0 {
            return fail("vision.color_levels", &vision.color_levels, needs_encoder);
        }
        let one_vector = matches!(vision.tokens, VisualTokens::Cls | VisualTokens::Pooled);
        if text.fusion == Fusion::Add && !one_vector {
            let rule = "it takes one vector for the whole image: set vision.tokens to \"cls\" or \"pooled\"";
            return fail("text.fusion", &"add", rule);
        }
        if vision.tokens == VisualTokens::Cls && !vision.cls_token {
            let rule = "vision.tokens \"cls\" needs it: set it to true";
            return fail("vision.cls_token", &false, rule);
        }
        if !vision.color_levels.is_multiple_of(4) || vision.color_levels > 32 {
            let rule = "it must be a multiple of 4, at most 32";
            return fail("vision.color_levels", &vision.color_levels, rule);
        }
        if vision.color_levels > 0 && !vision.ink {
            let rule = "the histogram counts ink: set vision.ink to true";
            return fail("vision.color_levels", &vision.color_levels, rule);
        }
        if vision.oriented_gradients && !vision.ink {
            let rule = "oriented gradients are those of ink: set vision.ink to true";
            return fail("vision.oriented_gradients", &true, rule);
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
        self.vision.image_size = image_size.unwrap_or(self.vision.image_size);
        self.class_head.classes = classes.unwrap_or(self.class_head.classes);
        self.text.vocab_size = vocab_size.unwrap_or(self.text.vocab_size);
        self.text.context = context.unwrap_or(self.text.context);
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
