//! Multi-head self-attention.

use super::{Context, Linear, Parameters};
use crate::gpu::{Gpu, GpuError, Tensor};
use crate::ops::Attention;
use crate::tape::Var;

/// The keys and values of the tokens that a layer has seen, each `[batch, capacity, width]`.
#[derive(Clone)]
pub struct Cache {
    keys: Tensor,
    values: Tensor,
}

impl Cache {
    pub fn new(gpu: &Gpu, batch: usize, capacity: usize, width: usize) -> Result<Cache, GpuError> {
        let shape = [batch, capacity, width];
        Ok(Cache { keys: Tensor::zeros(gpu, &shape)?, values: Tensor::zeros(gpu, &shape)? })
    }
}

/// `proj(concat over heads of softmax(q k^T scale) v)`; query, key and value have no bias. Rows `h hd .. (h + 1) hd`
/// of their weights belong to head `h`.
pub struct SelfAttention {
    path: String,
    q: Linear,
    k: Linear,
    v: Linear,
    proj: Linear,
    heads: usize,
    scale: f32,
    causal: bool,
}

impl SelfAttention {
    pub fn new(p: &mut Parameters, name: &str, width: usize, heads: usize, scale: f32, causal: bool) -> Result<SelfAttention, GpuError> {
        p.scope(name, |p| {
            Ok(SelfAttention {
                path: p.path(),
                q: Linear::new(p, "q", width, width, false)?,
                k: Linear::new(p, "k", width, width, false)?,
                v: Linear::new(p, "v", width, width, false)?,
                proj: Linear::new(p, "proj", width, width, true)?,
                heads,
                scale,
                causal,
            })
        })
    }

    /// `x: [batch, t, width] -> [batch, t, width]`. With a cache the keys and values of `x` are appended to it after the
    /// `past` that it holds, and the queries look at all of them.
    pub fn forward(&self, c: &mut Context, x: Var, cache: Option<&Cache>) -> Var {
        self.attend(c, x, x, cache)
    }

    /// The output rows of `queries: [batch, n, width]`, some rows of `x`, that look at all of `x`; not for causal layers.
    pub fn for_queries(&self, c: &mut Context, queries: Var, x: Var) -> Var {
        self.attend(c, queries, x, None)
    }

    fn attend(&self, c: &mut Context, queries: Var, x: Var, cache: Option<&Cache>) -> Var {
        let dropout = if c.training { c.dropout } else { 0.0 };
        let spec = Attention { heads: self.heads, scale: self.scale, causal: self.causal, dropout };
        let (q, mut k, mut v) = (self.q.forward(c, queries), self.k.forward(c, x), self.v.forward(c, x));
        if let Some(cache) = cache {
            let (keys, values) = (c.tape.bind(&cache.keys), c.tape.bind(&cache.values));
            c.tape.cache_rows(keys, k, c.past);
            c.tape.cache_rows(values, v, c.past);
            (k, v) = (keys, values);
        }
        if let Some(maps) = &mut c.maps {
            let map = c.tape.attention_probabilities(q, k, c.past, &spec);
            c.tape.hold(map);
            maps.push((self.path.clone(), map));
        }
        let y = c.tape.attention(q, k, v, c.past, c.seed, &spec);
        self.proj.forward(c, y)
    }
}
