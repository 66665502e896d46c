//! Products of matrices: the one operation that training and inference spend their time in.

mod variant;

use self::variant::{Form, LONGEST, Product};
pub use self::variant::{MATMUL_VARIANTS, tuned_sources};
use crate::graph::{DispatchBuilder, Precision, Tape, Var};
use crate::ops::Activation;

/// One side of a product: a matrix, or a batch of them along the leading axes.
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

/// `v` with its last two axes exchanged, for a side of [`Tape::matmul`]; nothing is moved.
pub fn transposed(v: Var) -> Matrix {
    Matrix {
        var: v,
        transposed: true,
    }
}

/// Sizes of `op(a)[m, k] · op(b)[k, n]`, for each item of a batch.
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

    /// `y = activation(x · weightᵀ + bias)` with `x: [.., in]`, `weight: [out, in]`, `bias: [out]`.
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
            self.dispatch("product_bias", &form, product, [x, weight], |call| {
                call.bind("bias", bias).bind("c", y)
            });
            self.record(y, &[x, weight, bias], move |t, dy| {
                t.product_backward(sizes, a, b, dy);
                t.bias_backward(bias, dy, n);
            });
        } else {
            let pre = self.output(&shape);
            self.dispatch(
                "product_bias_activation",
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

    fn bias_backward(&mut self, bias: Var, dy: Var, n: usize) {
        if self.needs_grad(bias) {
            let dbias = self.sum_rows(dy, n);
            self.add_grad(bias, dbias);
        }
    }

    fn product(&mut self, sizes: Sizes, a: Matrix, b: Matrix, shape: &[usize]) -> Var {
        // the parts of a batch's sums do not lie together
        let whole = sizes.batch > 1;
        assert!(
            !whole || sizes.k <= LONGEST,
            "matmul: a batch of products over {} is too long",
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
        self.dispatch("product", &form, product, [a.var, b.var], |call| {
            call.bind("c", c)
        });
        if form.splits == 1 {
            return c;
        }
        let sum = self.sum_rows(c, sizes.m * sizes.n);
        self.view(sum, shape)
    }

    /// The gradients of `op(a) · op(b)`, which are products too.
    fn product_backward(&mut self, sizes: Sizes, a: Matrix, b: Matrix, dc: Var) {
        let Sizes { m, n, k, batch } = sizes;
        let flip = |side: Matrix| Matrix {
            var: side.var,
            transposed: !side.transposed,
        };
        let dc = Matrix::from(dc);
        if self.needs_grad(a.var) {
            let shape = self.shape(a.var).to_vec();
            let da = if a.transposed {
                self.product(
                    Sizes {
                        m: k,
                        n: m,
                        k: n,
                        batch,
                    },
                    b,
                    flip(dc),
                    &shape,
                )
            } else {
                self.product(
                    Sizes {
                        m,
                        n: k,
                        k: n,
                        batch,
                    },
                    dc,
                    flip(b),
                    &shape,
                )
            };
            self.add_grad(a.var, da);
        }
        if self.needs_grad(b.var) {
            let shape = self.shape(b.var).to_vec();
            let db = if b.transposed {
                self.product(
                    Sizes {
                        m: n,
                        n: k,
                        k: m,
                        batch,
                    },
                    flip(dc),
                    a,
                    &shape,
                )
            } else {
                self.product(
                    Sizes {
                        m: k,
                        n,
                        k: m,
                        batch,
                    },
                    flip(a),
                    dc,
                    &shape,
                )
            };
            self.add_grad(b.var, db);
        }
    }

    fn dispatch(
        &mut self,
        entry: &str,
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
            .call(form.kernel, entry)
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

    /// Products to be measured: as many times the same as take a measurable while.
    fn stand_in(&mut self, product: Product, form: &Form) {
        let Product { m, n, k, batch, .. } = product;
        // 8 MFLOP are a millisecond of a CPU; a GPU takes that long for a thousand times as many, and 20 us for a dispatch
        let times = if self.capabilities().software {
            (4 << 20) / (m * n * k * batch)
        } else {
            32
        };
        let [a, b] = [m * k, k * n].map(|elements| self.input(&[batch * elements]));
        for _ in 0..times.clamp(1, 32) {
            let c = self.output(&[form.splits, batch, m, n]);
            self.dispatch("product", form, product, [a, b], |call| call.bind("c", c));
            self.hold(c);
        }
    }
}

pub(super) mod checks {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::device::Device;
    use crate::graph::{Candidates, Choose};
    use crate::ops::check::{Array, Outcome, checks, ensure, ensure_eq, forward, gradients};
    use crate::ops::half::checks::nearest;

    checks![
        agrees_with_its_reference_in_every_layout,
        batches_in_every_layout,
        one_matrix_serves_a_batch,
        every_size_around_the_tiles,
        large_products,
        past_the_limits_of_grids_and_loops,
        half_precision_rounds_the_operands_alone,
        an_operand_is_converted_to_halves_once,
        linear_agrees_with_its_reference
    ];

    pub(super) fn side(v: Var, transposed: bool) -> Matrix {
        Matrix { var: v, transposed }
    }

    /// op(a) · op(b) in f64, the leading axes of `a` a batch, `b` one matrix or as many.
    pub(super) fn product(a: &Array, b: &Array, flips: [bool; 2]) -> Vec<f64> {
        let sizes = |array: &Array, flip: bool| {
            let [.., rows, cols] = array.shape[..] else {
                panic!()
            };
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

    pub(super) fn shape(rows: usize, cols: usize, flip: bool) -> [usize; 2] {
        if flip { [cols, rows] } else { [rows, cols] }
    }

    /// Takes one form wherever it can compute the product, and counts how often.
    #[derive(Debug)]
    struct Forced {
        name: &'static str,
        taken: AtomicUsize,
    }

    impl Choose for Forced {
        fn choose(&self, candidates: &Candidates) -> usize {
            let index = candidates.names.iter().position(|name| *name == self.name);
            self.taken
                .fetch_add(index.is_some() as usize, Ordering::Relaxed);
            index.unwrap_or(0)
        }
    }

    /// Runs `test` once for each form that computes this product on the adapter at hand, with what makes a tape take it.
    pub(super) fn in_every_form(
        device: &Device,
        [m, k, n]: [usize; 3],
        flips: [bool; 2],
        precision: Precision,
        test: impl Fn(&dyn Fn(&mut Tape)) -> Outcome,
    ) -> Outcome {
        let here = device.capabilities();
        let product = Product {
            m,
            n,
            k,
            batch: 1,
            flips,
            precision,
            whole: true,
        };
        let names = product.names(&here);
        ensure_eq!(
            names.contains(&"cooperative"),
            here.cooperative.is_some() && precision == Precision::F16
        );
        ensure!(
            names.contains(&"tiled")
                && names.contains(&"direct")
                && names.contains(&"vector") == (m <= 4)
        );
        for name in names {
            let forced = Arc::new(Forced {
                name,
                taken: AtomicUsize::new(0),
            });
            test(&|t: &mut Tape| {
                t.choose_by(forced.clone());
                t.set_precision(precision);
            })?;
            ensure!(
                forced.taken.load(Ordering::Relaxed) > 0,
                "{name} was not recorded"
            );
        }
        Ok(())
    }

    fn agrees_with_its_reference_in_every_layout(device: &Device) -> Outcome {
        for flips in FLIPS {
            for (m, k, n) in [
                (1, 1, 1),
                (3, 5, 7),
                (4, 8, 12),
                (33, 20, 36),
                (65, 3, 66),
                (12, 100, 40),
            ] {
                let (a, b) = (shape(m, k, flips[0]), shape(k, n, flips[1]));
                in_every_form(device, [m, k, n], flips, Precision::F32, |form| {
                    let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                        form(t);
                        t.matmul(side(a, flips[0]), side(b, flips[1]))
                    };
                    gradients(device, &[[&a, &b]], op, |[a, b]| product(a, b, flips))
                })?;
            }
        }
        Ok(())
    }

    fn batches_in_every_layout(device: &Device) -> Outcome {
        for flips in FLIPS {
            for (m, k, n) in [(5, 8, 12), (2, 8, 4)] {
                let batched = |[rows, cols]: [usize; 2]| [2, 3, rows, cols];
                let (a, b) = (
                    batched(shape(m, k, flips[0])),
                    batched(shape(k, n, flips[1])),
                );
                in_every_form(device, [m, k, n], flips, Precision::F32, |form| {
                    let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                        form(t);
                        t.matmul(side(a, flips[0]), side(b, flips[1]))
                    };
                    gradients(device, &[[&a, &b]], op, |[a, b]| product(a, b, flips))
                })?;
            }
        }
        Ok(())
    }

    fn one_matrix_serves_a_batch(device: &Device) -> Outcome {
        gradients(
            device,
            &[[&[3, 5, 8], &[8, 12]], [&[2, 2, 3, 5], &[5, 7]]],
            |t, [a, b]| t.matmul(a, b),
            |[a, b]| product(a, b, [false; 2]),
        )?;
        Ok(())
    }

    fn every_size_around_the_tiles(device: &Device) -> Outcome {
        for flips in FLIPS {
            for m in [1, 4, 17, 64, 100] {
                for n in [1, 32, 33, 68] {
                    for k in [1, 31, 32, 36, 65] {
                        let (a, b) = (shape(m, k, flips[0]), shape(k, n, flips[1]));
                        in_every_form(device, [m, k, n], flips, Precision::F32, |form| {
                            let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                                form(t);
                                t.matmul(side(a, flips[0]), side(b, flips[1]))
                            };
                            forward(device, &[[&a, &b]], op, |[a, b]| product(a, b, flips))
                        })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Products large enough for the wide form of the shuffle kernel.
    fn large_products(device: &Device) -> Outcome {
        for flips in FLIPS {
            let (a, b) = (shape(300, 260, flips[0]), shape(260, 228, flips[1]));
            in_every_form(device, [300, 260, 228], flips, Precision::F32, |form| {
                let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                    form(t);
                    t.matmul(side(a, flips[0]), side(b, flips[1]))
                };
                forward(device, &[[&a, &b]], op, |[a, b]| product(a, b, flips))
            })?;
        }
        Ok(())
    }

    fn past_the_limits_of_grids_and_loops(device: &Device) -> Outcome {
        for (m, k, n) in [
            (70_000, 4, 4),
            (70_000, 3, 5),
            (2, 200_000, 4),
            (3, 70_001, 2),
            (5, 70_001, 3),
            (2_200_000, 4, 4),
        ] {
            in_every_form(device, [m, k, n], [false; 2], Precision::F32, |form| {
                let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                    form(t);
                    t.matmul(a, b)
                };
                forward(device, &[[&[m, k], &[k, n]]], op, |[a, b]| {
                    product(a, b, [false; 2])
                })
            })?;
        }
        Ok(())
    }

    /// In half precision the operands are rounded and nothing else: against a reference of the same operands the tolerance
    /// is that of f32, forward and in the gradients, which are products of rounded operands as well.
    fn half_precision_rounds_the_operands_alone(device: &Device) -> Outcome {
        let halved = |array: &Array| Array {
            shape: array.shape.clone(),
            data: array.map(nearest),
        };
        for flips in FLIPS {
            for (m, k, n) in [
                (1, 128, 66),
                (3, 5, 7),
                (4, 8, 12),
                (33, 20, 36),
                (65, 3, 66),
                (100, 260, 68),
                (64, 64, 128),
                (17, 31, 130),
            ] {
                let (a, b) = (shape(m, k, flips[0]), shape(k, n, flips[1]));
                in_every_form(device, [m, k, n], flips, Precision::F16, |form| {
                    let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                        form(t);
                        t.matmul(side(a, flips[0]), side(b, flips[1]))
                    };
                    forward(device, &[[&a, &b]], op, |[a, b]| {
                        product(&halved(a), &halved(b), flips)
                    })?;
                    let gradient = |t: &mut Tape, [a, b, dc]: [Var; 3], of: usize| {
                        form(t);
                        let c = t.matmul(side(a, flips[0]), side(b, flips[1]));
                        t.backward(c, dc);
                        t.grad([a, b][of]).unwrap()
                    };
                    let flip = |array: &Array, flip: bool| {
                        if flip {
                            transpose(array)
                        } else {
                            Array {
                                shape: array.shape.clone(),
                                data: array.data.clone(),
                            }
                        }
                    };
                    let da = |[_, b, dc]: [&Array; 3]| {
                        let da = product(&halved(dc), &flip(&halved(b), flips[1]), [false, true]);
                        flip(
                            &Array {
                                shape: vec![m, k],
                                data: da,
                            },
                            flips[0],
                        )
                        .data
                    };
                    let db = |[a, _, dc]: [&Array; 3]| {
                        let db = product(&flip(&halved(a), flips[0]), &halved(dc), [true, false]);
                        flip(
                            &Array {
                                shape: vec![k, n],
                                data: db,
                            },
                            flips[1],
                        )
                        .data
                    };
                    forward(device, &[[&a, &b, &[m, n]]], |t, v| gradient(t, v, 0), da)?;
                    forward(device, &[[&a, &b, &[m, n]]], |t, v| gradient(t, v, 1), db)
                })?;
            }
        }
        Ok(())
    }

    fn transpose(array: &Array) -> Array {
        let [rows, cols] = array.shape[..] else {
            panic!()
        };
        Array {
            shape: vec![cols, rows],
            data: (0..rows * cols)
                .map(|at| array.data[at % rows * cols + at / rows])
                .collect(),
        }
    }

    fn an_operand_is_converted_to_halves_once(device: &Device) -> Outcome {
        let mut t = device.tape();
        t.set_precision(Precision::F16);
        let (x, w) = (t.variable(&[8, 8]), t.variable(&[8, 8]));
        let y = t.linear(x, w, None, Activation::None);
        let dy = t.input(&[8, 8]);
        t.backward(y, dy);
        let halves = t
            .dispatches
            .iter()
            .filter(|dispatch| dispatch.kernel.name == "half")
            .count();
        ensure_eq!((halves, t.dispatches()), (3, 6));
        Ok(())
    }

    fn linear_agrees_with_its_reference(device: &Device) -> Outcome {
        let apply = |activation: Activation, x: f64| match activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Gelu => x * 0.5 * libm::erfc(-x / 2f64.sqrt()),
            Activation::GeluTanh => {
                0.5 * x
                    * (1.0
                        + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
            }
        };
        let cases: [(&[usize], usize); 6] = [
            (&[2, 5, 8], 12),
            (&[3, 7], 5),
            (&[40, 12], 36),
            (&[1, 8], 4),
            (&[4, 8], 66),
            (&[37, 10], 66),
        ];
        for activation in [
            Activation::None,
            Activation::Relu,
            Activation::Gelu,
            Activation::GeluTanh,
        ] {
            let function = |x: f64| apply(activation, x);
            for (x, n) in cases {
                let k = x[x.len() - 1];
                let m = x.iter().product::<usize>() / k;
                in_every_form(device, [m, k, n], [false, true], Precision::F32, |form| {
                    gradients(
                        device,
                        &[[x, &[n, k], &[n]]],
                        |t, [x, w, b]| {
                            form(t);
                            t.linear(x, w, Some(b), activation)
                        },
                        |[x, w, b]| {
                            product(x, w, [false, true])
                                .iter()
                                .zip(b.data.iter().cycle())
                                .map(|(y, b)| function(y + b))
                                .collect()
                        },
                    )
                })?;
            }
            gradients(
                device,
                &[[&[2, 5, 8], &[12, 8]], [&[3, 7], &[5, 7]]],
                |t, [x, w]| t.linear(x, w, None, activation),
                |[x, w]| {
                    product(x, w, [false, true])
                        .into_iter()
                        .map(function)
                        .collect()
                },
            )?;
        }
        Ok(())
    }

    #[test]
    #[should_panic(expected = "linear: x [2, 3] and weight [4, 5]")]
    fn a_mismatch_names_both_shapes() {
        let device = crate::ops::check::device();
        let mut t = device.tape();
        let (x, w) = (t.input(&[2, 3]), t.input(&[4, 5]));
        t.linear(x, w, None, Activation::None);
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::checks::{in_every_form, product, shape, side};
    use super::*;
    use crate::ops::check::{device, gradients};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn products_of_any_size_agree_in_every_form(sizes in prop::array::uniform3(1..90usize), flips in any::<[bool; 2]>()) {
            let [m, k, n] = sizes;
            let (a, b) = (shape(m, k, flips[0]), shape(k, n, flips[1]));
            in_every_form(&device(), sizes, flips, Precision::F32, |form| {
                let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                    form(t);
                    t.matmul(side(a, flips[0]), side(b, flips[1]))
                };
                gradients(&device(), &[[&a, &b]], op, |[a, b]| product(a, b, flips))
            }).unwrap();
        }
    }
}
