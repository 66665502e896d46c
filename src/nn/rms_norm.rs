//! Root mean square normalisation (Zhang & Sennrich 2019).

use super::{Context, Init, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;

/// Divides the last axis by its root mean square, then scales it by `weight: [width]`.
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// Creates the parameter `name.weight`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn new(
        p: &mut Parameters,
        name: &str,
        width: usize,
        eps: f32,
    ) -> Result<RmsNorm, DeviceError> {
        p.scope(name, |p| {
            Ok(RmsNorm {
                weight: p.create("weight", &[width], Init::Ones)?,
                eps,
            })
        })
    }

    /// Maps `x: [.., width]` to its normalisation.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        let weight = c.parameter(&self.weight);
        c.tape.rmsnorm(x, weight, self.eps)
    }

    /// Returns `h = x + branch` and the normalised `h`, each `[.., width]`.
    pub fn after_add(&self, c: &mut Context, x: Var, branch: Var) -> (Var, Var) {
        let weight = c.parameter(&self.weight);
        c.tape.add_rmsnorm(x, branch, weight, self.eps)
    }
}
