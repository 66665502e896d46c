//! Layer normalisation.

use super::{Context, Init, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::ops::Dropout;

/// Normalises the last axis to mean 0 and variance 1, then scales and shifts it: `weight` and `bias` of `[width]`.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub fn new(
        p: &mut Parameters,
        name: &str,
        width: usize,
        eps: f32,
    ) -> Result<LayerNorm, DeviceError> {
        p.scope(name, |p| {
            Ok(LayerNorm {
                weight: p.create("weight", &[width], Init::Ones)?,
                bias: p.create("bias", &[width], Init::Zeros)?,
                eps,
            })
        })
    }

    /// `x: [.., width]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        let (weight, bias) = (c.parameter(&self.weight), c.parameter(&self.bias));
        c.tape.layernorm(x, weight, bias, self.eps)
    }

    /// `h = x + dropout(branch)` and the normalised `h`, `[.., width]` all four. Returns both.
    pub fn after_add(&self, c: &mut Context, x: Var, branch: Var, dropout: Dropout) -> (Var, Var) {
        let (weight, bias) = (c.parameter(&self.weight), c.parameter(&self.bias));
        c.tape
            .add_layernorm([x, branch], dropout, [weight, bias], self.eps)
    }
}
