//! The AdamW optimizer step.

use crate::graph::{DispatchBuilder, Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::grad_scaler::Verdict;
use crate::ops::native::rows_of_three;
use crate::ops::shared;

static ADAMW: Kernel = kernel!("adamw", shared::VERDICT).native(&[("step", step)]);

/// Hyperparameters of AdamW (Loshchilov & Hutter 2019).
///
/// They are f64 because `1 - beta2` has a relative error of 5e-5 if `beta2` is rounded to f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay per step and unit of learning rate, decoupled from the gradient; 0 gives Adam.
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// Returns PyTorch's defaults.
    fn default() -> AdamW {
        AdamW {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
        }
    }
}

impl Tape {
    /// Records one AdamW step on `param: [n]` and its moments `m` and `v`, all persistent and
    /// changed in place.
    ///
    /// `param` may hold many parameters, each padded to a multiple of 64 elements: `filled: [n /
    /// 64]` is the number of elements of each block that are trained, plus 256 if the block decays.
    /// `verdict` comes from [`grad_scaler`](Self::grad_scaler). `rate: [1]` is the learning rate,
    /// written by the host before every step.
    #[track_caller]
    #[expect(
        clippy::too_many_arguments,
        reason = "the update rule has this many operands"
    )]
    pub fn adamw(
        &mut self,
        param: Var,
        grad: Var,
        m: Var,
        v: Var,
        filled: Var,
        verdict: Var,
        rate: Var,
        hyper: AdamW,
    ) {
        for (name, moment) in [("m", m), ("v", v)] {
            assert!(
                self.len(moment) == self.len(param),
                "adamw: {name} of shape {:?} for {:?}",
                self.shape(moment),
                self.shape(param)
            );
        }
        let n = self.len(param);
        record(
            self,
            &ADAMW,
            [param, grad, m, v, filled, verdict, rate],
            hyper,
        )
        .elements(n / 4);
    }
}

/// Begins the record of a step on parameters, their gradients, moments in the kernel's form, blocks,
/// the verdict and the rate.
#[track_caller]
pub(super) fn record<'t>(
    t: &'t mut Tape,
    kernel: &'static Kernel,
    [param, grad, m, v, filled, verdict, rate]: [Var; 7],
    hyper: AdamW,
) -> DispatchBuilder<'t> {
    let n = t.len(param);
    assert!(
        t.len(grad) == n,
        "adamw: gradient of shape {:?} for {:?}",
        t.shape(grad),
        t.shape(param)
    );
    assert!(
        n == 64 * t.len(filled),
        "adamw: filled of shape {:?} for {:?}",
        t.shape(filled),
        t.shape(param)
    );
    assert!(
        t.len(rate) == 1 && t.len(verdict) == 8,
        "adamw: rate {:?}, want [1], or verdict {:?}, want [8]",
        t.shape(rate),
        t.shape(verdict)
    );
    t.call(kernel, "step")
        .bind("p", param)
        .bind("g", grad)
        .bind("m", m)
        .bind("v", v)
        .bind("filled", filled)
        .bind("verdict", verdict)
        .bind("rate", rate)
        .param("n", n)
        .param("beta1", hyper.beta1 as f32)
        .param("beta2", hyper.beta2 as f32)
        .param("rest1", (1.0 - hyper.beta1) as f32)
        .param("rest2", (1.0 - hyper.beta2) as f32)
        .param("eps", hyper.eps as f32)
        .param("weight_decay", hyper.weight_decay as f32)
}

/// Factors of a step.
pub(super) struct Rates {
    pub beta1: f32,
    pub beta2: f32,
    pub rest1: f32,
    pub rest2: f32,
    pub eps: f32,
    /// Learning rate over the correction of the first moment.
    pub pace: f32,
    /// Root of the correction of the second moment.
    pub root: f32,
    rate: f32,
    weight_decay: f32,
}

impl Rates {
    /// Reads the factors of a call.
    pub fn of(call: &NativeCall, verdict: &Verdict) -> Rates {
        let [beta1, beta2, rest1, rest2, eps, weight_decay] =
            ["beta1", "beta2", "rest1", "rest2", "eps", "weight_decay"]
                .map(|name| call.float(name));
        let rate = call.read::<f32>("rate")[0];
        Rates {
            beta1,
            beta2,
            rest1,
            rest2,
            eps,
            pace: rate / verdict.correction1,
            root: verdict.correction2.sqrt(),
            rate,
            weight_decay,
        }
    }

    /// Returns the factor of weight decay for a block of parameters.
    #[inline(always)]
    pub fn shrink(&self, decays: bool) -> f32 {
        1.0 - self.rate * if decays { self.weight_decay } else { 0.0 }
    }
}

fn step(call: &NativeCall) {
    const BLOCK: usize = 64;
    let (p, m, v) = (call.write("p"), call.write("m"), call.write("v"));
    let (g, filled) = (call.read::<f32>("g"), call.read::<u32>("filled"));
    let verdict = Verdict::read(call);
    let rates = Rates::of(call, &verdict);
    if !verdict.take {
        return;
    }
    let Rates {
        beta1,
        beta2,
        rest1,
        rest2,
        eps,
        pace,
        root,
        ..
    } = rates;
    rows_of_three(
        call,
        (p, BLOCK),
        (m, BLOCK),
        (v, BLOCK),
        #[inline(always)]
        |block, p: &mut [f32], m: &mut [f32], v: &mut [f32]| {
            let trained = filled[block] as usize % 256;
            let shrink = rates.shrink(filled[block] >= 256);
            let g = &g[block * BLOCK..][..BLOCK];
            let (p, m, v) = (&mut p[..BLOCK], &mut m[..BLOCK], &mut v[..BLOCK]);
            for i in 0..BLOCK {
                // 0 in the padding, where m, v and p then stay 0
                let grad = if i < trained {
                    verdict.factor * g[i]
                } else {
                    0.0
                };
                let first = beta1 * m[i] + rest1 * grad;
                let second = beta2 * v[i] + rest2 * grad * grad;
                m[i] = first;
                v[i] = second;
                p[i] = p[i] * shrink - pace * first / (second.sqrt() / root + eps);
            }
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan, Tensor};
    use crate::ops::GradScaler;
    use crate::ops::check::{Outcome, checks, ensure, random};

    checks![
        agrees_with_its_reference_over_several_steps,
        clips_by_the_norm_of_all_gradients
    ];

    /// Trains concatenated parameters of the given lengths for `steps` steps, on the device and in
    /// f64.
    fn train(device: &Device, lengths: &[usize], hyper: AdamW, clip: f64, steps: u64) -> Outcome {
        let firsts: Vec<usize> = lengths
            .iter()
            .scan(0, |first, n| {
                Some(std::mem::replace(first, *first + n.next_multiple_of(64)))
            })
            .collect();
        let all = firsts[lengths.len() - 1] + lengths[lengths.len() - 1].next_multiple_of(64);
        let mut filled = vec![0u32; all / 64];
        for (first, n) in firsts.iter().zip(lengths) {
            (*first..first + n).for_each(|element| filled[element / 64] += 1);
        }
        // the first parameter does not decay
        filled[lengths[0].div_ceil(64)..]
            .iter_mut()
            .for_each(|entry| *entry += 256);
        // gradients may hold anything in their padding
        let laid_out = |parts: &[Vec<f64>], padding: f32| {
            let mut flat = vec![padding; all];
            for (first, part) in firsts.iter().zip(parts) {
                part.iter()
                    .enumerate()
                    .for_each(|(i, &x)| flat[first + i] = x as f32);
            }
            flat
        };
        let params: Vec<Vec<f64>> = lengths.iter().map(|&n| random(n, 7)).collect();
        let tensors = [
            Tensor::new(device, &[all], &laid_out(&params, 0.0))?,
            Tensor::zeros(device, &[all])?,
            Tensor::zeros(device, &[all])?,
        ];
        let mut tape = device.tape();
        let (rate, input, filled) = (tape.input(&[1]), tape.input(&[all]), tape.constant(&filled));
        let norm_squared = tape.sum_squares(input, filled);
        let scaler = GradScaler {
            clip,
            beta1: hyper.beta1,
            beta2: hyper.beta2,
            ..GradScaler::default()
        };
        let state = tape.constant(&scaler.start());
        let loss = tape.constant(&[1.0f32]);
        let verdict = tape.grad_scaler(norm_squared, loss, state, scaler);
        let [param, m, v] = tensors.each_ref().map(|tensor| tape.bind(tensor));
        tape.adamw(param, input, m, v, filled, verdict, rate, hyper);
        let plan = Plan::new(device, tape)?;

        let AdamW {
            beta1,
            beta2,
            eps,
            weight_decay,
        } = hyper;
        let mut want: Vec<[Vec<f64>; 3]> = params
            .iter()
            .map(|p| [p.clone(), vec![0.0; p.len()], vec![0.0; p.len()]])
            .collect();
        for step in 1..=steps {
            let lr = 0.01 / step as f64;
            let grads: Vec<Vec<f64>> = lengths
                .iter()
                .enumerate()
                .map(|(i, &n)| random(n, 100 * step + i as u64))
                .collect();
            let norm = grads.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
            let factor = if clip > 0.0 {
                (clip / (norm + 1e-6)).min(1.0)
            } else {
                1.0
            };
            for (number, ([p, m, v], grad)) in want.iter_mut().zip(&grads).enumerate() {
                let decay = if number == 0 { 0.0 } else { weight_decay };
                for i in 0..grad.len() {
                    let g = factor * grad[i];
                    p[i] *= 1.0 - lr * decay;
                    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                    let denominator = v[i].sqrt() / (1.0 - beta2.powf(step as f64)).sqrt() + eps;
                    p[i] -= lr / (1.0 - beta1.powf(step as f64)) * m[i] / denominator;
                }
            }
            plan.write(rate, &[lr as f32]);
            plan.write(input, &laid_out(&grads, f32::MAX));
            plan.run()?;
        }
        for (name, index) in [("param", 0), ("m", 1), ("v", 2)] {
            let flat: Vec<f32> = tensors[index].read()?;
            for (first, want) in firsts.iter().zip(&want) {
                let want = &want[index];
                let largest = want.iter().fold(0f64, |most, x| most.max(x.abs()));
                for (got, want) in flat[*first..].iter().zip(want) {
                    let error = (*got as f64 - want).abs();
                    ensure!(
                        error <= 2e-6 * (want.abs() + largest),
                        "{name} of {lengths:?} for {hyper:?}: got {got}, want {want}"
                    );
                }
            }
            let padding = (0..all).filter(|at| {
                !firsts
                    .iter()
                    .zip(lengths)
                    .any(|(first, n)| (*first..first + n).contains(at))
            });
            ensure!(
                padding.map(|at| flat[at]).all(|x| x == 0.0),
                "{name}: the padding changed"
            );
        }
        Ok(())
    }

    fn agrees_with_its_reference_over_several_steps(device: &Device) -> Outcome {
        let lengths = [1, 3, 1023, 1024, 1025, 70_001];
        train(device, &lengths, AdamW::default(), 0.0, 5)?;
        train(
            device,
            &lengths,
            AdamW {
                weight_decay: 0.0,
                eps: 1e-3,
                ..AdamW::default()
            },
            0.0,
            3,
        )
    }

    fn clips_by_the_norm_of_all_gradients(device: &Device) -> Outcome {
        // norms are about 310, clipped, and 7, not clipped
        train(
            device,
            &[1023, 70_001],
            AdamW {
                weight_decay: 0.1,
                ..AdamW::default()
            },
            1.0,
            4,
        )?;
        train(
            device,
            &[5, 37],
            AdamW {
                eps: 1e-3,
                ..AdamW::default()
            },
            100.0,
            4,
        )?;
        // eps at the scale of the clipped gradients, so that their size shows
        train(
            device,
            &[5, 37],
            AdamW {
                eps: 0.1,
                ..AdamW::default()
            },
            0.5,
            4,
        )
    }
}
