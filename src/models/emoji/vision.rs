//! Image encoder of the emoji family.

use super::pooling::Pooling;
use super::{Config, VisualTokens};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::nn::{BlockShape, Context, Linear, Parameters, PatchEmbedding, Role, Transformer};
use crate::ops::hog_values;

/// Vision transformer that sees ink and oriented gradients, with pooling.
pub(super) struct Vision {
    embedding: PatchEmbedding,
    /// Part of the patch embedding that takes oriented gradients.
    gradients: Option<Linear>,
    encoder: Transformer,
    pooling: Option<Pooling>,
    tokens: VisualTokens,
    patch_size: usize,
    ink: bool,
    has_cls: bool,
}

impl Vision {
    pub(super) fn new(p: &mut Parameters, config: &Config) -> Result<Vision, DeviceError> {
        let vision = &config.vision;
        let shape = BlockShape {
            width: vision.width,
            heads: vision.heads,
            scale: config.attention_scale.factor(vision.width, vision.heads),
            causal: false,
            residual: config.residual,
            eps: config.layernorm_eps,
        };
        // beside patch tokens only the class head uses the pooled vector
        let pooling = match vision.tokens {
            VisualTokens::Pooled => Some(Role::ENCODER),
            VisualTokens::Patches if config.class_head.classes > 0 => Some(Role::CLASS_HEAD),
            VisualTokens::Patches | VisualTokens::Cls | VisualTokens::Fuyu => None,
        };
        p.scope("vit", |p| {
            Ok(Vision {
                embedding: PatchEmbedding::new(
                    p,
                    vision.image_size,
                    vision.patch_size,
                    vision.width,
                    config.has_cls(),
                )?,
                gradients: vision
                    .oriented_gradients
                    .then(|| {
                        let values = hog_values(vision.patch_size);
                        Linear::new(p, "hog", values, vision.width, false)
                    })
                    .transpose()?,
                encoder: Transformer::new(p, vision.layers, shape, "ln")?,
                pooling: pooling
                    .map(|role| p.with_role(role, |p| Pooling::new(p, config)))
                    .transpose()?,
                tokens: vision.tokens,
                patch_size: vision.patch_size,
                ink: vision.ink,
                has_cls: config.has_cls(),
            })
        })
    }

    /// Returns the image as the encoder sees it: `image: [batch, 3, side, side]`, as ink if
    /// configured.
    pub(super) fn see(&self, c: &mut Context, image: Var) -> Var {
        if self.ink { c.tape.ink(image) } else { image }
    }

    /// Maps `pixels: [batch, 3, side, side]` to the visual tokens, `[batch, 1, width]` (CLS,
    /// pooled) or `[batch, patches, width]`, and one vector for the whole image, `[batch, 1,
    /// width]`, if there is one.
    pub(super) fn forward(&self, c: &mut Context, pixels: Var) -> (Var, Option<Var>) {
        let shapes = self.gradients.as_ref().map(|layer| {
            let gradients = c.tape.hog(pixels, self.patch_size);
            layer.forward(c, gradients)
        });
        let x = self.embedding.forward(c, pixels, shapes);
        if self.tokens == VisualTokens::Cls {
            let cls = self.encoder.first_rows(c, x, 1);
            return (cls, Some(cls));
        }
        let mut rows = self.encoder.forward(c, x, None);
        if self.has_cls {
            let patches = c.tape.shape(rows)[1] - 1;
            rows = c.tape.slice_rows(rows, 1, patches);
        }
        let pooled = self
            .pooling
            .as_ref()
            .map(|pooling| pooling.forward(c, rows));
        let tokens = pooled.filter(|_| self.tokens == VisualTokens::Pooled);
        (tokens.unwrap_or(rows), pooled)
    }

    /// Bias that is added to the pooled vector: `[width]`.
    pub(super) fn pooling_bias(&self) -> Option<&Tensor> {
        self.pooling.as_ref()?.bias()
    }
}
