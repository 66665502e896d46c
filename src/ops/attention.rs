//! Multi-head attention that never stores its scores.

use crate::graph::Capabilities;
use crate::graph::Kernel;
use crate::graph::{DispatchBuilder, Precision, Tape, Var};
use crate::kernel;
use crate::ops::shared;

/// The kernels of one sum over lanes, by what they read.
struct Forms {
    f32: Kernel,
    f16: Kernel,
    /// A new row, and the cache that it is appended to.
    cache: Kernel,
}

static SHUFFLE: Forms = Forms {
    f32: kernel!(
        "attention",
        shared::RANDOM,
        shared::LANES_SHUFFLE,
        shared::ATTENTION_F32
    ),
    f16: kernel!(
        "attention",
        shared::RANDOM,
        shared::LANES_SHUFFLE,
        shared::ATTENTION_F16,
        shared::HALVES
    ),
    cache: kernel!(
        "attention",
        shared::RANDOM,
        shared::LANES_SHUFFLE,
        shared::ATTENTION_CACHE
    ),
};
static MEMORY: Forms = Forms {
    f32: kernel!(
        "attention",
        shared::RANDOM,
        shared::LANES_MEMORY,
        shared::ATTENTION_F32
    ),
    f16: kernel!(
        "attention",
        shared::RANDOM,
        shared::LANES_MEMORY,
        shared::ATTENTION_F16,
        shared::HALVES
    ),
    cache: kernel!(
        "attention",
        shared::RANDOM,
        shared::LANES_MEMORY,
        shared::ATTENTION_CACHE
    ),
};

/// What [`Tape::attention`] computes besides its inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    pub heads: usize,
    /// The factor of the scores, ordinarily the head width to the power of -1/2.
    pub scale: f32,
    /// Whether a query uses only the keys up to its own position.
    pub causal: bool,
    /// The share of probabilities that is dropped, in [0, 1).
    pub dropout: f32,
}

/// The most keys that [`Tape::attention`] and [`Tape::attention_probabilities`] take on adapters of the given
/// capabilities; they panic on more. Check a model's context against it, visual tokens included, before recording.
pub fn max_keys(capabilities: &Capabilities) -> usize {
    // for four keys a kernel makes at most 40 rounds of its loops, and lavapipe ends them after 65,535
    if capabilities.software {
        6000
    } else {
        usize::MAX
    }
}

/// One attention with heads of a width that four divides: what all its kernels are given.
#[derive(Clone)]
struct Sizes {
    /// With the sum over lanes that the adapter is fastest at.
    forms: &'static Forms,
    precision: Precision,
    spec: Attention,
    /// Names its dropout.
    site: u32,
    /// 1 with a `past` for each batch element, 0 with one for all of them.
    past_stride: usize,
    batch: usize,
    tq: usize,
    capacity: usize,
    /// Fours of elements in a head.
    width4: usize,
    /// Fours from row to row of the queries, and of keys and values.
    strides: [usize; 2],
    workgroup: usize,
    lanes: usize,
    columns: usize,
}

impl Sizes {
    #[track_caller]
    fn new(t: &Tape, site: u32, [q, kv, past]: [Var; 3], spec: &Attention) -> Sizes {
        let (&[batch, tq, q_columns], &[_, capacity, kv_columns]) = (t.shape(q), t.shape(kv))
        else {
            unreachable!("checked by the callers")
        };
        let width4 = t.attention_width(q, kv) / spec.heads / 4;
        let lanes = width4.div_ceil(2).next_power_of_two();
        let columns = width4.div_ceil(lanes);
        let strides = [q_columns / 4, kv_columns / 4];
        let capabilities = t.capabilities();
        let subgroup = capabilities
            .subgroup
            .map(|size| size as usize)
            .filter(|&size| size >= lanes);
        let workgroup = subgroup.unwrap_or(lanes.max(if capabilities.software { 8 } else { 32 }));
        let precision = t.precision();
        let forms = if subgroup.is_some() {
            &SHUFFLE
        } else {
            &MEMORY
        };
        Sizes {
            forms,
            precision,
            spec: spec.clone(),
            site,
            past_stride: (t.len(past) == batch) as usize,
            batch,
            tq,
            capacity,
            width4,
            strides,
            workgroup,
            lanes,
            columns,
        }
    }

    /// The kernel for operands of the precision.
    fn kernel(&self) -> &'static Kernel {
        match self.precision {
            Precision::F32 => &self.forms.f32,
            Precision::F16 => &self.forms.f16,
        }
    }

    /// Queries, keys and values, or gradients of the output, as the kernel reads them.
    fn operand(&self, t: &mut Tape, v: Var) -> Var {
        match self.precision {
            Precision::F32 => v,
            Precision::F16 => t.half(v),
        }
    }

    /// Batch elements times heads.
    fn slices(&self) -> usize {
        self.batch * self.spec.heads
    }

    /// The shape of what is kept for every query, by tiles of four queries.
    fn per_query(&self) -> [usize; 3] {
        [self.tq.div_ceil(4), self.slices(), 4]
    }

    /// The shape of the output.
    fn out(&self) -> [usize; 3] {
        [self.batch, self.tq, self.spec.heads * self.width4 * 4]
    }

    /// Records a dispatch with `lanes` invocations for every tile of four of `rows`.
    #[track_caller]
    fn dispatch(&self, call: DispatchBuilder, rows: usize) {
        let [q_stride, kv_stride] = self.strides;
        call.param("heads", self.spec.heads)
            .param("slices", self.slices())
            .param("tq", self.tq)
            .param("capacity", self.capacity)
            .param("q_stride", q_stride)
            .param("kv_stride", kv_stride)
            .param("k_at", kv_stride - 2 * self.spec.heads * self.width4)
            .param("causal", self.spec.causal)
            .param("scale", self.spec.scale)
            .param("site", self.site)
            .param("dropout", self.spec.dropout)
            .param("past_stride", self.past_stride)
            .constant("WG", self.workgroup as u32)
            .constant("HD4", self.width4 as u32)
            .constant("LANES", self.lanes as u32)
            .constant("COLS", self.columns as u32)
            .constant("DROPOUT", (self.spec.dropout > 0.0) as u32)
            .rows((rows.div_ceil(4) * self.slices()).div_ceil(self.workgroup / self.lanes));
    }
}

impl Tape {
    /// Attention of queries to keys and values in packed rows, giving `[b, tq, c]`. Either `q` and `kv` are one variable
    /// `[b, t, 3c]` of rows query | key | value, or `kv: [b, capacity, 2c]` has rows key | value and `q: [b, tq, c]` the
    /// queries; of a `q: [b, tq, 3c]` beside another `kv` only the queries are used.
    /// Heads are interleaved: columns `h * c / heads..` of each part are head `h`, of any width from 1 to 128; fastest where
    /// four divides it.
    ///
    /// `past: [b]`, or `[1]` for the whole batch, holds the number of keys that precede the first query of each batch element, as
    /// `u32`: 0 in training, the number of cached positions when decoding. If causal, query `i` of element `b` uses the keys
    /// `j <= past[b] + i`; otherwise every query uses all keys and `past` is ignored.
    /// `seed: [1]` is the `u32` seed of the dropout of probabilities, ignored without dropout.
    ///
    /// In half precision `q` and `kv`, and in the backward pass the gradient of the output, are rounded to halves; scores, sums
    /// and results are f32.
    ///
    /// There may be [`max_keys`] keys. Causal attention has gradients for `capacity == tq` and `past == 0` only. Memory
    /// grows with `tq`, not with its square.
    #[track_caller]
    pub fn attention(&mut self, q: Var, kv: Var, past: Var, seed: Var, spec: &Attention) -> Var {
        self.check_attention("attention", [q, kv, past], spec);
        assert!(
            (0.0..1.0).contains(&spec.dropout),
            "attention: dropout {} is not in [0, 1)",
            spec.dropout
        );
        let (q_shape, kv_shape, c) = (self.shape(q), self.shape(kv), self.attention_width(q, kv));
        let grad = self.needs_grad(q) || self.needs_grad(kv);
        assert!(
            q_shape[1] == kv_shape[1] || !spec.causal || !grad,
            "attention: a causal gradient needs as many keys as queries, got q {q_shape:?} and kv {kv_shape:?}"
        );
        assert!(
            q == kv || q_shape[2] == c || !grad,
            "attention: a gradient needs q with its own keys and values or alone, got q {q_shape:?} and kv {kv_shape:?}"
        );
        let width = c / spec.heads;
        if width.is_multiple_of(4) {
            return self.attention_of_fours(q, kv, past, seed, spec);
        }
        let (q, kv) = self.pad_to_fours(q, kv, width);
        let out = self.attention_of_fours(q, kv, past, seed, spec);
        self.pad_heads(out, spec.heads, width)
    }

    fn attention_of_fours(
        &mut self,
        q: Var,
        kv: Var,
        past: Var,
        seed: Var,
        spec: &Attention,
    ) -> Var {
        let site = self.site();
        let sizes = Sizes::new(self, site, [q, kv, past], spec);
        let operands = [q, kv].map(|v| sizes.operand(self, v));
        let (out, lse) = self.attend(&sizes, sizes.kernel(), operands, past, seed);
        self.record(out, &[q, kv], move |t, dout| {
            let [queries, keys, dout] = [q, kv, dout].map(|v| sizes.operand(t, v));
            let inputs = [
                ("q", queries),
                ("kv", keys),
                ("seed", seed),
                ("dout", dout),
                ("norm", lse),
            ];
            let (dq, delta) = (t.like(q), t.like(lse));
            let call = t
                .call(sizes.kernel(), "backward_q")
                .bind("y", out)
                .bind("past", past)
                .bind("dq", dq)
                .bind("delta", delta);
            sizes.dispatch(
                inputs
                    .into_iter()
                    .fold(call, |call, (name, v)| call.bind(name, v)),
                sizes.tq,
            );
            if t.needs_grad(kv) {
                // of one packed variable each dispatch writes its own columns, and no other stands between the two
                let dkv = if q == kv { dq } else { t.like(kv) };
                let call = t
                    .call(sizes.kernel(), "backward_kv")
                    .bind("shift", delta)
                    .bind("dkv", dkv);
                sizes.dispatch(
                    inputs
                        .into_iter()
                        .fold(call, |call, (name, v)| call.bind(name, v)),
                    sizes.capacity,
                );
                if q != kv {
                    t.add_grad(kv, dkv);
                }
            }
            t.add_grad(q, dq);
        });
        out
    }

    /// Appends the keys and values of `qkv: [b, t, 3c]` to the persistent `cache: [b, capacity, 2c]` at rows
    /// `past[b]..past[b] + t`, in place, and returns the attention of the new queries to the cache, `[b, t, c]`. `past` is as in
    /// [`attention`](Self::attention). One new row takes a single dispatch. Has no gradient.
    #[track_caller]
    pub fn attention_append(
        &mut self,
        qkv: Var,
        cache: Var,
        past: Var,
        seed: Var,
        spec: &Attention,
    ) -> Var {
        self.check_attention("attention_append", [qkv, cache, past], spec);
        let (t, stride, c) = (
            self.shape(qkv)[1],
            self.shape(qkv)[2],
            self.attention_width(qkv, cache),
        );
        assert!(
            stride == 3 * c,
            "attention_append: rows {:?} are not query | key | value",
            self.shape(qkv)
        );
        assert!(
            !self.needs_grad(qkv) && !self.needs_grad(cache),
            "attention_append: a cache has no gradient"
        );
        if t > 1 || !(c / spec.heads).is_multiple_of(4) || self.precision() != Precision::F32 {
            self.cache_rows(cache, qkv, past);
            return self.attention(qkv, cache, past, seed, spec);
        }
        let site = self.site();
        let sizes = Sizes::new(self, site, [qkv, cache, past], spec);
        self.attend(&sizes, &sizes.forms.cache, [qkv, cache], past, seed)
            .0
    }

    /// The forward pass: the output, and the log-sum-exp of every query.
    fn attend(
        &mut self,
        sizes: &Sizes,
        kernel: &'static Kernel,
        [q, kv]: [Var; 2],
        past: Var,
        seed: Var,
    ) -> (Var, Var) {
        let (out, lse) = (self.output(&sizes.out()), self.output(&sizes.per_query()));
        let call = self
            .call(kernel, "forward")
            .bind("q", q)
            .bind("kv", kv)
            .bind("past", past)
            .bind("seed", seed);
        sizes.dispatch(call.bind("out", out).bind("lse", lse), sizes.tq);
        (out, lse)
    }

    /// The probabilities of [`attention`](Self::attention) before dropout: `[b, heads, tq, capacity]`, 0 where a query
    /// does not use a key. A kernel of its own, and the only one that writes them; without a gradient.
    #[track_caller]
    pub fn attention_probabilities(&mut self, q: Var, kv: Var, past: Var, spec: &Attention) -> Var {
        self.check_attention("attention_probabilities", [q, kv, past], spec);
        let width = self.attention_width(q, kv) / spec.heads;
        let (q, kv) = if width.is_multiple_of(4) {
            (q, kv)
        } else {
            self.pad_to_fours(q, kv, width)
        };
        let sizes = Sizes::new(self, 0, [q, kv, past], spec);
        let p = self.output(&[sizes.batch, spec.heads, sizes.tq, sizes.capacity]);
        let [queries, keys] = [q, kv].map(|v| sizes.operand(self, v));
        let call = self
            .call(sizes.kernel(), "probabilities")
            .bind("q", queries)
            .bind("kv", keys)
            .bind("past", past)
            .bind("p", p);
        sizes.dispatch(call, sizes.tq);
        p
    }

    /// The columns `c` of queries, of keys and of values.
    fn attention_width(&self, q: Var, kv: Var) -> usize {
        self.shape(kv)[2] / if q == kv { 3 } else { 2 }
    }

    /// Queries, keys and values with heads of a width that four divides.
    fn pad_to_fours(&mut self, q: Var, kv: Var, width: usize) -> (Var, Var) {
        let mut pad =
            |x: Var| self.pad_heads(x, self.shape(x)[2] / width, width.next_multiple_of(4));
        let padded = pad(q);
        (padded, if q == kv { padded } else { pad(kv) })
    }

    #[track_caller]
    fn check_attention(&self, op: &str, [q, kv, past]: [Var; 3], spec: &Attention) {
        let shapes = || format!("q {:?}, kv {:?}", self.shape(q), self.shape(kv));
        let (&[b, tq, q_columns], &[b_kv, capacity, kv_columns]) = (self.shape(q), self.shape(kv))
        else {
            panic!(
                "{op}: {} are not [b, tq, ..] and [b, capacity, ..]",
                shapes()
            )
        };
        let c = self.attention_width(q, kv);
        let packed = if q == kv {
            kv_columns == 3 * c
        } else {
            kv_columns == 2 * c && (q_columns == c || q_columns == 3 * c)
        };
        assert!(
            packed && b == b_kv && tq <= capacity && b * tq > 0,
            "{op}: {} do not fit",
            shapes()
        );
        assert!(
            spec.heads > 0 && c.is_multiple_of(spec.heads),
            "{op}: {} columns do not divide into {} heads",
            c,
            spec.heads
        );
        assert!(
            (1..=128).contains(&(c / spec.heads)),
            "{op}: heads of {} columns, want 1 to 128",
            c / spec.heads
        );
        assert!(
            self.len(past) == 1 || self.len(past) == b || !spec.causal,
            "{op}: past {:?}, want [1] or [{b}]",
            self.shape(past)
        );
        let most = max_keys(&self.capabilities());
        assert!(
            capacity <= most,
            "{op}: {capacity} keys, this adapter takes {most}"
        );
    }
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan, Tensor};
    use crate::graph::Capabilities;
    use crate::ops::Activation;
    use crate::ops::check::{
        Array, Failure, Outcome, checks, close, ensure, ensure_eq, forward, gradients, random,
    };
    use crate::ops::half::checks::nearest;

    checks![
        agrees_with_its_reference,
        few_queries_may_look_at_many_keys,
        heads_may_have_any_width,
        dropout_is_the_same_forward_and_backward,
        large_scores_do_not_overflow,
        long_sequences_and_large_batches,
        appending_a_row_gives_what_writing_it_first_gives,
        decodes_with_a_cache,
        half_precision_rounds_the_operands_alone,
        half_precision_of_few_queries_and_many_keys,
        half_precision_decodes_with_a_cache,
        operands_are_converted_to_halves_once,
        two_runs_are_equal_to_the_bit,
        both_sums_over_lanes_give_the_same,
        as_many_keys_as_the_adapter_takes
    ];

    pub(super) fn spec(heads: usize, causal: bool) -> Attention {
        Attention {
            heads,
            scale: 0.4,
            causal,
            dropout: 0.0,
        }
    }

    /// The probabilities [b, heads, tq, capacity].
    fn probabilities(q: &Array, k: &Array, past: &[usize], spec: &Attention) -> Vec<f64> {
        let &[b, tq, c] = &q.shape[..] else {
            unreachable!()
        };
        let (capacity, width) = (k.shape[1], c / spec.heads);
        let mut p = Vec::with_capacity(b * spec.heads * tq * capacity);
        for (n, h, i) in
            (0..b * spec.heads * tq).map(|at| (at / tq / spec.heads, at / tq % spec.heads, at % tq))
        {
            let query = &q.data[(n * tq + i) * c + h * width..][..width];
            let keys = if spec.causal {
                past[n % past.len()] + i + 1
            } else {
                capacity
            };
            let score = |j: usize| {
                let key = &k.data[(n * capacity + j) * c + h * width..][..width];
                spec.scale as f64 * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>()
            };
            let scores: Vec<f64> = (0..keys).map(score).collect();
            let top = scores.iter().fold(f64::MIN, |top, &s| top.max(s));
            let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            p.extend(
                scores
                    .iter()
                    .map(|s| (s - top).exp() / sum)
                    .chain((keys..capacity).map(|_| 0.0)),
            );
        }
        p
    }

    /// The same function as in shaders/shared/random.wgsl.
    fn keep(seed: u32, site: u32, index: u32, p: f32) -> f64 {
        let pcg = |input: u32| {
            let state = input.wrapping_mul(747796405).wrapping_add(2891336453);
            let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277803737);
            (word >> 22) ^ word
        };
        let bits = pcg(pcg(index).wrapping_add(pcg(site.wrapping_add(pcg(seed)))));
        if (bits >> 8) as f32 / (1 << 24) as f32 >= p {
            1.0 / (1.0 - p as f64)
        } else {
            0.0
        }
    }

    fn reference(q: &Array, k: &Array, v: &Array, past: &[usize], spec: &Attention) -> Vec<f64> {
        let &[b, tq, c] = &q.shape[..] else {
            unreachable!()
        };
        let (capacity, width) = (k.shape[1], c / spec.heads);
        let mut out = vec![0.0; b * tq * c];
        for (at, row) in probabilities(q, k, past, spec).chunks(capacity).enumerate() {
            let (n, h, i) = (at / tq / spec.heads, at / tq % spec.heads, at % tq);
            let out = &mut out[(n * tq + i) * c + h * width..][..width];
            for (j, p) in row.iter().enumerate().filter(|(_, p)| **p > 0.0) {
                let p = if spec.dropout > 0.0 {
                    p * keep(0, 1, (at * capacity + j) as u32, spec.dropout)
                } else {
                    *p
                };
                let value = &v.data[(n * capacity + j) * c + h * width..][..width];
                out.iter_mut().zip(value).for_each(|(out, v)| *out += p * v);
            }
        }
        out
    }

    /// With `past` and `seed` zero, as inputs are until they are written.
    fn record(t: &mut Tape, q: Var, kv: Var, spec: &Attention) -> Var {
        let (past, seed) = (t.input(&[1]), t.input(&[1]));
        t.attention(q, kv, past, seed, spec)
    }

    /// The part `at` of the `parts` that the rows of `x` are packed of.
    fn part(x: &Array, at: usize, parts: usize) -> Array {
        let (stride, c) = (x.shape[2], x.shape[2] / parts);
        Array {
            shape: vec![x.shape[0], x.shape[1], c],
            data: x
                .data
                .chunks(stride)
                .flat_map(|row| row[at * c..][..c].to_vec())
                .collect(),
        }
    }

    fn reference_packed(qkv: &Array, spec: &Attention) -> Vec<f64> {
        reference(
            &part(qkv, 0, 3),
            &part(qkv, 1, 3),
            &part(qkv, 2, 3),
            &[0],
            spec,
        )
    }

    fn reference_separate(q: &Array, kv: &Array, spec: &Attention) -> Vec<f64> {
        reference(q, &part(kv, 0, 2), &part(kv, 1, 2), &[0], spec)
    }

    #[track_caller]
    pub(super) fn checked(
        device: &Device,
        b: usize,
        t: usize,
        width: usize,
        spec: &Attention,
    ) -> Outcome {
        let shape: &[usize] = &[b, t, 3 * spec.heads * width];
        gradients(
            device,
            &[[shape]],
            |t, [qkv]| record(t, qkv, qkv, spec),
            |[qkv]| reference_packed(qkv, spec),
        )?;
        Ok(())
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for causal in [false, true] {
            for (b, t, heads, width) in [
                (2, 1, 1, 4),
                (3, 2, 2, 16),
                (2, 8, 4, 4),
                (2, 17, 3, 20),
                (1, 32, 2, 16),
                (2, 33, 3, 16),
            ] {
                checked(device, b, t, width, &spec(heads, causal))?;
            }
            for (b, t, heads, width) in [(2, 37, 2, 64), (1, 65, 1, 128), (1, 65, 2, 4)] {
                checked(device, b, t, width, &spec(heads, causal))?;
            }
        }
        Ok(())
    }

    fn few_queries_may_look_at_many_keys(device: &Device) -> Outcome {
        for (tq, capacity, width) in [(1, 37, 64), (1, 5, 16), (6, 33, 4), (3, 9, 3)] {
            let (few, many): (&[usize], &[usize]) =
                (&[2, tq, 2 * width], &[2, capacity, 4 * width]);
            for dropout in [0.0, 0.3] {
                let spec = Attention {
                    dropout,
                    ..spec(2, false)
                };
                gradients(
                    device,
                    &[[few, many]],
                    |t, [q, kv]| record(t, q, kv, &spec),
                    |[q, kv]| reference_separate(q, kv, &spec),
                )?;
            }
        }
        Ok(())
    }

    fn heads_may_have_any_width(device: &Device) -> Outcome {
        for (b, t, heads, width) in [(2, 1, 1, 1), (2, 17, 4, 1), (2, 33, 3, 3), (1, 9, 2, 127)] {
            checked(device, b, t, width, &spec(heads, true))?;
        }
        Ok(())
    }

    fn dropout_is_the_same_forward_and_backward(device: &Device) -> Outcome {
        for causal in [false, true] {
            for (b, t, heads, width) in [(2, 33, 2, 16), (2, 7, 2, 64), (2, 5, 3, 3)] {
                checked(
                    device,
                    b,
                    t,
                    width,
                    &Attention {
                        dropout: 0.3,
                        ..spec(heads, causal)
                    },
                )?;
            }
        }
        Ok(())
    }

    fn large_scores_do_not_overflow(device: &Device) -> Outcome {
        for scale in [40.0, -40.0] {
            let spec = Attention {
                scale,
                ..spec(2, true)
            };
            forward(
                device,
                &[[&[2, 33, 96]]],
                |t, [qkv]| record(t, qkv, qkv, &spec),
                |[qkv]| reference_packed(qkv, &spec),
            )?;
        }
        Ok(())
    }

    fn long_sequences_and_large_batches(device: &Device) -> Outcome {
        for shape in [[1, 2049, 12], [16_400, 2, 48], [140_000, 1, 48]] {
            let spec = spec(if shape[0] == 1 { 1 } else { 4 }, true);
            forward(
                device,
                &[[&shape]],
                |t, [qkv]| record(t, qkv, qkv, &spec),
                |[qkv]| reference_packed(qkv, &spec),
            )?;
        }
        Ok(())
    }

    /// Output and probabilities of queries packed `q_parts` to a row against a cache, and the arrays they come from. `held` is
    /// the number of cached rows of each batch element, or of all.
    fn cached(
        device: &Device,
        [b, tq, capacity, width]: [usize; 4],
        q_parts: usize,
        held: &[usize],
        spec: &Attention,
        precision: Precision,
    ) -> Result<([Vec<f32>; 2], [Array; 3]), Failure> {
        let c = width * spec.heads;
        let mut t = device.tape();
        t.set_precision(precision);
        let (q, kv) = (
            t.input(&[b, tq, q_parts * c]),
            t.input(&[b, capacity, 2 * c]),
        );
        let (past, seed) = (t.input(&[held.len()]), t.input(&[1]));
        let out = t.attention(q, kv, past, seed, spec);
        let p = t.attention_probabilities(q, kv, past, spec);
        t.hold(out);
        t.hold(p);
        let plan = Plan::new(device, t)?;
        let [queries, mut rows] =
            [(q, tq, q_parts * c), (kv, capacity, 2 * c)].map(|(var, rows, columns)| {
                let array = Array {
                    shape: vec![b, rows, columns],
                    data: random(b * rows * columns, 1 + rows as u64),
                };
                plan.write(
                    var,
                    &array.data.iter().map(|&x| x as f32).collect::<Vec<_>>(),
                );
                array
            });
        // the contents of a cache behind its last row must not matter
        let mut unused: Vec<f32> = rows.data.iter().map(|&x| x as f32).collect();
        for element in 0..b {
            let used = if spec.causal {
                held[element % held.len()] + tq
            } else {
                capacity
            };
            let behind = (element * capacity + used) * 2 * c..(element + 1) * capacity * 2 * c;
            unused[behind.clone()].fill(f32::NAN);
            rows.data[behind].fill(0.0);
        }
        plan.write(kv, &unused);
        plan.write(
            past,
            &held.iter().map(|&rows| rows as u32).collect::<Vec<_>>(),
        );
        plan.run()?;
        Ok((
            [plan.read(out)?, plan.read(p)?],
            [
                part(&queries, 0, q_parts),
                part(&rows, 0, 2),
                part(&rows, 1, 2),
            ],
        ))
    }

    fn appending_a_row_gives_what_writing_it_first_gives(device: &Device) -> Outcome {
        for causal in [false, true] {
            for (b, t, capacity, heads, width) in [
                (1, 1, 5, 8, 16),
                (3, 1, 9, 2, 4),
                (2, 1, 7, 3, 20),
                (1, 1, 6, 2, 128),
                (2, 2, 8, 2, 8),
                (2, 1, 6, 2, 3),
            ] {
                let (c, spec) = (
                    heads * width,
                    Attention {
                        dropout: 0.0,
                        ..spec(heads, causal)
                    },
                );
                let empty: Vec<f32> = random(b * capacity * 2 * c, 5)
                    .iter()
                    .map(|&x| x as f32)
                    .collect();
                let run = |append: bool, ragged: bool| -> Result<_, Failure> {
                    let cache = Tensor::new(device, &[b, capacity, 2 * c], &empty)?;
                    let mut tape = device.tape();
                    let (qkv, past, seed) = (
                        tape.input(&[b, t, 3 * c]),
                        tape.input(&[if ragged { b } else { 1 }]),
                        tape.input(&[1]),
                    );
                    let bound = tape.bind(&cache);
                    let out = if append {
                        tape.attention_append(qkv, bound, past, seed, &spec)
                    } else {
                        tape.cache_rows(bound, qkv, past);
                        tape.attention(qkv, bound, past, seed, &spec)
                    };
                    tape.hold(out);
                    let plan = Plan::new(device, tape)?;
                    let mut outputs = vec![];
                    for row in (0..capacity).step_by(t) {
                        let rows = (0..plan.shape(past)[0])
                            .map(|element| ((row + element * t) % (capacity - t + 1)) as u32);
                        plan.write(past, &rows.collect::<Vec<_>>());
                        plan.write(
                            qkv,
                            &random(b * t * 3 * c, 10 + row as u64)
                                .iter()
                                .map(|&x| x as f32)
                                .collect::<Vec<_>>(),
                        );
                        plan.run()?;
                        outputs.extend(plan.read::<u32>(out)?);
                    }
                    Ok((outputs, cache.read::<u32>()?, plan.dispatches()))
                };
                for ragged in [false, true] {
                    let (appended, written) = (run(true, ragged)?, run(false, ragged)?);
                    ensure_eq!(
                        (&appended.0, &appended.1),
                        (&written.0, &written.1),
                        "{b} {t} {heads} heads of {width}"
                    );
                    ensure_eq!(written.2 - appended.2, (t == 1 && width % 4 == 0) as usize);
                }
            }
        }
        Ok(())
    }

    fn decodes_with_a_cache(device: &Device) -> Outcome {
        for causal in [false, true] {
            for (b, tq, capacity, width, past) in [
                (2, 1, 33, 16, &[0][..]),
                (1, 1, 33, 16, &[17]),
                (2, 1, 33, 16, &[32]),
                (2, 5, 40, 64, &[8]),
                (1, 5, 19, 3, &[14]),
                (3, 37, 37, 20, &[0]),
                // ragged batches
                (2, 1, 33, 16, &[0, 32]),
                (7, 1, 33, 4, &[5, 0, 32, 1, 17, 9, 30]),
                (3, 5, 40, 64, &[35, 0, 8]),
                (5, 3, 19, 3, &[14, 2, 16, 0, 7]),
                (9, 6, 21, 20, &[0, 15, 3, 9, 1, 12, 7, 2, 14]),
            ] {
                for q_parts in [1, 3] {
                    let spec = spec(2, causal);
                    let ([out, p], [q, k, v]) = cached(
                        device,
                        [b, tq, capacity, width],
                        q_parts,
                        past,
                        &spec,
                        Precision::F32,
                    )?;
                    let what = format!("{causal} {b} {tq} {capacity} {width} {past:?} {q_parts}");
                    close(
                        &what,
                        &out,
                        &reference(&q, &k, &v, past, &spec),
                        0..out.len(),
                    )?;
                    close(&what, &p, &probabilities(&q, &k, past, &spec), 0..p.len())?;
                    ensure!(
                        p.chunks(capacity)
                            .all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5),
                        "{what}: a row does not sum to 1"
                    );
                }
            }
        }
        Ok(())
    }

    fn halved(x: &Array) -> Array {
        Array {
            shape: x.shape.clone(),
            data: x.map(nearest),
        }
    }

    /// Rows of a row of each part.
    fn packed<const N: usize>(parts: [Vec<f64>; N], c: usize) -> Vec<f64> {
        (0..parts[0].len())
            .step_by(c)
            .flat_map(|at| parts.iter().flat_map(move |part| &part[at..][..c]))
            .copied()
            .collect()
    }

    /// The gradients of `q`, `k` and `v`.
    fn reference_gradients([q, k, v, dout]: [&Array; 4], spec: &Attention) -> [Vec<f64>; 3] {
        let &[_, tq, c] = &q.shape[..] else {
            unreachable!()
        };
        let (capacity, width) = (k.shape[1], c / spec.heads);
        let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![0.0; x.data.len()]);
        for (at, row) in probabilities(q, k, &[0], spec).chunks(capacity).enumerate() {
            let (n, h, i) = (at / tq / spec.heads, at / tq % spec.heads, at % tq);
            let (query, key) = ((n * tq + i) * c + h * width, |j: usize| {
                (n * capacity + j) * c + h * width
            });
            let kept = |j: usize| {
                if spec.dropout > 0.0 {
                    keep(0, 1, (at * capacity + j) as u32, spec.dropout)
                } else {
                    1.0
                }
            };
            let dp = |j: usize| {
                kept(j)
                    * (0..width)
                        .map(|x| dout.data[query + x] * v.data[key(j) + x])
                        .sum::<f64>()
            };
            let delta: f64 = row.iter().enumerate().map(|(j, p)| p * dp(j)).sum();
            for (j, p) in row.iter().enumerate() {
                let ds = spec.scale as f64 * p * (dp(j) - delta);
                for x in 0..width {
                    dq[query + x] += ds * k.data[key(j) + x];
                    dk[key(j) + x] += ds * q.data[query + x];
                    dv[key(j) + x] += p * kept(j) * dout.data[query + x];
                }
            }
        }
        [dq, dk, dv]
    }

    /// In half precision queries, keys, values and the output's gradient are rounded and nothing else: against a reference of
    /// the same operands the tolerance is that of f32.
    fn half_precision_rounds_the_operands_alone(device: &Device) -> Outcome {
        for (b, t, heads, width) in [
            (2, 1, 1, 4),
            (2, 17, 3, 20),
            (2, 33, 2, 16),
            (1, 37, 2, 64),
            (1, 21, 1, 128),
            (2, 9, 3, 3),
        ] {
            for (causal, dropout) in [(false, 0.0), (true, 0.0), (true, 0.3)] {
                let (c, spec) = (
                    heads * width,
                    Attention {
                        dropout,
                        ..spec(heads, causal)
                    },
                );
                let op = |t: &mut Tape, qkv: Var| {
                    t.set_precision(Precision::F16);
                    record(t, qkv, qkv, &spec)
                };
                forward(
                    device,
                    &[[&[b, t, 3 * c]]],
                    |t, [qkv]| op(t, qkv),
                    |[qkv]| reference_packed(&halved(qkv), &spec),
                )?;
                let gradient = |t: &mut Tape, [qkv, dout]: [Var; 2]| {
                    let out = op(t, qkv);
                    t.backward(out, dout);
                    t.grad(qkv).unwrap()
                };
                let want = |[qkv, dout]: [&Array; 2]| {
                    let [q, k, v] = [0, 1, 2].map(|at| part(&halved(qkv), at, 3));
                    packed(reference_gradients([&q, &k, &v, &halved(dout)], &spec), c)
                };
                forward(device, &[[&[b, t, 3 * c], &[b, t, c]]], gradient, want)?;
            }
        }
        Ok(())
    }

    fn half_precision_of_few_queries_and_many_keys(device: &Device) -> Outcome {
        for (tq, capacity, width) in [(1, 37, 64), (6, 33, 4), (3, 9, 3)] {
            let (c, spec) = (
                2 * width,
                Attention {
                    dropout: 0.3,
                    ..spec(2, false)
                },
            );
            let (few, many): (&[usize], &[usize]) = (&[2, tq, c], &[2, capacity, 2 * c]);
            let gradient = |t: &mut Tape, [q, kv, dout]: [Var; 3], of: usize| {
                t.set_precision(Precision::F16);
                let out = record(t, q, kv, &spec);
                t.backward(out, dout);
                t.grad([q, kv][of]).unwrap()
            };
            let want = |[q, kv, dout]: [&Array; 3]| {
                let [k, v] = [0, 1].map(|at| part(&halved(kv), at, 2));
                reference_gradients([&halved(q), &k, &v, &halved(dout)], &spec)
            };
            forward(
                device,
                &[[few, many, few]],
                |t, v| gradient(t, v, 0),
                |v| want(v)[0].clone(),
            )?;
            forward(
                device,
                &[[few, many, few]],
                |t, v| gradient(t, v, 1),
                |v| {
                    let [_, dk, dv] = want(v);
                    packed([dk, dv], c)
                },
            )?;
        }
        Ok(())
    }

    fn half_precision_decodes_with_a_cache(device: &Device) -> Outcome {
        for (b, tq, capacity, width, past) in [
            (2, 1, 33, 16, &[17][..]),
            (2, 5, 40, 64, &[8]),
            (1, 3, 19, 128, &[4]),
            (1, 5, 19, 3, &[14]),
            (3, 5, 19, 16, &[14, 0, 6]),
        ] {
            for q_parts in [1, 3] {
                let spec = spec(2, true);
                let ([out, p], arrays) = cached(
                    device,
                    [b, tq, capacity, width],
                    q_parts,
                    past,
                    &spec,
                    Precision::F16,
                )?;
                let [q, k, v] = arrays.each_ref().map(halved);
                let what = format!("{b} {tq} {capacity} {width} {past:?} {q_parts}");
                close(
                    &what,
                    &out,
                    &reference(&q, &k, &v, past, &spec),
                    0..out.len(),
                )?;
                close(&what, &p, &probabilities(&q, &k, past, &spec), 0..p.len())?;
            }
        }
        Ok(())
    }

    fn operands_are_converted_to_halves_once(device: &Device) -> Outcome {
        let mut t = device.tape();
        t.set_precision(Precision::F16);
        let (x, weight, past) = (t.variable(&[2, 5, 24]), t.input(&[8, 24]), t.input(&[1]));
        let out = record(&mut t, x, x, &spec(2, true));
        let p = t.attention_probabilities(x, x, past, &spec(2, true));
        t.hold(p);
        let y = t.linear(x, weight, None, Activation::None);
        let sum = t.add(out, y);
        let dout = t.input(&[2, 5, 8]);
        t.backward(sum, dout);
        // x, the weight, and the gradient that the product and the attention share
        ensure_eq!(
            t.dispatches
                .iter()
                .filter(|dispatch| dispatch.kernel.name == "half")
                .count(),
            3
        );
        Ok(())
    }

    /// Output and gradients on the shared device with kernels recorded for `capabilities`.
    fn everything(
        device: &Device,
        capabilities: Capabilities,
        width: usize,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let mut t = Tape::new(capabilities);
        let qkv = t.variable(&[2, 21, 6 * width]);
        let out = record(
            &mut t,
            qkv,
            qkv,
            &Attention {
                dropout: 0.2,
                ..spec(2, true)
            },
        );
        let cotangent = t.input(&[2, 21, 2 * width]);
        t.backward(out, cotangent);
        let results = [out, t.grad(qkv).unwrap()];
        results.iter().for_each(|&v| t.hold(v));
        let plan = Plan::new(device, t)?;
        for (seed, v) in [qkv, cotangent].into_iter().enumerate() {
            let count = plan.shape(v).iter().product();
            plan.write(
                v,
                &random(count, 1 + seed as u64)
                    .iter()
                    .map(|&x| x as f32)
                    .collect::<Vec<_>>(),
            );
        }
        plan.run()?;
        results.iter().map(|&v| Ok(plan.read(v)?)).collect()
    }

    fn two_runs_are_equal_to_the_bit(device: &Device) -> Outcome {
        let bits = || -> Result<Vec<u32>, Failure> {
            let results = everything(device, device.capabilities(), 64)?;
            Ok(results.concat().into_iter().map(f32::to_bits).collect())
        };
        ensure_eq!(bits()?, bits()?);
        Ok(())
    }

    fn both_sums_over_lanes_give_the_same(device: &Device) -> Outcome {
        let here = device.capabilities();
        for width in [4, 16, 64, 128] {
            let with = |software, subgroup| {
                everything(
                    device,
                    Capabilities {
                        software,
                        subgroup,
                        ..here.clone()
                    },
                    width,
                )
            };
            let want: Vec<Vec<f64>> = with(false, None)?
                .iter()
                .map(|v| v.iter().map(|&x| x as f64).collect())
                .collect();
            for got in [with(true, None)?, with(here.software, here.subgroup)?] {
                for (got, want) in got.iter().zip(&want) {
                    close(&format!("{width}"), got, want, 0..got.len())?;
                }
            }
        }
        Ok(())
    }

    fn as_many_keys_as_the_adapter_takes(device: &Device) -> Outcome {
        let software = Capabilities {
            software: true,
            ..device.capabilities()
        };
        let keys = max_keys(&software);
        let (few, many): (&[usize], &[usize]) = (&[1, 3, 256], &[1, keys, 512]);
        let spec = spec(2, false);
        forward(
            device,
            &[[few, many]],
            |t, [q, kv]| record(t, q, kv, &spec),
            |[q, kv]| reference_separate(q, kv, &spec),
        )?;
        Ok(())
    }

    #[test]
    #[should_panic(expected = "attention: 6001 keys, this adapter takes 6000")]
    fn more_keys_than_the_adapter_takes_are_refused() {
        let device = crate::ops::check::device();
        let mut t = Tape::new(Capabilities {
            software: true,
            ..device.capabilities()
        });
        let (q, kv) = (t.input(&[1, 1, 8]), t.input(&[1, 6001, 16]));
        record(&mut t, q, kv, &spec(2, false));
    }

    #[test]
    #[should_panic(expected = "attention: a causal gradient needs as many keys as queries")]
    fn a_gradient_through_a_cache_is_refused() {
        let device = crate::ops::check::device();
        let mut t = device.tape();
        let (q, kv) = (t.variable(&[1, 1, 8]), t.input(&[1, 4, 16]));
        record(&mut t, q, kv, &spec(2, true));
    }

    #[test]
    #[should_panic(
        expected = "attention: a gradient needs q with its own keys and values or alone"
    )]
    fn a_gradient_of_packed_queries_with_other_keys_is_refused() {
        let device = crate::ops::check::device();
        let mut t = device.tape();
        let (q, kv) = (t.variable(&[1, 4, 24]), t.input(&[1, 4, 16]));
        record(&mut t, q, kv, &spec(2, true));
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::checks::{checked, spec};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn attention_of_any_size_agrees(batch in 1..3usize, tokens in 1..50usize, heads in 1..5usize, width in 1..40usize, causal: bool) {
            checked(&crate::ops::check::device(), batch, tokens, width, &spec(heads, causal)).unwrap();
        }
    }
}
