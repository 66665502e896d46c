//! The model's sizes and switches.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::image::Preprocess;
use crate::nn::Residual;

/// What of the picture the decoder sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualTokens {
    /// One token: the encoder's CLS row (seemore).
    Cls,
    /// One token for every patch, out of the encoder (LLaVA).
    Patches,
    /// One token for every patch, straight from the pixels: no encoder (Fuyu).
    Fuyu,
    /// One vector made of all patch rows out of the encoder, which has no CLS token: each row is narrowed to `pool_width`
    /// numbers, these are laid side by side, so that places keep their meaning, and mixed by a linear layer.
    Pooled,
}

/// How the decoder takes in the visual tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// In front of the text, as positions of their own (seemore, LLaVA).
    Prefix,
    /// One visual token, normalised and added to the embedding of every text position.
    Add,
}

/// How the decoder's last layer scores tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// A linear layer with weights of its own.
    Linear,
    /// `20 cos(x, token embedding)`: the direction alone counts, and the embeddings serve both ends (Press & Wolf 2017).
    Cosine,
}

/// How image features become decoder inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// Two layers with a GELU between.
    Mlp,
    /// One layer.
    Linear,
}

/// What attention scores are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionScale {
    /// The root of a head's width, as in "Attention Is All You Need".
    Head,
    /// The root of the whole embedding's width, as the original seemore has it.
    Width,
}

/// Everything that decides the model's arithmetic and the shapes of its parameters. Stored as `config.json`; fields
/// that a file leaves out take the values of preset `seemore`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Side of the square input picture, in pixels.
    pub image_size: usize,
    /// Side of a square patch, in pixels; divides `image_size`.
    pub patch_size: usize,
    /// Width of the image encoder.
    pub vision_width: usize,
    /// Blocks of the image encoder.
    pub vision_layers: usize,
    /// Attention heads of the image encoder.
    pub vision_heads: usize,
    /// Width of the decoder.
    pub width: usize,
    /// Blocks of the decoder.
    pub layers: usize,
    /// Attention heads of the decoder.
    pub heads: usize,
    /// Tokens that the decoder knows; training sets it to the tokenizer's size.
    pub vocab_size: usize,
    /// Most positions: visual tokens and text together.
    pub context: usize,
    /// Probability with which training zeroes an element, at every dropout.
    pub dropout: f32,
    pub layernorm_eps: f32,
    pub visual_tokens: VisualTokens,
    /// Whether a CLS token stands in front of the patches in the encoder; pooled patches have none.
    pub cls_token: bool,
    /// Numbers that each patch keeps when they are pooled.
    pub pool_width: usize,
    /// Whether the patch embedding sees histograms of oriented gradients beside the pixels; needs an even `patch_size`.
    pub hog: bool,
    /// Whether pictures are seen as ink on white paper, 0 for white to 1, instead of normalised.
    pub ink: bool,
    /// Reds, greens and blues that the histogram of the picture's colours tells apart, a multiple of 4; it is added to every text
    /// position. 0 for none. Needs `ink`.
    pub color_levels: usize,
    /// Whether pictures are cropped to what is drawn on their plain background before they are resized.
    pub crop: bool,
    pub projector: Projection,
    pub fusion: Fusion,
    pub output: Output,
    /// Concepts that the class head tells apart by their cosine with the image vector; 0 for no such head. Training sets it.
    pub classes: usize,
    /// Whether the decoder is told what the class head takes the picture for: the concepts' embeddings, weighted by their
    /// probabilities, are normalised and added to every text position.
    pub guess: bool,
    pub attention_scale: AttentionScale,
    pub residual: Residual,
    /// Whether padding after a caption counts in the loss, as in the original seemore.
    pub count_pads: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            image_size: 96,
            patch_size: 16,
            vision_width: 512,
            vision_layers: 3,
            vision_heads: 8,
            width: 128,
            layers: 8,
            heads: 8,
            vocab_size: 66,
            context: 1000,
            dropout: 0.1,
            layernorm_eps: 1e-5,
            visual_tokens: VisualTokens::Cls,
            cls_token: true,
            pool_width: 32,
            hog: false,
            ink: false,
            color_levels: 0,
            crop: false,
            projector: Projection::Mlp,
            fusion: Fusion::Prefix,
            output: Output::Linear,
            classes: 0,
            guess: false,
            attention_scale: AttentionScale::Head,
            residual: Residual::Prenorm,
            count_pads: false,
        }
    }
}

/// Named configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The original's sizes with the textbook's arithmetic: 12,907,970 parameters at 66 characters.
    Seemore,
    /// The original's sizes and arithmetic, for its checkpoints.
    SeemoreOriginal,
    /// All patch tokens go to the decoder, as in LLaVA.
    Llava,
    /// No image encoder: patches go straight to the projector, as in Fuyu.
    Fuyu,
    /// Small enough to train in seconds on a CPU.
    Tiny,
    /// Learns drawings from few examples each: oriented gradients, pooled patches, words that the picture is added to. For `--tokenizer
    /// words`.
    Emoji,
}

impl Preset {
    pub fn config(self) -> Config {
        let base = Config::default();
        match self {
            Preset::Seemore => base,
            Preset::SeemoreOriginal => Config {
                attention_scale: AttentionScale::Width,
                residual: Residual::AfterLn2,
                count_pads: true,
                ..base
            },
            Preset::Llava => Config {
                visual_tokens: VisualTokens::Patches,
                ..base
            },
            Preset::Fuyu => Config {
                visual_tokens: VisualTokens::Fuyu,
                ..base
            },
            Preset::Tiny => Config {
                image_size: 32,
                patch_size: 8,
                vision_width: 64,
                vision_layers: 2,
                vision_heads: 4,
                width: 32,
                layers: 2,
                heads: 4,
                context: 96,
                dropout: 0.0,
                ..base
            },
            Preset::Emoji => Config {
                image_size: 48,
                patch_size: 8,
                vision_width: 192,
                vision_layers: 1,
                vision_heads: 6,
                width: 192,
                layers: 1,
                heads: 6,
                context: 32,
                dropout: 0.0,
                visual_tokens: VisualTokens::Pooled,
                hog: true,
                ink: true,
                color_levels: 8,
                crop: true,
                projector: Projection::Linear,
                fusion: Fusion::Add,
                output: Output::Cosine,
                guess: true,
                ..base
            },
        }
    }
}

/// What is wrong with a configuration. Messages contain the reason, which is therefore not a source.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {reason}")]
    Read {
        path: String,
        reason: std::io::Error,
    },
    #[error(
        "{path} is not a model configuration: {reason}. `seemore train --preset tiny` writes one as config.json"
    )]
    Parse {
        path: String,
        reason: serde_json::Error,
    },
    #[error("the configuration has {field} = {value}: {rule}")]
    Field {
        field: &'static str,
        value: String,
        rule: String,
    },
}

impl Config {
    /// Reads a JSON file and checks it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|reason| ConfigError::Read {
            path: name(),
            reason,
        })?;
        let config: Config = serde_json::from_str(&text).map_err(|reason| ConfigError::Parse {
            path: name(),
            reason,
        })?;
        config.check()?;
        Ok(config)
    }

    /// Whether a model can be made of it.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |field, value: usize, rule: String| {
            Err(ConfigError::Field {
                field,
                value: value.to_string(),
                rule,
            })
        };
        let sizes = [
            ("image_size", self.image_size, 4096),
            ("patch_size", self.patch_size, 512),
            ("vision_width", self.vision_width, 1 << 14),
            ("vision_heads", self.vision_heads, 1 << 10),
            ("width", self.width, 1 << 14),
            ("layers", self.layers, 1 << 10),
            ("heads", self.heads, 1 << 10),
            ("vocab_size", self.vocab_size, 1 << 20),
            ("context", self.context, 1 << 20),
            ("pool_width", self.pool_width, 1 << 14),
        ];
        for (field, value, most) in sizes {
            if value == 0 || value > most {
                return fail(field, value, format!("it must be from 1 to {most}"));
            }
        }
        if self.vision_layers > 1 << 10 {
            return fail(
                "vision_layers",
                self.vision_layers,
                "it must be at most 1024".into(),
            );
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            return fail(
                "patch_size",
                self.patch_size,
                format!("it must divide image_size = {}", self.image_size),
            );
        }
        for (field, heads, width_name, width) in [
            (
                "vision_heads",
                self.vision_heads,
                "vision_width",
                self.vision_width,
            ),
            ("heads", self.heads, "width", self.width),
        ] {
            if !width.is_multiple_of(heads) {
                return fail(
                    field,
                    heads,
                    format!("it must divide {width_name} = {width}"),
                );
            }
            if width / heads > 128 {
                return fail(
                    field,
                    heads,
                    format!(
                        "a head of {} is too wide, 128 is the most: use more heads",
                        width / heads
                    ),
                );
            }
        }
        if self.classes > 1 << 20 {
            return fail(
                "classes",
                self.classes,
                format!("it must be at most {}", 1 << 20),
            );
        }
        if self.hog && !self.patch_size.is_multiple_of(2) {
            return fail(
                "patch_size",
                self.patch_size,
                "it must be even when hog is true".into(),
            );
        }
        let one_vector = matches!(self.visual_tokens, VisualTokens::Cls | VisualTokens::Pooled);
        if self.fusion == Fusion::Add && !one_vector {
            let rule = "it takes one vector for the whole picture: set visual_tokens to \"cls\" or \"pooled\"".into();
            return Err(ConfigError::Field {
                field: "fusion",
                value: "add".into(),
                rule,
            });
        }
        if self.classes > 0 && self.visual_tokens == VisualTokens::Fuyu {
            return fail(
                "classes",
                self.classes,
                "without an encoder there is nothing to tell them apart by".into(),
            );
        }
        if self.visual_tokens == VisualTokens::Cls && !self.cls_token {
            let rule = "visual_tokens \"cls\" are that token: set cls_token to true".into();
            return Err(ConfigError::Field {
                field: "cls_token",
                value: "false".into(),
                rule,
            });
        }
        if !self.color_levels.is_multiple_of(4) || self.color_levels > 32 {
            return fail(
                "color_levels",
                self.color_levels,
                "it must be a multiple of 4, at most 32".into(),
            );
        }
        if self.color_levels > 0 && (!self.ink || self.visual_tokens == VisualTokens::Fuyu) {
            return fail(
                "color_levels",
                self.color_levels,
                "histograms are of the encoder's ink: set ink to true".into(),
            );
        }
        if self.hog && !self.ink {
            let rule = "oriented gradients are of ink: set ink to true".into();
            return Err(ConfigError::Field {
                field: "hog",
                value: "true".into(),
                rule,
            });
        }
        if self.hog && self.visual_tokens == VisualTokens::Fuyu {
            let rule = "without an encoder there is no patch embedding to give it to".into();
            return Err(ConfigError::Field {
                field: "hog",
                value: "true".into(),
                rule,
            });
        }
        if self.context <= self.visual() {
            return fail(
                "context",
                self.context,
                format!("{} visual tokens leave no room for text", self.visual()),
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(ConfigError::Field {
                field: "dropout",
                value: self.dropout.to_string(),
                rule: "it must be at least 0 and below 1".into(),
            });
        }
        if !(self.layernorm_eps > 0.0 && self.layernorm_eps < 1.0) {
            return Err(ConfigError::Field {
                field: "layernorm_eps",
                value: self.layernorm_eps.to_string(),
                rule: "it must lie between 0 and 1".into(),
            });
        }
        Ok(())
    }

    /// Where the original seemore, given this model's values, would compute other logits; empty where it would not.
    pub fn differences_from_original(&self) -> Vec<String> {
        let original = Preset::SeemoreOriginal.config();
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

    /// How pictures are made fit for the encoder.
    pub fn frame(&self) -> Preprocess {
        Preprocess {
            side: self.image_size,
            crop: self.crop,
        }
    }

    /// Rows that the image encoder works on.
    pub fn encoder_rows(&self) -> usize {
        self.patches() + (self.cls_token && self.visual_tokens != VisualTokens::Pooled) as usize
    }

    /// Patches of a picture.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Numbers in a patch: 3 colours of `patch_size` by `patch_size` pixels.
    pub fn patch_values(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }

    /// Whether anything of the picture is added to every text position.
    pub fn adds(&self) -> bool {
        self.fusion == Fusion::Add || self.guess && self.classes > 0 || self.color_levels > 0
    }

    /// Visual tokens in front of the text.
    pub fn visual(&self) -> usize {
        if self.fusion == Fusion::Add {
            return 0;
        }
        match self.visual_tokens {
            VisualTokens::Cls | VisualTokens::Pooled => 1,
            VisualTokens::Patches | VisualTokens::Fuyu => self.patches(),
        }
    }

    /// Width of the image features that the projector takes.
    pub fn feature_width(&self) -> usize {
        if self.visual_tokens == VisualTokens::Fuyu {
            self.patch_values()
        } else {
            self.vision_width
        }
    }

    /// What attention scores are multiplied by, for a stack of the given width and heads.
    pub fn scale(&self, width: usize, heads: usize) -> f32 {
        let divisor = match self.attention_scale {
            AttentionScale::Head => width / heads,
            AttentionScale::Width => width,
        };
        (divisor as f64).powf(-0.5) as f32
    }
}
