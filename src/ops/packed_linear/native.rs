//! Rust bodies of products with packed weights.

use std::borrow::Cow;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::dots::dots;
use crate::graph::{Native, NativeCall};
use crate::ops::Activation;
use crate::ops::encoding::{BLOCK, Bf16, Format, Row, decode_blocks, packed_words};
use crate::ops::native::activation::activate_in_place;
use crate::ops::native::bf16::{self, Instructions};
use crate::ops::native::product::{Extent, Strided, multiply_part, multiply_part_onto};
use crate::ops::native::vectors::{VectorWork, Vectors, with_vectors};
use crate::ops::native::{Parts, blocks, vectorized};

/// Bodies for a format.
pub(super) const fn bodies<F: Format>() -> &'static [(&'static str, Native)] {
    const {
        &[
            ("forward", forward::<F>),
            ("forward_bias", forward_bias::<F>),
            ("backward", backward::<F>),
        ]
    }
}

/// Largest number of rows of `x` for which weights are decoded in registers, for up to four rows at
/// a time. For more they are decoded into memory, for `gemm`: of 8 rows of a layer of 1536x576 a
/// CPU-second computes 83 GFLOP in Q8_0 the first way and 59 the second, of 24 both compute 82.
const FEW: usize = 8;
/// Weights of a task of few rows: decoded in some 3 us.
const FEW_WORK: usize = 32 * 1024;
/// Columns that a task of a backward pass decodes, and rows of weights that it decodes at once.
const PANEL: usize = 64;
/// Largest number of rows of `x` in a task. Cutting them costs more: weights are decoded again for
/// each part.
const PART: usize = 512;

/// Cut of a product of many rows into tasks, and of tasks into calls of `gemm`.
struct Cut {
    /// Rows of weights that a task decodes.
    panel: usize,
    /// Rows of `x` in a call of `gemm`.
    rows: usize,
}

impl Cut {
    fn of(m: usize, k: usize) -> Cut {
        /// Values that leave room in the second cache for what `gemm` packs.
        const VALUES: usize = 64 * 1024;
        let panel = (VALUES / k.max(1) / 16 * 16).clamp(16, PANEL);
        // GFLOP per CPU-second for 1536x576 weights, with all rows in a call and with 8 in each:
        // 50 and 78 for 16 rows, 72 and 93 for 32, 95 and 98 for 48, 108 and 101 for 81
        match m {
            0..48 => Cut {
                panel: panel.min(32),
                rows: 8,
            },
            _ => Cut { panel, rows: PART },
        }
    }
}

thread_local! {
    /// Decoded weights.
    static DECODED: RefCell<Vec<f32>> = const { RefCell::new(vec![]) };
    /// Weights as pairs of bf16.
    static PAIRS: RefCell<Vec<u32>> = const { RefCell::new(vec![]) };
}

/// Calls `with` with a buffer of this thread, which holds whatever it held before.
fn with_pairs(length: usize, with: impl FnOnce(&mut [u32])) {
    PAIRS.with_borrow_mut(|words| {
        words.resize(words.len().max(length), 0);
        with(&mut words[..length]);
    });
}

/// Weights in words.
#[derive(Clone, Copy)]
struct Weights<'a, F> {
    words: &'a [u32],
    row_words: usize,
    /// Columns.
    k: usize,
    format: PhantomData<F>,
}

impl<'a, F: Format> Weights<'a, F> {
    fn of(call: &NativeCall<'a>) -> Self {
        Weights {
            words: packed_words(call),
            row_words: 4 * call.size("row_quads"),
            k: call.size("k"),
            format: PhantomData,
        }
    }

    #[inline(always)]
    fn row(&self, row: usize) -> Row<'a> {
        let words = &self.words[row * self.row_words..][..self.row_words];
        Row::new(words, self.k)
    }

    /// Decodes columns of rows, each into a row of `width` values, from block `first` on.
    fn decode(&self, rows: Range<usize>, first: usize, width: usize, values: &mut [f32]) {
        with_vectors(Decode {
            weights: self,
            rows,
            first,
            width,
            values,
        });
    }
}

struct Decode<'a, 'w, F> {
    weights: &'a Weights<'w, F>,
    rows: Range<usize>,
    first: usize,
    width: usize,
    values: &'a mut [f32],
}

impl<F: Format> VectorWork for Decode<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let values = self.values.chunks_exact_mut(self.width);
        for (row, values) in self.rows.zip(values) {
            decode_blocks::<F, V>(v, self.weights.row(row), self.first, values);
        }
    }
}

fn forward<F: Format>(call: &NativeCall) {
    run::<F>(call, None);
}

fn forward_bias<F: Format>(call: &NativeCall) {
    run::<F>(call, Some(call.read("bias")));
}

fn run<F: Format>(call: &NativeCall, bias: Option<&[f32]>) {
    let weights = Weights::<F>::of(call);
    let (m, n) = (call.size("m"), call.size("n"));
    let (x, y) = (call.read::<f32>("x"), Parts::new(call.write::<f32>("y")));
    let activation = Activation::of(call);
    let rounds = call.constant("ROUND") != 0.0;
    if m > FEW
        && rounds
        && let Some(instructions) = Instructions::detect()
    {
        let sizes = [m, n, weights.k];
        return bf16::multiply(
            call,
            instructions,
            sizes,
            x,
            &weights,
            &y,
            finish(bias, activation),
        );
    }
    if m <= FEW {
        few_rows(call, weights, x, [m, n], bias, &y);
        if activation != Activation::None {
            vectorized(
                #[inline(always)]
                || {
                    // SAFETY: all tasks are done
                    #[allow(unsafe_code)]
                    let y = unsafe { y.slice(0, m * n) };
                    activate_in_place(activation, y);
                },
            );
        }
    } else {
        many_rows(call, weights, x, [m, n], &y, finish(bias, activation));
    }
}

/// Returns what completes a part of a row of sums: bias and activation. It takes the position of the
/// part's first element and that of its row.
fn finish(
    bias: Option<&[f32]>,
    activation: Activation,
) -> impl Fn(usize, usize, &mut [f32]) + Sync {
    #[inline(always)]
    move |start, row, sums: &mut [f32]| {
        if let Some(bias) = bias {
            for (sum, bias) in sums.iter_mut().zip(&bias[start - row..]) {
                *sum += bias;
            }
        }
        activate_in_place(activation, sums);
    }
}

impl<F: Format> bf16::Weights for Weights<'_, F> {
    fn rows(&self, range: Range<usize>, pairs: usize, with: &mut dyn FnMut(&[u32])) {
        if std::any::TypeId::of::<F>() == std::any::TypeId::of::<Bf16>() {
            // as they are: rows of whole blocks
            assert_eq!(self.row_words, pairs);
            return with(&self.words[range.start * pairs..range.end * pairs]);
        }
        with_pairs(range.len() * pairs, |words| {
            DECODED.with_borrow_mut(|decoded| {
                decoded.resize(decoded.len().max(2 * pairs), 0.0);
                for (row, words) in range.zip(words.chunks_exact_mut(pairs)) {
                    let values = &mut decoded[..2 * pairs];
                    self.decode(row..row + 1, 0, 2 * pairs, values);
                    vectorized(
                        #[inline(always)]
                        || bf16::round_row(values, words),
                    );
                }
            });
            with(words);
        });
    }
}

/// Weights with rows and columns exchanged.
struct Transposed<'a, F> {
    weights: Weights<'a, F>,
    /// Number of rows of the weights.
    rows: usize,
    instructions: Instructions,
}

impl<F: Format> bf16::Weights for Transposed<'_, F> {
    fn rows(&self, range: Range<usize>, pairs: usize, with: &mut dyn FnMut(&[u32])) {
        with_pairs(range.len() * pairs, |words| {
            let mut square = [0; SQUARE * SQUARE];
            let mut exchanged = square;
            for first in (0..self.rows).step_by(2 * SQUARE) {
                let rows = first..self.rows.min(first + 2 * SQUARE);
                for column in range.clone().step_by(SQUARE) {
                    self.pair_rows(rows.clone(), column, &mut square);
                    self.instructions.transpose(&square, &mut exchanged);
                    let at = first / 2;
                    let length = SQUARE.min(pairs - at);
                    let lines = exchanged.chunks_exact(SQUARE);
                    let to = words[(column - range.start) * pairs..].chunks_exact_mut(pairs);
                    for (line, to) in lines.zip(to) {
                        to[at..at + length].copy_from_slice(&line[..length]);
                    }
                }
            }
            with(words);
        });
    }
}

/// Columns of a square of words, and pairs of rows: as many as are exchanged at once.
const SQUARE: usize = bf16::BLOCK;

impl<F: Format> Transposed<'_, F> {
    /// Puts each column of two rows into a word, rounded to bf16: `square: [pair of rows, column]` from
    /// `column` on, zero where rows or columns end.
    fn pair_rows(&self, rows: Range<usize>, column: usize, square: &mut [u32; SQUARE * SQUARE]) {
        let mut lines = square.chunks_exact_mut(SQUARE);
        let pairs = rows.clone().step_by(2).zip(&mut lines);
        if std::any::TypeId::of::<F>() == std::any::TypeId::of::<Bf16>() {
            let weights = &self.weights;
            let row =
                |row: usize| &weights.words[row * weights.row_words + column / 2..][..SQUARE / 2];
            let none = [0; SQUARE / 2];
            for (first, line) in pairs {
                let low = row(first);
                let high = if first + 1 < rows.end {
                    row(first + 1)
                } else {
                    &none
                };
                vectorized(
                    #[inline(always)]
                    || {
                        for ((to, low), high) in
                            line.as_chunks_mut().0.iter_mut().zip(low).zip(high)
                        {
                            *to = [low & 0xffff | high << 16, low >> 16 | high & 0xffff_0000];
                        }
                    },
                );
            }
        } else {
            let mut values = [0.0; 2 * SQUARE * SQUARE];
            let decoded = &mut values[..rows.len() * SQUARE];
            self.weights.decode(rows, column / BLOCK, SQUARE, decoded);
            vectorized(
                #[inline(always)]
                || {
                    for ((_, line), values) in pairs.zip(values.chunks_exact(2 * SQUARE)) {
                        let (low, high) = values.split_at(SQUARE);
                        for ((to, low), high) in line.iter_mut().zip(low).zip(high) {
                            *to = bf16::round_pair(*low, *high);
                        }
                    }
                },
            );
        }
        for line in lines {
            line.fill(0);
        }
    }
}

/// Returns rows of whole blocks, zero behind column `k`.
fn whole(x: &[f32], k: usize) -> Cow<'_, [f32]> {
    if k.is_multiple_of(BLOCK) {
        return Cow::Borrowed(x);
    }
    let width = k.next_multiple_of(BLOCK);
    let mut padded = vec![0.0; x.len() / k * width];
    for (padded, x) in padded.chunks_exact_mut(width).zip(x.chunks_exact(k)) {
        padded[..k].copy_from_slice(x);
    }
    Cow::Owned(padded)
}

/// Sums of a task: all rows of `x` times a strip of rows of weights.
struct Strip<'a, F> {
    weights: Weights<'a, F>,
    x: &'a [[f32; BLOCK]],
    m: usize,
    n: usize,
    columns: Range<usize>,
    bias: Option<&'a [f32]>,
    y: &'a Parts<'a, f32>,
}

fn few_rows<F: Format>(
    call: &NativeCall,
    weights: Weights<F>,
    x: &[f32],
    [m, n]: [usize; 2],
    bias: Option<&[f32]>,
    y: &Parts<f32>,
) {
    let x = whole(x, weights.k);
    let x = x.as_chunks().0;
    let length = (FEW_WORK / weights.k.max(1)).max(1);
    blocks(call, n, length, |columns| {
        with_vectors(Strip {
            weights,
            x,
            m,
            n,
            columns,
            bias,
            y,
        });
    });
}

impl<F: Format> VectorWork for Strip<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        let mut first = 0;
        while first < self.m {
            // three rows are four, one of them twice
            match self.m - first {
                1 => self.sums::<V, 1>(v, first),
                2 => self.sums::<V, 2>(v, first),
                _ => self.sums::<V, 4>(v, first),
            }
            first += 4;
        }
    }
}

impl<F: Format> Strip<'_, F> {
    /// Computes up to `M` rows from row `first` on.
    #[inline(always)]
    fn sums<V: Vectors, const M: usize>(&self, v: V, first: usize) {
        let width = self.weights.k.div_ceil(BLOCK);
        let count = M.min(self.m - first);
        let mut x: [&[[f32; BLOCK]]; M] = [&[]; M];
        for (i, x) in x.iter_mut().enumerate() {
            *x = &self.x[(first + i.min(count - 1)) * width..][..width];
        }
        let Range { start, end } = self.columns;
        for j in start..end {
            let sums = dots::<F, V, M>(v, self.weights.row(j), x);
            let bias = self.bias.map_or(0.0, |bias| bias[j]);
            for (i, sum) in sums.iter().enumerate().take(count) {
                // SAFETY: no other task has these columns
                #[allow(unsafe_code)]
                let y = unsafe { self.y.slice((first + i) * self.n + j, 1) };
                y[0] = sum + bias;
            }
        }
    }
}

fn many_rows<F: Format>(
    call: &NativeCall,
    weights: Weights<F>,
    x: &[f32],
    [m, n]: [usize; 2],
    y: &Parts<f32>,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let k = weights.k;
    let cut = Cut::of(m, k);
    let across = n.div_ceil(cut.panel);
    let down = m.div_ceil(PART);
    blocks(call, across * down, 1, |task| {
        let (row, column) = (task.start / across * PART, task.start % across * cut.panel);
        let part = Extent {
            m: PART.min(m - row),
            n: cut.panel.min(n - column),
            k,
        };
        let start = row * n + column;
        DECODED.with_borrow_mut(|decoded| {
            decoded.resize(decoded.len().max(part.n * k), 0.0);
            let decoded = &mut decoded[..part.n * k];
            weights.decode(column..column + part.n, 0, k, decoded);
            let b = Strided::rows(decoded, k).transposed();
            for first in (0..part.m).step_by(cut.rows) {
                let rows = Extent {
                    m: cut.rows.min(part.m - first),
                    ..part
                };
                let a = Strided::rows(x, k).from(row + first, 0);
                // SAFETY: no other task has this block of the result
                #[allow(unsafe_code)]
                unsafe {
                    multiply_part(y, start + first * n, n, rows, 1.0, a, b);
                }
            }
            vectorized(
                #[inline(always)]
                || {
                    for i in 0..part.m {
                        let start = start + i * n;
                        // SAFETY: as above
                        #[allow(unsafe_code)]
                        let sums = unsafe { y.slice(start, part.n) };
                        finish(start, start - column, sums);
                    }
                },
            );
        });
    });
}

fn backward<F: Format>(call: &NativeCall) {
    let weights = Weights::<F>::of(call);
    let (m, n, k) = (call.size("m"), call.size("n"), weights.k);
    let (dy, dx) = (call.read::<f32>("dy"), call.write::<f32>("dx"));
    let dx = Parts::new(dx);
    if m > FEW
        && call.constant("ROUND") != 0.0
        && let Some(instructions) = Instructions::detect()
    {
        let weights = Transposed {
            weights,
            rows: n,
            instructions,
        };
        let as_they_are = |_: usize, _: usize, _: &mut [f32]| ();
        return bf16::multiply(
            call,
            instructions,
            [m, k, n],
            dy,
            &weights,
            &dx,
            as_they_are,
        );
    }
    let across = k.div_ceil(PANEL);
    let down = m.div_ceil(PART);
    blocks(call, across * down, 1, |task| {
        let (row, column) = (task.start / across * PART, task.start % across * PANEL);
        let width = PANEL.min(k - column);
        let start = row * k + column;
        DECODED.with_borrow_mut(|decoded| {
            decoded.resize(decoded.len().max(PANEL * width), 0.0);
            for first in (0..n).step_by(PANEL) {
                let part = Extent {
                    m: PART.min(m - row),
                    n: width,
                    k: PANEL.min(n - first),
                };
                let values = &mut decoded[..part.k * width];
                weights.decode(first..first + part.k, column / BLOCK, width, values);
                let a = Strided::rows(dy, n).from(row, first);
                let b = Strided::rows(values, width);
                // SAFETY: no other task has this block of the result
                #[allow(unsafe_code)]
                unsafe {
                    if first == 0 {
                        multiply_part(&dx, start, k, part, 1.0, a, b);
                    } else {
                        multiply_part_onto(&dx, start, k, part, a, b);
                    }
                }
            }
        });
    });
}
