//! Decoder of the emoji family.

use super::{Config, Fusion, Output};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::models::Caches;
use crate::nn::{
    BlockShape, Context, EMBEDDING_STD, Embedding, Init, LayerNorm, Linear, Parameters, Positions,
    Role, Transformer, cosine, unit_rows,
};

/// Image features for the decoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageContext {
    /// Visual tokens `[batch, v, width]`.
    pub(super) visual: Var,
    /// Guess of the class head, `[batch, 1, width]`.
    pub(super) guess: Option<Var>,
    /// Colour histogram `[batch, color_levels^3]`.
    pub(super) colors: Option<Var>,
}

/// Token and position embeddings, causal blocks, output layer, and the layers that take in the
/// image.
pub(super) struct Decoder {
    tok: Embedding,
    pos: Positions,
    stack: Transformer,
    /// `None` with cosine output.
    lm_head: Option<Linear>,
    /// Normalises the image vector that is added to every text position.
    ln_image: Option<LayerNorm>,
    /// Normalises the guess that is added to every text position.
    ln_guess: Option<LayerNorm>,
    /// Maps the colour histogram to what is added to every text position, and normalises it.
    colors: Option<(Linear, LayerNorm)>,
    width: usize,
}

impl Decoder {
    pub(super) fn new(p: &mut Parameters, config: &Config) -> Result<Decoder, DeviceError> {
        let (text, eps) = (&config.text, config.layernorm_eps);
        let width = text.width;
        let shape = BlockShape {
            width,
            heads: text.heads,
            scale: config.attention_scale.factor(width, text.heads),
            causal: true,
            residual: config.residual,
            eps,
        };
        let init = Init::Normal(EMBEDDING_STD);
        let cosine = text.output == Output::Cosine;
        // with cosine output token embeddings have elements of size 1, beside which smaller
        // positions would be lost
        let positions = if cosine { Init::Normal(0.3) } else { init };
        let tok = Embedding::new(p, "tok", text.vocab_size, width, init)?;
        let pos = Positions::new(p, "pos", text.context, width, positions)?;
        let stack = Transformer::new(p, text.layers, shape, "ln_f")?;
        let lm_head = (!cosine)
            .then(|| Linear::new(p, "lm_head", width, text.vocab_size, true))
            .transpose()?;
        p.with_role(Role::CONDITIONING, |p| {
            let ln_guess = config
                .guesses()
                .then(|| LayerNorm::new(p, "ln_guess", width, eps))
                .transpose()?;
            let levels = config.vision.color_levels;
            let colors = (levels > 0)
                .then(|| {
                    let layer = Linear::new(p, "colors", levels.pow(3), width, true)?;
                    Ok::<_, DeviceError>((layer, LayerNorm::new(p, "ln_colors", width, eps)?))
                })
                .transpose()?;
            let ln_image = (text.fusion == Fusion::Add)
                .then(|| LayerNorm::new(p, "ln_image", width, eps))
                .transpose()?;
            Ok(Decoder {
                tok,
                pos,
                stack,
                lm_head,
                ln_image,
                ln_guess,
                colors,
                width,
            })
        })
    }

    /// Computes states for `ids: [batch, t]`: `[batch, v + t, width]` with visual tokens in front,
    /// else `[batch, t, width]`.
    pub(super) fn forward(
        &self,
        c: &mut Context,
        image: Option<ImageContext>,
        ids: Var,
        caches: Option<&Caches>,
    ) -> Var {
        let mut x = self.embed(c, ids);
        if let Some(conditioning) = self.conditioning(c, image, caches) {
            x = c.tape.add_vector(x, conditioning);
        }
        if let (None, Some(ImageContext { visual, .. })) = (&self.ln_image, image) {
            x = c.tape.concat_rows(visual, x);
        }
        x = self.pos.forward(c, x);
        self.stack.forward(c, x, caches.map(Caches::layers))
    }

    /// Embeds tokens. With cosine output only the direction of an embedding counts, here too, and
    /// its elements have size 1.
    fn embed(&self, c: &mut Context, ids: Var) -> Var {
        if self.lm_head.is_some() {
            return self.tok.forward(c, ids);
        }
        let tokens = self.tok.table(c);
        let tokens = unit_rows(c, tokens);
        let x = c.tape.embedding(tokens, ids);
        c.tape.scale(x, (self.width as f32).sqrt())
    }

    /// Returns the vector `[batch, 1, width]` that is added to every text position: the sum of
    /// image vector, guess and colours, each normalised. Without an image it comes from the caches.
    fn conditioning(
        &self,
        c: &mut Context,
        image: Option<ImageContext>,
        caches: Option<&Caches>,
    ) -> Option<Var> {
        let cached = caches.and_then(Caches::conditioning);
        let Some(ImageContext {
            visual,
            guess,
            colors,
        }) = image
        else {
            return cached.map(|tensor| c.tape.bind(tensor));
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
        let sum = [image, guess, colors]
            .into_iter()
            .flatten()
            .reduce(|a, b| c.tape.add(a, b))?;
        if let Some(tensor) = cached {
            c.tape.place(sum, tensor);
        }
        Some(sum)
    }

    /// Applies the output layer: `[.., width]` to `[.., vocab]`.
    pub(super) fn output(&self, c: &mut Context, x: Var) -> Var {
        match &self.lm_head {
            Some(layer) => layer.forward(c, x),
            None => {
                let tokens = self.tok.table(c);
                cosine(c, x, tokens)
            }
        }
    }

    /// Token embeddings `[vocab, width]`.
    pub(super) fn tokens(&self) -> &Tensor {
        self.tok.trained()
    }
}
