//! Projector from image features to decoder inputs.

use serde::{Deserialize, Serialize};

use super::{Context, Linear, Mlp, Parameters};
use crate::device::DeviceError;
use crate::graph::Var;

/// Layers of a projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// Two layers with a GELU between them.
    Mlp,
    /// One layer.
    Linear,
}

impl Projection {
    /// Returns the multiply-adds for one token.
    pub fn multiply_adds(self, inputs: usize, outputs: usize) -> f64 {
        match self {
            Projection::Mlp => (4 * inputs * inputs + 4 * inputs * outputs) as f64,
            Projection::Linear => (inputs * outputs) as f64,
        }
    }
}

/// Maps image features to the width of the decoder, followed by dropout.
pub enum Projector {
    /// Two layers, named `proj1` and `proj2`.
    Mlp(Mlp),
    /// One layer, named `proj`.
    Linear(Linear),
}

impl Projector {
    /// Creates a projector from width `inputs` to width `outputs`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(
        p: &mut Parameters,
        kind: Projection,
        inputs: usize,
        outputs: usize,
    ) -> Result<Projector, DeviceError> {
        Ok(match kind {
            Projection::Mlp => Projector::Mlp(Mlp::new(p, ["proj1", "proj2"], inputs, outputs)?),
            Projection::Linear => Projector::Linear(Linear::new(p, "proj", inputs, outputs, true)?),
        })
    }

    /// Maps `features: [batch, v, inputs]` to `[batch, v, outputs]`.
    pub fn forward(&self, c: &mut Context, features: Var) -> Var {
        let visual = match self {
            Projector::Mlp(mlp) => mlp.forward(c, features),
            Projector::Linear(linear) => linear.forward(c, features),
        };
        c.dropout(visual)
    }
}
