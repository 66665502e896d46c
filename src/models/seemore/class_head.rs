//! Tells concepts apart by the image vector: a loss that teaches the encoder before the decoder can.

use super::Config;
use super::vlm::EMBEDDING_DEVIATION;
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::nn::{Context, Init, Parameters};

/// What cosines are multiplied by before the softmax, here and in the decoder's last layer.
pub(super) const COSINE_SCALE: f32 = 20.0;

/// What the class head's logits are multiplied by before they become a guess: the likeliest concept stands out, so that the words of
/// two do not mix.
const GUESS_SHARPNESS: f32 = 4.0;

/// `20 cos(image vector, concept)` for every concept, with `weight: [classes, vision width]`; and what the concepts mean to the
/// decoder, `words: [classes, width]`.
pub struct ClassHead {
    weight: Tensor,
    words: Option<Tensor>,
}

impl ClassHead {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<ClassHead, DeviceError> {
        let init = Init::Normal(EMBEDDING_DEVIATION);
        p.scope("class", |p| {
            Ok(ClassHead {
                weight: p.create("weight", &[config.classes, config.vision_width], init)?,
                words: config
                    .guess
                    .then(|| p.create("words", &[config.classes, config.width], init))
                    .transpose()?,
            })
        })
    }

    /// `features: [batch, 1, width] -> [batch, classes]`.
    pub fn forward(&self, c: &mut Context, features: Var) -> Var {
        let batch = c.tape.shape(features)[0];
        let weight = c.parameter(&self.weight);
        let logits = cosine(c, features, weight);
        c.tape.view(logits, &[batch, self.weight.shape()[0]])
    }

    /// The mean of the concepts' words by their probabilities, `logits: [batch, classes] -> [batch, 1, width]`, where the decoder is
    /// told. The decoder does not teach the probabilities, only the words.
    pub fn guess(&self, c: &mut Context, logits: Var) -> Option<Var> {
        let words = self.words.as_ref()?;
        let (batch, width) = (c.tape.shape(logits)[0], words.shape()[1]);
        let logits = if c.training {
            c.tape.detach(logits, GUESS_SHARPNESS)
        } else {
            c.tape.scale(logits, GUESS_SHARPNESS)
        };
        let probabilities = c.tape.softmax(logits);
        let words = c.parameter(words);
        let guess = c.tape.matmul(probabilities, words);
        Some(c.tape.view(guess, &[batch, 1, width]))
    }
}

/// `20 cos(x, row)` of `x: [.., width]` with every row of `rows: [n, width]`: `[.., n]`.
pub(super) fn cosine(c: &mut Context, x: Var, rows: Var) -> Var {
    let rows = unit(c, rows);
    let x = c.tape.l2_normalize(x, COSINE_SCALE);
    c.tape.linear(x, rows, None, crate::ops::Activation::None)
}

/// The rows of a table at length 1, recorded once however often they are used.
pub(super) fn unit(c: &mut Context, rows: Var) -> Var {
    c.tape
        .once("unit", rows, |tape| tape.l2_normalize(rows, 1.0))
}
