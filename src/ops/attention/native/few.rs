//! Attention of so few queries that keys and values are read only once: those of decoding.
//!
//! Keys are cut into chunks, whose results meet in the end (Dao et al. 2023, "Flash-Decoding"). A
//! chunk is computed for all heads, row by row, in the order in which rows lie in memory.

use std::ops::Range;

use super::{Sizes, Slice, WORK};
use crate::graph::NativeCall;
use crate::ops::native::random::keep;
use crate::ops::native::{Parts, blocks, math, vectorized};

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
    let chunk = (WORK / (sizes.heads * sizes.tq * sizes.width)).clamp(16, 512);
    let chunks = most.div_ceil(chunk);
    // of each query: sums of weighted values, the largest score, and the sum of weights
    let (rows, row) = (sizes.heads * sizes.tq, sizes.width + 2);
    let mut parts = vec![0.0; elements * chunks * rows * row];
    let partial = Parts::new(&mut parts);
    let length = WORK / (most.min(chunk) * sizes.heads * sizes.tq * sizes.width).max(1);
    blocks(call, elements * chunks, length, |range| {
        for index in range {
            let (element, first) = (index / chunks, index % chunks * chunk);
            let keys = first.min(keys(element))..keys(element).min(first + chunk);
            // SAFETY: each chunk is in one task
            #[allow(unsafe_code)]
            let out = unsafe { partial.slice(index * rows * row, rows * row) };
            attend_to_chunk(sizes, element, keys, [q, kv], past, seed, out);
        }
    });
    let length = WORK / (chunks * rows * row);
    blocks(call, elements, length, |range| {
        let mut sum = vec![0.0; row];
        for element in range {
            let parts = &parts[element * chunks * rows * row..][..chunks * rows * row];
            for query in 0..rows {
                let parts = || parts.chunks_exact(row).skip(query).step_by(rows);
                let log_sum = join(parts, &mut sum);
                let slice = sizes.slice(element * sizes.heads + query / sizes.tq);
                write(&slice, query % sizes.tq, &sum, log_sum);
            }
        }
    });
}

/// Writes the results of all queries of an element for some of its keys.
fn attend_to_chunk(
    sizes: &Sizes,
    element: usize,
    keys: Range<usize>,
    [q, kv]: [&[f32]; 2],
    past: &[u32],
    seed: u32,
    out: &mut [f32],
) {
    let (width, row) = (sizes.width, sizes.width + 2);
    let count = keys.len();
    let rows = sizes.heads * sizes.tq;
    // queries of heads that share keys, one after the other
    let shared = sizes.group * sizes.tq;
    let past = sizes.past(past, element);
    let mut queries = vec![0.0; rows * width];
    for (n, to) in queries.chunks_exact_mut(width).enumerate() {
        let slice = sizes.slice(element * sizes.heads + n / sizes.tq);
        let from = &q[slice.query + n % sizes.tq * sizes.q_row..][..width];
        for (to, from) in to.iter_mut().zip(from) {
            *to = sizes.scale * from;
        }
    }
    let mut weights = vec![0.0; rows * count];
    let slice = sizes.slice(element * sizes.heads);
    let at = |first: usize, j: usize| first + (keys.start + j) * sizes.kv_row;
    let kv_width = sizes.kv_width();
    vectorized(
        #[inline(always)]
        || {
            for j in 0..count {
                let keys = kv[at(slice.key, j)..][..kv_width].chunks_exact(width);
                let queries = queries.chunks_exact(shared * width);
                for (head, (key, queries)) in keys.zip(queries).enumerate() {
                    for (n, query) in queries.chunks_exact(width).enumerate() {
                        weights[(head * shared + n) * count + j] = math::dot(query, key);
                    }
                }
            }
            for (n, out) in out.chunks_exact_mut(row).enumerate() {
                let weights = &mut weights[n * count..][..count];
                let used = sizes.keys(past, n % sizes.tq).saturating_sub(keys.start);
                let (used, masked) = weights.split_at_mut(used.min(count));
                masked.fill(0.0);
                let peak = math::max(used);
                used.iter_mut().for_each(
                    #[inline(always)]
                    |s| *s = math::exp(*s - peak),
                );
                out[..width].fill(0.0);
                out[width] = peak;
                out[width + 1] = math::sum(
                    [&*used],
                    #[inline(always)]
                    |[p]| p,
                );
                if sizes.dropout > 0.0 {
                    let slice = sizes.slice(element * sizes.heads + n / sizes.tq);
                    let first = sizes.draws(&slice, n % sizes.tq) + keys.start;
                    for (j, p) in used.iter_mut().enumerate() {
                        let at = (first as u32).wrapping_add(j as u32);
                        *p *= keep(seed, sizes.site, at, sizes.dropout);
                    }
                }
            }
            for j in 0..count {
                let values = kv[at(slice.value, j)..][..kv_width].chunks_exact(width);
                let sums = out.chunks_exact_mut(shared * row);
                for (head, (value, sums)) in values.zip(sums).enumerate() {
                    for (n, sum) in sums.chunks_exact_mut(row).enumerate() {
                        let weight = weights[(head * shared + n) * count + j];
                        for (sum, value) in sum[..width].iter_mut().zip(value) {
                            *sum += weight * value;
                        }
                    }
                }
            }
        },
    );
}

/// Writes the output of a query, from its results for all chunks, to the beginning of `out`.
/// Returns the log-sum-exp of its scores.
fn join<'a, I: Iterator<Item = &'a [f32]>>(parts: impl Fn() -> I, out: &mut [f32]) -> f32 {
    let width = out.len() - 2;
    let peak = parts().map(|part| part[width]).fold(f32::MIN, f32::max);
    out.fill(0.0);
    let mut total = 0.0;
    for part in parts() {
        let factor = math::exp(part[width] - peak);
        total += factor * part[width + 1];
        for (out, part) in out[..width].iter_mut().zip(part) {
            *out += factor * part;
        }
    }
    let factor = 1.0 / total;
    out.iter_mut().for_each(|out| *out *= factor);
    peak + total.ln()
}
