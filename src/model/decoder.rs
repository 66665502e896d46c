//! Decoder-only language model.

use super::Config;
use crate::gpu::GpuError;
use crate::nn::{Block, BlockShape, Cache, Context, Embedding, Init, LayerNorm, Linear, Parameters, Positions, Stream};
use crate::tape::Var;

/// Token and position embeddings, causal blocks, LayerNorm, output layer.
pub struct Decoder {
    tok: Embedding,
    pos: Positions,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    lm_head: Linear,
}

impl Decoder {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Decoder, GpuError> {
        let width = config.width;
        let shape = BlockShape {
            width,
            heads: config.heads,
            scale: config.scale(width, config.heads),
            causal: true,
            residual: config.residual,
            eps: config.layernorm_eps,
        };
        let init = Init::Normal(super::vlm::EMBEDDING_DEVIATION);
        Ok(Decoder {
            tok: Embedding::new(p, "tok", config.vocab_size, width, init)?,
            pos: Positions::new(p, "pos", config.context, width, init)?,
            blocks: p.scope("blocks", |p| (0..config.layers).map(|i| Block::new(p, i, shape)).collect::<Result<_, _>>())?,
            ln_f: LayerNorm::new(p, "ln_f", width, config.layernorm_eps)?,
            lm_head: Linear::new(p, "lm_head", width, config.vocab_size, true)?,
        })
    }

    /// Embeds `ids: [batch, t]`, puts the visual tokens `[batch, v, width]` in front, and runs the blocks with one cache each
    /// when caches are given, and the last LayerNorm. Returns `[batch, v + t, width]`.
    pub fn forward(&self, c: &mut Context, visual: Option<Var>, ids: Var, caches: Option<&[Cache]>) -> Var {
        let text = self.tok.forward(c, ids);
        let x = match visual {
            Some(visual) => c.tape.concat_rows(visual, text),
            None => text,
        };
        let x = self.pos.forward(c, x);
        let layers = self.blocks.iter().enumerate();
        let stream =
            layers.fold(Stream::from(x), |x, (i, block)| c.segment(x, |c, x| block.forward(c, x, caches.map(|caches| &caches[i]))));
        stream.norm(c, &self.ln_f).1
    }

    /// The output layer: `[.., width] -> [.., vocab]`.
    pub fn logits(&self, c: &mut Context, x: Var) -> Var {
        self.lm_head.forward(c, x)
    }
}
