//! Loss scaling, gradient clipping, and the decision whether to take a step.

use crate::graph::{Kernel, NativeCall, Precision, Tape, Var};
use crate::kernel;
use crate::ops::shared;

static GRAD_SCALER: Kernel = kernel!("grad_scaler", shared::VERDICT).native(&[("update", update)]);

/// Settings of [`Tape::grad_scaler`]. The default neither scales nor clips gradients; it skips
/// steps with non-finite ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradScaler {
    /// Largest norm of all gradients together; 0 disables clipping.
    pub clip: f64,
    /// Adam's decay of the first moment, for its bias correction.
    pub beta1: f64,
    /// Adam's decay of the second moment, for its bias correction.
    pub beta2: f64,
    /// Initial loss scale.
    pub scale: f32,
    /// Factor of the scale after `interval` steps in a row that were taken.
    pub growth: f32,
    /// Number of steps between growths.
    pub interval: u32,
    /// Factor of the scale after a skipped step.
    pub backoff: f32,
    /// Whether to take no step after a bad one until the host has seen it.
    pub freeze: bool,
}

impl Default for GradScaler {
    fn default() -> GradScaler {
        GradScaler {
            clip: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            scale: 1.0,
            growth: 1.0,
            interval: 1 << 24,
            backoff: 1.0,
            freeze: false,
        }
    }
}

impl GradScaler {
    /// Name of the kernel that decides whether a step is taken.
    pub const KERNEL: &str = "grad_scaler";

    /// Names of the state's fields, in order.
    pub const STATE: [&str; 15] = [
        "scale",
        "run",
        "taken",
        "skipped",
        "correction1",
        "correction2",
        "bad",
        "streak",
        "mean",
        "variance",
        "seen",
        "spikes",
        "spike_step",
        "spike_loss",
        "spike_mean",
    ];

    /// Returns the index of a field in the state.
    ///
    /// # Panics
    /// If there is no such field.
    pub fn place(field: &str) -> usize {
        Self::STATE
            .iter()
            .position(|name| *name == field)
            .unwrap_or_else(|| panic!("the state of the gradient scaler has no field `{field}`"))
    }

    /// Smallest loss scale.
    pub const LEAST: f32 = 1.0 / 1024.0;
    /// Largest loss scale.
    pub const MOST: f32 = 16_777_216.0;

    /// Returns dynamic loss scaling by PyTorch's rule, from a lower initial scale so that no step
    /// is lost to finding it.
    pub fn dynamic() -> GradScaler {
        GradScaler {
            scale: 1024.0,
            growth: 2.0,
            interval: 200,
            backoff: 0.5,
            ..GradScaler::default()
        }
    }

    /// Returns the settings for operands of a precision.
    pub fn of(precision: Precision) -> GradScaler {
        match precision {
            Precision::F32 => GradScaler::default(),
            Precision::F16 => GradScaler::dynamic(),
        }
    }

    /// Returns the state before the first step: the fields of [`STATE`](Self::STATE), padded so
    /// that a tensor that follows it in a buffer is aligned.
    pub fn start(&self) -> [f32; 64] {
        let mut state = [0.0; 64];
        state[0] = self.scale;
        state
    }
}

impl Tape {
    /// Records the decision whether to take a step, from `norm_squared: [1]`, the sum of the
    /// squared gradients, and `loss: [1]`.
    ///
    /// Returns the verdict `[8]`: the factor for the gradients, Adam's two bias corrections,
    /// whether to take the step (`u32`), and the norm of the unscaled gradients. Updates the
    /// persistent `state: [64]`, at first [`GradScaler::start`].
    #[track_caller]
    pub fn grad_scaler(
        &mut self,
        norm_squared: Var,
        loss: Var,
        state: Var,
        spec: GradScaler,
    ) -> Var {
        let fit = [norm_squared, loss, state].map(|v| self.len(v)) == [1, 1, 64];
        assert!(
            fit,
            "grad_scaler: norm_squared {:?}, loss {:?}, state {:?}, want [1], [1], [64]",
            self.shape(norm_squared),
            self.shape(loss),
            self.shape(state)
        );
        let verdict = self.output(&[8]);
        let call = self
            .call(&GRAD_SCALER, "update")
            .bind("norm_squared", norm_squared)
            .bind("state", state)
            .bind("verdict", verdict);
        let call = call.bind("loss", loss);
        call.param("clip", spec.clip as f32)
            .param("beta1", spec.beta1 as f32)
            .param("beta2", spec.beta2 as f32)
            .param("rest1", (1.0 - spec.beta1) as f32)
            .param("rest2", (1.0 - spec.beta2) as f32)
            .param("growth", spec.growth)
            .param("backoff", spec.backoff)
            .param("interval", spec.interval as f32)
            .param("least", GradScaler::LEAST.min(spec.scale))
            .param("most", GradScaler::MOST.max(spec.scale))
            .param("freeze", spec.freeze)
            .groups([1, 1, 1]);
        verdict
    }
}

/// Fields of shaders/shared/verdict.wgsl that optimizers read.
pub(super) struct Verdict {
    pub factor: f32,
    pub correction1: f32,
    pub correction2: f32,
    pub take: bool,
    /// Number of steps that were taken, this one included.
    pub taken: u32,
}

impl Verdict {
    /// Reads the binding `verdict` of a call.
    pub fn read(call: &NativeCall) -> Verdict {
        let words = call.read::<u32>("verdict");
        Verdict {
            factor: f32::from_bits(words[0]),
            correction1: f32::from_bits(words[1]),
            correction2: f32::from_bits(words[2]),
            take: words[3] != 0,
            taken: words[5],
        }
    }
}

fn update(call: &NativeCall) {
    let (squared, loss) = (
        call.read::<f32>("norm_squared")[0],
        call.read::<f32>("loss")[0],
    );
    let (state, verdict) = (call.write::<f32>("state"), call.write::<u32>("verdict"));
    let [clip, beta1, beta2, rest1, rest2] =
        ["clip", "beta1", "beta2", "rest1", "rest2"].map(|name| call.float(name));
    let [growth, backoff, interval, least, most] =
        ["growth", "backoff", "interval", "least", "most"].map(|name| call.float(name));
    let [
        scale,
        run,
        taken,
        skipped,
        correction1,
        correction2,
        bad,
        streak,
        rest @ ..,
    ] = state
    else {
        panic!("a state of {} numbers", state.len())
    };
    let old = *scale;
    let norm = squared.sqrt() / old;
    verdict[4] = norm.to_bits();
    let mut decide = |factor: f32, take: bool| {
        verdict[0] = factor.to_bits();
        verdict[3] = take as u32;
    };
    if call.size("freeze") != 0 && *bad != 0.0 {
        return decide(0.0, false);
    }
    // both are false for NaN
    if squared <= f32::MAX && loss.abs() <= f32::MAX {
        let clipping = if clip > 0.0 {
            (clip / (norm + 1e-6)).min(1.0)
        } else {
            1.0
        };
        decide(clipping / old, true);
        *taken += 1.0;
        *streak = 0.0;
        follow(rest, loss, *taken + *skipped);
        *correction1 = beta1 * *correction1 + rest1;
        *correction2 = beta2 * *correction2 + rest2;
        *run += 1.0;
        if *run >= interval {
            *run = 0.0;
            *scale = (old * growth).min(most);
        }
    } else {
        decide(0.0, false);
        *skipped += 1.0;
        *run = 0.0;
        *scale = (old * backoff).max(least);
        if *scale == old {
            *streak += 1.0;
            if *bad == 0.0 {
                *bad = *taken + *skipped;
            }
        }
    }
    verdict[5] = *taken as u32;
    verdict[1] = correction1.to_bits();
    verdict[2] = correction2.to_bits();
}

/// Updates the fields of the state that track the loss, from `mean` on.
fn follow(state: &mut [f32], loss: f32, step: f32) {
    let [
        mean,
        variance,
        seen,
        spikes,
        spike_step,
        spike_loss,
        spike_mean,
        ..,
    ] = state
    else {
        panic!("{} numbers to track the loss", state.len())
    };
    *seen += 1.0;
    let mut change = loss - *mean;
    let most = 6.0 * variance.sqrt() + 0.05 * mean.abs();
    if *seen > 30.0 && change > most {
        *spikes += 1.0;
        (*spike_step, *spike_loss, *spike_mean) = (step, loss, *mean);
        change = most;
    }
    let share = (1.0 / *seen).max(0.02);
    // a loss may be so large that its square, or its distance from another, is infinite
    *mean = (*mean + share * change).clamp(f32::MIN, f32::MAX);
    *variance = ((1.0 - share) * (*variance + share * change * change)).min(f32::MAX);
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan, Tensor};
    use crate::ops::check::{Failure, Outcome, checks, ensure, ensure_eq};

    checks![
        non_finite_step_is_recorded_and_freezes_if_asked,
        loss_spikes_are_counted_and_barely_move_the_mean,
        clips_and_corrects_for_the_steps_taken,
        corrections_are_accurate_over_many_steps,
        scale_halves_on_overflow_and_doubles_after_an_interval
    ];

    /// Words of the verdict, and the state.
    type Step = (Vec<u32>, Vec<f32>);

    /// Returns the verdict and state after each step, given norms of scaled gradients and losses.
    fn follow(
        device: &Device,
        spec: GradScaler,
        steps: impl Iterator<Item = (f32, f32)>,
    ) -> Result<Vec<Step>, Failure> {
        let state = Tensor::new(device, &[64], &spec.start())?;
        let mut tape = device.tape();
        let (norm_squared, loss, bound) = (tape.input(&[1]), tape.input(&[1]), tape.bind(&state));
        let verdict = tape.grad_scaler(norm_squared, loss, bound, spec);
        tape.hold(verdict);
        let plan = Plan::new(device, tape)?;
        let run = |(norm, value): (f32, f32)| {
            plan.write(norm_squared, &[norm * norm]);
            plan.write(loss, &[value]);
            plan.run()?;
            Ok((plan.read(verdict)?, state.read()?))
        };
        steps.map(run).collect()
    }

    /// Factor and corrections, take, norm and scale.
    type Judgement = ([f32; 3], u32, f32, f32);

    /// Returns factor and corrections, take, norm and scale after each step, given norms of scaled
    /// gradients.
    fn judge(device: &Device, spec: GradScaler, norms: &[f32]) -> Result<Vec<Judgement>, Failure> {
        let steps = follow(device, spec, norms.iter().map(|&norm| (norm, 1.0)))?;
        let verdict = |(words, state): (Vec<u32>, Vec<f32>)| {
            let float = |at: usize| f32::from_bits(words[at]);
            ([float(0), float(1), float(2)], words[3], float(4), state[0])
        };
        Ok(steps.into_iter().map(verdict).collect())
    }

    fn non_finite_step_is_recorded_and_freezes_if_asked(device: &Device) -> Outcome {
        let steps = [
            (1.0, 1.0),
            (1.0, f32::NAN),
            (1.0, 1.0),
            (f32::INFINITY, 1.0),
            (1.0, 1.0),
        ];
        for (freeze, takes, bads, taken) in [
            (false, [1, 0, 1, 0, 1], [0.0, 2.0, 2.0, 2.0, 2.0], 3.0),
            (true, [1, 0, 0, 0, 0], [0.0, 2.0, 2.0, 2.0, 2.0], 1.0),
        ] {
            let after = follow(
                device,
                GradScaler {
                    freeze,
                    ..GradScaler::default()
                },
                steps.into_iter(),
            )?;
            ensure_eq!(
                after
                    .iter()
                    .map(|(verdict, _)| verdict[3])
                    .collect::<Vec<_>>(),
                takes
            );
            ensure_eq!(
                after
                    .iter()
                    .map(|(_, state)| state[GradScaler::place("bad")])
                    .collect::<Vec<_>>(),
                bads
            );
            ensure_eq!(after[4].1[GradScaler::place("taken")], taken);
        }
        // a scale that can still shrink comes first
        let spec = GradScaler {
            scale: 4.0 * GradScaler::LEAST,
            backoff: 0.5,
            ..GradScaler::default()
        };
        let after = follow(device, spec, [(f32::NAN, 1.0); 4].into_iter())?;
        ensure_eq!(
            after
                .iter()
                .map(|(_, state)| state[GradScaler::place("bad")])
                .collect::<Vec<_>>(),
            [0.0, 0.0, 3.0, 3.0]
        );
        ensure_eq!(after[3].1[GradScaler::place("streak")], 2.0);
        Ok(())
    }

    fn loss_spikes_are_counted_and_barely_move_the_mean(device: &Device) -> Outcome {
        let losses = (0..200).map(|i| {
            2.0 + 0.1 * ((i * 7 % 13) as f32 / 6.0 - 1.0)
                + if i == 120 || i == 5 { 6.0 } else { 0.0 }
        });
        let after = follow(
            device,
            GradScaler::default(),
            losses.map(|loss| (1.0, loss)),
        )?;
        let at = |step: usize, field: &str| after[step].1[GradScaler::place(field)];
        ensure_eq!(
            (at(119, "spikes"), at(120, "spikes"), at(199, "spikes")),
            (0.0, 1.0, 1.0)
        );
        ensure_eq!(at(199, "spike_step"), 121.0);
        ensure!(
            (at(199, "spike_loss") - 8.0).abs() < 0.2 && (at(199, "spike_mean") - 2.0).abs() < 0.3,
            "{:?}",
            after[199]
        );
        ensure!((at(121, "mean") - at(119, "mean")).abs() < 0.1);
        // mean and variance stay finite whatever the losses are
        let wild = (0..60).map(|i| (1.0, if i % 3 == 0 { f32::MAX } else { f32::MIN }));
        let (_, state) = follow(device, GradScaler::default(), wild)?.pop().unwrap();
        ensure!(state.iter().all(|value| value.is_finite()), "{state:?}");
        Ok(())
    }

    fn clips_and_corrects_for_the_steps_taken(device: &Device) -> Outcome {
        let spec = GradScaler {
            clip: 2.0,
            ..GradScaler::default()
        };
        let verdicts = judge(
            device,
            spec,
            &[1.0, 8.0, f32::NAN, 4.0, f32::INFINITY, 1e-3],
        )?;
        let takes: Vec<u32> = verdicts.iter().map(|verdict| verdict.1).collect();
        ensure_eq!(takes, [1, 1, 0, 1, 0, 1]);
        let mut steps = 0;
        let close = |got: f32, want: f64| -> Outcome {
            ensure!(
                (got as f64 - want).abs() <= 1e-6 * want,
                "got {got}, want {want}"
            );
            Ok(())
        };
        for ((floats, take, norm, scale), factor) in
            verdicts.into_iter().zip([1.0, 0.25, 0.0, 0.5, 0.0, 1.0])
        {
            steps += take as i32;
            close(floats[0], factor)?;
            close(floats[1], 1.0 - 0.9f64.powi(steps))?;
            close(floats[2], 1.0 - 0.999f64.powi(steps))?;
            ensure_eq!(scale, 1.0);
            ensure_eq!(norm.is_finite(), take == 1);
        }
        Ok(())
    }

    fn corrections_are_accurate_over_many_steps(device: &Device) -> Outcome {
        let verdicts = judge(device, GradScaler::default(), &[1.0; 3000])?;
        let last = verdicts[2999].0;
        ensure!(
            (last[2] as f64 - (1.0 - 0.999f64.powi(3000))).abs() < 3e-6,
            "{last:?}"
        );
        Ok(())
    }

    fn scale_halves_on_overflow_and_doubles_after_an_interval(device: &Device) -> Outcome {
        let spec = GradScaler {
            scale: 8.0,
            growth: 2.0,
            interval: 3,
            backoff: 0.5,
            ..GradScaler::default()
        };
        let verdicts = judge(
            device,
            spec,
            &[16.0, 16.0, f32::INFINITY, 16.0, 16.0, 16.0, 16.0],
        )?;
        let scales: Vec<f32> = verdicts.iter().map(|verdict| verdict.3).collect();
        ensure_eq!(scales, [8.0, 8.0, 4.0, 4.0, 4.0, 8.0, 8.0]);
        // the factor undoes the scale of the gradients
        let factors: Vec<f32> = verdicts.iter().map(|verdict| verdict.0[0]).collect();
        ensure_eq!(factors, [0.125, 0.125, 0.0, 0.25, 0.25, 0.25, 0.125]);
        ensure_eq!((verdicts[0].2, verdicts[3].2), (2.0, 4.0));
        ensure_eq!(
            judge(device, spec, &[f32::NAN; 40])?.last().unwrap().3,
            GradScaler::LEAST
        );
        Ok(())
    }
}
