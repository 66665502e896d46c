//! Token and position embeddings.

use super::{Context, Init, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;

/// A row of `weight: [rows, width]` for every id.
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    pub fn new(
        p: &mut Parameters,
        name: &str,
        rows: usize,
        width: usize,
        init: Init,
    ) -> Result<Embedding, DeviceError> {
        p.scope(name, |p| {
            Ok(Embedding {
                weight: p.create("weight", &[rows, width], init)?,
            })
        })
    }

    /// All of it: `[rows, width]`.
    pub fn table(&self, c: &mut Context) -> Var {
        c.parameter(&self.weight)
    }

    /// `ids: [..] -> [.., width]`.
    pub fn forward(&self, c: &mut Context, ids: Var) -> Var {
        let weight = c.parameter(&self.weight);
        c.tape.embedding(weight, ids)
    }
}

/// A learned vector for every position: `weight: [context, width]`.
pub struct Positions {
    weight: Tensor,
}

impl Positions {
    pub fn new(
        p: &mut Parameters,
        name: &str,
        context: usize,
        width: usize,
        init: Init,
    ) -> Result<Positions, DeviceError> {
        p.scope(name, |p| {
            Ok(Positions {
                weight: p.create("weight", &[context, width], init)?,
            })
        })
    }

    /// Adds the vectors of positions `past..past + t` of each row to `x: [batch, t, width]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        let weight = c.parameter(&self.weight);
        c.tape.positions(x, weight, c.past)
    }
}
