//! Products of strided matrices, by the crate `gemm`.

use super::parts::Parts;

/// A matrix in a slice: element `(i, j)` is at `i * row + j * column`.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    /// Elements, from that of the first row and column.
    pub data: &'a [f32],
    /// Distance of rows.
    pub row: usize,
    /// Distance of columns.
    pub column: usize,
}

impl<'a> Strided<'a> {
    /// Returns a matrix of contiguous rows at that distance.
    #[inline]
    pub fn rows(data: &'a [f32], row: usize) -> Strided<'a> {
        Strided {
            data,
            row,
            column: 1,
        }
    }

    /// Returns the matrix with rows and columns exchanged.
    #[inline]
    pub fn transposed(self) -> Strided<'a> {
        Strided {
            row: self.column,
            column: self.row,
            ..self
        }
    }

    /// Returns the matrix from row `i` and column `j` on.
    ///
    /// # Panics
    /// If there is no such element.
    #[inline]
    pub fn from(self, i: usize, j: usize) -> Strided<'a> {
        Strided {
            data: &self.data[i * self.row + j * self.column..],
            ..self
        }
    }

    #[inline]
    fn check(self, rows: usize, columns: usize) {
        if rows > 0 && columns > 0 {
            assert!((rows - 1) * self.row + (columns - 1) * self.column < self.data.len());
        }
    }
}

/// Sizes of `a[m, k] · b[k, n]`.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
}

/// Computes `c = factor * a · b` on this thread, for `c` in rows at a distance of `c_row`.
///
/// # Panics
/// If a matrix does not fit into its slice.
pub fn multiply(c: &mut [f32], c_row: usize, size: Extent, factor: f32, a: Strided, b: Strided) {
    let parts = Parts::new(c);
    // SAFETY: this is the only user of the slice
    #[allow(unsafe_code)]
    unsafe {
        multiply_part(&parts, 0, c_row, size, factor, a, b);
    }
}

/// Computes `c = factor * a · b` on this thread, for `c` in rows at a distance of `c_row` from
/// element `c_at` of an output.
///
/// # Panics
/// If a matrix does not fit into its slice.
///
/// # Safety
/// Nobody else may use these `n` columns of these `m` rows of `c` at the same time.
#[allow(unsafe_code)]
pub unsafe fn multiply_part(
    c: &Parts<f32>,
    c_at: usize,
    c_row: usize,
    size: Extent,
    factor: f32,
    a: Strided,
    b: Strided,
) {
    // SAFETY: the caller's promise
    unsafe { product(c, (c_at, c_row), false, size, factor, a, b) }
}

/// Computes `c += a · b` like [`multiply_part`].
///
/// # Panics
/// If a matrix does not fit into its slice.
///
/// # Safety
/// As [`multiply_part`].
#[allow(unsafe_code)]
pub unsafe fn multiply_part_onto(
    c: &Parts<f32>,
    c_at: usize,
    c_row: usize,
    size: Extent,
    a: Strided,
    b: Strided,
) {
    // SAFETY: the caller's promise
    unsafe { product(c, (c_at, c_row), true, size, 1.0, a, b) }
}

/// Computes `c = factor * a · b`, or adds it to `c`.
///
/// # Safety
/// As [`multiply_part`].
#[allow(unsafe_code)]
unsafe fn product(
    c: &Parts<f32>,
    (c_at, c_row): (usize, usize),
    onto: bool,
    Extent { m, n, k }: Extent,
    factor: f32,
    a: Strided,
    b: Strided,
) {
    if m == 0 || n == 0 {
        return;
    }
    a.check(m, k);
    b.check(k, n);
    assert!(n <= c_row || m == 1);
    let to = c.at(c_at, c_at + (m - 1) * c_row + n);
    let piece = columns_at_once(m, k, a, b).unwrap_or(n);
    for first in (0..n).step_by(piece) {
        // SAFETY: all elements are in bounds, and the caller promises that `c` is its own
        unsafe {
            gemm::gemm(
                m,
                piece.min(n - first),
                k,
                to.add(first),
                1,
                c_row as isize,
                onto,
                a.data.as_ptr(),
                a.column as isize,
                a.row as isize,
                b.data.as_ptr().wrapping_add(first * b.column),
                b.column as isize,
                b.row as isize,
                if onto { 1.0 } else { 0.0 },
                factor,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// Returns the columns of `a · bᵀ` that are better computed at once than all of them.
///
/// `gemm` rearranges columns whose elements lie side by side into its own order. For more of them
/// than a vector has lanes it goes along `k` through all of them in turn: their distances of `k`
/// elements fall into few sets of the cache, and where products have few rows, that is most of the
/// time. A vector of columns at a time costs only that the rows are read more often. On one core of
/// a Zen 4 processor 81 rows with k = 1536 go from 48 to 95 GFLOP/s, and 8 rows from 8 to 100.
fn columns_at_once(m: usize, k: usize, a: Strided, b: Strided) -> Option<usize> {
    /// Lanes of the widest vector.
    const LANES: usize = 16;
    /// Rows from which on, and terms up to which, rearranging is little of the work.
    const ROWS: usize = 16;
    const TERMS: usize = 256;
    let transposed = b.row == 1 && b.column > 1;
    (transposed && a.column == 1 && (m < ROWS || k >= TERMS)).then_some(LANES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|at| ((at * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0)
            .collect()
    }

    #[test]
    fn any_strides_give_the_product() {
        let flips = [[false, false], [false, true], [true, false], [true, true]];
        // of a transposed matrix few rows, and many terms, are computed in pieces
        let sizes = [(37, 30, 70), (5, 41, 70), (37, 41, 300)];
        for ((m, n, k), [flip_a, flip_b]) in sizes
            .into_iter()
            .flat_map(|size| flips.map(|flips| (size, flips)))
        {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let left = match flip_a {
                false => Strided::rows(&a, k),
                true => Strided::rows(&a, m).transposed(),
            };
            let right = match flip_b {
                false => Strided::rows(&b, n),
                true => Strided::rows(&b, k).transposed(),
            };
            let at = |m: Strided, i, j| m.data[i * m.row + j * m.column] as f64;
            // each of the terms may be rounded, the sums of up to some ten most of all
            let tolerance = 1.5e-7 * k as f64;
            let mut c = vec![f32::NAN; m * (n + 3)];
            multiply(&mut c, n + 3, Extent { m, n, k }, 0.5, left, right);
            for (i, row) in c.chunks(n + 3).enumerate() {
                for (j, &got) in row[..n].iter().enumerate() {
                    let terms = (0..k).map(|l| at(left, i, l) * at(right, l, j));
                    let want = 0.5 * terms.sum::<f64>();
                    assert!(
                        (got as f64 - want).abs() < tolerance,
                        "{i} {j}: {got}, want {want}"
                    );
                }
                assert!(row[n..].iter().all(|rest| rest.is_nan()));
            }
        }
    }

    #[test]
    fn a_product_is_added_to_what_was_there() {
        let (a, b) = (values(6, 1), values(6, 2));
        let mut c = vec![10.0; 4];
        let (left, right) = (Strided::rows(&a, 3), Strided::rows(&b, 2));
        // SAFETY: the only user
        #[allow(unsafe_code)]
        unsafe {
            let size = Extent { m: 2, n: 2, k: 3 };
            multiply_part_onto(&Parts::new(&mut c), 0, 2, size, left, right);
        }
        for (at, got) in c.into_iter().enumerate() {
            let (i, j) = (at / 2, at % 2);
            let want: f32 = (0..3).map(|l| a[3 * i + l] * b[2 * l + j]).sum();
            assert!((got - 10.0 - want).abs() < 1e-5, "{i} {j}: {got}");
        }
    }

    #[test]
    #[should_panic]
    fn a_matrix_that_does_not_fit_is_refused() {
        let a = values(12, 1);
        let mut c = vec![0.0; 9];
        let a = Strided::rows(&a, 4);
        multiply(&mut c, 3, Extent { m: 3, n: 3, k: 5 }, 1.0, a, a);
    }
}
