//! A residual connection fused with the RMSNorm that follows it.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{rows, rows_of_three};
use crate::ops::rmsnorm::{Norm, differentiate, normalize};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static ADD_RMSNORM: VectorWidth = vector_width!("add_rmsnorm", shared::REDUCE;
    native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records `h = x + branch` and `y = rmsnorm(h)` in one dispatch. Returns `(h, y)`.
    ///
    /// `x`, `branch`, `h` and `y` are `[.., c]`, `weight` is `[c]`. The results are those of
    /// [`add`](Self::add) and [`rmsnorm`](Self::rmsnorm), bit for bit unless the device fuses
    /// products with sums.
    #[track_caller]
    pub fn add_rmsnorm(&mut self, x: Var, branch: Var, weight: Var, eps: f32) -> (Var, Var) {
        assert!(
            self.shape(x) == self.shape(branch),
            "add_rmsnorm: {:?} and {:?}",
            self.shape(x),
            self.shape(branch)
        );
        let (rows, width) = self.rows_cols(x);
        assert!(
            self.shape(weight) == [width],
            "add_rmsnorm: weight of shape {:?} for x of shape {:?}",
            self.shape(weight),
            self.shape(x)
        );
        let (kernel, cols) = ADD_RMSNORM.of(width);
        let workgroup = self.row_workgroup(cols);
        let (h, y, stats) = (self.like(x), self.like(x), self.output(&[rows]));
        let params = [
            ("rows", rows.into()),
            ("cols", cols.into()),
            ("eps", eps.into()),
        ];
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("branch", branch)
            .bind("weight", weight)
            .bind("h", h)
            .bind("y", y)
            .bind("stats", stats)
            .params(&params)
            .constant("WG", workgroup)
            .rows(rows);
        self.record_many([h, y], &[x, branch, weight], move |t, [dh, dy]| {
            let norm = Norm {
                x: h,
                weight,
                stats,
                eps,
            };
            let dx = match (dh, dy) {
                (Some(dh), Some(dy)) => {
                    let dx = t.like(h);
                    t.call(kernel, "backward")
                        .bind("dy", dy)
                        .bind("dh", dh)
                        .bind("sum", h)
                        .bind("weight", weight)
                        .bind("saved", stats)
                        .bind("dx", dx)
                        .params(&params)
                        .constant("WG", workgroup)
                        .rows(rows);
                    dx
                }
                // only one of h and y is used
                (None, Some(dy)) => norm.backward(t, dy),
                (dh, None) => dh.expect("a pullback runs when a gradient has arrived"),
            };
            t.add_grad(x, dx);
            t.add_grad(branch, dx);
            if let Some(dy) = dy {
                norm.backward_weight(t, dy);
            }
        });
        (h, y)
    }
}

fn forward(call: &NativeCall) {
    let (x, branch) = (call.read::<f32>("x"), call.read::<f32>("branch"));
    let (weight, eps) = (call.read::<f32>("weight"), call.float("eps"));
    let (h, y) = (call.write::<f32>("h"), call.write::<f32>("y"));
    let (stats, cols) = (call.write::<f32>("stats"), weight.len());
    rows_of_three(
        call,
        (h, cols),
        (y, cols),
        (stats, 1),
        #[inline(always)]
        |row, h, y, stats| {
            let (x, branch) = (&x[row * cols..][..cols], &branch[row * cols..][..cols]);
            for ((h, x), branch) in h.iter_mut().zip(x).zip(branch) {
                *h = x + branch;
            }
            normalize(h, weight, eps, y, stats);
        },
    );
}

fn backward(call: &NativeCall) {
    let (dy, dh) = (call.read::<f32>("dy"), call.read::<f32>("dh"));
    let (h, weight) = (call.read::<f32>("sum"), call.read::<f32>("weight"));
    let (saved, cols) = (call.read::<f32>("saved"), weight.len());
    rows(
        call,
        call.write::<f32>("dx"),
        cols,
        #[inline(always)]
        |row, dx| {
            let [dy, dh, h] = [dy, dh, h].map(
                #[inline(always)]
                |all| &all[row * cols..][..cols],
            );
            differentiate(dy, h, weight, saved[row], dx);
            for (dx, dh) in dx.iter_mut().zip(dh) {
                *dx += dh;
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
        equals_add_and_rmsnorm_bit_for_bit
    ];

    const EPS: f32 = 1e-5;

    /// Returns h and y.
    fn reference([x, branch, weight]: [&Array; 3]) -> [Vec<f64>; 2] {
        let sums = x.data.iter().zip(&branch.data);
        let h: Vec<f64> = sums.map(|(x, branch)| x + branch).collect();
        let cols = weight.data.len();
        let mut y = Vec::with_capacity(h.len());
        for row in h.chunks(cols) {
            let mean = row.iter().map(|h| h * h).sum::<f64>() / cols as f64;
            let rstd = 1.0 / (mean + EPS as f64).sqrt();
            y.extend(row.iter().zip(&weight.data).map(|(h, w)| h * rstd * w));
        }
        [h, y]
    }

    fn both(t: &mut Tape, [x, branch, weight]: [Var; 3]) -> Var {
        let (h, y) = t.add_rmsnorm(x, branch, weight, EPS);
        let y = t.scale(y, 0.5);
        t.add(h, y)
    }

    fn both_reference(inputs: [&Array; 3]) -> Vec<f64> {
        let [h, y] = reference(inputs);
        h.iter().zip(&y).map(|(h, y)| h + 0.5 * y).collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [2, 4, 31, 32, 33, 36, 576, 1028] {
            gradients(
                device,
                &[[&[3, cols], &[3, cols], &[cols]]],
                both,
                both_reference,
            )?;
        }
        gradients(
            device,
            &[[&[2, 33, 8], &[2, 33, 8], &[8]], [&[65, 7], &[65, 7], &[7]]],
            both,
            both_reference,
        )?;
        forward(
            device,
            &[[&[70_000, 4], &[70_000, 4], &[4]]],
            both,
            both_reference,
        )
    }

    fn gradients_hold_if_only_the_norm_is_used(device: &Device) -> Outcome {
        gradients(
            device,
            &[[&[5, 36], &[5, 36], &[36]]],
            |t, [x, branch, weight]| t.add_rmsnorm(x, branch, weight, EPS).1,
            |inputs| reference(inputs)[1].clone(),
        )
    }

    fn gradients_hold_if_only_the_sum_is_used(device: &Device) -> Outcome {
        let sum = |t: &mut Tape, [x, branch]: [Var; 2]| {
            let weight = t.constant(&[1f32; 36]);
            t.add_rmsnorm(x, branch, weight, EPS).0
        };
        gradients(device, &[[&[5, 36], &[5, 36]]], sum, |[x, branch]| {
            let sums = x.data.iter().zip(&branch.data);
            sums.map(|(x, branch)| x + branch).collect()
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
        let shapes = [vec![rows, cols], vec![rows, cols], vec![cols]];
        let inputs @ [x, branch, weight] = shapes.each_ref().map(|shape| t.variable(shape));
        let (h, y) = if fused {
            t.add_rmsnorm(x, branch, weight, EPS)
        } else {
            let h = t.add(x, branch);
            (h, t.rmsnorm(h, weight, EPS))
        };
        let loss = match wanted {
            [true, true] => t.add(h, y),
            [true, false] => h,
            _ => y,
        };
        let cotangent = t.input(&[rows, cols]);
        t.backward(loss, cotangent);
        let grads = inputs.iter().filter_map(|&v| t.grad(v));
        let results: Vec<Var> = [h, y].into_iter().chain(grads).collect();
        results.iter().for_each(|&v| t.hold(v));
        let plan = Plan::new(device, tape)?;
        for (index, (v, shape)) in inputs.iter().zip(&shapes).enumerate() {
            plan.write(*v, &random_f32(shape.iter().product(), index as u64));
        }
        plan.write(cotangent, &random_f32(rows * cols, 99));
        plan.run()?;
        results.iter().map(|&v| Ok(plan.read(v)?)).collect()
    }

    fn equals_add_and_rmsnorm_bit_for_bit(device: &Device) -> Outcome {
        for cols in [33, 64, 576] {
            for wanted in [[true, true], [true, false], [false, true]] {
                let fused = run(device, cols, true, wanted)?;
                let separate = run(device, cols, false, wanted)?;
                ensure_eq!(fused.len(), if wanted[1] { 5 } else { 4 });
                ensure!(
                    fused == separate,
                    "{cols} columns, h and y wanted: {wanted:?}"
                );
            }
        }
        Ok(())
    }
}
