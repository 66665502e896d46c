//! Transformer block.

use serde::{Deserialize, Serialize};

use super::{Cache, Context, LayerNorm, Mlp, Parameters, RmsNorm, SelfAttention};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::ops::Dropout;

/// Start of the second residual connection of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// `y = h + mlp(ln2(h))`, the pre-norm transformer.
    Prenorm,
    /// `y = ln2(h) + mlp(ln2(h))`, as in the original seemore: the normalised value replaces the
    /// residual stream.
    AfterLn2,
}

/// Residual stream between blocks: a value and an optional branch, which the next LayerNorm adds to
/// it.
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
    /// Returns a value with a branch that is still to be added to it.
    pub fn new(x: Var, branch: Var) -> Stream {
        Stream {
            x,
            branch: Some(branch),
        }
    }

    /// Returns the value with its branch added.
    pub fn value(self, c: &mut Context) -> Var {
        match self.branch {
            None => self.x,
            Some(branch) => c.tape.add(self.x, branch),
        }
    }

    /// Returns the value with its branch added, and its normalisation by `norm`.
    pub fn rms_norm(self, c: &mut Context, norm: &RmsNorm) -> (Var, Var) {
        match self.branch {
            None => (self.x, norm.forward(c, self.x)),
            Some(branch) => norm.after_add(c, self.x, branch),
        }
    }

    /// Returns the value and the branch.
    pub(super) fn parts(self) -> Vec<Var> {
        [Some(self.x), self.branch].into_iter().flatten().collect()
    }

    /// Returns the value with its branch added, and its normalisation by `ln`.
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

/// Sizes and arithmetic of a block.
#[derive(Debug, Clone, Copy)]
pub struct BlockShape {
    /// Width of the residual stream.
    pub width: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Factor that attention scores are multiplied by before the softmax.
    pub scale: f32,
    /// Whether a position attends only to itself and to earlier ones.
    pub causal: bool,
    /// Start of the second residual connection.
    pub residual: Residual,
    /// Epsilon of the LayerNorms.
    pub eps: f32,
}

/// Transformer block: `h = x + dropout(attn(ln1(x)))`, then a feed-forward layer with its
/// [`Residual`].
pub struct Block {
    ln1: LayerNorm,
    attn: SelfAttention,
    ln2: LayerNorm,
    mlp: Mlp,
    residual: Residual,
}

impl Block {
    /// Creates the parameters of the block below `name`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
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

    /// Maps a stream `[batch, t, width]` to one of the same shape, with a key/value cache if given.
    pub fn forward(&self, c: &mut Context, stream: Stream, cache: Option<&Cache>) -> Stream {
        // ANCHOR: forward
        let (x, normed) = stream.norm(c, &self.ln1);
        let attended = self.attn.forward(c, normed, cache);
        self.feed_forward(c, x, attended)
        // ANCHOR_END: forward
    }

    /// Returns the first `rows` rows of the output, `[batch, rows, width]`, without computing the
    /// others.
    ///
    /// For the last block of an encoder of which only these rows are used.
    pub fn first_rows(&self, c: &mut Context, stream: Stream, rows: usize) -> Stream {
        let (x, normed) = stream.norm(c, &self.ln1);
        let queries = c.tape.slice_rows(normed, 0, rows);
        let attended = self.attn.for_queries(c, queries, normed);
        let x = c.tape.slice_rows(x, 0, rows);
        self.feed_forward(c, x, attended)
    }

    // ANCHOR: feed_forward
    fn feed_forward(&self, c: &mut Context, x: Var, attended: Var) -> Stream {
        let (h, n) = self.ln2.after_add(c, x, attended, c.fused_dropout());
        let branch = self.mlp.forward(c, n);
        let x = match self.residual {
            Residual::Prenorm => h,
            Residual::AfterLn2 => n,
        };
        Stream::new(x, branch)
    }
    // ANCHOR_END: feed_forward
}
