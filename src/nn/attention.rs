//! Multi-head self-attention.

use super::{Context, Linear, Parameters};
use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::ops::Attention;

/// The keys and values of the tokens that a layer has seen: `[batch, capacity, 2 width]`, rows key | value.
#[derive(Clone)]
pub struct Cache(Tensor);

impl Cache {
    pub fn new(
        device: &Device,
        batch: usize,
        capacity: usize,
        width: usize,
    ) -> Result<Cache, DeviceError> {
        Ok(Cache(Tensor::zeros(device, &[batch, capacity, 2 * width])?))
    }

    /// Makes batch element `i` what element `elements[i]` of `from`, which may be this cache, has held. `start: [1]` is a `u32`
    /// that the host writes, the position where it begins: 0.
    pub fn take(&self, tape: &mut Tape, from: &Cache, elements: Var, start: Var) {
        take_elements(tape, &self.0, &from.0, elements, start);
    }
}

/// Makes element `i` of `to: [batch, rows, width]` what element `elements[i]` of `from`, which may be `to`, has held; see
/// [`Cache::take`].
pub fn take_elements(tape: &mut Tape, to: &Tensor, from: &Tensor, elements: Var, start: Var) {
    let (to, from) = (tape.bind(to), tape.bind(from));
    let &[batch, rows, width] = tape.shape(from) else {
        panic!("take_elements: {:?}, want three axes", tape.shape(from))
    };
    let count = tape.len(elements);
    let from = tape.view(from, &[batch, rows * width]);
    let taken = tape.embedding(from, elements);
    let taken = tape.view(taken, &[count, rows, width]);
    tape.cache_rows(to, taken, start);
}

/// `proj(concat over heads of softmax(q k^T scale) v)`; query, key and value have no bias. Rows `h hd .. (h + 1) hd`
/// of their weights belong to head `h`.
pub struct SelfAttention {
    path: String,
    /// Query, key and value in one product.
    qkv: Linear,
    proj: Linear,
    width: usize,
    heads: usize,
    scale: f32,
    causal: bool,
}

impl SelfAttention {
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
                qkv: Linear::group(p, &["q", "k", "v"], width, width)?,
                proj: Linear::new(p, "proj", width, width, true)?,
                width,
                heads,
                scale,
                causal,
            })
        })
    }

    /// `x: [batch, t, width] -> [batch, t, width]`. With a cache the keys and values of `x` are appended to it after the
    /// `past` that it holds, and the queries look at all of them.
    pub fn forward(&self, c: &mut Context, x: Var, cache: Option<&Cache>) -> Var {
        let qkv = self.qkv.forward(c, x);
        let Some(Cache(cache)) = cache else {
            return self.attend(c, qkv, qkv);
        };
        let (cache, spec) = (c.tape.bind(cache), self.spec(c));
        let y = c.tape.attention_append(qkv, cache, c.past, c.seed, &spec);
        self.finish(c, qkv, cache, y)
    }

    /// The output rows of `queries: [batch, n, width]`, some rows of `x`, that look at all of `x`; not for causal layers.
    pub fn for_queries(&self, c: &mut Context, queries: Var, x: Var) -> Var {
        let q = self.qkv.part(c, queries, 0..self.width);
        let kv = self.qkv.part(c, x, self.width..3 * self.width);
        self.attend(c, q, kv)
    }

    /// Of packed rows, see [`Tape::attention`](crate::graph::Tape::attention).
    fn attend(&self, c: &mut Context, q: Var, kv: Var) -> Var {
        let spec = self.spec(c);
        let y = c.tape.attention(q, kv, c.past, c.seed, &spec);
        self.finish(c, q, kv, y)
    }

    fn spec(&self, c: &Context) -> Attention {
        let dropout = if c.training { c.dropout } else { 0.0 };
        Attention {
            heads: self.heads,
            scale: self.scale,
            causal: self.causal,
            dropout,
        }
    }

    /// Puts the heads' outputs `y` together, and keeps the attention where it is wanted.
    fn finish(&self, c: &mut Context, q: Var, kv: Var, y: Var) -> Var {
        let spec = self.spec(c);
        if let Some(maps) = &mut c.maps {
            let map = c.tape.attention_probabilities(q, kv, c.past, &spec);
            c.tape.hold(map);
            maps.push((self.path.clone(), map));
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
    use crate::train::Gradients;

    const ROWS: usize = 5;
    const QUERIES: usize = 2;

    /// The output of the first queries of two batch elements, the gradient of all of `x`, and those of the parameters by name.
    fn first_queries(
        attn: &SelfAttention,
        storage: &ParameterStore,
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
        let gradients = Gradients::new(&device, storage).unwrap();
        gradients.place(&mut tape, storage, |_| true);
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
                gradients
                    .named()
                    .iter()
                    .map(|(name, grad)| (name.clone(), grad.read().unwrap())),
            )
            .collect()
    }

    #[test]
    fn some_queries_are_rows_of_all_and_their_gradients_land_in_the_right_weights() {
        // 64 elements divide 8 x 8 and 16 x 16, so that parts of the weight can be bound, but not 6 x 6
        for width in [6, 8, 16] {
            let (attn, storage) = Parameters::build(&device(), 3, |p| {
                SelfAttention::new(p, "attn", width, 2, 0.5, false)
            })
            .unwrap();
            let names: Vec<&str> = storage
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
            for ((name, got), (_, want)) in first_queries(&attn, &storage, true)
                .iter()
                .zip(first_queries(&attn, &storage, false))
            {
                let want: Vec<f64> = want.iter().map(|&x| x as f64).collect();
                assert!(
                    want.iter().any(|x| x.abs() > 1e-2),
                    "{width}: {name} is next to nothing"
                );
                close(&format!("{width}: {name}"), got, &want, 0..want.len()).unwrap();
            }
        }
    }
}
