//! Sums of products of rows of packed weights with a few rows of floats, decoded in registers.

use crate::ops::encoding::{BLOCK, Format, PIECE, Row};
use crate::ops::native::vectors::{LANES, Vectors};

/// Returns the sums over each of `R` rows of weights times each of `M` rows of whole blocks.
///
/// The order of a sum does not depend on `R` and `M`.
#[inline(always)]
pub(super) fn dots<F: Format, V: Vectors, const R: usize, const M: usize>(
    v: V,
    rows: [Row; R],
    x: [&[[f32; BLOCK]]; M],
) -> [[f32; M]; R] {
    let sums = if F::SCALED {
        scaled::<F, V, R, M>(v, rows, x)
    } else {
        plain::<F, V, R, M>(v, rows, x)
    };
    sums.map(
        #[inline(always)]
        |sums| {
            sums.map(
                #[inline(always)]
                |sum| v.sum(sum),
            )
        },
    )
}

/// Returns both halves of a block.
#[inline(always)]
fn halves<V: Vectors>(v: V, x: &[f32; BLOCK]) -> [V::Floats; 2] {
    let halves = x.as_chunks().0;
    [v.floats(&halves[0]), v.floats(&halves[1])]
}

#[inline(always)]
fn plain<F: Format, V: Vectors, const R: usize, const M: usize>(
    v: V,
    rows: [Row; R],
    x: [&[[f32; BLOCK]]; M],
) -> [[V::Floats; M]; R] {
    let mut sums = [[[v.zero(); 2]; M]; R];
    for block in 0..rows[0].blocks {
        let x = x.map(
            #[inline(always)]
            |x| halves(v, &x[block]),
        );
        for r in 0..R {
            let weights = F::quants(v, rows[r], block);
            for m in 0..M {
                for half in 0..2 {
                    let sum = &mut sums[r][m][half];
                    *sum = v.mul_add(weights[half], x[m][half], *sum);
                }
            }
        }
    }
    sums.map(
        #[inline(always)]
        |sums| {
            sums.map(
                #[inline(always)]
                |[low, high]| v.add(low, high),
            )
        },
    )
}

#[inline(always)]
fn scaled<F: Format, V: Vectors, const R: usize, const M: usize>(
    v: V,
    rows: [Row; R],
    x: [&[[f32; BLOCK]]; M],
) -> [[V::Floats; M]; R] {
    let mut sums = [[v.zero(); M]; R];
    let (mut scales, mut offsets) = ([[0.0; LANES]; R], [[0.0; LANES]; R]);
    let blocks = rows[0].blocks;
    for piece in 0..blocks.div_ceil(PIECE) {
        for r in 0..R {
            F::scales(v, rows[r], piece, &mut scales[r], &mut offsets[r]);
        }
        let first = PIECE * piece;
        for at in 0..PIECE.min(blocks - first) {
            let x = x.map(
                #[inline(always)]
                |x| halves(v, &x[first + at]),
            );
            for r in 0..R {
                let quants = F::quants(v, rows[r], first + at);
                for m in 0..M {
                    let (x, sum) = (x[m], &mut sums[r][m]);
                    if F::GROUP == BLOCK {
                        let product = v.mul_add(quants[1], x[1], v.mul(quants[0], x[0]));
                        *sum = v.mul_add(v.splat(scales[r][at]), product, *sum);
                    } else {
                        for half in 0..2 {
                            let product = v.mul(quants[half], x[half]);
                            *sum = v.mul_add(v.splat(scales[r][2 * at + half]), product, *sum);
                        }
                    }
                    if F::SHIFTED {
                        *sum = v.mul_add(v.splat(offsets[r][at]), v.add(x[0], x[1]), *sum);
                    }
                }
            }
        }
    }
    sums
}
