//! Multi-head and grouped-query attention that never stores its scores.

pub(super) mod checks;
mod native;

use std::ops::Range;

use crate::graph::{Capabilities, DispatchBuilder, Kernel, Precision, Tape, Var};
use crate::kernel;
use crate::ops::shared;

/// Kernels with one way to sum over lanes, by their operands.
struct Forms {
    /// Operands as f32.
    f32: Kernel,
    /// Operands as halves.
    f16: Kernel,
    /// One new row, appended to a cache on the way.
    cache: Kernel,
}

macro_rules! forms {
    ($lanes:expr) => {
        Forms {
            f32: kernel!("attention", shared::RANDOM, $lanes, shared::ATTENTION_F32)
                .native(native::BODIES),
            f16: kernel!(
                "attention",
                shared::RANDOM,
                $lanes,
                shared::ATTENTION_F16,
                shared::HALVES
            )
            .native(native::BODIES),
            cache: kernel!("attention", shared::RANDOM, $lanes, shared::ATTENTION_CACHE)
                .native(native::CACHE_BODIES),
        }
    };
}

static SHUFFLE: Forms = forms!(shared::LANES_SHUFFLE);
static MEMORY: Forms = forms!(shared::LANES_MEMORY);

/// Settings of [`Tape::attention`].
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Number of heads of queries.
    pub heads: usize,
    /// Number of heads of keys and values, a divisor of `heads`: query head `h` uses head `h /
    /// (heads / kv_heads)`. As many as `heads` in plain multi-head attention.
    pub kv_heads: usize,
    /// Factor of the scores, usually `1 / sqrt(head width)`.
    pub scale: f32,
    /// Whether a query attends only to keys up to its own position.
    pub causal: bool,
    /// Dropout of the probabilities, in [0, 1).
    pub dropout: f32,
    /// Whether operands may be rounded to bf16, where the tape [allows
    /// it](Tape::round_operands), no gradient flows and there is no dropout.
    pub rounded: bool,
}

impl Attention {
    /// Returns the number of query heads that share keys and values.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Returns the number of heads in a row of queries, keys and values.
    fn packed_heads(&self) -> usize {
        self.heads + 2 * self.kv_heads
    }
}

/// Returns the largest number of keys of [`Tape::attention`] and [`Tape::attention_probabilities`]
/// on adapters with these capabilities. They panic on more: check a model's context, visual tokens
/// included, before recording.
pub fn max_keys(capabilities: &Capabilities) -> usize {
    // four keys take up to 40 rounds of the kernels' loops, and lavapipe ends loops after 65,535
    if capabilities.software {
        6000
    } else {
        usize::MAX
    }
}

/// Parameters of all kernels of one attention. Its head width is a multiple of four.
#[derive(Clone)]
struct Sizes {
    /// Kernels with the fastest sum over lanes on this adapter.
    forms: &'static Forms,
    precision: Precision,
    spec: Attention,
    /// Site of the dropout.
    site: u32,
    /// 1 with a `past` for each batch element, 0 with one for all of them.
    past_stride: usize,
    batch: usize,
    tq: usize,
    capacity: usize,
    /// Head width in vec4.
    width4: usize,
    /// Distance of rows of queries, and of keys and values, in vec4.
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
        let width4 = t.head_width(q, kv, spec) / 4;
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

    /// Returns the kernel for operands of this precision.
    fn kernel(&self) -> &'static Kernel {
        match self.precision {
            Precision::F32 => &self.forms.f32,
            Precision::F16 => &self.forms.f16,
        }
    }

    /// Records an operand in the precision that the kernel reads.
    fn operand(&self, t: &mut Tape, v: Var) -> Var {
        match self.precision {
            Precision::F32 => v,
            Precision::F16 => t.half(v),
        }
    }

    /// Returns batch elements times heads.
    fn slices(&self) -> usize {
        self.batch * self.spec.heads
    }

    /// Returns the shape of one value per query, in tiles of four queries.
    fn per_query(&self) -> [usize; 3] {
        [self.tq.div_ceil(4), self.slices(), 4]
    }

    /// Returns the shape of the output.
    fn out(&self) -> [usize; 3] {
        [self.batch, self.tq, self.spec.heads * self.width4 * 4]
    }

    /// Records a dispatch with `lanes` invocations for every tile of four rows of each head.
    #[track_caller]
    fn dispatch(&self, call: DispatchBuilder, rows: usize) {
        self.dispatch_members(call, rows, self.slices(), 0..1);
    }

    /// Records a dispatch with `lanes` invocations for every tile of four rows of each of `sets`
    /// sets. Only gradients of keys and values depend on `members`, heads of each group.
    #[track_caller]
    fn dispatch_members(
        &self,
        call: DispatchBuilder,
        rows: usize,
        sets: usize,
        members: Range<usize>,
    ) {
        let [q_stride, kv_stride] = self.strides;
        call.param("heads", self.spec.heads)
            .param("slices", self.slices())
            .param("tq", self.tq)
            .param("capacity", self.capacity)
            .param("q_stride", q_stride)
            .param("kv_stride", kv_stride)
            .param("k_at", kv_stride - 2 * self.spec.kv_heads * self.width4)
            .param("causal", self.spec.causal)
            .param("scale", self.spec.scale)
            .param("site", self.site)
            .param("dropout", self.spec.dropout)
            .param("past_stride", self.past_stride)
            .param("group", self.spec.group())
            .param("member", members.start)
            .constant("WG", self.workgroup as u32)
            .constant("HD4", self.width4 as u32)
            .constant("LANES", self.lanes as u32)
            .constant("COLS", self.columns as u32)
            .constant("DROPOUT", (self.spec.dropout > 0.0) as u32)
            .constant("MEMBERS", members.len() as u32)
            .rows((rows.div_ceil(4) * sets).div_ceil(self.workgroup / self.lanes));
    }
}

impl Tape {
    /// Records multi-head attention (Vaswani et al. 2017) of packed rows, giving `[b, tq, heads *
    /// d]`; with fewer heads of keys and values than of queries, grouped-query attention (Ainslie
    /// et al. 2023).
    ///
    /// Either `q` and `kv` are one variable `[b, t, (heads + 2 * kv_heads) * d]` with rows query |
    /// key | value, or `kv: [b, capacity, 2 * kv_heads * d]` has rows key | value and `q: [b, tq,
    /// heads * d]` the queries. Of a `q` with packed rows and another `kv` only the queries are
    /// used. Head `h` is columns `h * d..` of each part; heads have a width `d` of 1 to 128, and
    /// are fastest at multiples of four.
    ///
    /// `past: [b]`, or `[1]` for the whole batch, holds the number of keys that precede the first
    /// query of each batch element, as `u32`: 0 in training, the number of cached positions when
    /// decoding. If causal, query `i` of element `b` uses the keys `j <= past[b] + i`; otherwise
    /// every query uses all keys and `past` is ignored. `seed: [1]` is the `u32` seed of the
    /// dropout of probabilities, ignored without dropout.
    ///
    /// In half precision `q` and `kv`, and in the backward pass the gradient of the output, are
    /// rounded to halves; scores, sums and results are f32. [Rounded](Attention::rounded) operands
    /// change by at most 1/512 of themselves, those of the sum of values included.
    ///
    /// Memory grows with `tq`, not with its square (Dao et al. 2022). Causal attention has
    /// gradients only for `capacity == tq` and `past == 0`.
    ///
    /// # Panics
    /// If shapes do not match, there are more than [`max_keys`] keys, or a gradient is wanted that
    /// is not supported.
    #[track_caller]
    pub fn attention(&mut self, q: Var, kv: Var, past: Var, seed: Var, spec: &Attention) -> Var {
        self.check_attention("attention", [q, kv, past], spec);
        assert!(
            (0.0..1.0).contains(&spec.dropout),
            "attention: dropout {} is not in [0, 1)",
            spec.dropout
        );
        let (q_shape, kv_shape) = (self.shape(q), self.shape(kv));
        let width = self.head_width(q, kv, spec);
        let grad = self.needs_grad(q) || self.needs_grad(kv);
        assert!(
            q_shape[1] == kv_shape[1] || !spec.causal || !grad,
            "attention: a causal gradient needs as many keys as queries, got q {q_shape:?} and kv {kv_shape:?}"
        );
        assert!(
            q == kv || q_shape[2] == spec.heads * width || !grad,
            "attention: a gradient needs q with its own keys and values or alone, got q {q_shape:?} and kv {kv_shape:?}"
        );
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
                // the dispatches write different columns of one packed variable, with none in
                // between; those for later heads of a group add to what the first wrote
                let dkv = if q == kv { dq } else { t.like(kv) };
                let (group, sets) = (sizes.spec.group(), sizes.batch * sizes.spec.kv_heads);
                // loops over the queries of all heads of a group may be too long for the adapter
                let members = (max_keys(&t.capabilities()) / sizes.tq).clamp(1, group);
                for first in (0..group).step_by(members) {
                    let call = t
                        .call(sizes.kernel(), "backward_kv")
                        .bind("shift", delta)
                        .bind("dkv", dkv);
                    sizes.dispatch_members(
                        inputs
                            .into_iter()
                            .fold(call, |call, (name, v)| call.bind(name, v)),
                        sizes.capacity,
                        sets,
                        first..group.min(first + members),
                    );
                }
                if q != kv {
                    t.add_grad(kv, dkv);
                }
            }
            t.add_grad(q, dq);
        });
        out
    }

    /// Records appending the keys and values of `qkv: [b, t, (heads + 2 * kv_heads) * d]` to the
    /// persistent `cache: [b, capacity, 2 * kv_heads * d]` at rows `past[b]..past[b] + t`, in
    /// place, and the attention `[b, t, heads * d]` of the new queries to the cache. `past` is as
    /// in [`attention`](Self::attention). One new row takes a single dispatch. It has no gradient.
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
        let (t, stride) = (self.shape(qkv)[1], self.shape(qkv)[2]);
        let width = self.head_width(qkv, cache, spec);
        assert!(
            stride == spec.packed_heads() * width,
            "attention_append: rows {:?} are not query | key | value",
            self.shape(qkv)
        );
        assert!(
            !self.needs_grad(qkv) && !self.needs_grad(cache),
            "attention_append: a cache has no gradient"
        );
        if t > 1 || !width.is_multiple_of(4) || self.precision() != Precision::F32 {
            self.cache_rows(cache, qkv, past);
            return self.attention(qkv, cache, past, seed, spec);
        }
        let site = self.site();
        let sizes = Sizes::new(self, site, [qkv, cache, past], spec);
        self.attend(&sizes, &sizes.forms.cache, [qkv, cache], past, seed)
            .0
    }

    /// Records the forward pass: the output, and the log-sum-exp of every query.
    fn attend(
        &mut self,
        sizes: &Sizes,
        kernel: &'static Kernel,
        [q, kv]: [Var; 2],
        past: Var,
        seed: Var,
    ) -> (Var, Var) {
        let (out, lse) = (self.output(&sizes.out()), self.output(&sizes.per_query()));
        let rounds = sizes.spec.rounded && self.rounds_operands();
        let grad = self.needs_grad(q) || self.needs_grad(kv);
        let call = self
            .call(kernel, "forward")
            .bind("q", q)
            .bind("kv", kv)
            .bind("past", past)
            .bind("seed", seed)
            .bind("out", out)
            .bind("lse", lse)
            .constant("ROUND", (rounds && !grad) as u32);
        sizes.dispatch(call, sizes.tq);
        (out, lse)
    }

    /// Records the probabilities `[b, heads, tq, capacity]` of [`attention`](Self::attention)
    /// before dropout, 0 where a query does not use a key. They have no gradient.
    #[track_caller]
    pub fn attention_probabilities(&mut self, q: Var, kv: Var, past: Var, spec: &Attention) -> Var {
        self.check_attention("attention_probabilities", [q, kv, past], spec);
        let width = self.head_width(q, kv, spec);
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

    /// Returns the width of heads.
    fn head_width(&self, q: Var, kv: Var, spec: &Attention) -> usize {
        let heads = match q == kv {
            true => spec.packed_heads(),
            false => 2 * spec.kv_heads,
        };
        self.shape(kv)[2] / heads
    }

    /// Records padding of heads to a width that is a multiple of four.
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
        assert!(
            spec.kv_heads > 0 && spec.heads > 0 && spec.heads.is_multiple_of(spec.kv_heads),
            "{op}: {} heads do not divide into groups for {} heads of keys and values",
            spec.heads,
            spec.kv_heads
        );
        let width = self.head_width(q, kv, spec);
        let (queries, all) = (spec.heads * width, spec.packed_heads() * width);
        let packed = match q == kv {
            true => kv_columns == all,
            false => kv_columns == all - queries && (q_columns == queries || q_columns == all),
        };
        assert!(
            packed && b == b_kv && tq <= capacity && b * tq > 0,
            "{op}: {} do not fit {} heads of queries and {} of keys and values",
            shapes(),
            spec.heads,
            spec.kv_heads
        );
        assert!(
            (1..=128).contains(&width),
            "{op}: heads of {width} columns, want 1 to 128"
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
