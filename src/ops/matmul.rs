//! Products of matrices: the one operation that training and inference spend their time in.

use crate::kernel;
use crate::kernel::Kernel;
use crate::ops::Activation;
use crate::tape::{Tape, Var};

/// For adapters whose subgroups have one small size, as software ones do. 17 GFLOP per CPU-second where the tiled form
/// gets 4.
static SHUFFLE: Kernel = kernel!("matmul_shuffle", "activation").unchecked();
static TILED: Kernel = kernel!("matmul_tiled", "activation");

/// One side of a product: a matrix, or a batch of them along the leading axes.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    var: Var,
    transposed: bool,
}

impl From<Var> for Matrix {
    fn from(var: Var) -> Matrix {
        Matrix { var, transposed: false }
    }
}

/// `v` with its last two axes exchanged, for a side of [`Tape::matmul`]; nothing is moved.
pub fn transposed(v: Var) -> Matrix {
    Matrix { var: v, transposed: true }
}

/// Sizes of `op(a)[m, k] · op(b)[k, n]`, for each item of a batch.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    m: usize,
    n: usize,
    k: usize,
    batch: usize,
}

/// The form of a product: a kernel, its constants, the grid, and the parts that the sum over k is cut into.
struct Form {
    kernel: &'static Kernel,
    constants: Vec<(&'static str, u32)>,
    groups: usize,
    splits: usize,
    chunk: usize,
}

/// Longest sum in one dispatch: no loop may come near lavapipe's limit of 65,535 rounds.
const LONGEST: usize = 32_768;

impl Sizes {
    /// The fixed rule, of the adapter and the sizes alone. `whole`: the sum over k may not be cut.
    fn form(self, t: &Tape, flips: [bool; 2], whole: bool) -> Form {
        let Sizes { m, n, k, batch } = self;
        let capabilities = t.capabilities();
        let fours = |sizes: &[usize]| sizes.iter().all(|size| size.is_multiple_of(4));
        let vectors = match flips {
            [false, _] => fours(&[k, n]),
            [true, false] => fours(&[m, n]),
            [true, true] => fours(&[m, n, k]),
        };
        let subgroup = capabilities.subgroup.filter(|&size| capabilities.software && size <= 16 && vectors);
        if let Some(subgroup) = subgroup {
            // few rows: a lower tile, since rows past the last cost as much as real ones
            let rows = match m {
                0..=4 => 4,
                5..=16 => 16,
                _ => 32,
            };
            // twice as long to compile, a seventh faster
            let wide = rows == 32 && n > 4 * subgroup as usize && m * n * k * batch >= 1 << 24;
            let columns = 4 * subgroup as usize * if wide { 2 } else { 1 };
            let splits = if whole { 1 } else { k.div_ceil(LONGEST) };
            let groups = m.div_ceil(rows) * n.div_ceil(columns) * batch * splits;
            let constants = vec![("SG", subgroup), ("ROWS", rows as u32), ("WIDE", wide as u32)];
            return Form { kernel: &SHUFFLE, constants, groups, splits, chunk: k.div_ceil(splits).next_multiple_of(4) };
        }
        let tiles = |tile: usize| m.div_ceil(tile) * n.div_ceil(tile) * batch;
        // small tiles, then a cut sum, where there would be too few workgroups to keep a GPU busy
        let tile = if capabilities.software || tiles(64) >= 128 { 64 } else { 32 };
        let spread = if capabilities.software { 1 } else { (256 / tiles(tile)).min(k / 256).max(1) };
        let splits = if whole { 1 } else { spread.max(k.div_ceil(LONGEST)) };
        Form { kernel: &TILED, constants: vec![("TILE", tile as u32)], groups: tiles(tile) * splits, splits, chunk: k.div_ceil(splits) }
    }
}

impl Tape {
    /// `c = a · b`, either side [`transposed`] or not. Leading axes are a batch and must be the same on both sides, except
    /// that `b` may be one matrix for all if `a` is not transposed.
    ///
    /// # Panics
    /// When the shapes do not fit, or when each of a batch of more than one product sums over more than 32,768 elements:
    /// such a sum is cut into parts, and those of a batch would not lie together. The products of the gradients sum over
    /// rows and columns of the result, for which the same holds.
    #[track_caller]
    pub fn matmul(&mut self, a: impl Into<Matrix>, b: impl Into<Matrix>) -> Var {
        let (a, b) = (a.into(), b.into());
        let (a_shape, b_shape) = (self.shape(a.var).to_vec(), self.shape(b.var).to_vec());
        let mismatch = || -> ! { panic!("matmul: {a_shape:?} transposed {} · {b_shape:?} transposed {}", a.transposed, b.transposed) };
        let ([a_batch @ .., a_rows, a_cols], [b_batch @ .., b_rows, b_cols]) = (&a_shape[..], &b_shape[..]) else { mismatch() };
        let (m, k) = if a.transposed { (*a_cols, *a_rows) } else { (*a_rows, *a_cols) };
        let (b_k, n) = if b.transposed { (*b_cols, *b_rows) } else { (*b_rows, *b_cols) };
        let items: usize = a_batch.iter().product();
        let sizes = if a_batch == b_batch {
            Sizes { m, n, k, batch: items }
        } else if b_batch.is_empty() && !a.transposed {
            Sizes { m: m * items, n, k, batch: 1 }
        } else {
            mismatch()
        };
        if k != b_k {
            mismatch()
        }
        let shape = [a_batch, &[m, n]].concat();
        let c = self.product(sizes, a, b, &shape);
        self.record(c, &[a.var, b.var], move |t, dc| t.product_backward(sizes, a, b, dc));
        c
    }

    /// `y = activation(x · weightᵀ + bias)` with `x: [.., in]`, `weight: [out, in]`, `bias: [out]`.
    #[track_caller]
    pub fn linear(&mut self, x: Var, weight: Var, bias: Option<Var>, activation: Activation) -> Var {
        let (m, k) = self.rows_cols(x);
        let fits = self.shape(weight).len() == 2 && self.shape(weight)[1] == k;
        assert!(fits, "linear: x {:?} and weight {:?}", self.shape(x), self.shape(weight));
        let n = self.shape(weight)[0];
        let shape = [&self.shape(x)[..self.shape(x).len() - 1], &[n]].concat();
        let sizes = Sizes { m, n, k, batch: 1 };
        let (a, b) = (Matrix::from(x), transposed(weight));
        let Some(bias) = bias else {
            let y = self.product(sizes, a, b, &shape);
            self.record(y, &[x, weight], move |t, dy| t.product_backward(sizes, a, b, dy));
            return self.activation(y, activation);
        };
        assert!(self.shape(bias) == [n], "linear: weight {:?} and bias {:?}", self.shape(weight), self.shape(bias));
        if k > LONGEST {
            let y = self.product(sizes, a, b, &shape);
            self.record(y, &[x, weight], move |t, dy| t.product_backward(sizes, a, b, dy));
            let y = self.add(y, bias);
            return self.activation(y, activation);
        }
        let form = sizes.form(self, [false, true], true);
        let y = self.output(&shape);
        if activation == Activation::None {
            self.dispatch("product_bias", &form, sizes, a, b, |call| call.bind("bias", bias).bind("c", y));
            self.record(y, &[x, weight, bias], move |t, dy| {
                t.product_backward(sizes, a, b, dy);
                t.bias_backward(bias, dy, n);
            });
        } else {
            let pre = self.output(&shape);
            self.dispatch("product_bias_activation", &form, sizes, a, b, |call| {
                call.bind("bias", bias).bind("pre", pre).bind("c", y).constant("ACTIVATION", activation as u32)
            });
            self.record(y, &[x, weight, bias], move |t, dy| {
                let dpre = t.activation_backward(pre, dy, activation);
                t.product_backward(sizes, a, b, dpre);
                t.bias_backward(bias, dpre, n);
            });
        }
        y
    }

    fn bias_backward(&mut self, bias: Var, dy: Var, n: usize) {
        if self.needs_grad(bias) {
            let dbias = self.sum_rows(dy, n);
            self.add_grad(bias, dbias);
        }
    }

    fn product(&mut self, sizes: Sizes, a: Matrix, b: Matrix, shape: &[usize]) -> Var {
        // the parts of a batch's sums do not lie together
        let whole = sizes.batch > 1;
        assert!(!whole || sizes.k <= LONGEST, "matmul: a batch of products over {} is too long", sizes.k);
        let form = sizes.form(self, [a.transposed, b.transposed], whole);
        let parts = if form.splits == 1 { shape.to_vec() } else { [&[form.splits], shape].concat() };
        let c = self.output(&parts);
        self.dispatch("product", &form, sizes, a, b, |call| call.bind("c", c));
        if form.splits == 1 {
            return c;
        }
        let sum = self.sum_rows(c, sizes.m * sizes.n);
        self.reshape(sum, shape);
        sum
    }

    /// The gradients of `op(a) · op(b)`, which are products too.
    fn product_backward(&mut self, sizes: Sizes, a: Matrix, b: Matrix, dc: Var) {
        let Sizes { m, n, k, batch } = sizes;
        let flip = |side: Matrix| Matrix { var: side.var, transposed: !side.transposed };
        let dc = Matrix::from(dc);
        if self.needs_grad(a.var) {
            let shape = self.shape(a.var).to_vec();
            let da = if a.transposed {
                self.product(Sizes { m: k, n: m, k: n, batch }, b, flip(dc), &shape)
            } else {
                self.product(Sizes { m, n: k, k: n, batch }, dc, flip(b), &shape)
            };
            self.add_grad(a.var, da);
        }
        if self.needs_grad(b.var) {
            let shape = self.shape(b.var).to_vec();
            let db = if b.transposed {
                self.product(Sizes { m: n, n: k, k: m, batch }, flip(dc), a, &shape)
            } else {
                self.product(Sizes { m: k, n, k: m, batch }, flip(a), dc, &shape)
            };
            self.add_grad(b.var, db);
        }
    }

    fn dispatch(
        &mut self,
        entry: &str,
        form: &Form,
        Sizes { m, n, k, batch }: Sizes,
        a: Matrix,
        b: Matrix,
        rest: impl FnOnce(crate::tape::Call<'_>) -> crate::tape::Call<'_>,
    ) {
        let mut call = self
            .call(form.kernel, entry)
            .bind("a", a.var)
            .bind("b", b.var)
            .param("m", m)
            .param("n", n)
            .param("k", k)
            .param("batch", batch)
            .param("a_stride", m * k)
            .param("b_stride", k * n)
            .param("splits", form.splits)
            .param("k_chunk", form.chunk)
            .constant("TRANSPOSE_A", a.transposed as u32)
            .constant("TRANSPOSE_B", b.transposed as u32);
        for &(name, value) in &form.constants {
            call = call.constant(name, value);
        }
        rest(call).rows(form.groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Array, check, forward, gpu};

    fn side(v: Var, transposed: bool) -> Matrix {
        Matrix { var: v, transposed }
    }

    /// op(a) · op(b) in f64, the leading axes of `a` a batch, `b` one matrix or as many.
    fn product(a: &Array, b: &Array, flips: [bool; 2]) -> Vec<f64> {
        let sizes = |array: &Array, flip: bool| {
            let [.., rows, cols] = array.shape[..] else { panic!() };
            if flip { (cols, rows) } else { (rows, cols) }
        };
        let ((m, k), (_, n)) = (sizes(a, flips[0]), sizes(b, flips[1]));
        let mut c = vec![];
        for (item, a) in a.data.chunks(m * k).enumerate() {
            let b = &b.data[item * k * n % b.data.len()..][..k * n];
            for i in 0..m {
                let mut row = vec![0.0; n];
                for p in 0..k {
                    let x = if flips[0] { a[p * m + i] } else { a[i * k + p] };
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum += x * if flips[1] { b[j * k + p] } else { b[p * n + j] };
                    }
                }
                c.extend(row);
            }
        }
        c
    }

    const FLIPS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

    fn shape(rows: usize, cols: usize, flip: bool) -> [usize; 2] {
        if flip { [cols, rows] } else { [rows, cols] }
    }

    #[test]
    fn agrees_with_its_reference_in_every_layout() {
        for [flip_a, flip_b] in FLIPS {
            let op = |t: &mut Tape, [a, b]: [Var; 2]| t.matmul(side(a, flip_a), side(b, flip_b));
            for (m, k, n) in [(1, 1, 1), (3, 5, 7), (4, 8, 12), (33, 20, 36), (65, 3, 66), (12, 100, 40)] {
                let (a, b) = (shape(m, k, flip_a), shape(k, n, flip_b));
                check(&[[&a, &b]], op, |[a, b]| product(a, b, [flip_a, flip_b]));
            }
            let batched = |[rows, cols]: [usize; 2]| [2, 3, rows, cols];
            let (a, b) = (batched(shape(5, 8, flip_a)), batched(shape(8, 12, flip_b)));
            check(&[[&a, &b]], op, |[a, b]| product(a, b, [flip_a, flip_b]));
        }
    }

    #[test]
    fn one_matrix_serves_a_batch() {
        check(&[[&[3, 5, 8], &[8, 12]], [&[2, 2, 3, 5], &[5, 7]]], |t, [a, b]| t.matmul(a, b), |[a, b]| product(a, b, [false; 2]));
    }

    #[test]
    fn every_size_around_the_tiles() {
        for flips in FLIPS {
            for m in [1, 4, 17, 64, 100] {
                for n in [1, 32, 33, 68] {
                    for k in [1, 31, 32, 36, 65] {
                        let (a, b) = (shape(m, k, flips[0]), shape(k, n, flips[1]));
                        let op = |t: &mut Tape, [a, b]: [Var; 2]| t.matmul(side(a, flips[0]), side(b, flips[1]));
                        forward(&[[&a, &b]], op, |[a, b]| product(a, b, flips));
                    }
                }
            }
        }
    }

    /// Products large enough for the wide form of the shuffle kernel.
    #[test]
    fn large_products() {
        for flips in FLIPS {
            let (a, b) = (shape(300, 260, flips[0]), shape(260, 228, flips[1]));
            let op = |t: &mut Tape, [a, b]: [Var; 2]| t.matmul(side(a, flips[0]), side(b, flips[1]));
            forward(&[[&a, &b]], op, |[a, b]| product(a, b, flips));
        }
    }

    #[test]
    fn past_the_limits_of_grids_and_loops() {
        let op = |t: &mut Tape, [a, b]: [Var; 2]| t.matmul(a, b);
        for (m, k, n) in [(70_000, 4, 4), (70_000, 3, 5), (2, 200_000, 4), (3, 70_001, 2), (2_200_000, 4, 4)] {
            forward(&[[&[m, k], &[k, n]]], op, |[a, b]| product(a, b, [false; 2]));
        }
    }

    #[test]
    fn linear_agrees_with_its_reference() {
        let apply = |activation: Activation, x: f64| match activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Gelu => x * 0.5 * libm::erfc(-x / 2f64.sqrt()),
            Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        };
        for activation in [Activation::None, Activation::Relu, Activation::Gelu, Activation::GeluTanh] {
            let function = |x: f64| apply(activation, x);
            check(
                &[[&[2, 5, 8], &[12, 8], &[12]], [&[3, 7], &[5, 7], &[5]], [&[40, 12], &[36, 12], &[36]], [&[1, 8], &[4, 8], &[4]]],
                |t, [x, w, b]| t.linear(x, w, Some(b), activation),
                |[x, w, b]| product(x, w, [false, true]).iter().zip(b.data.iter().cycle()).map(|(y, b)| function(y + b)).collect(),
            );
            check(
                &[[&[2, 5, 8], &[12, 8]], [&[3, 7], &[5, 7]]],
                |t, [x, w]| t.linear(x, w, None, activation),
                |[x, w]| product(x, w, [false, true]).into_iter().map(function).collect(),
            );
        }
    }

    #[test]
    #[should_panic(expected = "linear: x [2, 3] and weight [4, 5]")]
    fn a_mismatch_names_both_shapes() {
        let mut t = Tape::new(gpu().capabilities());
        let (x, w) = (t.input(&[2, 3]), t.input(&[4, 5]));
        t.linear(x, w, None, Activation::None);
    }
}
