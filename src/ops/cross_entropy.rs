//! Cross-entropy, the loss of classifiers and language models.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{math, rows, rows_of_two_with_cost};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static CROSS_ENTROPY: VectorWidth = vector_width!("cross_entropy", shared::REDUCE;
    native: &[("forward", forward), ("backward", backward)]);

/// Target of a row that has no loss, such as padding, image tokens or the prompt.
pub const IGNORE: u32 = u32::MAX;

impl Tape {
    /// Records the loss `[1]`: `scale` times the sum of `logsumexp(logits[r]) - q[r] . logits[r]`
    /// over the rows whose target is not [`IGNORE`].
    ///
    /// `logits: [n, v]`, `targets: [n]` of `u32`, and `scale: [1]`, one over the number of targets
    /// for their mean. `q[r]` is the one-hot distribution of the target, mixed with a share
    /// `smoothing` of the uniform one (label smoothing, Szegedy et al. 2016). Targets past the last
    /// column count as the last.
    #[track_caller]
    pub fn cross_entropy(&mut self, logits: Var, targets: Var, scale: Var, smoothing: f32) -> Var {
        let (losses, stats) = self.losses(logits, targets, scale, smoothing);
        let (rows, width) = self.rows_cols(logits);
        let (kernel, cols) = CROSS_ENTROPY.of(width);
        let loss = self.sum_rows(losses, 1);
        self.record(loss, &[logits], move |t, dloss| {
            let dlogits = t.like(logits);
            t.call(kernel, "backward")
                .bind("x", logits)
                .bind("targets", targets)
                .bind("scale", scale)
                .bind("saved", stats)
                .bind("dloss", dloss)
                .bind("dx", dlogits)
                .param("rows", rows)
                .param("cols", cols)
                .param("smoothing", smoothing)
                .elements(rows * cols);
            t.add_grad(logits, dlogits);
        });
        loss
    }

    /// Records the losses `[n]` of single rows, whose sum is [`cross_entropy`](Self::cross_entropy)
    /// without smoothing. They have no gradient.
    #[track_caller]
    pub fn cross_entropies(&mut self, logits: Var, targets: Var, scale: Var) -> Var {
        self.losses(logits, targets, scale, 0.0).0
    }

    /// Records the loss of each row, and the largest logit and sum of exponentials for the backward
    /// pass.
    #[track_caller]
    fn losses(&mut self, logits: Var, targets: Var, scale: Var, smoothing: f32) -> (Var, Var) {
        let (rows, width) = self.rows_cols(logits);
        assert!(
            self.len(targets) == rows && self.len(scale) == 1,
            "cross_entropy: logits {:?} with targets {:?} and scale {:?}",
            self.shape(logits),
            self.shape(targets),
            self.shape(scale)
        );
        let (kernel, cols) = CROSS_ENTROPY.of(width);
        let workgroup = self.row_workgroup(cols);
        let (losses, stats) = (self.output(&[rows]), self.output(&[rows, 2]));
        self.call(kernel, "forward")
            .bind("x", logits)
            .bind("targets", targets)
            .bind("scale", scale)
            .bind("losses", losses)
            .bind("stats", stats)
            .param("rows", rows)
            .param("cols", cols)
            .param("smoothing", smoothing)
            .constant("WG", workgroup)
            .rows(rows);
        (losses, stats)
    }
}

fn forward(call: &NativeCall) {
    let (x, targets) = (call.read::<f32>("x"), call.read::<u32>("targets"));
    let (scale, smoothing) = (call.read::<f32>("scale")[0], call.float("smoothing"));
    let (losses, stats) = (call.write::<f32>("losses"), call.write::<f32>("stats"));
    let cols = x.len() / targets.len();
    rows_of_two_with_cost(
        call,
        (losses, 1),
        (stats, 2),
        cols,
        #[inline(always)]
        |row, loss, stats| {
            let x = &x[row * cols..][..cols];
            let peak = math::max(x);
            let [exponentials, below] = math::sums(
                [x],
                #[inline(always)]
                |[x]| [math::exp(x - peak), x - peak],
            );
            loss[0] = match targets[row] {
                IGNORE => 0.0,
                target => {
                    let logit = x[(target as usize).min(cols - 1)] - peak;
                    let mean = below / cols as f32;
                    scale * (exponentials.ln() - (logit * (1.0 - smoothing) + mean * smoothing))
                }
            };
            stats.copy_from_slice(&[peak, exponentials]);
        },
    );
}

fn backward(call: &NativeCall) {
    let (x, targets) = (call.read::<f32>("x"), call.read::<u32>("targets"));
    let (saved, smoothing) = (call.read::<f32>("saved"), call.float("smoothing"));
    let factor = call.read::<f32>("scale")[0] * call.read::<f32>("dloss")[0];
    let cols = x.len() / targets.len();
    let uniform = smoothing / cols as f32;
    rows(
        call,
        call.write::<f32>("dx"),
        cols,
        #[inline(always)]
        |row, dx| {
            if targets[row] == IGNORE {
                dx.fill(0.0);
                return;
            }
            let x = &x[row * cols..][..cols];
            let (peak, share) = (saved[2 * row], 1.0 / saved[2 * row + 1]);
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = factor * (math::exp(x - peak) * share - uniform);
            }
            let target = (targets[row] as usize).min(cols - 1);
            let wanted = uniform + (1.0 - smoothing);
            dx[target] = factor * (math::exp(x[target] - peak) * share - wanted);
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![
        agrees_with_its_reference,
        smoothing_spreads_the_target_over_all_columns,
        losses_of_single_rows_agree,
        gradients_hold_past_one_dimension_of_workgroups,
        large_logits_are_stable,
        targets_are_clamped_to_the_last_column
    ];

    const SCALE: f32 = 0.125;

    fn op(t: &mut Tape, logits: Var, factor: f32, targets: &[u32]) -> Var {
        let logits = if factor == 1.0 {
            logits
        } else {
            t.scale(logits, factor)
        };
        smoothed(t, logits, targets, 0.0)
    }

    fn smoothed(t: &mut Tape, logits: Var, targets: &[u32], smoothing: f32) -> Var {
        let (targets, scale) = (t.constant(targets), t.constant(&[SCALE]));
        t.cross_entropy(logits, targets, scale, smoothing)
    }

    fn reference(logits: &Array, factor: f64, targets: &[u32]) -> Vec<f64> {
        smoothed_reference(logits, factor, targets, 0.0)
    }

    fn smoothed_reference(
        logits: &Array,
        factor: f64,
        targets: &[u32],
        smoothing: f64,
    ) -> Vec<f64> {
        vec![rows(logits, factor, targets, smoothing).iter().sum()]
    }

    fn rows(logits: &Array, factor: f64, targets: &[u32], smoothing: f64) -> Vec<f64> {
        let row = |(row, &target): (&[f64], &u32)| {
            if target == IGNORE {
                return 0.0;
            }
            let most = row.iter().fold(f64::MIN, |most, x| most.max(factor * x));
            let sum: f64 = row.iter().map(|x| (factor * x - most).exp()).sum();
            let (logit, mean) = (
                row[(target as usize).min(row.len() - 1)],
                row.iter().sum::<f64>() / row.len() as f64,
            );
            most + sum.ln() - factor * ((1.0 - smoothing) * logit + smoothing * mean)
        };
        logits
            .rows()
            .zip(targets)
            .map(row)
            .map(|loss| SCALE as f64 * loss)
            .collect()
    }

    fn targets(rows: usize, cols: usize) -> Vec<u32> {
        (0..rows)
            .map(|i| {
                if i % 5 == 3 {
                    IGNORE
                } else {
                    (i * 7 % cols) as u32
                }
            })
            .collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [1, 2, 4, 31, 32, 33, 36, 65, 512, 1000] {
            for rows in [1, 2, 65] {
                let targets = targets(rows, cols);
                gradients(
                    device,
                    &[[&[rows, cols]]],
                    |t, [x]| op(t, x, 1.0, &targets),
                    |[x]| reference(x, 1.0, &targets),
                )?;
            }
        }
        for cols in [3, 4] {
            let targets = targets(70_000, cols);
            forward(
                device,
                &[[&[70_000, cols]]],
                |t, [x]| op(t, x, 1.0, &targets),
                |[x]| reference(x, 1.0, &targets),
            )?;
        }
        Ok(())
    }

    fn smoothing_spreads_the_target_over_all_columns(device: &Device) -> Outcome {
        for cols in [1, 2, 33, 64, 1000] {
            let targets = targets(9, cols);
            gradients(
                device,
                &[[&[9, cols]]],
                |t, [x]| smoothed(t, x, &targets, 0.125),
                |[x]| smoothed_reference(x, 1.0, &targets, 0.125),
            )?;
        }
        Ok(())
    }

    fn losses_of_single_rows_agree(device: &Device) -> Outcome {
        for cols in [1, 5, 64] {
            let targets = targets(7, cols);
            let op = |t: &mut Tape, [x]: [Var; 1]| {
                let (targets, scale) = (t.constant(&targets), t.constant(&[SCALE]));
                t.cross_entropies(x, targets, scale)
            };
            forward(device, &[[&[7, cols]]], op, |[x]| {
                rows(x, 1.0, &targets, 0.0)
            })?;
        }
        Ok(())
    }

    fn gradients_hold_past_one_dimension_of_workgroups(device: &Device) -> Outcome {
        let targets = targets(65_600, 4);
        gradients(
            device,
            &[[&[65_600, 4]]],
            |t, [x]| op(t, x, 1.0, &targets),
            |[x]| reference(x, 1.0, &targets),
        )
    }

    fn large_logits_are_stable(device: &Device) -> Outcome {
        // logits up to 16,384
        let targets = targets(9, 65);
        forward(
            device,
            &[[&[9, 65]]],
            |t, [x]| op(t, x, 8192.0, &targets),
            |[x]| reference(x, 8192.0, &targets),
        )
    }

    fn targets_are_clamped_to_the_last_column(device: &Device) -> Outcome {
        let targets = [7, 6, 0, 1_000_000];
        gradients(
            device,
            &[[&[4, 7]]],
            |t, [x]| op(t, x, 1.0, &targets),
            |[x]| reference(x, 1.0, &targets),
        )
    }
}
