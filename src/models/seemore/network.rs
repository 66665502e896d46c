//! Forward pass of the seemore family.

use super::{Config, VisualTokens};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::models::{Caches, ClassHeadTensors, ImageFeatures, VisionLanguage};
use crate::nn::{
    BlockShape, Context, CosineHead, EMBEDDING_STD, Embedding, Init, Linear, Parameters,
    PatchEmbedding, Positions, Projector, Role, Transformer,
};

/// Image encoder, projector and decoder of a seemore model.
pub struct Network {
    /// Absent where patches go straight to the projector.
    vision: Option<Vision>,
    class_head: Option<CosineHead>,
    projector: Projector,
    tok: Embedding,
    pos: Positions,
    decoder: Transformer,
    lm_head: Linear,
    patch_size: usize,
}

/// Vision transformer (Dosovitskiy et al. 2021).
struct Vision {
    embedding: PatchEmbedding,
    encoder: Transformer,
    tokens: VisualTokens,
    cls_token: bool,
    /// Whether a class head needs the CLS row.
    classified: bool,
}

impl Network {
    /// Creates the layers.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Network, DeviceError> {
        let (vision, text) = (&config.vision, &config.text);
        let encoder = (config.visual_tokens != VisualTokens::Fuyu)
            .then(|| p.with_role(Role::ENCODER, |p| Vision::new(p, config)))
            .transpose()?;
        let class_head = (vision.classes > 0)
            .then(|| {
                p.with_role(Role::CLASS_HEAD, |p| {
                    p.scope("class", |p| {
                        CosineHead::new(p, vision.classes, vision.width)
                    })
                })
            })
            .transpose()?;
        let projector = p.with_role(Role::PROJECTOR, |p| {
            Projector::new(p, config.projector.kind, config.feature_width(), text.width)
        })?;
        let init = Init::Normal(EMBEDDING_STD);
        let shape = BlockShape {
            width: text.width,
            heads: text.heads,
            scale: config.attention_scale.factor(text.width, text.heads),
            causal: true,
            residual: config.residual,
            eps: config.layernorm_eps,
        };
        p.with_role(Role::DECODER, |p| {
            Ok(Network {
                vision: encoder,
                class_head,
                projector,
                tok: Embedding::new(p, "tok", text.vocab_size, text.width, init)?,
                pos: Positions::new(p, "pos", text.context, text.width, init)?,
                decoder: Transformer::new(p, text.layers, shape, "ln_f")?,
                lm_head: Linear::new(p, "lm_head", text.width, text.vocab_size, true)?,
                patch_size: vision.patch_size,
            })
        })
    }
}

impl Vision {
    fn new(p: &mut Parameters, config: &Config) -> Result<Vision, DeviceError> {
        let vision = &config.vision;
        let shape = BlockShape {
            width: vision.width,
            heads: vision.heads,
            scale: config.attention_scale.factor(vision.width, vision.heads),
            causal: false,
            residual: config.residual,
            eps: config.layernorm_eps,
        };
        p.scope("vit", |p| {
            Ok(Vision {
                embedding: PatchEmbedding::new(
                    p,
                    vision.image_size,
                    vision.patch_size,
                    vision.width,
                    vision.cls_token,
                )?,
                encoder: Transformer::new(p, vision.layers, shape, "ln")?,
                tokens: config.visual_tokens,
                cls_token: vision.cls_token,
                classified: vision.classes > 0,
            })
        })
    }

    /// Maps images `[batch, 3, side, side]` to the visual tokens, `[batch, 1, width]` or `[batch,
    /// patches, width]`, and the CLS row `[batch, 1, width]` where a class head or the decoder
    /// needs it.
    fn forward(&self, c: &mut Context, image: Var) -> (Var, Option<Var>) {
        // ANCHOR: encode
        let x = self.embedding.forward(c, image, None);
        if self.tokens == VisualTokens::Cls {
            let cls = self.encoder.first_rows(c, x, 1);
            return (cls, Some(cls));
        }
        // ANCHOR_END: encode
        let rows = self.encoder.forward(c, x, None);
        if !self.cls_token {
            return (rows, None);
        }
        let patches = c.tape.shape(rows)[1] - 1;
        let cls = self.classified.then(|| c.tape.slice_rows(rows, 0, 1));
        (c.tape.slice_rows(rows, 1, patches), cls)
    }
}

impl VisionLanguage for Network {
    fn encode(&self, c: &mut Context, image: Var) -> ImageFeatures {
        let (rows, vector) = match &self.vision {
            Some(vision) => vision.forward(c, image),
            None => (c.tape.patchify(image, self.patch_size), None),
        };
        ImageFeatures {
            rows,
            vector,
            pixels: None,
            class_logits: None,
        }
    }

    fn class_logits(&self, c: &mut Context, vector: Var) -> Option<Var> {
        let head = self.class_head.as_ref()?;
        Some(head.forward(c, vector))
    }

    fn decode(
        &self,
        c: &mut Context,
        features: Option<ImageFeatures>,
        ids: Var,
        caches: Option<&Caches>,
    ) -> Var {
        // ANCHOR: decode
        let visual = features.map(|features| self.projector.forward(c, features.rows));
        let mut x = self.tok.forward(c, ids);
        if let Some(visual) = visual {
            x = c.tape.concat_rows(visual, x);
        }
        let x = self.pos.forward(c, x);
        self.decoder.forward(c, x, caches.map(Caches::layers))
        // ANCHOR_END: decode
    }

    fn output(&self, c: &mut Context, x: Var) -> Var {
        self.lm_head.forward(c, x)
    }

    fn class_head(&self) -> Option<ClassHeadTensors> {
        let head = self.class_head.as_ref()?;
        Some(ClassHeadTensors {
            classes: head.weight().clone(),
            bias: None,
            words: None,
        })
    }
}
