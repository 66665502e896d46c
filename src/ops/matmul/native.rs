//! Rust bodies of matrix products, of every variant: the form of the WGSL does not matter here.

use std::borrow::Cow;
use std::ops::Range;

use crate::graph::{Native, NativeCall};
use crate::ops::Activation;
use crate::ops::native::activation::activate_slice;
use crate::ops::native::product::{Extent, Strided, multiply_part};
use crate::ops::native::{Parts, blocks, floats, math, vectorized};

pub(super) const BODIES: &[(&str, Native)] = &[
    ("product", product),
    ("product_bias", product_bias),
    ("product_bias_activation", product_bias_activation),
];

/// Largest number of rows of a product that is summed without `gemm`: reading `b` once is then all
/// the work.
const FEW: usize = 4;
/// Multiplications of a task of a product of few rows: 128 KB of `b`, read in some 5 us.
const FEW_WORK: usize = 32 * 1024;
/// Least multiplications of a task of other products.
const WORK: usize = 128 * 1024;

/// Cut of a product into tasks.
///
/// The bits of a sum depend on the block that it is in, so the cut depends on sizes alone, never on
/// the number of threads.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    rows: usize,
    columns: usize,
}

impl Cut {
    fn of(Extent { m, n, k }: Extent, flips: [bool; 2]) -> Cut {
        /// Tasks that a small product is cut into, to share it evenly.
        const TASKS: usize = 4;
        /// Largest number of rows, and of columns, of a task. Cutting rows costs more: `gemm` packs
        /// columns again for each.
        const ROWS: usize = 1024;
        const COLUMNS: usize = 128;
        /// Terms from which on columns of a transposed matrix are computed a vector at a time, and
        /// smaller tasks cost nothing.
        const TERMS: usize = 256;
        /// Columns are cut at multiples of two vectors.
        const UNIT: usize = 32;
        let worth = (m * n * k / WORK).clamp(1, TASKS);
        let even = n.div_ceil(worth).next_multiple_of(UNIT);
        let (least, most) = match flips == [false, true] && k >= TERMS {
            true => (UNIT, UNIT),
            false => (2 * UNIT, COLUMNS),
        };
        let columns = match even.clamp(least, most) {
            // a rest that is no vector costs as much as one
            columns if n < columns + UNIT => n.max(1),
            columns => columns,
        };
        let down = worth.div_ceil(n.div_ceil(columns)).max(m.div_ceil(ROWS));
        Cut {
            rows: m.div_ceil(down).max(1),
            columns,
        }
    }
}

fn product(call: &NativeCall) {
    run(
        call,
        #[inline(always)]
        |_, _| (),
    );
}

fn product_bias(call: &NativeCall) {
    let bias = call.read::<f32>("bias");
    run(
        call,
        #[inline(always)]
        |columns, c| add(c, &bias[columns.start - columns.offset..][..c.len()]),
    );
}

fn product_bias_activation(call: &NativeCall) {
    let bias = call.read::<f32>("bias");
    let pre = Parts::new(call.write::<f32>("pre"));
    let activation = Activation::of(call);
    run(
        call,
        #[inline(always)]
        |place, c| {
            add(c, &bias[place.start - place.offset..][..c.len()]);
            // SAFETY: `c` is a part of the result that no other task has, and `pre` is like it
            #[allow(unsafe_code)]
            let pre = unsafe { pre.slice(place.start, c.len()) };
            pre.copy_from_slice(c);
            activate_slice(activation, pre, c);
        },
    );
}

#[inline(always)]
fn add(c: &mut [f32], bias: &[f32]) {
    for (c, bias) in c.iter_mut().zip(bias) {
        *c += bias;
    }
}

/// Where a part of a row of the result lies.
#[derive(Clone, Copy)]
struct Place {
    /// First element of the part in the result.
    start: usize,
    /// First element of its row.
    offset: usize,
}

struct Product<'a> {
    a: Cow<'a, [f32]>,
    b: Cow<'a, [f32]>,
    size: Extent,
    a_stride: usize,
    b_stride: usize,
    splits: usize,
    chunk: usize,
    flips: [bool; 2],
}

impl Product<'_> {
    /// Returns the operands of item `z` of the batch and its splits, and the number of terms.
    fn operands(&self, z: usize) -> (Strided<'_>, Strided<'_>, usize) {
        let Extent { m, n, k } = self.size;
        let (item, split) = (z / self.splits, z % self.splits);
        let first = split * self.chunk;
        let terms = self.chunk.min(k.saturating_sub(first));
        let a = &self.a[item * self.a_stride..][..m * k];
        let a = match self.flips[0] {
            false => Strided::rows(a, k),
            true => Strided::rows(a, m).transposed(),
        };
        let b = &self.b[item * self.b_stride..][..k * n];
        let b = match self.flips[1] {
            false => Strided::rows(b, n),
            true => Strided::rows(b, k).transposed(),
        };
        if terms == 0 {
            return (a, b, 0);
        }
        (a.from(0, first), b.from(first, 0), terms)
    }
}

/// Computes the product and passes each part of a row, when it is complete, to `finish`.
fn run(call: &NativeCall, finish: impl Fn(Place, &mut [f32]) + Sync) {
    let size = Extent {
        m: call.size("m"),
        n: call.size("n"),
        k: call.size("k"),
    };
    let product = Product {
        a: floats(call, "a"),
        b: floats(call, "b"),
        size,
        a_stride: call.size("a_stride"),
        b_stride: call.size("b_stride"),
        splits: call.size("splits"),
        chunk: call.size("k_chunk"),
        flips: ["TRANSPOSE_A", "TRANSPOSE_B"].map(|name| call.constant(name) != 0.0),
    };
    let c = Parts::new(call.write::<f32>("c"));
    let items = call.size("batch") * product.splits;
    if size.m <= FEW && product.flips == [false, true] {
        few_rows(call, &product, items, &c, finish);
    } else {
        by_blocks(call, &product, items, &c, finish);
    }
}

/// For `a[m, k] · b[n, k]ᵀ` of few rows: a sum along a row of `b` for each element.
fn few_rows(
    call: &NativeCall,
    product: &Product,
    items: usize,
    c: &Parts<f32>,
    finish: impl Fn(Place, &mut [f32]) + Sync,
) {
    let Extent { m, n, k } = product.size;
    let length = (FEW_WORK / k.max(1)).clamp(1, n.max(1));
    let strips = n.div_ceil(length.max(1));
    blocks(call, items * strips, 1, |task: Range<usize>| {
        let (z, strip) = (task.start / strips, task.start % strips);
        let columns = strip * length..n.min((strip + 1) * length);
        let (a, b, terms) = product.operands(z);
        vectorized(
            #[inline(always)]
            || {
                for i in 0..m {
                    let offset = (z * m + i) * n;
                    let start = offset + columns.start;
                    // SAFETY: no other task has this item and these columns
                    #[allow(unsafe_code)]
                    let sums = unsafe { c.slice(start, columns.len()) };
                    let row = &a.data[if terms == 0 { 0 } else { i * a.row }..][..terms];
                    for (sum, j) in sums.iter_mut().zip(columns.clone()) {
                        let column = &b.data[if terms == 0 { 0 } else { j * b.column }..][..terms];
                        *sum = math::dot(row, column);
                    }
                    finish(Place { start, offset }, sums);
                }
            },
        );
    });
}

fn by_blocks(
    call: &NativeCall,
    product: &Product,
    items: usize,
    c: &Parts<f32>,
    finish: impl Fn(Place, &mut [f32]) + Sync,
) {
    let Extent { m, n, k } = product.size;
    let cut = Cut::of(product.size, product.flips);
    let (down, across) = (m.div_ceil(cut.rows), n.div_ceil(cut.columns));
    // several small products are one task
    let block = m.min(cut.rows) * n.min(cut.columns) * k;
    let length = (WORK / block.max(1)).max(1);
    blocks(
        call,
        items * down * across,
        length,
        |tasks: Range<usize>| {
            for task in tasks {
                let (z, row) = (task / across / down, task / across % down * cut.rows);
                let column = task % across * cut.columns;
                let (a, b, terms) = product.operands(z);
                let part = Extent {
                    m: cut.rows.min(m - row),
                    n: cut.columns.min(n - column),
                    k: terms,
                };
                let start = (z * m + row) * n + column;
                let (a, b) = match terms {
                    0 => (a, b),
                    _ => (a.from(row, 0), b.from(0, column)),
                };
                // SAFETY: no other task has this block of the result
                #[allow(unsafe_code)]
                unsafe {
                    multiply_part(c, start, n, part, 1.0, a, b);
                }
                vectorized(
                    #[inline(always)]
                    || {
                        for i in 0..part.m {
                            let start = start + i * n;
                            // SAFETY: as above
                            #[allow(unsafe_code)]
                            let sums = unsafe { c.slice(start, part.n) };
                            let offset = start - column;
                            finish(Place { start, offset }, sums);
                        }
                    },
                );
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_cut_evenly_and_small_ones_not_at_all() {
        let cut = |m, n, k, flips| {
            let Cut { rows, columns } = Cut::of(Extent { m, n, k }, flips);
            (m.div_ceil(rows), n.div_ceil(columns))
        };
        let plain = [false; 2];
        assert_eq!(cut(592, 512, 2048, plain), (1, 4));
        assert_eq!(cut(592, 2048, 512, plain), (1, 16));
        assert_eq!(cut(2048, 512, 592, plain), (2, 4));
        assert_eq!(cut(528, 384, 128, plain), (1, 4));
        assert_eq!(cut(528, 128, 512, plain), (2, 2));
        assert_eq!(cut(528, 66, 128, plain), (4, 1));
        assert_eq!(cut(16, 16, 16, plain), (1, 1));

        let transposed = [false, true];
        assert_eq!(cut(81, 192, 576, transposed), (1, 6));
        assert_eq!(cut(81, 200, 576, transposed), (1, 7));
        assert_eq!(cut(592, 512, 128, transposed), cut(592, 512, 128, plain));
    }
}
