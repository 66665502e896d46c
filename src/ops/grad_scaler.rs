//! Loss scaling, gradient clipping, and whether a step is taken at all.

use crate::kernel;
use crate::kernel::Kernel;
use crate::tape::{Precision, Tape, Var};

static GRAD_SCALER: Kernel = kernel!("grad_scaler");

/// How gradients are judged before an update. The default leaves them as they are and only refuses those that are not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradScaler {
    /// The largest norm of all gradients together; 0 for no clipping.
    pub clip: f64,
    /// Adam's, for its bias corrections.
    pub beta1: f64,
    pub beta2: f64,
    /// What the loss is multiplied by at first.
    pub scale: f32,
    /// What the scale is multiplied by after `interval` steps in a row that were taken.
    pub growth: f32,
    pub interval: u32,
    /// What it is multiplied by after a step that was not.
    pub backoff: f32,
}

impl Default for GradScaler {
    fn default() -> GradScaler {
        GradScaler { clip: 0.0, beta1: 0.9, beta2: 0.999, scale: 1.0, growth: 1.0, interval: 1 << 24, backoff: 1.0 }
    }
}

impl GradScaler {
    /// The least and the most that the scale becomes.
    pub const LEAST: f32 = 1.0 / 1024.0;
    pub const MOST: f32 = 16_777_216.0;

    /// PyTorch's rule, starting lower: no step is lost to finding the scale.
    pub fn dynamic() -> GradScaler {
        GradScaler { scale: 1024.0, growth: 2.0, interval: 200, backoff: 0.5, ..GradScaler::default() }
    }

    /// What operands of this precision need.
    pub fn of(precision: Precision) -> GradScaler {
        match precision {
            Precision::F32 => GradScaler::default(),
            Precision::F16 => GradScaler::dynamic(),
        }
    }

    /// The state before the first step: scale, steps since it changed, steps taken, steps skipped, the two bias corrections. As
    /// long as it is so that what follows it in a buffer can be bound.
    pub fn start(&self) -> [f32; 64] {
        let mut state = [0.0; 64];
        state[0] = self.scale;
        state
    }
}

impl Tape {
    /// Judges the gradients of a step, of which `norm_squared: [1]` is the sum of squares, and updates the persistent
    /// `state: [64]` (see [`GradScaler::start`]). Returns the verdict `[8]`: the factor for the gradients, Adam's two bias
    /// corrections, whether to take the step (`u32`), and the norm of the unscaled gradients.
    #[track_caller]
    pub fn grad_scaler(&mut self, norm_squared: Var, state: Var, spec: GradScaler) -> Var {
        assert!(self.len(norm_squared) == 1 && self.len(state) == 64, "grad_scaler: norm or state of a wrong shape");
        let verdict = self.output(&[8]);
        let call = self.call(&GRAD_SCALER, "update").bind("norm_squared", norm_squared).bind("state", state).bind("verdict", verdict);
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
            .groups([1, 1, 1]);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Tensor;
    use crate::ops::check::gpu;
    use crate::plan::Plan;

    /// The verdicts (factor, corrections, take, norm) and scales after each of the given norms of scaled gradients.
    fn judge(spec: GradScaler, norms: &[f32]) -> Vec<([f32; 3], u32, f32, f32)> {
        let gpu = gpu();
        let state = Tensor::new(&gpu, &[64], &spec.start()).unwrap();
        let mut tape = Tape::new(gpu.capabilities());
        let (norm_squared, bound) = (tape.input(&[1]), tape.bind(&state));
        let verdict = tape.grad_scaler(norm_squared, bound, spec);
        tape.hold(verdict);
        let plan = Plan::new(&gpu, tape).unwrap();
        let run = |norm: &f32| {
            plan.write(norm_squared, &[norm * norm]);
            plan.run().unwrap();
            let words: Vec<u32> = plan.read(verdict).unwrap();
            let float = |at: usize| f32::from_bits(words[at]);
            ([float(0), float(1), float(2)], words[3], float(4), state.read::<f32>().unwrap()[0])
        };
        norms.iter().map(run).collect()
    }

    #[test]
    fn gradients_are_clipped_and_adams_corrections_follow_the_steps_taken() {
        let spec = GradScaler { clip: 2.0, ..GradScaler::default() };
        let verdicts = judge(spec, &[1.0, 8.0, f32::NAN, 4.0, f32::INFINITY, 1e-3]);
        let takes: Vec<u32> = verdicts.iter().map(|verdict| verdict.1).collect();
        assert_eq!(takes, [1, 1, 0, 1, 0, 1]);
        let (mut steps, close) = (0, |got: f32, want: f64| assert!((got as f64 - want).abs() <= 1e-6 * want, "{got} for {want}"));
        for ((floats, take, norm, scale), factor) in verdicts.into_iter().zip([1.0, 0.25, 0.0, 0.5, 0.0, 1.0]) {
            steps += take as i32;
            close(floats[0], factor);
            close(floats[1], 1.0 - 0.9f64.powi(steps));
            close(floats[2], 1.0 - 0.999f64.powi(steps));
            assert_eq!(scale, 1.0);
            assert_eq!(norm.is_finite(), take == 1);
        }
    }

    #[test]
    fn corrections_stay_right_over_many_steps() {
        let verdicts = judge(GradScaler::default(), &[1.0; 3000]);
        let last = verdicts.last().unwrap().0;
        assert!((last[2] as f64 - (1.0 - 0.999f64.powi(3000))).abs() < 3e-6, "{last:?}");
    }

    #[test]
    fn the_scale_halves_when_gradients_overflow_and_doubles_after_a_while() {
        let spec = GradScaler { scale: 8.0, growth: 2.0, interval: 3, backoff: 0.5, ..GradScaler::default() };
        let verdicts = judge(spec, &[16.0, 16.0, f32::INFINITY, 16.0, 16.0, 16.0, 16.0]);
        let scales: Vec<f32> = verdicts.iter().map(|verdict| verdict.3).collect();
        assert_eq!(scales, [8.0, 8.0, 4.0, 4.0, 4.0, 8.0, 8.0]);
        // the factor undoes the scale that the gradients were made with
        let factors: Vec<f32> = verdicts.iter().map(|verdict| verdict.0[0]).collect();
        assert_eq!(factors, [0.125, 0.125, 0.0, 0.25, 0.25, 0.25, 0.125]);
        assert_eq!((verdicts[0].2, verdicts[3].2), (2.0, 4.0));
        assert_eq!(judge(spec, &[f32::NAN; 40]).last().unwrap().3, GradScaler::LEAST);
    }
}
