//! Transformer block.

use serde::{Deserialize, Serialize};

use super::{Cache, Context, LayerNorm, Mlp, Parameters, SelfAttention};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::ops::Dropout;

/// From where the second residual connection of a block leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// `y = h + mlp(ln2(h))`, the pre-norm transformer.
    Prenorm,
    /// `y = ln2(h) + mlp(ln2(h))`, as the original seemore has it: the residual stream is normalised away.
    AfterLn2,
}

/// What flows from block to block: the value is the sum of both parts, which the LayerNorm that comes next adds up.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    x: Var,
    branch: Option<Var>,
}

impl From<Var> for Stream {
    fn from(x: Var) -> Stream {
        Stream { x, branch: None }
    }
}

impl Stream {
    /// The values it consists of.
    pub(super) fn parts(self) -> Vec<Var> {
        [Some(self.x), self.branch].into_iter().flatten().collect()
    }

    /// The value, and the value normalised.
    pub fn norm(self, c: &mut Context, ln: &LayerNorm) -> (Var, Var) {
        match self.branch {
            None => (self.x, ln.forward(c, self.x)),
            Some(branch) => ln.after_add(
                c,
                self.x,
                branch,
                Dropout {
                    p: 0.0,
                    seed: c.seed,
                },
            ),
        }
    }
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

/// `h = x + dropout(attn(ln1(x)))`, then the feed-forward layer with its residual.
pub struct Block {
    ln1: LayerNorm,
    attn: SelfAttention,
    ln2: LayerNorm,
    mlp: Mlp,
    residual: Residual,
}

impl Block {
    pub fn new(
        p: &mut Parameters,
        name: impl ToString,
        shape: BlockShape,
    ) -> Result<Block, DeviceError> {
        let BlockShape {
            width,
            heads,
            scale,
            causal,
            residual,
            eps,
        } = shape;
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

    /// `[batch, t, width]` in and out.
    pub fn forward(&self, c: &mut Context, stream: Stream, cache: Option<&Cache>) -> Stream {
        let (x, normed) = stream.norm(c, &self.ln1);
        let attended = self.attn.forward(c, normed, cache);
        self.feed_forward(c, x, attended)
    }

    /// The first `rows` rows of the output, without computing the others: `[batch, rows, width]`. For the last block of an
    /// encoder of which only these rows are used.
    pub fn first_rows(&self, c: &mut Context, stream: Stream, rows: usize) -> Stream {
        let (x, normed) = stream.norm(c, &self.ln1);
        let queries = c.tape.slice_rows(normed, 0, rows);
        let attended = self.attn.for_queries(c, queries, normed);
        let x = c.tape.slice_rows(x, 0, rows);
        self.feed_forward(c, x, attended)
    }

    fn feed_forward(&self, c: &mut Context, x: Var, attended: Var) -> Stream {
        let (h, n) = self.ln2.after_add(c, x, attended, c.dropout_inside());
        let branch = self.mlp.forward(c, n);
        let x = match self.residual {
            Residual::Prenorm => h,
            Residual::AfterLn2 => n,
        };
        Stream {
            x,
            branch: Some(branch),
        }
    }
}
