//! Token and position embeddings.

use super::{Context, Init, Parameters, Weight};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;

/// Standard deviation of new token and position embeddings (that of GPT-2).
pub const EMBEDDING_STD: f32 = 0.02;

/// Lookup table with a row of `weight: [rows, width]` for every id.
pub struct Embedding {
    weight: Weight,
}

impl Embedding {
    /// Creates the parameter `name.weight`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn new(
        p: &mut Parameters,
        name: &str,
        rows: usize,
        width: usize,
        init: Init,
    ) -> Result<Embedding, DeviceError> {
        p.scope(name, |p| {
            Ok(Embedding {
                weight: p.weight("weight", &[rows, width], init)?,
            })
        })
    }

    /// The parameter `weight: [rows, width]`.
    pub fn weight(&self) -> &Weight {
        &self.weight
    }

    /// The tensor `[rows, width]` of a table that is trained.
    ///
    /// # Panics
    /// If it is not.
    pub fn trained(&self) -> &Tensor {
        match &self.weight {
            Weight::Trained(tensor) => tensor,
            Weight::Frozen(_) => panic!("an embedding that is not trained has no single tensor"),
        }
    }

    /// Records the whole table, which is trained: `[rows, width]`.
    ///
    /// # Panics
    /// If it is not.
    pub fn table(&self, c: &mut Context) -> Var {
        c.parameter(self.trained())
    }

    /// Maps `ids: [..]` to `[.., width]`.
    pub fn forward(&self, c: &mut Context, ids: Var) -> Var {
        self.weight.look_up(c, ids)
    }
}

/// Learned position embeddings: `weight: [context, width]`.
pub struct Positions {
    weight: Tensor,
}

impl Positions {
    /// Creates the parameter `name.weight`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
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

    /// Adds the embeddings of positions `past..past + t` of each row to `x: [batch, t, width]`.
    pub fn forward(&self, c: &mut Context, x: Var) -> Var {
        let weight = c.parameter(&self.weight);
        c.tape.positions(x, weight, c.past)
    }
}
