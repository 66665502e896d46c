//! A residual connection fused with the LayerNorm that follows it.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::Dropout;
use crate::ops::layernorm::{Norm, differentiate, normalize};
use crate::ops::native::random::keep;
use crate::ops::native::{rows, rows_of_three, rows_of_two};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static ADD_LAYERNORM: VectorWidth = vector_width!("add_layernorm", shared::RANDOM, shared::REDUCE;
    native: &[("forward", forward), ("backward", backward), ("backward_drop", backward_drop)]);

impl Tape {
    /// Records `h = x + dropout(branch)` and `y = layernorm(h)` in one dispatch. Returns `(h, y)`.
    ///
    /// `x`, `branch`, `h` and `y` are `[.., c]`, `weight` and `bias` are `[c]`. The results are
    /// those of [`dropout`](Self::dropout), [`add`](Self::add) and [`layernorm`](Self::layernorm),
    /// bit for bit unless the device fuses products with sums.
    #[track_caller]
    pub fn add_layernorm(
        &mut self,
        [x, branch]: [Var; 2],
        dropout: Dropout,
        [weight, bias]: [Var; 2],
        eps: f32,
    ) -> (Var, Var) {
        assert!(
            self.shape(x) == self.shape(branch),
            "add_layernorm: {:?} and {:?}",
            self.shape(x),
            self.shape(branch)
        );
        let (rows, width) = self.rows_cols(x);
        for (name, v) in [("weight", weight), ("bias", bias)] {
            assert!(
                self.shape(v) == [width],
                "add_layernorm: {name} of shape {:?} for x of shape {:?}",
                self.shape(v),
                self.shape(x)
            );
        }
        let (kernel, cols) = ADD_LAYERNORM.of(width);
        let workgroup = self.row_workgroup(cols);
        let site = dropout.site(self);
        let (h, y, stats) = (self.like(x), self.like(x), self.output(&[rows, 2]));
        let params = [
            ("rows", rows.into()),
            ("cols", cols.into()),
            ("eps", eps.into()),
            ("site", site.into()),
            ("p", dropout.p.into()),
        ];
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("branch", branch)
            .bind("seed", dropout.seed)
            .bind("weight", weight)
            .bind("bias", bias)
            .bind("h", h)
            .bind("y", y)
            .bind("stats", stats)
            .params(&params)
            .constant("WG", workgroup)
            .rows(rows);
        self.record_many([h, y], &[x, branch, weight, bias], move |t, [dh, dy]| {
            let norm = Norm {
                x: h,
                weight,
                bias,
                stats,
                eps,
            };
            let drop = dropout.p > 0.0 && t.needs_grad(branch);
            let (dx, dbranch) = if let (Some(dh), Some(dy)) = (dh, dy) {
                let (dx, dropped) = (t.like(h), t.like(h));
                let call = t
                    .call(kernel, if drop { "backward_drop" } else { "backward" })
                    .bind("dy", dy)
                    .bind("dh", dh)
                    .bind("sum", h);
                let call = call
                    .bind("weight", weight)
                    .bind("saved", stats)
                    .bind("dx", dx);
                let call = if drop {
                    call.bind("seed", dropout.seed).bind("dbranch", dropped)
                } else {
                    call
                };
                call.params(&params).constant("WG", workgroup).rows(rows);
                (dx, if drop { dropped } else { dx })
            } else {
                // only one of h and y is used
                let dx = match dy {
                    Some(dy) => norm.backward(t, dy),
                    None => dh.expect("a pullback runs when a gradient has arrived"),
                };
                (
                    dx,
                    if drop {
                        t.masked(dx, dropout, site)
                    } else {
                        dx
                    },
                )
            };
            t.add_grad(x, dx);
            t.add_grad(branch, dbranch);
            if let Some(dy) = dy {
                norm.backward_weights(t, dy);
            }
        });
        (h, y)
    }
}

/// Dropout of the branch.
#[derive(Clone, Copy)]
struct Mask {
    seed: u32,
    site: u32,
    p: f32,
}

impl Mask {
    fn of(call: &NativeCall) -> Mask {
        Mask {
            seed: call.read::<u32>("seed")[0],
            site: call.size("site") as u32,
            p: call.float("p"),
        }
    }

    /// Returns the factor of an element of `branch`.
    #[inline(always)]
    fn factor(self, index: u32) -> f32 {
        keep(self.seed, self.site, index, self.p)
    }
}

fn forward(call: &NativeCall) {
    let (x, branch) = (call.read::<f32>("x"), call.read::<f32>("branch"));
    let affine = [call.read::<f32>("weight"), call.read::<f32>("bias")];
    let (h, y) = (call.write::<f32>("h"), call.write::<f32>("y"));
    let stats = call.write::<f32>("stats");
    let (mask, eps) = (Mask::of(call), call.float("eps"));
    let cols = affine[0].len();
    rows_of_three(
        call,
        (h, cols),
        (y, cols),
        (stats, 2),
        #[inline(always)]
        |row, h, y, stats| {
            let first = row * cols;
            let (x, branch) = (&x[first..][..cols], &branch[first..][..cols]);
            if mask.p > 0.0 {
                let places = h.iter_mut().zip(x).zip(branch).enumerate();
                for (col, ((h, x), branch)) in places {
                    *h = x + branch * mask.factor((first + col) as u32);
                }
            } else {
                for ((h, x), branch) in h.iter_mut().zip(x).zip(branch) {
                    *h = x + branch;
                }
            }
            normalize(h, affine, eps, y, stats);
        },
    );
}

/// Operands of the gradient with respect to `x`.
struct Gradient<'a> {
    dy: &'a [f32],
    dh: &'a [f32],
    h: &'a [f32],
    weight: &'a [f32],
    stats: &'a [f32],
}

impl Gradient<'_> {
    fn of<'a>(call: &NativeCall<'a>) -> Gradient<'a> {
        Gradient {
            dy: call.read("dy"),
            dh: call.read("dh"),
            h: call.read("sum"),
            weight: call.read("weight"),
            stats: call.read("saved"),
        }
    }

    #[inline(always)]
    fn row(&self, row: usize, dx: &mut [f32]) {
        let cols = dx.len();
        let [dy, dh, h] = [self.dy, self.dh, self.h].map(
            #[inline(always)]
            |all| &all[row * cols..][..cols],
        );
        differentiate(dy, h, self.weight, &self.stats[2 * row..][..2], dx);
        for (dx, dh) in dx.iter_mut().zip(dh) {
            *dx += dh;
        }
    }
}

fn backward(call: &NativeCall) {
    let gradient = Gradient::of(call);
    rows(
        call,
        call.write::<f32>("dx"),
        gradient.weight.len(),
        #[inline(always)]
        |row, dx| gradient.row(row, dx),
    );
}

fn backward_drop(call: &NativeCall) {
    let (gradient, mask) = (Gradient::of(call), Mask::of(call));
    let (dx, dbranch) = (call.write::<f32>("dx"), call.write::<f32>("dbranch"));
    let cols = gradient.weight.len();
    rows_of_two(
        call,
        (dx, cols),
        (dbranch, cols),
        #[inline(always)]
        |row, dx, dbranch| {
            gradient.row(row, dx);
            let first = row * cols;
            for (col, (dbranch, dx)) in dbranch.iter_mut().zip(dx).enumerate() {
                *dbranch = *dx * mask.factor((first + col) as u32);
            }
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan};
    use crate::ops::check::{
        Array, Failure, Outcome, checks, ensure, ensure_eq, forward, gradients, random_f32,
    };

    checks![
        agrees_with_its_reference,
        gradients_hold_if_only_the_norm_is_used,
        gradients_hold_if_only_the_sum_is_used,
        equals_dropout_add_and_layernorm_bit_for_bit
    ];

    const EPS: f32 = 1e-5;

    /// Returns h and y.
    fn reference([x, branch, weight, bias]: [&Array; 4]) -> [Vec<f64>; 2] {
        let h: Vec<f64> = x
            .data
            .iter()
            .zip(&branch.data)
            .map(|(x, branch)| x + branch)
            .collect();
        let normed = h.chunks(weight.data.len()).flat_map(|row| {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let rstd =
                1.0 / (row.iter().map(|h| (h - mean).powi(2)).sum::<f64>() / n + EPS as f64).sqrt();
            row.iter()
                .enumerate()
                .map(move |(i, h)| (h - mean) * rstd * weight.data[i] + bias.data[i])
                .collect::<Vec<_>>()
        });
        let y = normed.collect();
        [h, y]
    }

    fn op(t: &mut Tape, [x, branch, weight, bias]: [Var; 4]) -> (Var, Var) {
        let seed = t.constant(&[1u32]);
        t.add_layernorm([x, branch], Dropout { p: 0.0, seed }, [weight, bias], EPS)
    }

    fn both(t: &mut Tape, inputs: [Var; 4]) -> Var {
        let (h, y) = op(t, inputs);
        let y = t.scale(y, 0.5);
        t.add(h, y)
    }

    fn both_reference(inputs: [&Array; 4]) -> Vec<f64> {
        let [h, y] = reference(inputs);
        h.iter().zip(&y).map(|(h, y)| h + 0.5 * y).collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [2, 4, 31, 32, 33, 36, 512, 1028] {
            gradients(
                device,
                &[[&[3, cols], &[3, cols], &[cols], &[cols]]],
                both,
                both_reference,
            )?;
        }
        gradients(
            device,
            &[
                [&[2, 33, 8], &[2, 33, 8], &[8], &[8]],
                [&[65, 7], &[65, 7], &[7], &[7]],
            ],
            both,
            both_reference,
        )?;
        forward(
            device,
            &[[&[70_000, 4], &[70_000, 4], &[4], &[4]]],
            both,
            both_reference,
        )
    }

    fn gradients_hold_if_only_the_norm_is_used(device: &Device) -> Outcome {
        gradients(
            device,
            &[[&[5, 36], &[5, 36], &[36], &[36]]],
            |t, inputs| op(t, inputs).1,
            |inputs| reference(inputs)[1].clone(),
        )
    }

    fn gradients_hold_if_only_the_sum_is_used(device: &Device) -> Outcome {
        let sum = |t: &mut Tape, [x, branch]: [Var; 2]| {
            let (weight, bias) = (t.constant(&[1f32; 36]), t.constant(&[0f32; 36]));
            op(t, [x, branch, weight, bias]).0
        };
        gradients(device, &[[&[5, 36], &[5, 36]]], sum, |[x, branch]| {
            x.data
                .iter()
                .zip(&branch.data)
                .map(|(x, branch)| x + branch)
                .collect()
        })
    }

    /// Returns h, y and all gradients, from the fused op or from separate ones, of a loss that
    /// depends on h, y or both.
    fn run(
        device: &Device,
        cols: usize,
        fused: bool,
        wanted: [bool; 2],
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let rows = 37;
        let mut tape = device.tape();
        let t = &mut tape;
        let shapes = [vec![rows, cols], vec![rows, cols], vec![cols], vec![cols]];
        let inputs @ [x, branch, weight, bias] = shapes.each_ref().map(|shape| t.variable(shape));
        let seed = t.constant(&[9u32]);
        // a dropout before, so that the site is not the first
        let x = t.dropout(x, 0.25, seed);
        // kept elements are doubled, which is exact even if the device fuses the product with the
        // sum
        let (h, y) = if fused {
            t.add_layernorm([x, branch], Dropout { p: 0.5, seed }, [weight, bias], EPS)
        } else {
            let dropped = t.dropout(branch, 0.5, seed);
            let h = t.add(x, dropped);
            (h, t.layernorm(h, weight, bias, EPS))
        };
        let loss = match wanted {
            [true, true] => t.add(h, y),
            [true, false] => h,
            _ => y,
        };
        let cotangent = t.input(&[rows, cols]);
        t.backward(loss, cotangent);
        let results: Vec<Var> = [h, y]
            .into_iter()
            .chain(inputs.iter().filter_map(|&v| t.grad(v)))
            .collect();
        results.iter().for_each(|&v| t.hold(v));
        let plan = Plan::new(device, tape)?;
        for (index, (v, shape)) in inputs.iter().zip(&shapes).enumerate() {
            let data: Vec<f32> = random_f32(shape.iter().product(), index as u64);
            plan.write(*v, &data);
        }
        let dy: Vec<f32> = random_f32(rows * cols, 99);
        plan.write(cotangent, &dy);
        plan.run()?;
        results.iter().map(|&v| Ok(plan.read(v)?)).collect()
    }

    fn equals_dropout_add_and_layernorm_bit_for_bit(device: &Device) -> Outcome {
        for cols in [33, 64, 512] {
            for wanted in [[true, true], [true, false], [false, true]] {
                let fused = run(device, cols, true, wanted)?;
                let separate = run(device, cols, false, wanted)?;
                ensure_eq!(fused.len(), if wanted[1] { 6 } else { 4 });
                ensure!(
                    fused == separate,
                    "{cols} columns, h and y wanted: {wanted:?}"
                );
                let zeros = fused[3].iter().filter(|&&v| v == 0.0).count();
                ensure!(
                    (zeros as f64 / fused[3].len() as f64 - 0.5).abs() < 0.07,
                    "{zeros} zeros of {}",
                    fused[3].len()
                );
            }
        }
        Ok(())
    }
}
