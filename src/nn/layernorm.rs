//! Layer normalisation (Ba et al. 2016).

use super::{Context, Init, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::ops::Dropout;

/// Normalises the last axis to mean 0 and variance 1, then scales it by `weight: [width]` and
/// shifts it by `bias: [width]`.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Creates the parameters `name.weight` and `name.bias`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
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

    /// Maps `x: [.., width]` to its normalisation.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        let (weight, bias) = (c.parameter(&self.weight), c.parameter(&self.bias));
        c.tape.layernorm(x, weight, bias, self.eps)
    }

    /// Returns `h = x + dropout(branch)` and the normalised `h`, each `[.., width]`.
    pub fn after_add(&self, c: &mut Context, x: Var, branch: Var, dropout: Dropout) -> (Var, Var) {
        let (weight, bias) = (c.parameter(&self.weight), c.parameter(&self.bias));
        c.tape
            .add_layernorm([x, branch], dropout, [weight, bias], self.eps)
    }
}
