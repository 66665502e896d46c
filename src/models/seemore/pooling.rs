//! From the rows of all patches to one vector.

use super::Config;
use crate::device::DeviceError;
use crate::graph::Var;
use crate::nn::{Context, LayerNorm, Linear, Parameters};

/// Narrows each patch's row, lays the narrow rows side by side, normalises and mixes them: a place in the picture stays a place in
/// the vector, which a mean over patches would forget.
pub struct Pooling {
    narrow: Linear,
    ln: LayerNorm,
    mix: Linear,
    values: usize,
}

impl Pooling {
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Pooling, DeviceError> {
        let (width, values) = (config.vision_width, config.patches() * config.pool_width);
        p.scope("pool", |p| {
            Ok(Pooling {
                narrow: Linear::new(p, "narrow", width, config.pool_width, true)?,
                ln: LayerNorm::new(p, "ln", values, config.layernorm_eps)?,
                mix: Linear::new(p, "mix", values, width, true)?,
                values,
            })
        })
    }

    /// `rows: [batch, patches, width] -> [batch, 1, width]`.
    pub fn forward(&self, c: &mut Context, rows: Var) -> Var {
        let batch = c.tape.shape(rows)[0];
        let narrow = self.narrow.forward(c, rows);
        let narrow = c.tape.view(narrow, &[batch, 1, self.values]);
        let normed = self.ln.forward(c, narrow);
        self.mix.forward(c, normed)
    }
}
