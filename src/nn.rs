//! Layers: parameters with names, and what they record on a tape.

mod attention;
mod block;
mod embedding;
mod layernorm;
mod linear;
mod mlp;
mod parameter_store;
mod parameters;

pub use attention::{Cache, SelfAttention, take_elements};
pub use block::{Block, BlockShape, Residual, Stream};
pub use embedding::{Embedding, Positions};
pub use layernorm::LayerNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use parameter_store::{BLOCK, ParameterGroup, ParameterStore};
pub use parameters::{Init, Parameters};

use crate::device::Tensor;
use crate::graph::{Tape, Var};
use crate::ops::Dropout;

/// What a forward pass needs beside its inputs.
pub struct Context<'a> {
    pub tape: &'a mut Tape,
    /// Gradients are wanted and dropout is on.
    pub training: bool,
    /// Probability with which dropout zeroes an element while training.
    pub dropout: f32,
    /// Uniform, one `u32`: changes every step, so that every step drops other elements.
    pub seed: Var,
    /// Number of positions that the caches hold before this pass, as `u32`: `[batch]`, or `[1]` for the whole batch. Zero until
    /// it is written.
    pub past: Var,
    /// Blocks keep only their input for the backward pass, and compute the rest again there.
    pub checkpoint: bool,
    /// Parameters that do not train: nothing is computed for their gradients.
    pub frozen: Vec<Tensor>,
    /// Whether a gradient is wanted for the rows that the image encoder starts from, though nothing trains.
    pub watch: bool,
    /// These rows, once they are recorded.
    pub watched: Option<Var>,
    /// Attention probabilities `[batch, heads, queries, keys]` by layer path, when they are wanted.
    pub maps: Option<Vec<(String, Var)>>,
}

impl<'a> Context<'a> {
    /// A pass for inference: no gradients, no dropout.
    pub fn inference(tape: &'a mut Tape) -> Context<'a> {
        Self::new(tape, false, 0.0)
    }

    /// A pass that trains, with the given dropout probability.
    pub fn training(tape: &'a mut Tape, dropout: f32) -> Context<'a> {
        Self::new(tape, true, dropout)
    }

    fn new(tape: &'a mut Tape, training: bool, dropout: f32) -> Context<'a> {
        let (seed, past) = (tape.input(&[1]), tape.input(&[1]));
        Context {
            tape,
            training,
            dropout,
            seed,
            past,
            checkpoint: false,
            frozen: vec![],
            watch: false,
            watched: None,
            maps: None,
        }
    }

    /// A parameter's value, with a gradient while it trains.
    pub fn parameter(&mut self, tensor: &Tensor) -> Var {
        // the first of a group stands for all of it
        let frozen = self
            .frozen
            .iter()
            .any(|frozen| frozen.reference().offset_in(tensor.reference()) == Some(0));
        if self.training && !frozen {
            self.tape.parameter(tensor)
        } else {
            self.tape.bind(tensor)
        }
    }

    /// Runs a block on `x`; when checkpointing, only its result is kept.
    pub fn segment(
        &mut self,
        x: Stream,
        block: impl FnOnce(&mut Self, Stream) -> Stream,
    ) -> Stream {
        if !self.checkpoint {
            return block(self, x);
        }
        let segment = self.tape.segment();
        let out = block(self, x);
        self.tape.recompute(segment, &out.parts());
        out
    }

    /// Dropout while training; `x` itself otherwise.
    pub fn dropout(&mut self, x: Var) -> Var {
        if self.training {
            self.tape.dropout(x, self.dropout, self.seed)
        } else {
            x
        }
    }

    /// The same for an op that has it inside.
    fn dropout_inside(&self) -> Dropout {
        Dropout {
            p: if self.training { self.dropout } else { 0.0 },
            seed: self.seed,
        }
    }
}
