//! Image encoder: a vision transformer (Dosovitskiy et al. 2021).

use super::vlm::EMBEDDING_DEVIATION;
use super::{Config, Pooling, VisualTokens};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::nn::{Block, BlockShape, Context, Init, LayerNorm, Linear, Parameters};
use crate::ops::hog_values;

/// Patch embedding, CLS token, learned positions, blocks, LayerNorm, pooling.
pub struct Vision {
    patch: Linear,
    /// The patch embedding's part for oriented gradients.
    hog: Option<Linear>,
    /// Not where patches are pooled only.
    cls: Option<Tensor>,
    pos: Tensor,
    blocks: Vec<Block>,
    ln: LayerNorm,
    pooling: Option<Pooling>,
    patch_size: usize,
    ink: bool,
    tokens: VisualTokens,
}

impl Vision {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Vision, DeviceError> {
        let width = config.vision_width;
        let shape = BlockShape {
            width,
            heads: config.vision_heads,
            scale: config.scale(width, config.vision_heads),
            causal: false,
            residual: config.residual,
            eps: config.layernorm_eps,
        };
        // patch tokens have no vector of the whole picture, which a class head needs
        let pools = config.visual_tokens == VisualTokens::Pooled
            || config.visual_tokens == VisualTokens::Patches && config.classes > 0;
        let rows = config.encoder_rows();
        p.scope("vit", |p| {
            Ok(Vision {
                cls: (rows > config.patches())
                    .then(|| p.create("cls", &[1, 1, width], Init::Zeros))
                    .transpose()?,
                pos: p.create("pos", &[1, rows, width], Init::Normal(EMBEDDING_DEVIATION))?,
                patch: Linear::with_shape(
                    p,
                    "patch",
                    &[width, 3, config.patch_size, config.patch_size],
                    true,
                )?,
                hog: config
                    .hog
                    .then(|| Linear::new(p, "hog", hog_values(config.patch_size), width, false))
                    .transpose()?,
                blocks: p.scope("blocks", |p| {
                    (0..config.vision_layers)
                        .map(|i| Block::new(p, i, shape))
                        .collect::<Result<_, _>>()
                })?,
                ln: LayerNorm::new(p, "ln", width, config.layernorm_eps)?,
                pooling: pools.then(|| Pooling::new(p, config)).transpose()?,
                patch_size: config.patch_size,
                ink: config.ink,
                tokens: config.visual_tokens,
            })
        })
    }

    /// The picture as its pixels are seen: `image: [batch, 3, side, side]`, as ink where the configuration says so.
    pub fn see(&self, c: &mut Context, image: Var) -> Var {
        if self.ink { c.tape.ink(image) } else { image }
    }

    /// `seen: [batch, 3, side, side]` -> the visual tokens `[batch, 1, width]` (CLS, pooled) or `[batch, patches, width]`, and one vector
    /// of the whole picture `[batch, 1, width]` where there is one.
    pub fn forward(&self, c: &mut Context, seen: Var) -> (Var, Option<Var>) {
        let x = self.embed(c, seen);
        let run = |c: &mut Context, blocks: &[Block]| {
            blocks.iter().fold(x.into(), |x, block| {
                c.segment(x, |c, x| block.forward(c, x, None))
            })
        };
        match (self.tokens, self.blocks.split_last()) {
            // only the CLS row goes on: the last block computes no other, unless all of its attention is wanted
            (VisualTokens::Cls, Some((last, blocks))) if c.maps.is_none() => {
                let stream = run(c, blocks);
                let cls = c
                    .segment(stream, |c, x| last.first_rows(c, x, 1))
                    .norm(c, &self.ln)
                    .1;
                (cls, Some(cls))
            }
            (tokens, _) => {
                let (_, normed) = run(c, &self.blocks).norm(c, &self.ln);
                if tokens == VisualTokens::Cls {
                    let cls = c.tape.slice_rows(normed, 0, 1);
                    return (cls, Some(cls));
                }
                let rows = if self.cls.is_some() {
                    c.tape.slice_rows(normed, 1, self.pos.shape()[1] - 1)
                } else {
                    normed
                };
                let pooled = self
                    .pooling
                    .as_ref()
                    .map(|pooling| pooling.forward(c, rows));
                (
                    pooled
                        .filter(|_| tokens == VisualTokens::Pooled)
                        .unwrap_or(rows),
                    pooled,
                )
            }
        }
    }

    /// What the first block sees: patches, CLS token in front where there is one, positions: `[batch, rows, width]`.
    fn embed(&self, c: &mut Context, image: Var) -> Var {
        let pixels = c.tape.patchify(image, self.patch_size);
        let mut x = self.patch.forward(c, pixels);
        if let Some(layer) = &self.hog {
            let gradients = c.tape.hog(image, self.patch_size);
            let shapes = layer.forward(c, gradients);
            x = c.tape.add(x, shapes);
        }
        if let Some(cls) = &self.cls {
            let cls = c.parameter(cls);
            x = c.tape.concat_rows(cls, x);
        }
        let pos = c.parameter(&self.pos);
        let pos = c.tape.view(pos, &self.pos.shape()[1..]);
        let x = c.tape.add(x, pos);
        let x = c.dropout(x);
        if c.watch {
            c.tape.want_grad(x);
            c.watched = Some(x);
        }
        x
    }
}
