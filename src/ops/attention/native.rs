//! Rust bodies of attention. Many queries are computed in tiles, few as dot products with parts of
//! the keys. Gradients are matrix products of tiles.

mod few;
mod tile;

use std::borrow::Cow;
use std::ops::Range;

use crate::graph::{Native, NativeCall};
use crate::ops::native::bf16::Instructions;
use crate::ops::native::product::{Extent, Strided, multiply};
use crate::ops::native::random::keep;
use crate::ops::native::{Parts, blocks, floats, math, vectorized};
use tile::{Drop, GROUP, Tile};

pub(super) const BODIES: &[(&str, Native)] = &[
    ("forward", forward),
    ("backward_q", backward_q),
    ("backward_kv", backward_kv),
    ("probabilities", probabilities),
];

/// Bodies of the kernel that appends a decoded row to its cache.
pub(super) const CACHE_BODIES: &[(&str, Native)] = &[("forward", append_and_attend)];

/// Rows of a tile of the backward pass: of queries, and of keys for their gradients.
const TILE: usize = 64;
/// Largest number of queries that share keys, and of rows of other products, that are multiplied one
/// by one instead of in tiles.
const FEW: usize = 6;
/// Multiplications of a task of small slices.
const WORK: usize = 64 * 1024;
/// Tasks that a large forward pass is cut into at least.
const TASKS: usize = 48;
/// Largest number of queries of a tile of the forward pass: more would not reuse keys better.
const LARGEST: usize = 6 * GROUP;

/// Sizes and options of a call.
struct Sizes {
    heads: usize,
    /// Heads that share keys and values.
    group: usize,
    slices: usize,
    tq: usize,
    capacity: usize,
    /// Elements from row to row of queries, and of keys and values.
    q_row: usize,
    kv_row: usize,
    /// Elements of a row of keys and values before the key.
    k_at: usize,
    /// Head width.
    width: usize,
    causal: bool,
    scale: f32,
    dropout: f32,
    site: u32,
    past_stride: usize,
}

/// A batch element and a head.
struct Slice {
    /// First elements of the query, key, value and output of its first rows.
    query: usize,
    key: usize,
    value: usize,
    out: usize,
    index: usize,
    element: usize,
}

impl Sizes {
    fn of(call: &NativeCall) -> Sizes {
        let dropout = call.constant("DROPOUT") != 0.0;
        Sizes {
            heads: call.size("heads"),
            group: call.size("group"),
            slices: call.size("slices"),
            tq: call.size("tq"),
            capacity: call.size("capacity"),
            q_row: 4 * call.size("q_stride"),
            kv_row: 4 * call.size("kv_stride"),
            k_at: 4 * call.size("k_at"),
            width: 4 * call.constant("HD4") as usize,
            causal: call.size("causal") == 1,
            scale: call.float("scale"),
            dropout: if dropout { call.float("dropout") } else { 0.0 },
            site: call.size("site") as u32,
            past_stride: call.size("past_stride"),
        }
    }

    fn out_row(&self) -> usize {
        self.heads * self.width
    }

    /// Elements of all keys of a row, and of all values.
    fn kv_width(&self) -> usize {
        self.heads / self.group * self.width
    }

    fn slice(&self, index: usize) -> Slice {
        let (element, head) = (index / self.heads, index % self.heads);
        let kv_head = head / self.group;
        let key = element * self.capacity * self.kv_row + kv_head * self.width + self.k_at;
        Slice {
            query: element * self.tq * self.q_row + head * self.width,
            key,
            value: key + self.kv_width(),
            out: element * self.tq * self.out_row() + head * self.width,
            index,
            element,
        }
    }

    /// Returns the number of keys that query `i` uses, `past` keys preceding the first query.
    #[inline(always)]
    fn keys(&self, past: usize, i: usize) -> usize {
        match self.causal {
            true => (past + i + 1).min(self.capacity),
            false => self.capacity,
        }
    }

    fn past(&self, past: &[u32], element: usize) -> usize {
        match self.causal {
            true => past[element * self.past_stride] as usize,
            false => 0,
        }
    }

    /// Place of a query's value in arrays of one value per query.
    #[inline(always)]
    fn per_query(&self, slice: &Slice, i: usize) -> usize {
        (i / 4 * self.slices + slice.index) * 4 + i % 4
    }

    /// First dropout index of a query.
    #[inline(always)]
    fn draws(&self, slice: &Slice, i: usize) -> usize {
        (slice.index * self.tq + i) * self.capacity
    }

    /// Calls `task` with the number of each of `sets` sets of `rows` rows and each tile of up to
    /// `tile` of the rows, on all threads. A row takes products with `columns` others.
    fn tiles(
        &self,
        call: &NativeCall,
        sets: usize,
        (rows, tile): (usize, usize),
        columns: usize,
        task: impl Fn(usize, Range<usize>) + Sync,
    ) {
        let down = rows.div_ceil(tile);
        let length = WORK / (rows.min(tile) * columns * self.width).max(1);
        blocks(call, sets * down, length, |range| {
            for index in range {
                let first = index % down * tile;
                task(index / down, first..rows.min(first + tile));
            }
        });
    }
}

fn forward(call: &NativeCall) {
    attend(call, &floats(call, "q"), &floats(call, "kv"));
}

fn append_and_attend(call: &NativeCall) {
    let sizes = Sizes::of(call);
    let (q, kv) = (call.read::<f32>("q"), call.write::<f32>("kv"));
    let past = call.read::<u32>("past");
    let row = 2 * sizes.kv_width();
    for element in 0..sizes.slices / sizes.heads {
        let at = (past[element * sizes.past_stride] as usize).min(sizes.capacity - 1);
        let to = (element * sizes.capacity + at) * sizes.kv_row + sizes.k_at;
        let from = element * sizes.q_row + sizes.out_row();
        kv[to..to + row].copy_from_slice(&q[from..from + row]);
    }
    attend(call, q, kv);
}

fn attend(call: &NativeCall, q: &[f32], kv: &[f32]) {
    let sizes = &Sizes::of(call);
    let (past, seed) = (call.read::<u32>("past"), call.read::<u32>("seed")[0]);
    let out = Parts::new(call.write::<f32>("out"));
    let lse = Parts::new(call.write::<f32>("lse"));
    let write = |slice: &Slice, i: usize, from: &[f32], log_sum: f32| {
        // SAFETY: each query of each slice is in one task
        #[allow(unsafe_code)]
        let (out, lse) = unsafe {
            (
                out.slice(slice.out + i * sizes.out_row(), sizes.width),
                lse.slice(sizes.per_query(slice, i), 1),
            )
        };
        out.copy_from_slice(&from[..sizes.width]);
        lse[0] = log_sum;
    };
    // queries that share keys and values
    let (sets, rows) = (sizes.slices / sizes.group, sizes.group * sizes.tq);
    if rows <= FEW {
        few::attend(call, sizes, [q, kv], past, seed, write);
        return;
    }
    let rounds = call.constant("ROUND") != 0.0 && sizes.dropout == 0.0;
    let rounding = rounds.then(Instructions::detect).flatten();
    let tile = (sets * rows)
        .div_ceil(TASKS)
        .next_multiple_of(GROUP)
        .min(LARGEST);
    sizes.tiles(call, sets, (rows, tile), sizes.capacity, |set, range| {
        let first = sizes.slice(set * sizes.group);
        let past = sizes.past(past, first.element);
        let mut tile = Tile::new(
            sizes.width,
            &kv[first.key..],
            &kv[first.value..],
            sizes.kv_row,
        );
        // queries at one position follow each other, so that a tile's use about as many keys
        let query = |row: usize| {
            let (i, member) = (row / sizes.group, row % sizes.group);
            (sizes.slice(first.index + member), i)
        };
        let mut draws = vec![];
        for row in range.clone() {
            let (slice, i) = query(row);
            let from = &q[slice.query + i * sizes.q_row..][..sizes.width];
            tile.push(from, sizes.scale, sizes.keys(past, i));
            draws.push(sizes.draws(&slice, i) as u32);
        }
        let attended = match rounding {
            Some(instructions) => tile.attend_rounded(instructions),
            None => tile.attend((sizes.dropout > 0.0).then_some(Drop {
                seed,
                site: sizes.site,
                p: sizes.dropout,
                first: &draws,
            })),
        };
        let results = attended.rows().zip(&attended.log_sums);
        for ((out, log_sum), row) in results.zip(range) {
            let (slice, i) = query(row);
            write(&slice, i, out, *log_sum);
        }
    });
}

/// Computes `factor` times the scores of the queries of a tile with the first `keys` keys.
#[allow(clippy::too_many_arguments)]
fn scores(
    sizes: &Sizes,
    slice: &Slice,
    q: &[f32],
    kv: &[f32],
    tile: Range<usize>,
    keys: usize,
    factor: f32,
    p: &mut [f32],
) {
    let queries = &q[slice.query + tile.start * sizes.q_row..];
    along_keys(
        sizes,
        queries,
        sizes.q_row,
        tile.len(),
        &kv[slice.key..],
        keys,
        factor,
        p,
    );
}

/// Computes `p[i, j] = factor * rows[i] . keys[j]`.
#[allow(clippy::too_many_arguments)]
fn along_keys(
    sizes: &Sizes,
    rows: &[f32],
    row: usize,
    count: usize,
    keys: &[f32],
    keys_count: usize,
    factor: f32,
    p: &mut [f32],
) {
    if count > FEW {
        let size = Extent {
            m: count,
            n: keys_count,
            k: sizes.width,
        };
        let keys = Strided::rows(keys, sizes.kv_row).transposed();
        multiply(p, keys_count, size, factor, Strided::rows(rows, row), keys);
        return;
    }
    vectorized(
        #[inline(always)]
        || {
            for (i, p) in p.chunks_exact_mut(keys_count).enumerate() {
                let own = &rows[i * row..][..sizes.width];
                for (j, p) in p.iter_mut().enumerate() {
                    *p = factor * math::dot(own, &keys[j * sizes.kv_row..][..sizes.width]);
                }
            }
        },
    );
}

/// Computes `o[i] = sum over j of p[i, j] values[j]`.
fn weighted(p: &[f32], keys: usize, count: usize, values: &[f32], sizes: &Sizes, o: &mut [f32]) {
    let width = sizes.width;
    if count > FEW {
        let size = Extent {
            m: count,
            n: width,
            k: keys,
        };
        let values = Strided::rows(values, sizes.kv_row);
        multiply(o, width, size, 1.0, Strided::rows(p, keys), values);
        return;
    }
    vectorized(
        #[inline(always)]
        || {
            for (p, o) in p.chunks_exact(keys).zip(o.chunks_exact_mut(width)) {
                for (j, p) in p.iter().enumerate() {
                    let value = &values[j * sizes.kv_row..][..width];
                    for (o, value) in o.iter_mut().zip(value) {
                        *o += p * value;
                    }
                }
            }
        },
    );
}

/// Turns scores into probabilities, and returns the logarithm of the sum of their exponentials.
#[inline(always)]
fn softmax(scores: &mut [f32]) -> f32 {
    let peak = math::max(scores);
    scores.iter_mut().for_each(
        #[inline(always)]
        |s| *s = math::exp(*s - peak),
    );
    let sum = math::sum(
        [&*scores],
        #[inline(always)]
        |[s]| s,
    );
    let factor = 1.0 / sum;
    scores.iter_mut().for_each(|s| *s *= factor);
    peak + sum.ln()
}

/// Operands of the backward pass.
struct Backward<'a> {
    sizes: Sizes,
    q: Cow<'a, [f32]>,
    kv: Cow<'a, [f32]>,
    dout: Cow<'a, [f32]>,
    norm: &'a [f32],
    seed: u32,
}

impl<'a> Backward<'a> {
    fn of(call: &NativeCall<'a>) -> Backward<'a> {
        Backward {
            sizes: Sizes::of(call),
            q: floats(call, "q"),
            kv: floats(call, "kv"),
            dout: floats(call, "dout"),
            norm: call.read("norm"),
            seed: call.read::<u32>("seed")[0],
        }
    }

    /// Turns scores of a query with the keys from `first` on into the probabilities of those that
    /// it uses, `used` of them.
    #[inline(always)]
    fn probabilities(&self, slice: &Slice, i: usize, used: usize, p: &mut [f32]) {
        let log_sum = self.norm[self.sizes.per_query(slice, i)];
        let used = used.min(p.len());
        let (used, masked) = p.split_at_mut(used);
        used.iter_mut().for_each(
            #[inline(always)]
            |p| {
                // large scores are rounded otherwise than in the forward pass; a comparison, so that
                // NaN stays
                let below = *p - log_sum;
                *p = math::exp(if below > 0.0 { 0.0 } else { below });
            },
        );
        masked.fill(0.0);
    }

    /// Multiplies the elements of a row for a query and the keys from `first` on with their
    /// dropout factors.
    #[inline(always)]
    fn drop(&self, slice: &Slice, i: usize, first: usize, row: &mut [f32]) {
        if self.sizes.dropout > 0.0 {
            let (sizes, first) = (&self.sizes, self.sizes.draws(slice, i) + first);
            for (j, x) in row.iter_mut().enumerate() {
                let at = (first as u32).wrapping_add(j as u32);
                *x *= keep(self.seed, sizes.site, at, sizes.dropout);
            }
        }
    }
}

fn backward_q(call: &NativeCall) {
    let operands = &Backward::of(call);
    let Backward {
        sizes, q, kv, dout, ..
    } = operands;
    let (y, past) = (call.read::<f32>("y"), call.read::<u32>("past"));
    let dq = Parts::new(call.write::<f32>("dq"));
    let delta = Parts::new(call.write::<f32>("delta"));
    let tiles = (sizes.tq, TILE);
    sizes.tiles(call, sizes.slices, tiles, sizes.capacity, |slice, tile| {
        let slice = &sizes.slice(slice);
        let (past, row) = (sizes.past(past, slice.element), sizes.out_row());
        let keys = sizes.keys(past, tile.end - 1);
        let (mut p, mut ds) = (vec![0.0; tile.len() * keys], vec![0.0; tile.len() * keys]);
        scores(sizes, slice, q, kv, tile.clone(), keys, sizes.scale, &mut p);
        let own = &dout[slice.out + tile.start * row..];
        along_keys(
            sizes,
            own,
            row,
            tile.len(),
            &kv[slice.value..],
            keys,
            1.0,
            &mut ds,
        );
        vectorized(
            #[inline(always)]
            || {
                let rows = p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys));
                for ((p, ds), i) in rows.zip(tile.clone()) {
                    let at = slice.out + i * row;
                    let inner = math::dot(&y[at..][..sizes.width], &dout[at..][..sizes.width]);
                    // SAFETY: each query of each slice is in one task
                    #[allow(unsafe_code)]
                    let delta = unsafe { delta.slice(sizes.per_query(slice, i), 1) };
                    delta[0] = inner;
                    operands.probabilities(slice, i, sizes.keys(past, i), p);
                    operands.drop(slice, i, 0, ds);
                    for (ds, p) in ds.iter_mut().zip(p.iter()) {
                        *ds = sizes.scale * p * (*ds - inner);
                    }
                }
            },
        );
        let mut g = vec![0.0; tile.len() * sizes.width];
        weighted(&ds, keys, tile.len(), &kv[slice.key..], sizes, &mut g);
        for (g, i) in g.chunks_exact(sizes.width).zip(tile) {
            // SAFETY: as above
            #[allow(unsafe_code)]
            let dq = unsafe { dq.slice(slice.query + i * sizes.q_row, sizes.width) };
            dq.copy_from_slice(g);
        }
    });
}

fn backward_kv(call: &NativeCall) {
    let operands = &Backward::of(call);
    let Backward {
        sizes, q, kv, dout, ..
    } = operands;
    let shift = call.read::<f32>("shift");
    let dkv = Parts::new(call.write::<f32>("dkv"));
    // the heads, of those that share keys, whose gradients this call adds
    let (first_member, members) = (call.size("member"), call.constant("MEMBERS") as usize);
    let sets = sizes.slices / sizes.group;
    let tiles = (sizes.capacity, TILE);
    sizes.tiles(call, sets, tiles, members * sizes.tq, |set, tile| {
        let (width, row, keys) = (sizes.width, sizes.out_row(), tile.len());
        // causal: queries before the first key do not use it
        let first = if sizes.causal { tile.start } else { 0 };
        let queries = sizes.tq.saturating_sub(first);
        let (mut p, mut ds) = (vec![0.0; queries * keys], vec![0.0; queries * keys]);
        let (mut gk, mut gv) = (vec![0.0; keys * width], vec![0.0; keys * width]);
        let mut more = vec![0.0; if members > 1 { keys * width } else { 0 }];
        for member in 0..if queries > 0 { members } else { 0 } {
            let slice = &sizes.slice(set * sizes.group + first_member + member);
            let own_q = &q[slice.query + first * sizes.q_row..];
            let own_dout = &dout[slice.out + first * row..];
            let at = tile.start * sizes.kv_row;
            let (key, value) = (&kv[slice.key + at..], &kv[slice.value + at..]);
            along_keys(
                sizes,
                own_q,
                sizes.q_row,
                queries,
                key,
                keys,
                sizes.scale,
                &mut p,
            );
            along_keys(sizes, own_dout, row, queries, value, keys, 1.0, &mut ds);
            vectorized(
                #[inline(always)]
                || {
                    let rows = p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys));
                    for ((p, ds), i) in rows.zip(first..) {
                        let inner = shift[sizes.per_query(slice, i)];
                        let used = sizes.keys(0, i).saturating_sub(tile.start);
                        operands.probabilities(slice, i, used, p);
                        operands.drop(slice, i, tile.start, ds);
                        for (ds, p) in ds.iter_mut().zip(p.iter()) {
                            *ds = sizes.scale * p * (*ds - inner);
                        }
                        operands.drop(slice, i, tile.start, p);
                    }
                },
            );
            let size = Extent {
                m: keys,
                n: width,
                k: queries,
            };
            let own_q = Strided::rows(own_q, sizes.q_row);
            let own_dout = Strided::rows(own_dout, row);
            for (g, weights, rows) in [(&mut gk, &ds, own_q), (&mut gv, &p, own_dout)] {
                let weights = Strided::rows(weights, keys).transposed();
                if member == 0 {
                    multiply(g, width, size, 1.0, weights, rows);
                    continue;
                }
                multiply(&mut more, width, size, 1.0, weights, rows);
                for (g, more) in g.iter_mut().zip(&more) {
                    *g += more;
                }
            }
        }
        let slice = sizes.slice(set * sizes.group);
        let rows = gk.chunks_exact(width).zip(gv.chunks_exact(width));
        for ((gk, gv), j) in rows.zip(tile) {
            let at = j * sizes.kv_row;
            // SAFETY: each key of each set is in one task, and its value is behind it
            #[allow(unsafe_code)]
            let (dk, dv) = unsafe {
                (
                    dkv.slice(slice.key + at, width),
                    dkv.slice(slice.value + at, width),
                )
            };
            for (to, from) in [(dk, gk), (dv, gv)] {
                if first_member == 0 {
                    to.copy_from_slice(from);
                    continue;
                }
                for (to, from) in to.iter_mut().zip(from) {
                    *to += from;
                }
            }
        }
    });
}

fn probabilities(call: &NativeCall) {
    let sizes = &Sizes::of(call);
    let (q, kv) = (&floats(call, "q"), &floats(call, "kv"));
    let past = call.read::<u32>("past");
    let p = Parts::new(call.write::<f32>("p"));
    let tiles = (sizes.tq, TILE);
    sizes.tiles(call, sizes.slices, tiles, sizes.capacity, |slice, tile| {
        let slice = &sizes.slice(slice);
        let past = sizes.past(past, slice.element);
        let keys = sizes.keys(past, tile.end - 1);
        let mut s = vec![0.0; tile.len() * keys];
        scores(sizes, slice, q, kv, tile.clone(), keys, sizes.scale, &mut s);
        vectorized(
            #[inline(always)]
            || {
                for (s, i) in s.chunks_exact_mut(keys).zip(tile) {
                    let used = sizes.keys(past, i);
                    softmax(&mut s[..used]);
                    // SAFETY: each query of each slice is in one task
                    #[allow(unsafe_code)]
                    let p = unsafe { p.slice(sizes.draws(slice, i), sizes.capacity) };
                    p[..used].copy_from_slice(&s[..used]);
                    p[used..].fill(0.0);
                }
            },
        );
    });
}
