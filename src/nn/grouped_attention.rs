//! Causal self-attention with rotated queries and keys and shared key/value heads, as in Llama.

use super::{Cache, Context, LayerAttention, Linear, Parameters, Part, Rotary};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::ops::Attention;

/// Heads of a [`GroupedAttention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupedHeads {
    /// Number of query heads.
    pub queries: usize,
    /// Number of key/value heads, of which each serves `queries / keys` query heads.
    pub keys: usize,
    /// Width of a head.
    pub width: usize,
}

/// Grouped-query self-attention (Ainslie et al. 2023): `o_proj(concat over heads of softmax(q k^T /
/// sqrt(head width)) v)` with rotary positions.
pub struct GroupedAttention {
    path: String,
    part: Part,
    /// Query, key and value as one fused layer.
    qkv: Linear,
    out: Linear,
    rotary: Rotary,
    heads: GroupedHeads,
}

impl GroupedAttention {
    /// Creates the parameters of the layers `names`: query, key, value and output.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn new(
        p: &mut Parameters,
        names: [&str; 4],
        width: usize,
        heads: GroupedHeads,
        rotary: &Rotary,
        bias: bool,
    ) -> Result<GroupedAttention, DeviceError> {
        let [q, k, v, out] = names;
        let (queries, keys) = (heads.queries * heads.width, heads.keys * heads.width);
        let members = [(q, queries), (k, keys), (v, keys)];
        Ok(GroupedAttention {
            path: p.path(),
            part: p.part(),
            qkv: Linear::group(p, &members, width, bias)?,
            out: Linear::new(p, out, queries, width, bias)?,
            rotary: rotary.clone(),
            heads,
        })
    }

    /// Maps `x: [batch, t, width]` to `[batch, t, width]`.
    ///
    /// With a cache, the keys and values of `x` are appended after its first `past` positions, and
    /// the queries attend to all of them.
    pub fn forward(&self, c: &mut Context, x: Var, cache: Option<&Cache>) -> Var {
        let qkv = self.qkv.forward(c, x);
        // ANCHOR: rotate
        let rotated = self.heads.queries + self.heads.keys;
        let qkv = self.rotary.forward(c, qkv, rotated);
        // ANCHOR_END: rotate
        let spec = Attention {
            heads: self.heads.queries,
            kv_heads: self.heads.keys,
            scale: (self.heads.width as f64).powf(-0.5) as f32,
            causal: true,
            dropout: 0.0,
            rounded: self.qkv.is_packed(),
        };
        let (kv, y) = match cache {
            None => (qkv, c.tape.attention(qkv, qkv, c.past, c.seed, &spec)),
            Some(Cache(cache)) => {
                let cache = c.tape.bind(cache);
                let y = c.tape.attention_append(qkv, cache, c.past, c.seed, &spec);
                (cache, y)
            }
        };
        if let Some(maps) = &mut c.maps {
            let map = c.tape.attention_probabilities(qkv, kv, c.past, &spec);
            c.tape.hold(map);
            maps.push(LayerAttention {
                layer: self.path.clone(),
                part: self.part,
                probabilities: map,
            });
        }
        self.out.forward(c, y)
    }
}
