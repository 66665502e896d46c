//! Tells concepts apart by the image vector: a loss that teaches the encoder before the decoder can.

use super::Config;
use super::vlm::EMBEDDING_DEVIATION;
use crate::gpu::{GpuError, Tensor};
use crate::nn::{Context, Init, Parameters};
use crate::tape::Var;

/// What cosines are multiplied by before the softmax, here and in the decoder's last layer.
pub(super) const COSINE_SCALE: f32 = 20.0;

/// `20 cos(image vector, concept)` for every concept, with `weight: [classes, width]`.
pub struct ClassHead {
    weight: Tensor,
}

impl ClassHead {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<ClassHead, GpuError> {
        let init = Init::Normal(EMBEDDING_DEVIATION);
        p.scope("class", |p| Ok(ClassHead { weight: p.create("weight", &[config.classes, config.vision_width], init)? }))
    }

    /// `features: [batch, 1, width] -> [batch, classes]`.
    pub fn forward(&self, c: &mut Context, features: Var) -> Var {
        let batch = c.tape.shape(features)[0];
        let weight = c.parameter(&self.weight);
        let logits = cosine(c, features, weight);
        c.tape.reshape(logits, &[batch, self.weight.shape()[0]]);
        logits
    }
}

/// `20 cos(x, row)` of `x: [.., width]` with every row of `rows: [n, width]`: `[.., n]`.
pub(super) fn cosine(c: &mut Context, x: Var, rows: Var) -> Var {
    let x = c.tape.l2_normalize(x, COSINE_SCALE);
    let rows = c.tape.l2_normalize(rows, 1.0);
    c.tape.linear(x, rows, None, crate::ops::Activation::None)
}
