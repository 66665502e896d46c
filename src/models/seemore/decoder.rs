//! Decoder-only language model.

use super::class_head::{cosine, unit};
use super::{Caches, Config, Fusion, Output};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::nn::{
    Block, BlockShape, Context, Embedding, Init, LayerNorm, Linear, Parameters, Positions, Stream,
};

/// What the decoder is given of a picture.
#[derive(Debug, Clone, Copy)]
pub struct ImageContext {
    /// Visual tokens `[batch, v, width]`.
    pub visual: Var,
    /// What the class head takes it for: `[batch, 1, width]`.
    pub guess: Option<Var>,
    /// Which colours it has: `[batch, color_levels^3]`.
    pub colors: Option<Var>,
}

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
    /// Where what it is taken for is added too.
    ln_guess: Option<LayerNorm>,
    /// Where its colours are added too: what they mean, and how much.
    colors: Option<(Linear, LayerNorm)>,
    width: usize,
}

impl Decoder {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Decoder, DeviceError> {
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
        let cosine = config.output == Output::Cosine;
        Ok(Decoder {
            tok: Embedding::new(p, "tok", config.vocab_size, width, init)?,
            // beside token embeddings whose elements have the size of 1, small positions would be lost
            pos: Positions::new(
                p,
                "pos",
                config.context,
                width,
                if cosine { Init::Normal(0.3) } else { init },
            )?,
            blocks: p.scope("blocks", |p| {
                (0..config.layers)
                    .map(|i| Block::new(p, i, shape))
                    .collect::<Result<_, _>>()
            })?,
            ln_f: LayerNorm::new(p, "ln_f", width, config.layernorm_eps)?,
            lm_head: (!cosine)
                .then(|| Linear::new(p, "lm_head", width, config.vocab_size, true))
                .transpose()?,
            ln_guess: (config.guess && config.classes > 0)
                .then(|| LayerNorm::new(p, "ln_guess", width, config.layernorm_eps))
                .transpose()?,
            colors: (config.color_levels > 0)
                .then(|| {
                    let layer = Linear::new(p, "colors", config.color_levels.pow(3), width, true)?;
                    Ok::<_, DeviceError>((
                        layer,
                        LayerNorm::new(p, "ln_colors", width, config.layernorm_eps)?,
                    ))
                })
                .transpose()?,
            width,
            ln_image: (config.fusion == Fusion::Add)
                .then(|| LayerNorm::new(p, "ln_image", width, config.layernorm_eps))
                .transpose()?,
        })
    }

    /// Embeds `ids: [batch, t]`, takes in what is seen, and runs the blocks with one cache each
    /// when caches are given, and the last LayerNorm. Returns `[batch, v + t, width]`, or `[batch, t, width]` where the one visual token
    /// is added to the text's positions or none is given.
    pub fn forward(
        &self,
        c: &mut Context,
        seen: Option<ImageContext>,
        ids: Var,
        caches: Option<&Caches>,
    ) -> Var {
        let mut x = self.embed(c, ids);
        if let Some(told) = self.told(c, seen, caches) {
            x = c.tape.add_vector(x, told);
        }
        if let (None, Some(ImageContext { visual, .. })) = (&self.ln_image, seen) {
            x = c.tape.concat_rows(visual, x);
        }
        x = self.pos.forward(c, x);
        let layers = self.blocks.iter().enumerate();
        let stream = layers.fold(Stream::from(x), |x, (i, block)| {
            c.segment(x, |c, x| {
                block.forward(c, x, caches.map(|caches| caches.layer(i)))
            })
        });
        stream.norm(c, &self.ln_f).1
    }

    /// Token embeddings. Where only their direction scores tokens, only their direction counts here too, and their elements have
    /// the size of 1.
    fn embed(&self, c: &mut Context, ids: Var) -> Var {
        if self.lm_head.is_some() {
            return self.tok.forward(c, ids);
        }
        let tokens = self.tok.table(c);
        let tokens = unit(c, tokens);
        let x = c.tape.embedding(tokens, ids);
        c.tape.scale(x, (self.width as f32).sqrt())
    }

    /// The vector `[batch, 1, width]` that is added to every text position: the picture's, what it is taken for, its colours, each
    /// normalised; or what is remembered of it.
    fn told(
        &self,
        c: &mut Context,
        seen: Option<ImageContext>,
        caches: Option<&Caches>,
    ) -> Option<Var> {
        let remembered = caches.and_then(Caches::told);
        let Some(ImageContext {
            visual,
            guess,
            colors,
        }) = seen
        else {
            return remembered.map(|tensor| c.tape.bind(tensor));
        };
        let image = self.ln_image.as_ref().map(|ln| ln.forward(c, visual));
        let guess = self
            .ln_guess
            .as_ref()
            .zip(guess)
            .map(|(ln, guess)| ln.forward(c, guess));
        let colors = self
            .colors
            .as_ref()
            .zip(colors)
            .map(|((layer, ln), colors)| {
                let colors = layer.forward(c, colors);
                let colors = ln.forward(c, colors);
                let batch = c.tape.shape(colors)[0];
                c.tape.view(colors, &[batch, 1, self.width])
            });
        let told = [image, guess, colors]
            .into_iter()
            .flatten()
            .reduce(|a, b| c.tape.add(a, b))?;
        if let Some(tensor) = remembered {
            c.tape.place(told, tensor);
        }
        Some(told)
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
