//! Exponential moving average of parameters (Polyak & Juditsky 1992).

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::grad_scaler::Verdict;
use crate::ops::native::elements;
use crate::ops::shared;

static EMA: Kernel = kernel!("ema", shared::VERDICT).native(&[("step", step)]);

impl Tape {
    /// Records `average += (1 - decay) * (param - average)` for a persistent `average`, changed in
    /// place.
    ///
    /// `average` and `param` have `n` elements, a multiple of 4. `decay: [1]` is written by the
    /// host before every step. `verdict` comes from [`grad_scaler`](Self::grad_scaler): a skipped
    /// step changes nothing.
    #[track_caller]
    pub fn ema(&mut self, average: Var, param: Var, verdict: Var, decay: Var) {
        let n = self.len(average);
        assert!(
            self.len(param) == n && n.is_multiple_of(4),
            "ema: {:?} of {:?}",
            self.shape(average),
            self.shape(param)
        );
        assert!(
            self.len(decay) == 1 && self.len(verdict) == 8,
            "ema: decay {:?}, want [1], or verdict {:?}, want [8]",
            self.shape(decay),
            self.shape(verdict)
        );
        let call = self
            .call(&EMA, "step")
            .bind("average", average)
            .bind("p", param)
            .bind("verdict", verdict);
        call.bind("decay", decay).param("n", n).elements(n / 4);
    }
}

fn step(call: &NativeCall) {
    let (average, p) = (call.write::<f32>("average"), call.read::<f32>("p"));
    let share = 1.0 - call.read::<f32>("decay")[0];
    if !Verdict::read(call).take {
        return;
    }
    elements(
        call,
        average,
        #[inline(always)]
        |start, average| {
            for (average, p) in average.iter_mut().zip(&p[start..]) {
                *average += share * (p - *average);
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::{Device, Plan, Tensor};
    use crate::ops::check::{Outcome, checks, close, f32s, random};

    checks![
        agrees_with_its_reference_over_several_steps,
        skipped_step_changes_nothing
    ];

    fn averaged(device: &Device, n: usize, take: u32, decays: &[f64]) -> Outcome {
        let start = random(n, 1);
        let average = Tensor::new(device, &[n], &f32s(&start))?;
        let mut tape = device.tape();
        let (param, decay) = (tape.input(&[n]), tape.input(&[1]));
        let verdict = tape.constant(&[0, 0, 0, take, 0, 0, 0, 0]);
        let bound = tape.bind(&average);
        tape.ema(bound, param, verdict, decay);
        let plan = Plan::new(device, tape)?;
        let mut want = start;
        for (step, &rate) in decays.iter().enumerate() {
            let now = random(n, 10 + step as u64);
            plan.write(param, &f32s(&now));
            plan.write(decay, &[rate as f32]);
            plan.run()?;
            if take == 1 {
                want.iter_mut()
                    .zip(now)
                    .for_each(|(average, now)| *average += (1.0 - rate) * (now - *average));
            }
        }
        close(
            &format!("{n} elements"),
            &average.read::<f32>()?,
            &want,
            0..n,
        )
    }

    fn agrees_with_its_reference_over_several_steps(device: &Device) -> Outcome {
        for n in [4, 64, 1024, 300_000] {
            averaged(device, n, 1, &[0.0, 0.5, 0.998])?;
        }
        Ok(())
    }

    fn skipped_step_changes_nothing(device: &Device) -> Outcome {
        averaged(device, 64, 0, &[0.5])
    }
}
