//! Transformer block.

use serde::{Deserialize, Serialize};

use super::{Cache, Context, LayerNorm, Mlp, Parameters, SelfAttention};
use crate::gpu::GpuError;
use crate::tape::Var;

/// From where the second residual connection of a block leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// `y = h + mlp(ln2(h))`, the pre-norm transformer.
    Prenorm,
    /// `y = ln2(h) + mlp(ln2(h))`, as the original seemore has it: the residual stream is normalised away.
    AfterLn2,
}

/// What sets a block apart from another.
#[derive(Debug, Clone, Copy)]
pub struct BlockShape {
    pub width: usize,
    pub heads: usize,
    /// What attention scores are multiplied by before the softmax.
    pub scale: f32,
    pub causal: bool,
    pub residual: Residual,
    pub eps: f32,
}

/// `h = x + attn(ln1(x))`, then the feed-forward layer with its residual.
pub struct Block {
    ln1: LayerNorm,
    attn: SelfAttention,
    ln2: LayerNorm,
    mlp: Mlp,
    residual: Residual,
}

impl Block {
    pub fn new(p: &mut Parameters, name: impl ToString, shape: BlockShape) -> Result<Block, GpuError> {
        let BlockShape { width, heads, scale, causal, residual, eps } = shape;
        p.scope(name, |p| {
            Ok(Block {
                ln1: LayerNorm::new(p, "ln1", width, eps)?,
                attn: SelfAttention::new(p, "attn", width, heads, scale, causal)?,
                ln2: LayerNorm::new(p, "ln2", width, eps)?,
                mlp: Mlp::new(p, ["fc1", "fc2"], width, width)?,
                residual,
            })
        })
    }

    /// `x: [batch, t, width] -> [batch, t, width]`.
    pub fn forward(&self, c: &mut Context, x: Var, cache: Option<&Cache>) -> Var {
        let normed = self.ln1.forward(c, x);
        let attended = self.attn.forward(c, normed, cache);
        self.feed_forward(c, x, attended)
    }

    /// The first `rows` rows of the output, without computing the others: `[batch, rows, width]`. For the last block of an
    /// encoder of which only these rows are used.
    pub fn first_rows(&self, c: &mut Context, x: Var, rows: usize) -> Var {
        let normed = self.ln1.forward(c, x);
        let queries = c.tape.slice_rows(normed, 0, rows);
        let attended = self.attn.for_queries(c, queries, normed);
        let x = c.tape.slice_rows(x, 0, rows);
        self.feed_forward(c, x, attended)
    }

    fn feed_forward(&self, c: &mut Context, x: Var, attended: Var) -> Var {
        let h = c.tape.add(x, attended);
        let n = self.ln2.forward(c, h);
        let f = self.mlp.forward(c, n);
        let stream = match self.residual {
            Residual::Prenorm => h,
            Residual::AfterLn2 => n,
        };
        c.tape.add(stream, f)
    }
}
