//! Properties of pretrained models that code for all families needs.

use super::{DecoderConfig, VisionConfig};
use crate::image::Preprocess;
use crate::models::{ImageTokens, ModelInfo, StackInfo};

/// Returns the properties of a model whose image rows, if any, stand neither in front of the text
/// nor in places of it yet.
pub(in crate::models) fn pretrained_info(
    vision: Option<(&VisionConfig, usize)>,
    text: &DecoderConfig,
) -> ModelInfo {
    let scale = |width: usize| (width as f64).powf(-0.5) as f32;
    let encoder = vision.map(|(vision, _)| {
        let head_width = vision.hidden_size / vision.num_attention_heads;
        StackInfo {
            layers: vision.num_hidden_layers,
            width: vision.hidden_size,
            heads: vision.num_attention_heads,
            kv_heads: vision.num_attention_heads,
            head_width,
            scale: scale(head_width),
        }
    });
    let (side, patch_size) =
        vision.map_or((1, 1), |(vision, _)| (vision.image_size, vision.patch_size));
    ModelInfo {
        preprocess: Preprocess { side, crop: false },
        patch_size,
        cls_tokens: 0,
        encoder,
        decoder: StackInfo {
            layers: text.num_hidden_layers,
            width: text.hidden_size,
            heads: text.num_attention_heads,
            kv_heads: text.num_key_value_heads,
            head_width: text.head_dim,
            scale: scale(text.head_dim),
        },
        image_tokens: vision.map_or(ImageTokens::None, |(_, factor)| ImageTokens::Squares {
            factor,
        }),
        visual_tokens: 0,
        placeholder: None,
        whole_values: 0,
        whole_rows: 0,
        conditioned: false,
        context: text.max_position_embeddings,
        vocab_size: text.vocab_size,
        classes: 0,
        dropout: 0.0,
        count_pads: false,
        uniform_start: false,
    }
}
