//! Adam and AdamW, gradient clipping, learning-rate schedules.

use serde::{Deserialize, Serialize};

use crate::gpu::{Gpu, GpuError, Tensor};
use crate::nn::Storage;
use crate::ops::{AdamW, GradScaler};
use crate::tape::{Tape, Var};

/// Which rule updates the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Kingma & Ba 2015.
    Adam,
    /// Adam with decoupled weight decay, Loshchilov & Hutter 2019.
    Adamw,
}

/// The numbers of the update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hyper {
    pub rule: Rule,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Share of a parameter that a learning rate of 1 takes off at every step; AdamW only.
    pub weight_decay: f64,
    /// The most that the norm of all gradients together may be; 0 for no limit.
    pub clip: f64,
}

/// First and second moments of every parameter's gradient, laid out as the parameters are, and the state of the scaler.
pub struct Optimizer {
    hyper: Hyper,
    storage: Storage,
    m: Vec<Tensor>,
    v: Vec<Tensor>,
    scaler: GradScaler,
    /// See [`GradScaler::start`].
    state: Tensor,
}

/// What a recorded update needs before a run and gives after it.
#[derive(Clone, Copy)]
pub struct Update {
    /// The learning rate: uniform, `[1]`.
    pub rate: Var,
    /// The verdict of [`Tape::grad_scaler`]: `[8]`, held.
    pub verdict: Var,
}

/// How the steps went so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// What the loss is multiplied by.
    pub scale: f32,
    pub taken: u64,
    /// Because a gradient was not finite.
    pub skipped: u64,
}

impl Steps {
    /// Whether gradients that are not finite may still become so with a smaller scale.
    pub fn can_scale_down(&self) -> bool {
        self.scale > GradScaler::LEAST
    }
}

impl Optimizer {
    pub fn new(gpu: &Gpu, storage: &Storage, hyper: Hyper, scaler: GradScaler) -> Result<Optimizer, GpuError> {
        let scaler = GradScaler { clip: hyper.clip, beta1: hyper.beta1, beta2: hyper.beta2, ..scaler };
        let state = Tensor::new(gpu, &[64], &scaler.start())?;
        Ok(Optimizer { hyper, storage: storage.clone(), m: storage.zeros(gpu)?, v: storage.zeros(gpu)?, scaler, state })
    }

    /// What the loss must be multiplied by before gradients are taken: `[1]`.
    pub fn scale(&self, t: &mut Tape) -> Var {
        t.bind(&self.state.part(0, &[1]))
    }

    /// Records the norm of `grads`, which are laid out as the parameters are and scaled by [`scale`](Self::scale), and the
    /// update of every parameter. Where the norm is not finite nothing is updated.
    pub fn record(&self, t: &mut Tape, grads: &[Var]) -> Update {
        let rate = t.input(&[1]);
        let filled: Vec<Var> = self.storage.flats().iter().map(|flat| t.bind(&flat.filled)).collect();
        let squares: Vec<Var> = grads.iter().zip(&filled).map(|(&grad, &filled)| t.sum_squares(grad, filled)).collect();
        let norm_squared = squares.into_iter().reduce(|a, b| t.add(a, b)).expect("a model has parameters");
        let state = t.bind(&self.state);
        let verdict = t.grad_scaler(norm_squared, state, self.scaler);
        t.hold(verdict);
        let Hyper { rule, beta1, beta2, eps, weight_decay, .. } = self.hyper;
        let rule = AdamW { beta1, beta2, eps, weight_decay: if rule == Rule::Adamw { weight_decay } else { 0.0 } };
        for (index, flat) in self.storage.flats().iter().enumerate() {
            let [parameters, m, v] = [&flat.values, &self.m[index], &self.v[index]].map(|tensor| t.bind(tensor));
            t.adamw(parameters, grads[index], m, v, filled[index], verdict, rate, rule);
        }
        Update { rate, verdict }
    }

    /// How the steps went so far; waits for them.
    pub fn steps(&self) -> Result<Steps, GpuError> {
        let state: Vec<f32> = self.state.read()?;
        Ok(Steps { scale: state[0], taken: state[2] as u64, skipped: state[3] as u64 })
    }

    /// The moments under the names `m.PARAMETER` and `v.PARAMETER`, and `scaler`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let (m, v) = (self.storage.named_in(&self.m), self.storage.named_in(&self.v));
        let moments = m.into_iter().zip(v).flat_map(|((name, m), (_, v))| [(format!("m.{name}"), m), (format!("v.{name}"), v)]);
        moments.chain([("scaler".to_owned(), self.state.clone())]).collect()
    }
}

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine from the peak down to zero (Loshchilov & Hutter 2017, one cycle).
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// The peak to the end.
    Constant,
}

impl Schedule {
    /// The share of the peak rate: rises in a straight line over `warmup` steps, then follows the schedule. `step` counts
    /// from 0; `progress` is the share of the way from the end of the warm-up to the end of training, from 0 to 1.
    pub fn factor(self, step: u64, warmup: u64, progress: f64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let progress = progress.clamp(0.0, 1.0);
        match self {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Linear => 1.0 - progress,
            Schedule::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_zero() {
        assert_eq!(Schedule::Cosine.factor(0, 10, 0.0), 0.1);
        assert_eq!(Schedule::Cosine.factor(9, 10, 0.0), 1.0);
        assert!((Schedule::Cosine.factor(50, 10, 0.5) - 0.5).abs() < 1e-12);
        assert!(Schedule::Cosine.factor(100, 10, 1.0) < 1e-12);
        assert_eq!(Schedule::Linear.factor(75, 0, 0.75), 0.25);
        assert_eq!(Schedule::Constant.factor(99, 0, 1.0), 1.0);
    }
}
