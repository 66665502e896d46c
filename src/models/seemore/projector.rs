//! From image features to decoder inputs.

use super::{Config, Projection};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::nn::{Context, Linear, Mlp, Parameters};

/// The bridge between the two halves of the model, with dropout behind it.
pub enum Projector {
    Mlp(Mlp),
    Linear(Linear),
}

impl Projector {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Projector, DeviceError> {
        let (inputs, outputs) = (config.feature_width(), config.width);
        Ok(match config.projector {
            Projection::Mlp => Projector::Mlp(Mlp::new(p, ["proj1", "proj2"], inputs, outputs)?),
            Projection::Linear => Projector::Linear(Linear::new(p, "proj", inputs, outputs, true)?),
        })
    }

    /// `features: [batch, v, feature width] -> [batch, v, decoder width]`.
    pub fn forward(&self, c: &mut Context, features: Var) -> Var {
        let visual = match self {
            Projector::Mlp(mlp) => mlp.forward(c, features),
            Projector::Linear(linear) => linear.forward(c, features),
        };
        c.dropout(visual)
    }
}
