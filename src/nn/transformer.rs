//! Stack of transformer blocks.

use super::{Block, BlockShape, Cache, Context, LayerNorm, Parameters, Stream};
use crate::device::DeviceError;
use crate::graph::Var;

/// Transformer blocks, then a LayerNorm.
pub struct Transformer {
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Transformer {
    /// Creates `layers` blocks named `blocks.0`, `blocks.1`.. and a LayerNorm named `norm`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(
        p: &mut Parameters,
        layers: usize,
        shape: BlockShape,
        norm: &str,
    ) -> Result<Transformer, DeviceError> {
        Ok(Transformer {
            blocks: p.scope("blocks", |p| {
                (0..layers)
                    .map(|i| Block::new(p, i, shape))
                    .collect::<Result<_, _>>()
            })?,
            norm: LayerNorm::new(p, norm, shape.width, shape.eps)?,
        })
    }

    /// Maps `x: [batch, t, width]` to `[batch, t, width]`, with one key/value cache per block when
    /// `caches` are given.
    pub fn forward(&self, c: &mut Context, x: Var, caches: Option<&[Cache]>) -> Var {
        run(&self.blocks, c, x, caches).norm(c, &self.norm).1
    }

    /// Returns the first `rows` rows of [`forward`](Self::forward): `[batch, rows, width]`.
    ///
    /// The last block does not compute the other rows, unless attention maps are recorded.
    pub fn first_rows(&self, c: &mut Context, x: Var, rows: usize) -> Var {
        match self.blocks.split_last() {
            Some((last, blocks)) if c.maps.is_none() => {
                let stream = run(blocks, c, x, None);
                let stream = c.segment(stream, |c, x| last.first_rows(c, x, rows));
                stream.norm(c, &self.norm).1
            }
            _ => {
                let all = self.forward(c, x, None);
                c.tape.slice_rows(all, 0, rows)
            }
        }
    }
}

fn run(blocks: &[Block], c: &mut Context, x: Var, caches: Option<&[Cache]>) -> Stream {
    let layers = blocks.iter().enumerate();
    layers.fold(Stream::from(x), |x, (i, block)| {
        c.segment(x, |c, x| {
            block.forward(c, x, caches.map(|caches| &caches[i]))
        })
    })
}
