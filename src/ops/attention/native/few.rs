//! Attention of so few queries that keys and values are read only once: those of decoding.
//!
//! Keys are cut into chunks, whose results meet in the end (Dao et al. 2023, "Flash-Decoding"). A
//! chunk is computed for all heads, row by row, in the order in which rows lie in memory.

use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::tile::{LANES, power_below};
use super::{Sizes, Slice, WORK};
use crate::graph::NativeCall;
use crate::ops::native::random::keep;
use crate::ops::native::{Parts, blocks};

/// Values that are weighted in one pass over the sums.
const TOGETHER: usize = 4;

/// Computes the output and the log-sum-exp of every query, and calls `write` with them.
pub(super) fn attend(
    call: &NativeCall,
    sizes: &Sizes,
    [q, kv]: [&[f32]; 2],
    past: &[u32],
    seed: u32,
    write: impl Fn(&Slice, usize, &[f32], f32) + Sync,
) {
    let elements = sizes.slices / sizes.heads;
    let keys = |element| sizes.keys(sizes.past(past, element), sizes.tq - 1);
    let most = (0..elements).map(keys).max().unwrap_or(0);
    let queries = sizes.heads * sizes.tq;
    let chunk = (WORK / 2 / (queries * sizes.width)).clamp(32, 512);
    let chunk = chunk.next_multiple_of(LANES);
    let chunks = most.div_ceil(chunk);
    let size = queries * row(sizes.width);
    let mut results = vec![0.0; elements * chunks * size];
    let parts = Parts::new(&mut results);
    let length = WORK / (most.min(chunk) * queries * sizes.width).max(1);
    blocks(call, elements * chunks, length, |range| {
        for index in range {
            let (element, first) = (index / chunks, index % chunks * chunk);
            let end = keys(element).min(first + chunk);
            // SAFETY: each chunk is in one task
            #[allow(unsafe_code)]
            let out = unsafe { parts.slice(index * size, size) };
            let chunk = Chunk {
                sizes,
                element,
                keys: first.min(end)..end,
                q,
                kv,
                past: sizes.past(past, element),
                seed,
            };
            pulp::Arch::new().dispatch(Attend { chunk, out });
        }
    });
    let length = WORK / (chunks * size);
    blocks(call, elements, length, |range| {
        let mut out = vec![0.0; sizes.width];
        for element in range {
            let results = &results[element * chunks * size..][..chunks * size];
            for query in 0..queries {
                let parts = results
                    .chunks_exact(row(sizes.width))
                    .skip(query)
                    .step_by(queries);
                let log_sum = join(parts, &mut out);
                let slice = sizes.slice(element * sizes.heads + query / sizes.tq);
                write(&slice, query % sizes.tq, &out, log_sum);
            }
        }
    });
}

/// Returns the elements of a query's results: the sum of its weighted values, padded, its largest
/// score, and the sum of its weights, which are powers of two below that score.
fn row(width: usize) -> usize {
    width.next_multiple_of(LANES) + 2
}

/// Some keys of an element.
struct Chunk<'a> {
    sizes: &'a Sizes,
    element: usize,
    keys: Range<usize>,
    q: &'a [f32],
    kv: &'a [f32],
    /// Keys that precede the first query.
    past: usize,
    seed: u32,
}

/// Attention of all queries to a chunk: writes their results.
struct Attend<'a> {
    chunk: Chunk<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Attend { chunk, out } = self;
        let queries = chunk.queries();
        let mut weights = vec![0.0; chunk.sizes.heads * chunk.sizes.tq * chunk.stride()];
        chunk.scores(simd, &queries, &mut weights);
        chunk.weigh(simd, &mut weights, out);
        chunk.add_values(simd, &weights, out);
    }
}

impl Chunk<'_> {
    /// Returns the number of keys of the chunk in rows of scores and weights: one for each query,
    /// padded.
    fn stride(&self) -> usize {
        self.keys.len().next_multiple_of(LANES).max(LANES)
    }

    /// Returns the number of queries that share keys. They follow each other.
    fn shared(&self) -> usize {
        self.sizes.group * self.sizes.tq
    }

    /// Returns the queries times the factor of the scores, in padded rows.
    fn queries(&self) -> Vec<f32> {
        let sizes = self.sizes;
        let padded = sizes.width.next_multiple_of(LANES);
        let mut queries = vec![0.0; sizes.heads * sizes.tq * padded];
        for (n, to) in queries.chunks_exact_mut(padded).enumerate() {
            let slice = sizes.slice(self.element * sizes.heads + n / sizes.tq);
            let from = &self.q[slice.query + n % sizes.tq * sizes.q_row..][..sizes.width];
            for (to, from) in to.iter_mut().zip(from) {
                *to = sizes.scale * LOG2_E * from;
            }
        }
        queries
    }

    /// Returns the keys, or the values, of a row of the chunk if `first` is where those of the
    /// element begin.
    #[inline(always)]
    fn row(&self, first: usize, j: usize) -> &[f32] {
        &self.kv[first + (self.keys.start + j) * self.sizes.kv_row..][..self.sizes.kv_width()]
    }

    /// Writes the score of each query with each key.
    #[inline(always)]
    fn scores<S: Simd>(&self, simd: S, queries: &[f32], scores: &mut [f32]) {
        let (width, stride) = (self.sizes.width, self.stride());
        let padded = width.next_multiple_of(LANES);
        let first = self.sizes.slice(self.element * self.sizes.heads).key;
        for j in 0..self.keys.len() {
            let keys = self.row(first, j).chunks_exact(width);
            let queries = queries.chunks_exact(self.shared() * padded);
            let scores = scores.chunks_exact_mut(self.shared() * stride);
            for ((key, queries), scores) in keys.zip(queries).zip(scores) {
                let queries = queries.chunks_exact(padded);
                for (query, scores) in queries.zip(scores.chunks_exact_mut(stride)) {
                    scores[j] = dot(simd, key, query);
                }
            }
        }
    }

    /// Turns scores into weights, 0 for keys that a query does not use, and writes each query's
    /// largest score and sum of weights.
    #[inline(always)]
    fn weigh<S: Simd>(&self, simd: S, scores: &mut [f32], out: &mut [f32]) {
        let sizes = self.sizes;
        let rows = out.chunks_exact_mut(row(sizes.width));
        for (n, (out, weights)) in rows.zip(scores.chunks_exact_mut(self.stride())).enumerate() {
            let used = sizes.keys(self.past, n % sizes.tq);
            let used = used.saturating_sub(self.keys.start).min(self.keys.len());
            weights[used..].fill(f32::MIN);
            let (vectors, _) = S::as_mut_simd_f32s(weights);
            let mut most = simd.splat_f32s(f32::MIN);
            for scores in vectors.iter() {
                most = simd.max_f32s(*scores, most);
            }
            let peak = simd.reduce_max_f32s(most);
            let peaks = simd.splat_f32s(peak);
            for scores in vectors.iter_mut() {
                *scores = power_below(simd, *scores, peaks);
            }
            weights[used..].fill(0.0);
            let mut sum = simd.splat_f32s(0.0);
            for weights in S::as_simd_f32s(weights).0 {
                sum = simd.add_f32s(sum, *weights);
            }
            if let [.., largest, total] = out {
                (*largest, *total) = (peak, simd.reduce_sum_f32s(sum));
            }
            if sizes.dropout > 0.0 {
                self.drop(n, &mut weights[..used]);
            }
        }
    }

    /// Multiplies the weights of a query with their dropout factors.
    #[inline(always)]
    fn drop(&self, query: usize, weights: &mut [f32]) {
        let sizes = self.sizes;
        let slice = sizes.slice(self.element * sizes.heads + query / sizes.tq);
        let first = sizes.draws(&slice, query % sizes.tq) + self.keys.start;
        for (j, weight) in weights.iter_mut().enumerate() {
            let at = (first as u32).wrapping_add(j as u32);
            *weight *= keep(self.seed, sizes.site, at, sizes.dropout);
        }
    }

    /// Adds the weighted values to the results, which begin with zeros.
    #[inline(always)]
    fn add_values<S: Simd>(&self, simd: S, weights: &[f32], out: &mut [f32]) {
        let (width, stride) = (self.sizes.width, self.stride());
        let padded = width.next_multiple_of(LANES);
        let first = self.sizes.slice(self.element * self.sizes.heads).value;
        let count = self.keys.len();
        for j in (0..count).step_by(TOGETHER) {
            // values past the last repeat it, with weights of 0
            let heads = |n: usize| self.row(first, (j + n).min(count - 1)).chunks_exact(width);
            let values = heads(0).zip(heads(1)).zip(heads(2).zip(heads(3)));
            let sums = out.chunks_exact_mut(self.shared() * row(width));
            let weights = weights.chunks_exact(self.shared() * stride);
            for ((sums, weights), ((a, b), (c, d))) in sums.zip(weights).zip(values) {
                let sums = sums.chunks_exact_mut(row(width));
                for (sums, weights) in sums.zip(weights.chunks_exact(stride)) {
                    if let Ok(weights) = weights[j..][..TOGETHER].try_into() {
                        add_weighted(simd, weights, [a, b, c, d], &mut sums[..padded]);
                    }
                }
            }
        }
    }
}

/// Returns the sum of products of `x` and the beginning of `y`, which is padded with zeros.
#[inline(always)]
fn dot<S: Simd>(simd: S, x: &[f32], y: &[f32]) -> f32 {
    let ((x, rest), (y, _)) = (S::as_simd_f32s(x), S::as_simd_f32s(y));
    let mut sum = simd.splat_f32s(0.0);
    for (x, y) in x.iter().zip(y) {
        sum = simd.mul_add_e_f32s(*x, *y, sum);
    }
    if !rest.is_empty() {
        sum = simd.mul_add_e_f32s(simd.partial_load_f32s(rest), y[x.len()], sum);
    }
    simd.reduce_sum_f32s(sum)
}

/// Adds values times their weights to sums, which are padded.
#[inline(always)]
fn add_weighted<S: Simd>(
    simd: S,
    weights: [f32; TOGETHER],
    [a, b, c, d]: [&[f32]; TOGETHER],
    sums: &mut [f32],
) {
    let [wa, wb, wc, wd] = weights;
    let (wa, wb) = (simd.splat_f32s(wa), simd.splat_f32s(wb));
    let (wc, wd) = (simd.splat_f32s(wc), simd.splat_f32s(wd));
    let add = |sum: S::f32s, a: S::f32s, b: S::f32s, c: S::f32s, d: S::f32s| {
        let sum = simd.mul_add_e_f32s(wb, b, simd.mul_add_e_f32s(wa, a, sum));
        simd.mul_add_e_f32s(wd, d, simd.mul_add_e_f32s(wc, c, sum))
    };
    let (sums, _) = S::as_mut_simd_f32s(sums);
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let ((c, c_rest), (d, d_rest)) = (S::as_simd_f32s(c), S::as_simd_f32s(d));
    let (whole, last) = sums.split_at_mut(a.len());
    let values = a.iter().zip(b).zip(c.iter().zip(d));
    for (sum, ((a, b), (c, d))) in whole.iter_mut().zip(values) {
        *sum = add(*sum, *a, *b, *c, *d);
    }
    if !a_rest.is_empty() {
        let load = |rest: &[f32]| simd.partial_load_f32s(rest);
        last[0] = add(
            last[0],
            load(a_rest),
            load(b_rest),
            load(c_rest),
            load(d_rest),
        );
    }
}

/// Writes the output of a query from its results for all chunks. Returns the log-sum-exp of its
/// scores.
fn join<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, out: &mut [f32]) -> f32 {
    let states = parts
        .clone()
        .map(|part| (part[part.len() - 2], part[part.len() - 1]));
    let peak = states
        .clone()
        .map(|(peak, _)| peak)
        .fold(f32::MIN, f32::max);
    out.fill(0.0);
    let mut total = 0.0;
    for (part, (own_peak, sum)) in parts.zip(states) {
        let factor = (own_peak - peak).exp2();
        total += factor * sum;
        for (out, part) in out.iter_mut().zip(part) {
            *out += factor * part;
        }
    }
    let factor = 1.0 / total;
    out.iter_mut().for_each(|out| *out *= factor);
    LN_2 * (peak + total.log2())
}
