//! Layers: named parameters, and the operations that they record on a tape.

mod attention;
mod block;
mod cosine;
mod embedding;
mod gated_mlp;
mod grouped_attention;
mod layernorm;
mod linear;
mod lora;
mod mlp;
mod parameter_info;
mod parameter_store;
mod parameters;
mod patch_embedding;
mod projector;
mod rms_norm;
mod rotary;
mod transformer;
mod weight;

pub use attention::{AttentionScale, Cache, SelfAttention, gather_rows};
pub use block::{Block, BlockShape, Residual, Stream};
pub use cosine::{COSINE_SCALE, CosineHead, cosine, unit_rows};
pub use embedding::{EMBEDDING_STD, Embedding, Positions};
pub use gated_mlp::GatedMlp;
pub use grouped_attention::{GroupedAttention, GroupedHeads};
pub use layernorm::LayerNorm;
pub use linear::Linear;
pub(crate) use lora::{LORA_A, LORA_B};
pub use lora::{LoraConfig, Targets};
pub use mlp::Mlp;
pub use parameter_info::{ParameterInfo, Part, Role};
pub use parameter_store::{BLOCK, FrozenParameter, ParameterGroup, ParameterStore};
pub use parameters::{Init, Kept, Parameters, StorageOf};
pub use patch_embedding::PatchEmbedding;
pub use projector::{Projection, Projector};
pub use rms_norm::RmsNorm;
pub use rotary::{Rotary, RotaryScaling};
pub use transformer::Transformer;
pub use weight::{FrozenRows, Storage, Weight};

use crate::device::Tensor;
use crate::graph::{Tape, Var};
use crate::ops::Dropout;

/// Attention probabilities recorded for one layer.
#[derive(Debug, Clone)]
pub struct LayerAttention {
    /// Module path of the attention layer, such as `vit.blocks.2.attn`.
    pub layer: String,
    /// Part of the model that the layer belongs to.
    pub part: Part,
    /// Probabilities `[batch, heads, queries, keys]`.
    pub probabilities: Var,
}

/// State of one recorded forward pass: the tape, and settings that all layers share.
pub struct Context<'a> {
    /// Tape that the layers record on.
    pub tape: &'a mut Tape,
    /// Whether parameters get gradients and dropout is active.
    pub training: bool,
    /// Probability that dropout zeroes an element during training.
    pub dropout: f32,
    /// Uniform `[1]` of `u32`: dropout seed. Write another value before each step.
    pub seed: Var,
    /// Number of positions that the key/value caches hold before this pass, as `u32`: `[batch]`, or
    /// `[1]` for the whole batch. Zero until it is written.
    pub past: Var,
    /// Whether blocks keep only their input for the backward pass and recompute the rest there.
    pub checkpoint: bool,
    /// Parameters without a gradient.
    pub frozen: Vec<Tensor>,
    /// Whether the gradient of the encoder's input rows is wanted, also when nothing trains.
    pub patch_gradients: bool,
    /// The encoder's input rows `[batch, rows, width]`, once recorded with `patch_gradients`.
    pub patch_rows: Option<Var>,
    /// Whether the gradient of [`value_rows`](Self::value_rows) is wanted, also when nothing trains.
    pub value_gradients: bool,
    /// Queries, keys and values of the block of a pretrained encoder that was recorded last, `[batch,
    /// rows, 3 * width]`, once recorded with `value_gradients`.
    pub value_rows: Option<Var>,
    /// Logits of a composition's names recorded so far, `[images, names]` for each set; `None` skips
    /// them and [`last_block_rows`](Self::last_block_rows).
    pub name_logits: Option<Vec<Var>>,
    /// Input rows of the last block of a pretrained encoder `[batch, rows, width]`, once recorded with
    /// `name_logits`.
    pub last_block_rows: Option<Var>,
    /// Rows of the text that the rows of images take: `u32` indices into all rows of the batch, one
    /// for each row of the images. Families with placeholder tokens need it.
    pub image_places: Option<Var>,
    /// Attention probabilities of the layers recorded so far; `None` skips them.
    pub maps: Option<Vec<LayerAttention>>,
    /// Whether pretrained decoders record the attention of their last layer only.
    pub last_map_only: bool,
    /// Intermediate values recorded so far, by name; `None` skips them. Pretrained families keep
    /// theirs.
    pub states: Option<Vec<(String, Var)>>,
}

impl<'a> Context<'a> {
    /// Starts a forward pass without gradients and dropout.
    pub fn inference(tape: &'a mut Tape) -> Context<'a> {
        Self::new(tape, false, 0.0)
    }

    /// Starts a forward pass with gradients and the given dropout probability.
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
            patch_gradients: false,
            patch_rows: None,
            value_gradients: false,
            value_rows: None,
            name_logits: None,
            last_block_rows: None,
            image_places: None,
            maps: None,
            last_map_only: false,
            states: None,
        }
    }

    /// Records the value of a parameter, with a gradient if it trains.
    pub fn parameter(&mut self, tensor: &Tensor) -> Var {
        // parameters of a fused group are frozen together, so the first one decides
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

    /// Records `block` on `x`. With activation checkpointing only its result is kept.
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

    /// Keeps an intermediate value under a name where the states are asked for.
    pub fn keep(&mut self, name: impl FnOnce() -> String, value: Var) {
        if let Some(states) = &mut self.states {
            self.tape.hold(value);
            states.push((name(), value));
        }
    }

    /// Keeps the value of a stream, as [`keep`](Self::keep), and returns the stream.
    pub fn keep_stream(&mut self, name: impl FnOnce() -> String, stream: Stream) -> Stream {
        if self.states.is_none() {
            return stream;
        }
        let value = stream.value(self);
        self.keep(name, value);
        Stream::from(value)
    }

    /// Applies dropout during training, and returns `x` unchanged otherwise.
    pub fn dropout(&mut self, x: Var) -> Var {
        if self.training {
            self.tape.dropout(x, self.dropout, self.seed)
        } else {
            x
        }
    }

    /// Dropout settings for an operation that applies dropout itself.
    fn fused_dropout(&self) -> Dropout {
        Dropout {
            p: if self.training { self.dropout } else { 0.0 },
            seed: self.seed,
        }
    }
}
