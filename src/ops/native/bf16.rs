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

use std::ops::Range;

use super::parts::Parts;
use super::{blocks, vectorized};
use crate::graph::NativeCall;

/// Rows of weights, and of activations, of a block of the result.
const BLOCK: usize = 32;

/// Rows of activations of a panel: lanes of a vector, rows of a tile.
const LANES: usize = 16;

/// Pairs of columns that are multiplied at once; operands are padded to a multiple of it.
const STEP: usize = 16;

/// Weights of a task: they stay in the cache next to a core with as many activations.
const TASK_WORDS: usize = 128 * 1024;

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
        let mut words = vec![0; count * pairs * LANES];
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

/// Rounds a row to pairs in words; words past its end become zeros.
#[inline(always)]
pub fn round_row(row: &[f32], words: &mut [u32]) {
    let (pairs, rest) = row.as_chunks::<2>();
    let (whole, tail) = words.split_at_mut(pairs.len());
    for (word, &[low, high]) in whole.iter_mut().zip(pairs) {
        *word = round(low) | round(high) << 16;
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
    // whatever the cut, the sums are the same
    let strip = (TASK_WORDS / pairs)
        .next_multiple_of(BLOCK)
        .min(n.div_ceil(2).next_multiple_of(BLOCK));
    let chunk = (2 * TASK_WORDS / pairs)
        .next_multiple_of(BLOCK)
        .min(m.next_multiple_of(BLOCK));
    let (across, down) = (n.div_ceil(strip), m.div_ceil(chunk));
    blocks(call, across * down, 1, |task: Range<usize>| {
        let (column, row) = (task.start / down * strip, task.start % down * chunk);
        let columns = column..n.min(column + strip);
        let rows = row..m.min(row + chunk);
        let multiplier = Multiplier::new(with);
        let mut sums = [0.0; BLOCK * BLOCK];
        let mut last = vec![];
        weights.rows(columns.clone(), pairs, &mut |words| {
            for first in columns.clone().step_by(BLOCK) {
                let width = BLOCK.min(columns.end - first);
                let words = &words[(first - columns.start) * pairs..];
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
                    multiplier.block(words, panels.block(top), &mut sums);
                    vectorized(
                        #[inline(always)]
                        || {
                            for i in 0..BLOCK.min(rows.end - top) {
                                let offset = (top + i) * n;
                                let start = offset + first;
                                // SAFETY: no other task has these rows and columns
                                #[allow(unsafe_code)]
                                let part = unsafe { c.slice(start, width) };
                                for (j, part) in part.iter_mut().enumerate() {
                                    *part = sums[i * BLOCK + j];
                                }
                                finish(start, offset, part);
                            }
                        },
                    );
                }
            }
        });
    });
}

/// Multiplies blocks on this thread.
struct Multiplier {
    with: Instructions,
    #[cfg(target_arch = "x86_64")]
    _tiles: Option<amx::Tiles>,
}

impl Multiplier {
    fn new(with: Instructions) -> Multiplier {
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
    fn block(&self, weights: &[u32], panels: &[u32], sums: &mut Sums) {
        let pairs = panels.len() / BLOCK;
        assert!(weights.len() >= BLOCK * pairs && pairs.is_multiple_of(STEP));
        match self.with {
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx => amx::block(weights, panels, pairs, sums),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => avx512::block(weights, panels, pairs, sums),
        }
    }
}
