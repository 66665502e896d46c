//! Multi-head self-attention.

use serde::{Deserialize, Serialize};

use super::{Context, LayerAttention, Linear, Parameters, Part};
use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::ops::Attention;

/// Width whose square root divides attention scores before the softmax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionScale {
    /// Width of one head (Vaswani et al. 2017).
    Head,
    /// Width of the whole embedding, as in the original seemore.
    Width,
}

impl AttentionScale {
    /// Returns the factor that attention scores are multiplied by.
    pub fn factor(self, width: usize, heads: usize) -> f32 {
        let divisor = match self {
            AttentionScale::Head => width / heads.max(1),
            AttentionScale::Width => width,
        };
        (divisor as f64).powf(-0.5) as f32
    }
}

/// Key/value cache of one attention layer: `[batch, capacity, 2 width]`, each row key | value.
#[derive(Clone)]
pub struct Cache(pub(super) Tensor);

impl Cache {
    /// Allocates an empty cache for keys and values of this width each.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold it.
    pub fn new(
        device: &Device,
        batch: usize,
        capacity: usize,
        width: usize,
    ) -> Result<Cache, DeviceError> {
        Ok(Cache(Tensor::zeros(device, &[batch, capacity, 2 * width])?))
    }

    /// Copies batch element `elements[i]` of `from`, which may be this cache, to batch element `i`.
    ///
    /// `elements` are `u32`. `start: [1]` is the row where the copies begin, a `u32` that the host
    /// sets to 0.
    pub fn gather(&self, tape: &mut Tape, from: &Cache, elements: Var, start: Var) {
        gather_rows(tape, &self.0, &from.0, elements, start);
    }
}

/// Copies element `elements[i]` of `from`, which may be `to`, to element `i` of `to: [batch, rows,
/// width]`; see [`Cache::gather`].
///
/// # Panics
/// Panics when `from` does not have three axes.
pub fn gather_rows(tape: &mut Tape, to: &Tensor, from: &Tensor, elements: Var, start: Var) {
    let (to, from) = (tape.bind(to), tape.bind(from));
    let &[batch, rows, width] = tape.shape(from) else {
        panic!(
            "gather_rows needs [batch, rows, width], not {:?}",
            tape.shape(from)
        )
    };
    let count = tape.len(elements);
    let from = tape.view(from, &[batch, rows * width]);
    let taken = tape.embedding(from, elements);
    let taken = tape.view(taken, &[count, rows, width]);
    tape.cache_rows(to, taken, start);
}

/// Multi-head self-attention: `proj(concat over heads of softmax(q k^T scale) v)`.
///
/// Query, key and value have no bias. Rows `h hd .. (h + 1) hd` of their weights belong to head
/// `h`, `hd` being its width.
pub struct SelfAttention {
    path: String,
    part: Part,
    /// Query, key and value as one fused layer.
    qkv: Linear,
    proj: Linear,
    width: usize,
    heads: usize,
    scale: f32,
    causal: bool,
}

impl SelfAttention {
    /// Creates the parameters `name.q.weight`, `name.k.weight`, `name.v.weight` and `name.proj`.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn new(
        p: &mut Parameters,
        name: &str,
        width: usize,
        heads: usize,
        scale: f32,
        causal: bool,
    ) -> Result<SelfAttention, DeviceError> {
        p.scope(name, |p| {
            Ok(SelfAttention {
                path: p.path(),
                part: p.part(),
                qkv: Linear::group(p, &[("q", width), ("k", width), ("v", width)], width, false)?,
                proj: Linear::new(p, "proj", width, width, true)?,
                width,
                heads,
                scale,
                causal,
            })
        })
    }

    /// Maps `x: [batch, t, width]` to `[batch, t, width]`.
    ///
    /// With a cache, the keys and values of `x` are appended after its first `past` positions, and
    /// the queries attend to all of them.
    pub fn forward(&self, c: &mut Context, x: Var, cache: Option<&Cache>) -> Var {
        // ANCHOR: forward
        let qkv = self.qkv.forward(c, x);
        let Some(Cache(cache)) = cache else {
            return self.attend(c, qkv, qkv);
        };
        let (cache, spec) = (c.tape.bind(cache), self.spec(c));
        let y = c.tape.attention_append(qkv, cache, c.past, c.seed, &spec);
        self.finish(c, qkv, cache, y)
        // ANCHOR_END: forward
    }

    /// Returns the output rows of `queries: [batch, n, width]`, some rows of `x`, which attend to
    /// all rows of `x`.
    ///
    /// Not for causal layers.
    pub fn for_queries(&self, c: &mut Context, queries: Var, x: Var) -> Var {
        let q = self.qkv.part(c, queries, 0..self.width);
        let kv = self.qkv.part(c, x, self.width..3 * self.width);
        self.attend(c, q, kv)
    }

    /// Attention over packed rows, see [`Tape::attention`](crate::graph::Tape::attention).
    fn attend(&self, c: &mut Context, q: Var, kv: Var) -> Var {
        let spec = self.spec(c);
        let y = c.tape.attention(q, kv, c.past, c.seed, &spec);
        self.finish(c, q, kv, y)
    }

    fn spec(&self, c: &Context) -> Attention {
        let dropout = if c.training { c.dropout } else { 0.0 };
        Attention {
            heads: self.heads,
            kv_heads: self.heads,
            scale: self.scale,
            causal: self.causal,
            dropout,
            rounded: false,
        }
    }

    /// Applies the output layer to the heads' outputs `y`, and records the probabilities where the
    /// context asks for them.
    fn finish(&self, c: &mut Context, q: Var, kv: Var, y: Var) -> Var {
        let spec = self.spec(c);
        if let Some(maps) = &mut c.maps {
            let map = c.tape.attention_probabilities(q, kv, c.past, &spec);
            c.tape.hold(map);
            maps.push(LayerAttention {
                layer: self.path.clone(),
                part: self.part,
                probabilities: map,
            });
        }
        self.proj.forward(c, y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Plan;
    use crate::nn::ParameterStore;
    use crate::ops::check::{close, device, random_f32};

    const ROWS: usize = 5;
    const QUERIES: usize = 2;

    /// Output rows of the first queries of two batch elements, gradient of all of `x`, and
    /// gradients of the parameters by name.
    fn first_queries(
        attn: &SelfAttention,
        store: &ParameterStore,
        alone: bool,
    ) -> Vec<(String, Vec<f32>)> {
        let (device, width) = (device(), attn.width);
        let mut tape = device.tape();
        let x = tape.variable(&[2, ROWS, width]);
        let mut c = Context::training(&mut tape, 0.0);
        let y = if alone {
            let queries = c.tape.slice_rows(x, 0, QUERIES);
            attn.for_queries(&mut c, queries, x)
        } else {
            let all = attn.forward(&mut c, x, None);
            c.tape.slice_rows(all, 0, QUERIES)
        };
        let dy = tape.input(&[2, QUERIES, width]);
        tape.backward(y, dy);
        let dx = tape.grad(x).unwrap();
        [y, dx].into_iter().for_each(|v| tape.hold(v));
        let flats = store.zeros(&device).unwrap();
        for (parameter, tensor) in tape.parameters() {
            let grad = tape.grad(parameter).unwrap();
            tape.place(grad, &store.counterpart(&tensor, &flats).unwrap());
        }
        let plan = Plan::new(&device, tape).unwrap();
        for (seed, v) in [x, dy].into_iter().enumerate() {
            let count = plan.shape(v).iter().product();
            plan.write(v, &random_f32(count, 1 + seed as u64));
        }
        plan.run().unwrap();
        let read = [("output", y), ("input", dx)]
            .map(|(name, v)| (name.to_owned(), plan.read(v).unwrap()));
        read.into_iter()
            .chain(
                store
                    .named_in(&flats)
                    .into_iter()
                    .map(|(name, grad)| (name, grad.read().unwrap())),
            )
            .collect()
    }

    #[test]
    fn queries_of_some_rows_match_full_attention() {
        // parts of the weight can be bound where they start at a multiple of 64 elements: at widths
        // 8 and 16, not at 6
        for width in [6, 8, 16] {
            let (attn, store) = Parameters::build(&device(), 3, |p| {
                SelfAttention::new(p, "attn", width, 2, 0.5, false)
            })
            .unwrap();
            let names: Vec<&str> = store
                .named()
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(
                names,
                [
                    "attn.q.weight",
                    "attn.k.weight",
                    "attn.v.weight",
                    "attn.proj.weight",
                    "attn.proj.bias"
                ]
            );
            for ((name, got), (_, want)) in first_queries(&attn, &store, true)
                .iter()
                .zip(first_queries(&attn, &store, false))
            {
                let want: Vec<f64> = want.iter().map(|&x| x as f64).collect();
                assert!(
                    want.iter().any(|x| x.abs() > 1e-2),
                    "{width}: {name} is almost zero"
                );
                close(&format!("{width}: {name}"), got, &want, 0..want.len()).unwrap();
            }
        }
    }
}
