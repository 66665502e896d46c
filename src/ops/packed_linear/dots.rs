//! Sums of products of rows of packed weights with a few rows of floats, decoded in registers.

use crate::ops::encoding::{BLOCK, Format, PIECE, Piece, Row};
use crate::ops::native::vectors::{Cache, LANES, Vectors, prefetch};

/// Distance in bytes at which weights are asked for ahead of their use. On a Xeon of 2024 decoding
/// 143 MB of Q8_0 takes 22 ms of CPU time without and 15 ms with 3072; on an EPYC of 2022, which
/// follows streams by itself, 1024 to 2048 cost nothing, and 3072 up to a half.
const AHEAD: usize = 1536;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for a part of a row, which begins with byte `start` and is `bytes` long, and for what lies
/// [`AHEAD`] of it.
///
/// Compilers load what an unrolled loop needs in any order, and the processor does not see that it is
/// a stream unless it was asked for it in order.
#[inline(always)]
fn ask(row: Row, start: usize, bytes: usize) {
    for line in (start..start + bytes).step_by(LINE) {
        prefetch(row.words, line, Cache::First);
        prefetch(row.words, line + AHEAD, Cache::Second);
    }
}

/// Returns the sums over a row of weights times each of `M` rows of whole blocks.
///
/// The order of a sum does not depend on `M`. One row of weights at a time: two would share the loads
/// of `x`, but processors follow one stream of memory better than two. On an EPYC of 2022 one core
/// reads 26 GB/s of bf16 weights so, and 11 GB/s as pairs of rows.
#[inline(always)]
pub(super) fn dots<F: Format, V: Vectors, const M: usize>(
    v: V,
    row: Row,
    x: [&[[f32; BLOCK]]; M],
) -> [f32; M] {
    let sums = if F::SCALED {
        scaled::<F, V, M>(v, row, x)
    } else {
        plain::<F, V, M>(v, row, x)
    };
    // `array::map` would be compiled for the least processor
    let mut totals = [0.0; M];
    for m in 0..M {
        let [even, odd] = sums[m];
        totals[m] = v.sum(v.add(even, odd));
    }
    totals
}

/// Returns both halves of a block.
#[inline(always)]
fn halves<V: Vectors>(v: V, x: &[f32; BLOCK]) -> [V::Floats; 2] {
    let halves = x.as_chunks().0;
    [v.floats(&halves[0]), v.floats(&halves[1])]
}

/// Two sums for each row of `x`, so that one does not wait for the other.
type Sums<F, const M: usize> = [[F; 2]; M];

/// Returns the sums of the first and of the second halves of the blocks.
#[inline(always)]
// an index counts blocks of several arrays
#[allow(clippy::needless_range_loop)]
fn plain<F: Format, V: Vectors, const M: usize>(
    v: V,
    row: Row,
    x: [&[[f32; BLOCK]]; M],
) -> Sums<V::Floats, M> {
    let mut sums = [[v.zero(); 2]; M];
    for first in 0..row.blocks {
        let bytes = 4 * F::row_words(1);
        prefetch(row.words, bytes * first + AHEAD, Cache::Second);
        let weights = F::quants(v, row, Piece { first, blocks: 1 }, 0);
        for m in 0..M {
            let parts = halves(v, &x[m][first]);
            for half in 0..2 {
                let sum = &mut sums[m][half];
                *sum = v.mul_add(weights[half], parts[half], *sum);
            }
        }
    }
    sums
}

/// Returns the sums of the even and of the odd blocks.
#[inline(always)]
fn scaled<F: Format, V: Vectors, const M: usize>(
    v: V,
    row: Row,
    x: [&[[f32; BLOCK]]; M],
) -> Sums<V::Floats, M> {
    let mut sums = [[v.zero(); 2]; M];
    let whole = row.blocks / PIECE * PIECE;
    // constant numbers of blocks, for the compiler to unroll: rows of 576 columns end with two
    for first in (0..whole).step_by(PIECE) {
        let blocks = PIECE;
        add_piece::<F, V, M>(v, row, x, Piece { first, blocks }, &mut sums);
    }
    let first = whole;
    match row.blocks - whole {
        0 => (),
        2 => add_piece::<F, V, M>(v, row, x, Piece { first, blocks: 2 }, &mut sums),
        blocks => add_piece::<F, V, M>(v, row, x, Piece { first, blocks }, &mut sums),
    }
    sums
}

#[inline(always)]
fn add_piece<F: Format, V: Vectors, const M: usize>(
    v: V,
    row: Row,
    x: [&[[f32; BLOCK]]; M],
    piece: Piece,
    sums: &mut Sums<V::Floats, M>,
) {
    let (mut scales, mut offsets) = ([0.0; LANES], [0.0; LANES]);
    let bytes = 4 * F::row_words(PIECE);
    ask(row, bytes * piece.first / PIECE, bytes);
    F::scales(v, row, piece, &mut scales, &mut offsets);
    for at in 0..piece.blocks {
        let quants = F::quants(v, row, piece, at);
        for m in 0..M {
            let x = halves(v, &x[m][piece.first..][..piece.blocks][at]);
            let sum = &mut sums[m][at % 2];
            if F::GROUP == BLOCK {
                let product = v.mul_add(quants[1], x[1], v.mul(quants[0], x[0]));
                *sum = v.mul_add(v.splat(scales[at]), product, *sum);
            } else {
                for half in 0..2 {
                    let product = v.mul(quants[half], x[half]);
                    *sum = v.mul_add(v.splat(scales[2 * at + half]), product, *sum);
                }
            }
            if F::SHIFTED {
                *sum = v.mul_add(v.splat(offsets[at]), v.add(x[0], x[1]), *sum);
            }
        }
    }
}
