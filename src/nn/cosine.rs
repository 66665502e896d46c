//! Classification by cosine similarity.

use super::{Context, EMBEDDING_STD, Init, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::ops::Activation;

/// Factor that cosines are multiplied by before the softmax.
pub const COSINE_SCALE: f32 = 20.0;

/// Scores classes by the cosine between a vector and one row of `weight: [classes, width]` per
/// class.
pub struct CosineHead {
    weight: Tensor,
}

impl CosineHead {
    /// Creates the parameter `weight: [classes, width]`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn new(
        p: &mut Parameters,
        classes: usize,
        width: usize,
    ) -> Result<CosineHead, DeviceError> {
        Ok(CosineHead {
            weight: p.create("weight", &[classes, width], Init::Normal(EMBEDDING_STD))?,
        })
    }

    /// The parameter `[classes, width]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Maps `x: [batch, 1, width]` to logits `[batch, classes]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        let batch = c.tape.shape(x)[0];
        let weight = c.parameter(&self.weight);
        let logits = cosine(c, x, weight);
        c.tape.view(logits, &[batch, self.weight.shape()[0]])
    }
}

/// Returns `20 cos(x, row)` of `x: [.., width]` with every row of `rows: [n, width]`: `[.., n]`.
pub fn cosine(c: &mut Context, x: Var, rows: Var) -> Var {
    let rows = unit_rows(c, rows);
    let x = c.tape.l2_normalize(x, COSINE_SCALE);
    c.tape.linear(x, rows, None, Activation::None)
}

/// Scales the rows of a table to length 1. A table is normalised once per tape, however often it is
/// used.
pub fn unit_rows(c: &mut Context, rows: Var) -> Var {
    c.tape
        .once("unit", rows, |tape| tape.l2_normalize(rows, 1.0))
}
