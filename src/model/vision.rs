//! Image encoder: a vision transformer (Dosovitskiy et al. 2021).

use super::{Config, VisualTokens};
use crate::gpu::{GpuError, Tensor};
use crate::nn::{Block, BlockShape, Context, Init, LayerNorm, Linear, Parameters};
use crate::tape::Var;

/// Patch embedding, CLS token, learned positions, blocks, LayerNorm.
pub struct Vision {
    patch: Linear,
    cls: Tensor,
    pos: Tensor,
    blocks: Vec<Block>,
    ln: LayerNorm,
    patch_size: usize,
    tokens: VisualTokens,
}

impl Vision {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Vision, GpuError> {
        let width = config.vision_width;
        let shape = BlockShape {
            width,
            heads: config.vision_heads,
            scale: config.scale(width, config.vision_heads),
            causal: false,
            residual: config.residual,
            eps: config.layernorm_eps,
        };
        p.scope("vit", |p| {
            Ok(Vision {
                cls: p.create("cls", &[1, 1, width], Init::Zeros)?,
                pos: p.create("pos", &[1, config.patches() + 1, width], Init::Normal(super::vlm::EMBEDDING_DEVIATION))?,
                patch: Linear::with_shape(p, "patch", &[width, 3, config.patch_size, config.patch_size], true)?,
                blocks: p.scope("blocks", |p| (0..config.vision_layers).map(|i| Block::new(p, i, shape)).collect::<Result<_, _>>())?,
                ln: LayerNorm::new(p, "ln", width, config.layernorm_eps)?,
                patch_size: config.patch_size,
                tokens: config.visual_tokens,
            })
        })
    }

    /// `image: [batch, 3, side, side]` -> features `[batch, 1, width]` (CLS) or `[batch, patches, width]`.
    pub fn forward(&self, c: &mut Context, image: Var) -> Var {
        let patches = c.tape.patchify(image, self.patch_size);
        let patches = self.patch.forward(c, patches);
        let cls = c.parameter(&self.cls);
        let x = c.tape.concat_rows(cls, patches);
        let pos = c.parameter(&self.pos);
        let rows = self.pos.shape()[1];
        c.tape.reshape(pos, &[rows, self.pos.shape()[2]]);
        let x = c.tape.add(x, pos);
        let x = c.dropout(x);
        let run =
            |c: &mut Context, blocks: &[Block]| blocks.iter().fold(x.into(), |x, block| c.segment(x, |c, x| block.forward(c, x, None)));
        match (self.tokens, self.blocks.split_last()) {
            // only the CLS row goes on: the last block computes no other, unless all of its attention is wanted
            (VisualTokens::Cls, Some((last, blocks))) if c.maps.is_none() => {
                let stream = run(c, blocks);
                c.segment(stream, |c, x| last.first_rows(c, x, 1)).norm(c, &self.ln).1
            }
            (tokens, _) => {
                let (_, normed) = run(c, &self.blocks).norm(c, &self.ln);
                let (start, count) = if tokens == VisualTokens::Cls { (0, 1) } else { (1, rows - 1) };
                c.tape.slice_rows(normed, start, count)
            }
        }
    }
}
