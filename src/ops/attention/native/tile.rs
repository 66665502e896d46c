//! Attention of a tile of queries to the keys and values of one head, a block of keys at a time
//! (Milakov & Gimelshein 2018, Dao et al. 2022): scores never leave the nearest caches.

use std::f32::consts::{LN_2, LOG2_E};

use pulp::{Simd, WithSimd};

use crate::ops::native::bf16::{self, Instructions, Multiplier};
use crate::ops::native::random::keep;

/// Queries of a group: the columns of the scores of a block.
pub(super) const GROUP: usize = 64;
/// Keys of a block.
const BLOCK: usize = 64;
/// Rows of a product whose sums are in registers at a time.
const ROWS: usize = 4;
/// Elements that rows are padded to: the widest vector.
pub(super) const LANES: usize = 16;

/// Queries that share keys and values.
pub(super) struct Tile<'a> {
    /// Queries as columns, in groups: `[groups, width, GROUP]`.
    queries: Vec<[f32; GROUP]>,
    used: Vec<usize>,
    width: usize,
    keys: &'a [f32],
    values: &'a [f32],
    row: usize,
}

/// Dropout of the weights of a tile.
pub(super) struct Drop<'a> {
    pub seed: u32,
    pub site: u32,
    pub p: f32,
    /// Index of each query's weight of the first key among all that are drawn.
    pub first: &'a [u32],
}

/// Results of a [`Tile`].
pub(super) struct Attended {
    out: Vec<f32>,
    row: usize,
    /// Logarithm of the sum of the exponentials of each query's scores.
    pub log_sums: Vec<f32>,
}

impl Attended {
    /// Returns the outputs of all queries, in rows that may be longer than the head is wide.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.out.chunks_exact(self.row)
    }
}

impl<'a> Tile<'a> {
    /// Returns a tile of no queries, for heads of `width` columns. `keys` and `values` begin with
    /// those of the first key; their rows are at a distance of `row`.
    pub fn new(width: usize, keys: &'a [f32], values: &'a [f32], row: usize) -> Tile<'a> {
        Tile {
            queries: vec![],
            used: vec![],
            width,
            keys,
            values,
            row,
        }
    }

    /// Adds a query, whose scores are its products with the keys times `factor`. It uses the first
    /// `used` keys: at least one, and no fewer than the query before.
    pub fn push(&mut self, query: &[f32], factor: f32, used: usize) {
        let place = self.used.len() % GROUP;
        if place == 0 {
            let size = self.queries.len() + self.width;
            self.queries.resize(size, [0.0; GROUP]);
        }
        // powers of two take fewer operations than those of e
        let factor = factor * LOG2_E;
        let first = self.queries.len() - self.width;
        for (to, from) in self.queries[first..].iter_mut().zip(query) {
            to[place] = factor * from;
        }
        self.used.push(used);
    }

    /// Computes the outputs.
    pub fn attend(&self, drop: Option<Drop>) -> Attended {
        pulp::Arch::new().dispatch(Attend { tile: self, drop })
    }

    /// Computes the outputs with operands rounded to bf16.
    pub fn attend_rounded(&self, with: Instructions) -> Attended {
        pulp::Arch::new().dispatch(AttendRounded { tile: self, with })
    }

    /// Returns the number of keys that any query uses.
    fn keys_used(&self) -> usize {
        self.used.last().copied().unwrap_or(0)
    }
}

struct Attend<'a> {
    tile: &'a Tile<'a>,
    drop: Option<Drop<'a>>,
}

impl WithSimd for Attend<'_> {
    type Output = Attended;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Attended {
        let &Tile {
            width, values, row, ..
        } = self.tile;
        let (used, queries) = (&self.tile.used, &self.tile.queries);
        let most = self.tile.keys_used();
        let padded = width.next_multiple_of(LANES);
        let groups = used.len().div_ceil(GROUP);
        let mut out = vec![0.0; groups * GROUP * padded];
        let mut states = vec![State::new(); groups];
        let mut own_values = vec![0.0; BLOCK.min(most) * padded];
        let mut weights = [[0.0; GROUP]; BLOCK];
        for first in (0..most).step_by(BLOCK) {
            let block = BLOCK.min(most - first);
            let rows = values[first * row..].chunks(row);
            for (to, from) in own_values.chunks_exact_mut(padded).zip(rows).take(block) {
                to[..width].copy_from_slice(&from[..width]);
            }
            let groups = used
                .chunks(GROUP)
                .zip(queries.chunks_exact(width))
                .zip(out.chunks_exact_mut(GROUP * padded))
                .zip(&mut states);
            for (group, (((used, queries), out), state)) in groups.enumerate() {
                // queries are in ascending order of their keys
                let block = block.min(used[used.len() - 1].saturating_sub(first));
                if block == 0 {
                    continue;
                }
                let columns = used.len().next_multiple_of(LANES);
                self.scores(simd, (first, block), (queries, columns), &mut weights);
                let weights = &mut weights[..block];
                let decays = state.advance(simd, weights, columns, used, first);
                if let Some(drop) = &self.drop {
                    let draws = &drop.first[group * GROUP..][..used.len()];
                    for (j, weights) in weights.iter_mut().enumerate() {
                        for (weight, draw) in weights.iter_mut().zip(draws) {
                            let at = draw.wrapping_add((first + j) as u32);
                            *weight *= keep(drop.seed, drop.site, at, drop.p);
                        }
                    }
                }
                for n in (0..used.len()).step_by(ROWS) {
                    let keep: [f32; ROWS] = std::array::from_fn(|row| decays[n + row]);
                    product(
                        simd,
                        block,
                        #[inline(always)]
                        |row, j| weights[j][n + row],
                        &own_values,
                        (&mut out[n * padded..][..ROWS * padded], padded),
                        keep,
                    );
                }
            }
        }
        let sums = states.iter().flat_map(|state| &state.sums);
        for (out, sum) in out.chunks_exact_mut(padded).zip(sums).take(used.len()) {
            let factor = 1.0 / sum;
            for out in out {
                *out *= factor;
            }
        }
        out.truncate(used.len() * padded);
        Attended {
            out,
            row: padded,
            log_sums: log_sums(&states, used.len()),
        }
    }
}

/// Returns the logarithm of the sum of the exponentials of the scores of the first queries.
fn log_sums(states: &[State], queries: usize) -> Vec<f32> {
    let places = (0..queries).map(|n| (&states[n / GROUP], n % GROUP));
    places
        .map(|(state, n)| LN_2 * (state.peaks[n] + state.sums[n].log2()))
        .collect()
}

impl Attend<'_> {
    /// Writes the scores of a group of queries with `count` keys from `first` on. Rows up to a
    /// multiple of [`ROWS`] are written.
    #[inline(always)]
    fn scores<S: Simd>(
        &self,
        simd: S,
        (first, count): (usize, usize),
        (queries, columns): (&[[f32; GROUP]], usize),
        scores: &mut [[f32; GROUP]; BLOCK],
    ) {
        let &Tile {
            width, keys, row, ..
        } = self.tile;
        let (scores, _) = scores.as_chunks_mut::<ROWS>();
        for (at, scores) in (0..count).step_by(ROWS).zip(scores) {
            // keys past the last repeat it
            let keys: [&[f32]; ROWS] = std::array::from_fn(
                #[inline(always)]
                |n| &keys[(first + (at + n).min(count - 1)) * row..][..width],
            );
            product(
                simd,
                width,
                #[inline(always)]
                |n, x| keys[n][x],
                queries.as_flattened(),
                (scores.as_flattened_mut(), columns),
                [0.0; ROWS],
            );
        }
    }
}

/// Like [`Attend`], with operands rounded to bf16: the scaled queries, keys, values and weights.
struct AttendRounded<'a> {
    tile: &'a Tile<'a>,
    with: Instructions,
}

/// Pairs of keys of a block.
const KEY_PAIRS: usize = BLOCK / 2;

impl WithSimd for AttendRounded<'_> {
    type Output = Attended;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Attended {
        let &Tile {
            width,
            keys,
            values,
            row,
            ..
        } = self.tile;
        let multiplier = Multiplier::new(self.with);
        let (used, most) = (&self.tile.used, self.tile.keys_used());
        let groups = used.len().div_ceil(GROUP);
        let pairs = width.div_ceil(2).next_multiple_of(bf16::STEP);
        let panels = self.panels(pairs);
        // columns of outputs: [groups, padded, GROUP]
        let padded = width.next_multiple_of(bf16::BLOCK);
        let mut out = vec![[0.0; GROUP]; groups * padded];
        let mut states = vec![State::new(); groups];
        let mut own_keys = vec![0; BLOCK * pairs];
        let mut own_values = vec![[0; KEY_PAIRS]; padded];
        let mut weights = [[0.0; GROUP]; BLOCK];
        for first in (0..most).step_by(BLOCK) {
            let block = BLOCK.min(most - first);
            let rows = keys[first * row..].chunks(row).take(block);
            for (words, key) in own_keys.chunks_exact_mut(pairs).zip(rows) {
                bf16::round_row(&key[..width], words);
            }
            round_values(&values[first * row..], row, block, width, &mut own_values);
            let groups = used
                .chunks(GROUP)
                .zip(panels.chunks_exact(GROUP * pairs))
                .zip(out.chunks_exact_mut(padded))
                .zip(&mut states);
            for (((used, panels), out), state) in groups {
                // queries are in ascending order of their keys
                let block = block.min(used[used.len() - 1].saturating_sub(first));
                if block == 0 {
                    continue;
                }
                for (words, scores) in own_keys
                    .chunks_exact(bf16::BLOCK * pairs)
                    .zip(weights.chunks_exact_mut(bf16::BLOCK))
                {
                    let scores = scores.as_flattened_mut();
                    for (at, panels) in panels.chunks_exact(bf16::BLOCK * pairs).enumerate() {
                        multiplier.transposed(
                            words,
                            panels,
                            &mut scores[at * bf16::BLOCK..],
                            GROUP,
                        );
                    }
                }
                let decays = state.advance(simd, &mut weights[..block], GROUP, used, first);
                weights[block..].fill([0.0; GROUP]);
                let weights = weight_panels(&weights);
                for (values, out) in own_values
                    .chunks_exact(bf16::BLOCK)
                    .zip(out.chunks_exact_mut(bf16::BLOCK))
                {
                    let mut sums = [[0.0; GROUP]; bf16::BLOCK];
                    for (at, panels) in weights.chunks_exact(2).enumerate() {
                        multiplier.transposed(
                            values.as_flattened(),
                            panels.as_flattened().as_flattened(),
                            &mut sums.as_flattened_mut()[at * bf16::BLOCK..],
                            GROUP,
                        );
                    }
                    for (out, sums) in out.iter_mut().zip(&sums) {
                        for ((out, sum), decay) in out.iter_mut().zip(sums).zip(&decays) {
                            *out = *out * decay + sum;
                        }
                    }
                }
            }
        }
        let mut rows = vec![0.0; used.len() * width];
        for (n, to) in rows.chunks_exact_mut(width).enumerate() {
            let (group, place) = (n / GROUP, n % GROUP);
            let factor = 1.0 / states[group].sums[place];
            for (to, out) in to.iter_mut().zip(&out[group * padded..]) {
                *to = out[place] * factor;
            }
        }
        Attended {
            out: rows,
            row: width,
            log_sums: log_sums(&states, used.len()),
        }
    }
}

impl AttendRounded<'_> {
    /// Returns the queries of each group in panels of 16: pairs of columns, and of each pair the
    /// queries.
    #[inline(always)]
    fn panels(&self, pairs: usize) -> Vec<u32> {
        let (width, queries) = (self.tile.width, &self.tile.queries);
        let mut panels = vec![0; queries.len() / width * GROUP * pairs];
        let groups = panels.chunks_exact_mut(GROUP * pairs);
        for (panels, queries) in groups.zip(queries.chunks_exact(width)) {
            for (at, panel) in panels.chunks_exact_mut(bf16::LANES * pairs).enumerate() {
                let words = panel.chunks_exact_mut(bf16::LANES);
                for (words, columns) in words.zip(queries.chunks(2)) {
                    let low = &columns[0][at * bf16::LANES..][..bf16::LANES];
                    let high = columns.get(1).map(|high| &high[at * bf16::LANES..]);
                    for n in 0..bf16::LANES {
                        words[n] = bf16::round_pair(low[n], high.map_or(0.0, |high| high[n]));
                    }
                }
            }
        }
        panels
    }
}

/// Rounds the first `count` rows of values to pairs of keys for each column; missing keys are zero.
#[inline(always)]
fn round_values(
    values: &[f32],
    row: usize,
    count: usize,
    width: usize,
    columns: &mut [[u32; KEY_PAIRS]],
) {
    for pair in 0..KEY_PAIRS {
        let value = |at: usize| (at < count).then(|| &values[at * row..][..width]);
        match (value(2 * pair), value(2 * pair + 1)) {
            (Some(low), Some(high)) => {
                for (x, column) in columns[..width].iter_mut().enumerate() {
                    column[pair] = bf16::round_pair(low[x], high[x]);
                }
            }
            (low, _) => {
                for (x, column) in columns[..width].iter_mut().enumerate() {
                    column[pair] = bf16::round(low.map_or(0.0, |low| low[x]));
                }
            }
        }
    }
}

/// Returns the weights of a block in panels of 16 queries: pairs of keys, and of each pair the
/// queries.
#[inline(always)]
fn weight_panels(
    weights: &[[f32; GROUP]; BLOCK],
) -> [[[u32; bf16::LANES]; KEY_PAIRS]; GROUP / bf16::LANES] {
    let mut panels = [[[0; bf16::LANES]; KEY_PAIRS]; GROUP / bf16::LANES];
    for (pair, weights) in weights.as_chunks::<2>().0.iter().enumerate() {
        for (at, panel) in panels.iter_mut().enumerate() {
            for (n, word) in panel[pair].iter_mut().enumerate() {
                let n = at * bf16::LANES + n;
                *word = bf16::round_pair(weights[0][n], weights[1][n]);
            }
        }
    }
    panels
}

/// Running softmax of a group of queries after some blocks of keys.
#[derive(Clone)]
struct State {
    /// Largest score of each query, for powers of two.
    peaks: [f32; GROUP],
    /// Sum of each query's powers of two below the peak.
    sums: [f32; GROUP],
}

impl State {
    fn new() -> State {
        State {
            peaks: [f32::MIN; GROUP],
            sums: [0.0; GROUP],
        }
    }

    /// Turns the first columns of the scores of another block into weights: powers of two below the
    /// new peaks, and 0 for keys that a query does not use. `used` counts those that each uses,
    /// `first` is the block's first. Returns the factors of everything that was weighted before.
    #[inline(always)]
    fn advance<S: Simd>(
        &mut self,
        simd: S,
        weights: &mut [[f32; GROUP]],
        columns: usize,
        used: &[usize],
        first: usize,
    ) -> [f32; GROUP] {
        // queries at the beginning of a group may use only a part of the block
        let masked = used[0] < first + weights.len();
        let mask = |weights: &mut [[f32; GROUP]], value: f32| {
            for (j, weights) in weights.iter_mut().enumerate() {
                let unused = used.partition_point(|&used| used <= first + j);
                weights[..unused].fill(value);
            }
        };
        if masked {
            mask(weights, f32::MIN);
        }
        let mut decays = [0.0; GROUP];
        let (peaks, _) = S::as_mut_simd_f32s(&mut self.peaks);
        let (sums, _) = S::as_mut_simd_f32s(&mut self.sums);
        let (all_decays, _) = S::as_mut_simd_f32s(&mut decays);
        let vectors = peaks.iter_mut().zip(sums).zip(all_decays).enumerate();
        for (column, ((peak, sum), decay)) in vectors.take(columns / S::F32_LANES) {
            let before = *peak;
            for weights in weights.iter() {
                let (weights, _) = S::as_simd_f32s(weights);
                *peak = simd.max_f32s(weights[column], *peak);
            }
            *decay = power_below(simd, before, *peak);
            let mut terms = simd.splat_f32s(0.0);
            for weights in weights.iter_mut() {
                let (weights, _) = S::as_mut_simd_f32s(weights);
                weights[column] = power_below(simd, weights[column], *peak);
                terms = simd.add_f32s(terms, weights[column]);
            }
            *sum = simd.mul_add_e_f32s(*sum, *decay, terms);
        }
        if masked {
            mask(weights, 0.0);
        }
        decays
    }
}

/// Returns 2 to the power of `x - peak`, which is at most 0, within 2 units in the last place and
/// not below 2^-126.
///
/// Range reduction by whole numbers and the polynomial of Cephes (Moshier), `exp2f`.
#[inline(always)]
pub(super) fn power_below<S: Simd>(simd: S, x: S::f32s, peak: S::f32s) -> S::f32s {
    const COEFFICIENTS: [f32; 6] = [
        1.339_887_4e-3,
        9.618_437e-3,
        5.550_332_5e-2,
        2.402_264_8e-1,
        6.931_472e-1,
        1.0,
    ];
    // adding it rounds to a whole number, which then stands in the lowest bits
    let round = simd.splat_f32s(12_582_912.0);
    let lowest = simd.splat_f32s(-125.0);
    let below = simd.sub_f32s(x, peak);
    // a comparison, so that NaN stays
    let below = simd.select_f32s(simd.less_than_f32s(below, lowest), lowest, below);
    let shifted = simd.add_f32s(below, round);
    let rest = simd.sub_f32s(below, simd.sub_f32s(shifted, round));
    let mut p = simd.splat_f32s(1.535_336_2e-4);
    for c in COEFFICIENTS {
        p = simd.mul_add_e_f32s(p, rest, simd.splat_f32s(c));
    }
    let whole = simd.transmute_u32s_f32s(shifted);
    let exponent = simd.wrapping_dyn_shl_u32s(whole, simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(p), exponent))
}

/// Computes the first `columns`, a multiple of [`LANES`], of `c[n] = keep[n] * c[n] + sum over k of
/// a(n, k) * b[k]`, `k < depth`. `c` has [`ROWS`] rows; those of `b` are as long.
#[inline(always)]
fn product<S: Simd>(
    simd: S,
    depth: usize,
    a: impl Fn(usize, usize) -> f32,
    b: &[f32],
    (c, columns): (&mut [f32], usize),
    keep: [f32; ROWS],
) {
    let (b, _) = S::as_simd_f32s(b);
    let (c, _) = S::as_mut_simd_f32s(c);
    let (row, columns) = (c.len() / ROWS, columns / S::F32_LANES);
    let mut at = 0;
    // the sums and the operands of one step must fit into the registers
    if S::REGISTER_COUNT >= 32 {
        while at + 4 <= columns {
            columns_of_product::<S, 4>(simd, depth, &a, &b[at..], &mut c[at..], row, keep);
            at += 4;
        }
    }
    while at + 2 <= columns {
        columns_of_product::<S, 2>(simd, depth, &a, &b[at..], &mut c[at..], row, keep);
        at += 2;
    }
    if at < columns {
        columns_of_product::<S, 1>(simd, depth, &a, &b[at..], &mut c[at..], row, keep);
    }
}

/// [`product`] for the first `WIDE` vectors of rows of `b` and `c` at a distance of `row` vectors.
#[inline(always)]
fn columns_of_product<S: Simd, const WIDE: usize>(
    simd: S,
    depth: usize,
    a: &impl Fn(usize, usize) -> f32,
    b: &[S::f32s],
    c: &mut [S::f32s],
    row: usize,
    keep: [f32; ROWS],
) {
    let mut sums = [[simd.splat_f32s(0.0); WIDE]; ROWS];
    for (k, b) in (0..depth).zip(b.chunks(row)) {
        let b = &b[..WIDE];
        for (n, sums) in sums.iter_mut().enumerate() {
            let a = simd.splat_f32s(a(n, k));
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = simd.mul_add_e_f32s(a, *b, *sum);
            }
        }
    }
    for n in 0..ROWS {
        let kept = simd.splat_f32s(keep[n]);
        for (c, sum) in c[n * row..][..WIDE].iter_mut().zip(sums[n]) {
            // what is not kept may not be finite
            *c = if keep[n] == 0.0 {
                sum
            } else {
                simd.mul_add_e_f32s(*c, kept, sum)
            };
        }
    }
}
