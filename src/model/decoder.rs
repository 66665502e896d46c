//! Decoder-only language model.

use super::class_head::cosine;
use super::{Caches, Config, Fusion, Output};
use crate::gpu::GpuError;
use crate::nn::{Block, BlockShape, Context, Embedding, Init, LayerNorm, Linear, Parameters, Positions, Stream};
use crate::tape::Var;

/// Token and position embeddings, causal blocks, LayerNorm, output layer.
pub struct Decoder {
    tok: Embedding,
    pos: Positions,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    /// None where the token embeddings score the tokens.
    lm_head: Option<Linear>,
    /// Where the picture is added to every position.
    ln_image: Option<LayerNorm>,
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
            lm_head: (config.output == Output::Linear).then(|| Linear::new(p, "lm_head", width, config.vocab_size, true)).transpose()?,
            ln_image: (config.fusion == Fusion::Add).then(|| LayerNorm::new(p, "ln_image", width, config.layernorm_eps)).transpose()?,
        })
    }

    /// Embeds `ids: [batch, t]`, takes in the visual tokens `[batch, v, width]`, and runs the blocks with one cache each
    /// when caches are given, and the last LayerNorm. Returns `[batch, v + t, width]`, or `[batch, t, width]` where the one visual token
    /// is added to the text's positions.
    pub fn forward(&self, c: &mut Context, visual: Option<Var>, ids: Var, caches: Option<&Caches>) -> Var {
        let mut x = self.tok.forward(c, ids);
        if let (None, Some(visual)) = (&self.ln_image, visual) {
            x = c.tape.concat_rows(visual, x);
        }
        x = self.pos.forward(c, x);
        if let Some(image) = self.image(c, visual, caches) {
            x = c.tape.add_vector(x, image);
        }
        let layers = self.blocks.iter().enumerate();
        let stream =
            layers.fold(Stream::from(x), |x, (i, block)| c.segment(x, |c, x| block.forward(c, x, caches.map(|caches| caches.layer(i)))));
        stream.norm(c, &self.ln_f).1
    }

    /// The vector that is added to every position: of the picture, or remembered of it.
    fn image(&self, c: &mut Context, visual: Option<Var>, caches: Option<&Caches>) -> Option<Var> {
        let ln = self.ln_image.as_ref()?;
        let remembered = caches.and_then(Caches::image);
        let Some(visual) = visual else { return remembered.map(|tensor| c.tape.bind(tensor)) };
        let image = ln.forward(c, visual);
        if let Some(tensor) = remembered {
            c.tape.place(image, tensor);
        }
        Some(image)
    }

    /// The output layer: `[.., width] -> [.., vocab]`.
    pub fn logits(&self, c: &mut Context, x: Var) -> Var {
        match &self.lm_head {
            Some(layer) => layer.forward(c, x),
            None => {
                let tokens = self.tok.table(c);
                cosine(c, x, tokens)
            }
        }
    }
}
