//! Two fully connected layers with a GELU between.

use super::{Context, Linear, Parameters};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::ops::Activation;

/// Feed-forward network `fc2(gelu(fc1(x)))` with a hidden layer four times as wide as the input.
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// Creates the parameters of two layers with these names.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn new(
        p: &mut Parameters,
        names: [&str; 2],
        inputs: usize,
        outputs: usize,
    ) -> Result<Mlp, DeviceError> {
        Ok(Mlp {
            fc1: Linear::new(p, names[0], inputs, 4 * inputs, true)?,
            fc2: Linear::new(p, names[1], 4 * inputs, outputs, true)?,
        })
    }

    /// Maps `x: [.., inputs]` to `[.., outputs]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        // ANCHOR: forward
        let hidden = self.fc1.activated(c, x, Activation::Gelu);
        self.fc2.forward(c, hidden)
        // ANCHOR_END: forward
    }
}
