//! Matrix products and linear layers, where training and inference spend most of their time.

pub(super) mod checks;
mod native;
mod variant;

pub(super) use self::variant::LONGEST;
use self::variant::{Epilogue, Form, Product};
pub use self::variant::{MATMUL_VARIANTS, tuned_sources};
use crate::graph::{DispatchBuilder, Precision, Tape, Var};
use crate::ops::Activation;

/// An operand of a matrix product: a matrix or, along leading axes, a batch of them.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    var: Var,
    transposed: bool,
}

impl From<Var> for Matrix {
    fn from(var: Var) -> Matrix {
        Matrix {
            var,
            transposed: false,
        }
    }
}

/// Returns `v` with its last two axes exchanged, as an operand of [`Tape::matmul`]. Nothing is
/// copied.
pub fn transposed(v: Var) -> Matrix {
    Matrix {
        var: v,
        transposed: true,
    }
}

/// Sizes of `op(a)[m, k] · op(b)[k, n]` for each item of a batch, `op` being a transposition or
/// nothing.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    m: usize,
    n: usize,
    k: usize,
    batch: usize,
}

impl Sizes {
    fn product(self, t: &Tape, flips: [bool; 2], whole: bool) -> Product {
        let Sizes { m, n, k, batch } = self;
        Product {
            m,
            n,
            k,
            batch,
            flips,
            precision: t.precision(),
            whole,
        }
    }
}

impl Tape {
    /// Records `c = a · b`, either operand [`transposed`] or not.
    ///
    /// Leading axes are a batch and must be equal, except that `b` may be one matrix for all items
    /// if `a` is not transposed.
    ///
    /// # Panics
    /// If the shapes do not match, or if the products of a batch sum over more than 32,768
    /// elements: such a sum is split, and the parts of a batch would not be contiguous. The
    /// gradients' products sum over rows and columns of the result, to which the limit applies too.
    #[track_caller]
    pub fn matmul(&mut self, a: impl Into<Matrix>, b: impl Into<Matrix>) -> Var {
        let (a, b) = (a.into(), b.into());
        let (a_shape, b_shape) = (self.shape(a.var).to_vec(), self.shape(b.var).to_vec());
        let mismatch = || -> ! {
            panic!(
                "matmul: {a_shape:?} transposed {} · {b_shape:?} transposed {}",
                a.transposed, b.transposed
            )
        };
        let ([a_batch @ .., a_rows, a_cols], [b_batch @ .., b_rows, b_cols]) =
            (&a_shape[..], &b_shape[..])
        else {
            mismatch()
        };
        let (m, k) = if a.transposed {
            (*a_cols, *a_rows)
        } else {
            (*a_rows, *a_cols)
        };
        let (b_k, n) = if b.transposed {
            (*b_cols, *b_rows)
        } else {
            (*b_rows, *b_cols)
        };
        let items: usize = a_batch.iter().product();
        let sizes = if a_batch == b_batch {
            Sizes {
                m,
                n,
                k,
                batch: items,
            }
        } else if b_batch.is_empty() && !a.transposed {
            Sizes {
                m: m * items,
                n,
                k,
                batch: 1,
            }
        } else {
            mismatch()
        };
        if k != b_k {
            mismatch()
        }
        let shape = [a_batch, &[m, n]].concat();
        let c = self.product(sizes, a, b, &shape);
        self.record(c, &[a.var, b.var], move |t, dc| {
            t.product_backward(sizes, a, b, dc)
        });
        c
    }

    /// Records `y = activation(x · weightᵀ + bias)` with `x: [.., in]`, `weight: [out, in]` and
    /// `bias: [out]`.
    ///
    /// # Panics
    /// If the shapes do not match.
    #[track_caller]
    pub fn linear(
        &mut self,
        x: Var,
        weight: Var,
        bias: Option<Var>,
        activation: Activation,
    ) -> Var {
        let (m, k) = self.rows_cols(x);
        let fits = self.shape(weight).len() == 2 && self.shape(weight)[1] == k;
        assert!(
            fits,
            "linear: x {:?} and weight {:?}",
            self.shape(x),
            self.shape(weight)
        );
        let n = self.shape(weight)[0];
        let shape = [&self.shape(x)[..self.shape(x).len() - 1], &[n]].concat();
        let sizes = Sizes { m, n, k, batch: 1 };
        let (a, b) = (Matrix::from(x), transposed(weight));
        let Some(bias) = bias else {
            let y = self.product(sizes, a, b, &shape);
            self.record(y, &[x, weight], move |t, dy| {
                t.product_backward(sizes, a, b, dy)
            });
            return self.activation(y, activation);
        };
        assert!(
            self.shape(bias) == [n],
            "linear: weight {:?} and bias {:?}",
            self.shape(weight),
            self.shape(bias)
        );
        if k > LONGEST {
            let y = self.product(sizes, a, b, &shape);
            self.record(y, &[x, weight], move |t, dy| {
                t.product_backward(sizes, a, b, dy)
            });
            let y = self.add(y, bias);
            return self.activation(y, activation);
        }
        let product = sizes.product(self, [false, true], true);
        let (form, y) = (product.form(self), self.output(&shape));
        if activation == Activation::None {
            self.dispatch(Epilogue::Bias, &form, product, [x, weight], |call| {
                call.bind("bias", bias).bind("c", y)
            });
            self.record(y, &[x, weight, bias], move |t, dy| {
                t.product_backward(sizes, a, b, dy);
                t.bias_backward(bias, dy, n);
            });
        } else {
            let pre = self.output(&shape);
            self.dispatch(
                Epilogue::BiasActivation,
                &form,
                product,
                [x, weight],
                |call| {
                    call.bind("bias", bias)
                        .bind("pre", pre)
                        .bind("c", y)
                        .constant("ACTIVATION", activation as u32)
                },
            );
            self.record(y, &[x, weight, bias], move |t, dy| {
                let dpre = t.activation_backward(pre, dy, activation);
                t.product_backward(sizes, a, b, dpre);
                t.bias_backward(bias, dpre, n);
            });
        }
        y
    }

    /// Records `x · weightᵀ + bias` like [`linear`](Self::linear), without a gradient.
    ///
    /// # Panics
    /// If there is a bias and sums have more than [`LONGEST`] terms.
    pub(crate) fn linear_without_gradient(
        &mut self,
        x: Var,
        weight: Var,
        bias: Option<Var>,
    ) -> Var {
        let ((m, k), n) = (self.rows_cols(x), self.shape(weight)[0]);
        let shape = [&self.shape(x)[..self.shape(x).len() - 1], &[n]].concat();
        let sizes = Sizes { m, n, k, batch: 1 };
        let Some(bias) = bias else {
            return self.product(sizes, x.into(), transposed(weight), &shape);
        };
        assert!(k <= LONGEST, "linear: a bias after {k} terms");
        let product = sizes.product(self, [false, true], true);
        let (form, y) = (product.form(self), self.output(&shape));
        self.dispatch(Epilogue::Bias, &form, product, [x, weight], |call| {
            call.bind("bias", bias).bind("c", y)
        });
        y
    }

    fn bias_backward(&mut self, bias: Var, dy: Var, n: usize) {
        if self.needs_grad(bias) {
            let dbias = self.sum_rows(dy, n);
            self.add_grad(bias, dbias);
        }
    }

    fn product(&mut self, sizes: Sizes, a: Matrix, b: Matrix, shape: &[usize]) -> Var {
        // parts of a batch's sums would not be contiguous
        let whole = sizes.batch > 1;
        assert!(
            !whole || sizes.k <= LONGEST,
            "matmul: a batch of products sums over {} elements, at most {LONGEST} are supported",
            sizes.k
        );
        let product = sizes.product(self, [a.transposed, b.transposed], whole);
        let form = product.form(self);
        let parts = if form.splits == 1 {
            shape.to_vec()
        } else {
            [&[form.splits], shape].concat()
        };
        let c = self.output(&parts);
        self.dispatch(Epilogue::Plain, &form, product, [a.var, b.var], |call| {
            call.bind("c", c)
        });
        if form.splits == 1 {
            return c;
        }
        let sum = self.sum_rows(c, sizes.m * sizes.n);
        self.view(sum, shape)
    }

    /// Records the gradients of `op(a) · op(b)`, which are products too.
    fn product_backward(&mut self, sizes: Sizes, a: Matrix, b: Matrix, dc: Var) {
        let Sizes { m, n, k, batch } = sizes;
        let sizes = |m, n, k| Sizes { m, n, k, batch };
        let flip = |side: Matrix| Matrix {
            var: side.var,
            transposed: !side.transposed,
        };
        let dc = Matrix::from(dc);
        if self.needs_grad(a.var) {
            let (sizes, left, right) = if a.transposed {
                (sizes(k, m, n), b, flip(dc))
            } else {
                (sizes(m, k, n), dc, flip(b))
            };
            let shape = self.shape(a.var).to_vec();
            let da = self.product(sizes, left, right, &shape);
            self.add_grad(a.var, da);
        }
        if self.needs_grad(b.var) {
            let (sizes, left, right) = if b.transposed {
                (sizes(n, k, m), flip(dc), a)
            } else {
                (sizes(k, n, m), flip(a), dc)
            };
            let shape = self.shape(b.var).to_vec();
            let db = self.product(sizes, left, right, &shape);
            self.add_grad(b.var, db);
        }
    }

    fn dispatch(
        &mut self,
        epilogue: Epilogue,
        form: &Form,
        product: Product,
        [a, b]: [Var; 2],
        rest: impl FnOnce(DispatchBuilder<'_>) -> DispatchBuilder<'_>,
    ) {
        let Product {
            m,
            n,
            k,
            batch,
            flips: [flip_a, flip_b],
            ..
        } = product;
        let [a, b] = match product.precision {
            Precision::F32 => [a, b],
            Precision::F16 => [self.half(a), self.half(b)],
        };
        let mut call = self
            .call(form.kernels.of(epilogue), epilogue.entry())
            .bind("a", a)
            .bind("b", b)
            .param("m", m)
            .param("n", n)
            .param("k", k)
            .param("batch", batch)
            .param("a_stride", m * k)
            .param("b_stride", k * n)
            .param("splits", form.splits)
            .param("k_chunk", form.chunk)
            .constant("TRANSPOSE_A", flip_a as u32)
            .constant("TRANSPOSE_B", flip_b as u32);
        for &(name, value) in &form.constants {
            call = call.constant(name, value);
        }
        rest(call).rows(form.groups);
    }

    /// Records a product for measuring, repeated until it takes a measurable time.
    fn stand_in(&mut self, product: Product, form: &Form) {
        let Product { m, n, k, batch, .. } = product;
        // a CPU takes a millisecond for 8 MFLOP, a GPU for a thousand times as much, plus 20 us a
        // dispatch
        let times = if self.capabilities().software {
            (4 << 20) / (m * n * k * batch)
        } else {
            32
        };
        let [a, b] = [m * k, k * n].map(|elements| self.input(&[batch * elements]));
        for _ in 0..times.clamp(1, 32) {
            let c = self.output(&[form.splits, batch, m, n]);
            self.dispatch(Epilogue::Plain, form, product, [a, b], |call| {
                call.bind("c", c)
            });
            self.hold(c);
        }
    }
}
