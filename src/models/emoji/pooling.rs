//! Pooling of all patch rows into one vector.

use super::Config;
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::nn::{Context, LayerNorm, Linear, Parameters};

/// Narrows each patch row, lays the narrow rows side by side, normalises and mixes them.
///
/// A place in the image stays a place in the vector, which a mean over patches would lose.
pub(super) struct Pooling {
    narrow: Linear,
    ln: LayerNorm,
    mix: Linear,
    values: usize,
}

impl Pooling {
    pub(super) fn new(p: &mut Parameters, config: &Config) -> Result<Pooling, DeviceError> {
        let (width, pool_width) = (config.vision.width, config.vision.pool_width);
        let values = config.patches() * pool_width;
        p.scope("pool", |p| {
            Ok(Pooling {
                narrow: Linear::new(p, "narrow", width, pool_width, true)?,
                ln: LayerNorm::new(p, "ln", values, config.layernorm_eps)?,
                mix: Linear::new(p, "mix", values, width, true)?,
                values,
            })
        })
    }

    /// Maps `rows: [batch, patches, width]` to `[batch, 1, width]`.
    pub(super) fn forward(&self, c: &mut Context, rows: Var) -> Var {
        let batch = c.tape.shape(rows)[0];
        let narrow = self.narrow.forward(c, rows);
        let narrow = c.tape.view(narrow, &[batch, 1, self.values]);
        let normed = self.ln.forward(c, narrow);
        self.mix.forward(c, normed)
    }

    /// Bias that is added to the vector: `[width]`.
    pub(super) fn bias(&self) -> Option<&Tensor> {
        self.mix.bias()
    }
}
