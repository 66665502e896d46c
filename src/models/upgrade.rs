//! Configurations of version 1: one flat list of fields for all families.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::from_fields;
use super::{ConfigError, ModelConfig, emoji, seemore};
use crate::nn::{AttentionScale, Projection, Residual};

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum VisualTokens {
    Cls,
    Patches,
    Fuyu,
    Pooled,
}

/// Fields of version 1. Absent ones had the values of preset `seemore`.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Flat {
    image_size: usize,
    patch_size: usize,
    vision_width: usize,
    vision_layers: usize,
    vision_heads: usize,
    width: usize,
    layers: usize,
    heads: usize,
    vocab_size: usize,
    context: usize,
    dropout: f32,
    layernorm_eps: f32,
    visual_tokens: VisualTokens,
    cls_token: bool,
    pool_width: usize,
    hog: bool,
    ink: bool,
    color_levels: usize,
    crop: bool,
    projector: Projection,
    fusion: emoji::Fusion,
    output: emoji::Output,
    classes: usize,
    guess: bool,
    attention_scale: AttentionScale,
    residual: Residual,
    count_pads: bool,
}

impl Default for Flat {
    fn default() -> Flat {
        Flat {
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
            fusion: emoji::Fusion::Prefix,
            output: emoji::Output::Linear,
            classes: 0,
            guess: false,
            attention_scale: AttentionScale::Head,
            residual: Residual::Prenorm,
            count_pads: false,
        }
    }
}

impl Flat {
    /// Whether the model uses what only the emoji family has.
    fn is_emoji(&self) -> bool {
        let always = self.crop
            || self.output == emoji::Output::Cosine
            || self.fusion == emoji::Fusion::Add
            || self.hog
            || self.color_levels > 0
            || self.visual_tokens == VisualTokens::Pooled;
        // without an encoder, version 1 ignored ink and guess, and refused classes
        let with_encoder =
            self.ink || self.guess || self.classes > 0 && self.visual_tokens != VisualTokens::Cls;
        always || with_encoder && self.visual_tokens != VisualTokens::Fuyu
    }

    fn seemore(self) -> seemore::Config {
        seemore::Config {
            visual_tokens: match self.visual_tokens {
                VisualTokens::Cls => seemore::VisualTokens::Cls,
                VisualTokens::Patches => seemore::VisualTokens::Patches,
                VisualTokens::Fuyu => seemore::VisualTokens::Fuyu,
                VisualTokens::Pooled => unreachable!("pooled tokens belong to the emoji family"),
            },
            vision: seemore::VisionConfig {
                image_size: self.image_size,
                patch_size: self.patch_size,
                width: self.vision_width,
                layers: self.vision_layers,
                heads: self.vision_heads,
                cls_token: self.cls_token,
                classes: self.classes,
            },
            projector: seemore::ProjectorConfig {
                kind: self.projector,
            },
            text: seemore::TextConfig {
                vocab_size: self.vocab_size,
                context: self.context,
                width: self.width,
                layers: self.layers,
                heads: self.heads,
            },
            dropout: self.dropout,
            layernorm_eps: self.layernorm_eps,
            attention_scale: self.attention_scale,
            residual: self.residual,
            count_pads: self.count_pads,
        }
    }

    fn emoji(self) -> emoji::Config {
        emoji::Config {
            vision: emoji::VisionConfig {
                image_size: self.image_size,
                patch_size: self.patch_size,
                width: self.vision_width,
                layers: self.vision_layers,
                heads: self.vision_heads,
                tokens: match self.visual_tokens {
                    VisualTokens::Cls => emoji::VisualTokens::Cls,
                    VisualTokens::Patches => emoji::VisualTokens::Patches,
                    VisualTokens::Fuyu => emoji::VisualTokens::Fuyu,
                    VisualTokens::Pooled => emoji::VisualTokens::Pooled,
                },
                cls_token: self.cls_token,
                pool_width: self.pool_width,
                crop: self.crop,
                ink: self.ink,
                oriented_gradients: self.hog,
                color_levels: self.color_levels,
            },
            class_head: emoji::ClassHeadConfig {
                classes: self.classes,
                guess: self.guess,
            },
            projector: emoji::ProjectorConfig {
                kind: self.projector,
            },
            text: emoji::TextConfig {
                vocab_size: self.vocab_size,
                context: self.context,
                width: self.width,
                layers: self.layers,
                heads: self.heads,
                fusion: self.fusion,
                output: self.output,
            },
            dropout: self.dropout,
            layernorm_eps: self.layernorm_eps,
            attention_scale: self.attention_scale,
            residual: self.residual,
            count_pads: self.count_pads,
        }
    }
}

/// Whether the fields are those of version 1: without the tags and sections of later versions.
pub(super) fn is_flat(fields: &Map<String, Value>) -> bool {
    let later = ["family", "version", "vision", "text", "class_head"];
    !later.iter().any(|field| fields.contains_key(*field))
        && !fields.get("projector").is_some_and(Value::is_object)
}

/// Reads a configuration of version 1.
pub(super) fn upgrade(fields: Map<String, Value>) -> Result<ModelConfig, ConfigError> {
    let flat: Flat = from_fields(fields)?;
    if flat.is_emoji() {
        Ok(flat.emoji().into())
    } else {
        Ok(flat.seemore().into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::Preset;

    fn upgraded(value: Value) -> ModelConfig {
        ModelConfig::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn flat_fields_become_the_preset_they_described() {
        assert_eq!(upgraded(json!({})), Preset::Seemore.config());
        let original = json!({
            "attention_scale": "width", "residual": "after_ln2", "count_pads": true
        });
        assert_eq!(upgraded(original), Preset::SeemoreOriginal.config());
        let llava = json!({"visual_tokens": "patches"});
        assert_eq!(upgraded(llava), Preset::Llava.config());
        let fuyu = json!({"visual_tokens": "fuyu", "ink": true, "guess": true});
        assert_eq!(upgraded(fuyu), Preset::Fuyu.config());
        let tiny = json!({
            "image_size": 32, "patch_size": 8, "vision_width": 64, "vision_layers": 2, "vision_heads": 4, "width": 32,
            "layers": 2, "heads": 4, "context": 96, "dropout": 0.0
        });
        assert_eq!(upgraded(tiny), Preset::Tiny.config());
        let emoji = json!({
            "image_size": 48, "patch_size": 8, "vision_width": 192, "vision_layers": 1, "vision_heads": 6, "width": 192,
            "layers": 1, "heads": 6, "context": 32, "dropout": 0.0, "visual_tokens": "pooled", "hog": true, "ink": true,
            "color_levels": 8, "crop": true, "projector": "linear", "fusion": "add", "output": "cosine", "guess": true
        });
        assert_eq!(upgraded(emoji), Preset::Emoji.config());
    }

    #[test]
    fn class_heads_on_a_cls_row_stay_in_the_seemore_family() {
        let config = upgraded(json!({"classes": 5}));
        assert_eq!((config.family(), config.info().classes), ("seemore", 5));
        // patch tokens had their vector from pooling
        let config = upgraded(json!({"visual_tokens": "patches", "classes": 5}));
        assert_eq!((config.family(), config.info().classes), ("emoji", 5));
    }

    #[test]
    fn unknown_flat_fields_are_refused() {
        let error = ModelConfig::parse(br#"{"layers": 2, "colour_levels": 8}"#).unwrap_err();
        assert!(error.to_string().contains("colour_levels"), "{error}");
    }

    #[test]
    fn models_without_an_encoder_keep_crop_and_cosine_output() {
        let config = upgraded(json!({"visual_tokens": "fuyu", "crop": true, "output": "cosine"}));
        let ModelConfig::Emoji(emoji) = &config else {
            panic!("{} has neither crop nor cosine output", config.family())
        };
        let info = config.info();
        assert!(info.preprocess.crop && emoji.text.output == emoji::Output::Cosine);
        assert_eq!((info.encoder, info.visual_tokens), (None, 36));
        for fields in [
            json!({"visual_tokens": "fuyu", "classes": 5}),
            json!({"visual_tokens": "fuyu", "fusion": "add"}),
            json!({"visual_tokens": "fuyu", "ink": true, "hog": true}),
            json!({"visual_tokens": "fuyu", "ink": true, "color_levels": 4}),
        ] {
            assert!(ModelConfig::parse(fields.to_string().as_bytes()).is_err());
        }
    }
}
