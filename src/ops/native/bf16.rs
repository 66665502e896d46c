//! Products of bf16 operands with sums in f32, on processors that have instructions for them.
//!
//! `c[m, n] = a[m, k] · w[n, k]ᵀ`: `a` are activations, which are rounded to bf16; `w` are weights, rows of
//! bf16 pairs in 32-bit words as [`Encoding::Bf16`](crate::ops::Encoding::Bf16) keeps them. A block
//! of 32 weight rows and 32 activation rows stays in registers while it is summed.
//!
//! Rounding to bf16 changes an operand by at most 1/512 of itself. Products are exact in f32; sums
//! are those of f32, in an order that depends on the instructions, with denormals taken as zeros.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::cell::Cell;
use std::ops::Range;

use super::parts::Parts;
use super::{blocks, vectorized};
use crate::graph::NativeCall;

/// Rows of weights, and of activations, of a block of the result.
pub const BLOCK: usize = 32;

/// Rows of activations of a panel: lanes of a vector, rows of a tile.
pub const LANES: usize = 16;

/// Pairs of columns that are multiplied at once; operands are padded to a multiple of it.
pub const STEP: usize = 16;

/// Rows of weights of a task: enough that reading the activations for each is little of its time.
const STRIP: usize = 3 * BLOCK;

/// Words of activations that a strip is multiplied with before it goes on to others: 1 MB, which
/// stays in a core's own cache.
const CHUNK_WORDS: usize = 256 * 1024;

/// Sums of a block: weight row, activation row.
type Sums = [f32; BLOCK * BLOCK];

/// Instructions that multiply bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// Tiles of 16 by 16 sums: Intel's AMX.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// Vectors of 16 sums: AVX-512 BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// Returns the fastest that this processor has, if they are faster than those for f32.
    pub fn detect() -> Option<Instructions> {
        #[cfg(target_arch = "x86_64")]
        {
            if amx::available() {
                return Some(Instructions::Amx);
            }
            if avx512::available() {
                return Some(Instructions::Avx512);
            }
        }
        None
    }

    /// Exchanges rows and columns of 32 by 32 words.
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused))]
    pub fn transpose(self, from: &[u32; BLOCK * BLOCK], to: &mut [u32; BLOCK * BLOCK]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: processors with either kind of instructions have AVX-512
        #[allow(unsafe_code)]
        unsafe {
            avx512::transpose(bytemuck::cast_ref(from), bytemuck::cast_mut(to));
        }
    }

    /// Returns their name.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx => "AMX",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => "AVX-512 BF16",
        }
    }
}

thread_local! {
    /// Words of panels: of the last product that this thread began.
    static WORDS: Cell<Vec<u32>> = const { Cell::new(vec![]) };
}

/// Activations rounded to bf16, in panels of 16 rows; a panel holds its pairs of columns, and of each
/// pair the 16 rows.
struct Panels {
    words: Vec<u32>,
    /// Pairs of columns, padded to a multiple of [`STEP`].
    pairs: usize,
}

impl Panels {
    /// Packs `a: [rows, cols]` on all threads.
    fn pack(call: &NativeCall, a: &[f32], rows: usize, cols: usize) -> Panels {
        let pairs = cols.div_ceil(2).next_multiple_of(STEP);
        let count = rows.div_ceil(BLOCK) * (BLOCK / LANES);
        let mut words = WORDS.take();
        words.resize(words.len().max(count * pairs * LANES), 0);
        let panels = Parts::new(&mut words);
        blocks(call, count, 2, |range: Range<usize>| {
            let mut rounded = vec![0u32; LANES * pairs];
            for panel in range {
                let first = (panel * LANES).min(rows);
                let last = (first + LANES).min(rows);
                let from = &a[first * cols..last * cols];
                // SAFETY: each panel is in one task
                #[allow(unsafe_code)]
                let panel = unsafe { panels.slice(panel * pairs * LANES, pairs * LANES) };
                vectorized(
                    #[inline(always)]
                    || pack_panel(from, cols, &mut rounded, panel),
                );
            }
        });
        Panels { words, pairs }
    }

    /// Keeps the memory for the next product.
    fn give_back(self) {
        WORDS.set(self.words);
    }

    /// Returns the two panels of 32 rows from row `first` on, a multiple of 32.
    fn block(&self, first: usize) -> &[u32] {
        &self.words[first * self.pairs..][..BLOCK * self.pairs]
    }
}

/// Returns a value rounded to the nearest bf16, ties to even, in the lower half.
#[inline(always)]
pub fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

/// Returns two values rounded to bf16 as a word, the first in the lower half.
#[inline(always)]
pub fn round_pair(low: f32, high: f32) -> u32 {
    round(low) | round(high) << 16
}

/// Rounds a row to pairs in words; words past its end become zeros.
#[inline(always)]
pub fn round_row(row: &[f32], words: &mut [u32]) {
    let (pairs, rest) = row.as_chunks::<2>();
    let (whole, tail) = words.split_at_mut(pairs.len());
    for (word, &[low, high]) in whole.iter_mut().zip(pairs) {
        *word = round_pair(low, high);
    }
    tail.fill(0);
    if let (&[last], [word, ..]) = (rest, tail) {
        *word = round(last);
    }
}

#[inline(always)]
fn pack_panel(rows: &[f32], cols: usize, rounded: &mut [u32], panel: &mut [u32]) {
    let pairs = panel.len() / LANES;
    let mut from = rows.chunks(cols.max(1));
    for words in rounded.chunks_mut(pairs) {
        match from.next() {
            Some(row) => round_row(row, words),
            None => words.fill(0),
        }
    }
    // 16 by 16 words at a time are transposed within the nearest cache
    for first in (0..pairs).step_by(LANES) {
        for pair in first..first + LANES {
            let to = &mut panel[pair * LANES..][..LANES];
            for (row, word) in to.iter_mut().enumerate() {
                *word = rounded[row * pairs + pair];
            }
        }
    }
}

/// Rows of weights as words of bf16 pairs.
pub trait Weights: Sync {
    /// Calls `with` with the words of the rows of `range`, each `pairs` words after the other, zero
    /// behind the last column.
    fn rows(&self, range: Range<usize>, pairs: usize, with: &mut dyn FnMut(&[u32]));
}

/// Computes `c = a · wᵀ` for `a: [m, k]`, `n` rows of weights and `c: [m, n]` on all threads, and
/// passes each part of a row of the result, when it is complete, to `finish` with the position of
/// its first element and its row's.
pub fn multiply(
    call: &NativeCall,
    with: Instructions,
    [m, n, k]: [usize; 3],
    a: &[f32],
    weights: &impl Weights,
    c: &Parts<f32>,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let panels = Panels::pack(call, a, m, k);
    let pairs = panels.pairs;
    let chunk = (CHUNK_WORDS / pairs).next_multiple_of(BLOCK);
    blocks(call, n, STRIP, |columns: Range<usize>| {
        let strip = Strip {
            multiplier: Multiplier::new(with),
            panels: &panels,
            columns: columns.clone(),
            n,
            c,
            finish: &finish,
        };
        weights.rows(columns, pairs, &mut |words| {
            for row in (0..m).step_by(chunk) {
                strip.multiply(words, row..m.min(row + chunk));
            }
        });
    });
    panels.give_back();
}

/// A task: some rows of weights times all activations.
struct Strip<'a, F> {
    multiplier: Multiplier,
    panels: &'a Panels,
    /// Rows of the weights, columns of the result.
    columns: Range<usize>,
    n: usize,
    c: &'a Parts<'a, f32>,
    finish: &'a F,
}

impl<F: Fn(usize, usize, &mut [f32])> Strip<'_, F> {
    /// Multiplies the words of the strip with some rows of activations.
    fn multiply(&self, words: &[u32], rows: Range<usize>) {
        let pairs = self.panels.pairs;
        let mut sums = [0.0; BLOCK * BLOCK];
        let mut last = vec![];
        for first in self.columns.clone().step_by(BLOCK) {
            let width = BLOCK.min(self.columns.end - first);
            let words = &words[(first - self.columns.start) * pairs..];
            let words = match width {
                BLOCK => words,
                // the instructions take whole blocks
                width => {
                    last.clear();
                    last.extend_from_slice(&words[..width * pairs]);
                    last.resize(BLOCK * pairs, 0);
                    &last
                }
            };
            for top in rows.clone().step_by(BLOCK) {
                self.multiplier
                    .block(words, self.panels.block(top), &mut sums);
                let height = BLOCK.min(rows.end - top);
                vectorized(
                    #[inline(always)]
                    || self.finish(&sums, top..top + height, first, width),
                );
            }
        }
    }

    /// Writes the sums of a block.
    #[inline(always)]
    fn finish(&self, sums: &Sums, rows: Range<usize>, first: usize, width: usize) {
        for (row, sums) in rows.zip(sums.chunks_exact(BLOCK)) {
            let offset = row * self.n;
            let start = offset + first;
            // SAFETY: no other task has these columns
            #[allow(unsafe_code)]
            let part = unsafe { self.c.slice(start, width) };
            part.copy_from_slice(&sums[..width]);
            (self.finish)(start, offset, part);
        }
    }
}

/// Multiplies blocks on this thread.
pub struct Multiplier {
    with: Instructions,
    #[cfg(target_arch = "x86_64")]
    _tiles: Option<amx::Tiles>,
}

impl Multiplier {
    /// Prepares the instructions.
    pub fn new(with: Instructions) -> Multiplier {
        Multiplier {
            with,
            #[cfg(target_arch = "x86_64")]
            _tiles: (with == Instructions::Amx).then(amx::Tiles::new),
        }
    }

    /// Computes the sums of 32 rows of weights with two panels of activations: `[activation row,
    /// weight row]`.
    ///
    /// # Panics
    /// If there are fewer words.
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused))]
    fn block(&self, weights: &[u32], panels: &[u32], sums: &mut Sums) {
        let mut transposed: Sums = [0.0; BLOCK * BLOCK];
        self.transposed(weights, panels, &mut transposed, BLOCK);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: processors with either kind of instructions have AVX-512
        #[allow(unsafe_code)]
        unsafe {
            avx512::transpose(&transposed, sums);
        }
    }

    /// Computes the sums of 32 rows of weights with two panels of activations into rows of `to` at a
    /// distance of `row`: `[weight row, activation row]`.
    ///
    /// # Panics
    /// If there are fewer words, or less room.
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused))]
    pub fn transposed(&self, weights: &[u32], panels: &[u32], to: &mut [f32], row: usize) {
        let pairs = panels.len() / BLOCK;
        assert!(weights.len() >= BLOCK * pairs && pairs.is_multiple_of(STEP) && pairs > 0);
        assert!(row >= BLOCK && to.len() >= (BLOCK - 1) * row + BLOCK);
        match self.with {
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx => amx::transposed(weights, panels, pairs, to, row),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => avx512::transposed(weights, panels, pairs, to, row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every instruction set of this processor, chosen or not.
    fn available() -> Vec<Instructions> {
        let mut available: Vec<Instructions> = Instructions::detect().into_iter().collect();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512bf16") {
            available.push(Instructions::Avx512);
        }
        available
    }

    #[test]
    fn blocks_are_sums_of_rounded_operands() {
        let pairs = 3 * STEP;
        let value = |i: usize, j: usize| ((i * 31 + j * 17) % 13) as f32 / 4.0 - 1.5;
        let words = |rows: usize| -> Vec<u32> {
            let word = |at: usize| {
                let (row, pair) = (at / pairs, at % pairs);
                round(value(row, 2 * pair)) | round(value(row, 2 * pair + 1)) << 16
            };
            (0..rows * pairs).map(word).collect()
        };
        let weights = words(BLOCK);
        let activations: Vec<f32> = (0..BLOCK * 2 * pairs)
            .map(|at| value(at / (2 * pairs) + 5, at % (2 * pairs)))
            .collect();
        let mut panels = vec![0; BLOCK * pairs];
        let mut rounded = vec![0; LANES * pairs];
        for (panel, rows) in panels
            .chunks_mut(LANES * pairs)
            .zip(activations.chunks(LANES * 2 * pairs))
        {
            pack_panel(rows, 2 * pairs, &mut rounded, panel);
        }
        for with in available() {
            let mut sums = [f32::NAN; BLOCK * BLOCK];
            Multiplier::new(with).block(&weights, &panels, &mut sums);
            for (i, j) in (0..BLOCK).flat_map(|i| (0..BLOCK).map(move |j| (i, j))) {
                // multiples of 1/16 below 2^10: exact in f32 in any order
                let terms = (0..2 * pairs).map(|k| value(i + 5, k) * value(j, k));
                assert_eq!(
                    sums[i * BLOCK + j],
                    terms.sum::<f32>(),
                    "{} {i} {j}",
                    with.name()
                );
            }
        }
    }

    #[test]
    fn values_are_rounded_to_the_nearest_and_to_even() {
        let rounded = |x: f32| f32::from_bits(round(x) << 16);
        for (x, want) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (-5.19, -5.187_5),
            (0.0, 0.0),
        ] {
            assert_eq!(rounded(x), want, "{x}");
        }
    }
}
