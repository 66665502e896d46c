//! Adam and AdamW, gradient clipping, learning-rate schedules.

use serde::{Deserialize, Serialize};

use crate::gpu::{Gpu, GpuError, Tensor};
use crate::nn::Storage;
use crate::ops::AdamW;
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

/// First and second moments of every parameter's gradient, laid out as the parameters are.
pub struct Optimizer {
    hyper: Hyper,
    storage: Storage,
    m: Vec<Tensor>,
    v: Vec<Tensor>,
}

/// What a recorded update needs before a run and gives after it.
#[derive(Clone, Copy)]
pub struct Update {
    /// Uniform of four floats, see [`Optimizer::rates`].
    pub rates: Var,
    /// The square of the norm of all gradients together: `[1]`, held.
    pub norm_squared: Var,
}

impl Optimizer {
    pub fn new(gpu: &Gpu, storage: &Storage, hyper: Hyper) -> Result<Optimizer, GpuError> {
        Ok(Optimizer { hyper, storage: storage.clone(), m: storage.zeros(gpu)?, v: storage.zeros(gpu)? })
    }

    /// Records the norm of `grads`, which are laid out as the parameters are, and the update of every parameter.
    pub fn record(&self, t: &mut Tape, grads: &[Var]) -> Update {
        let rates = t.input(&[4]);
        let filled: Vec<Var> = self.storage.flats().iter().map(|flat| t.bind(&flat.filled)).collect();
        let squares: Vec<Var> = grads.iter().zip(&filled).map(|(&grad, &filled)| t.sum_squares(grad, filled)).collect();
        let norm_squared = squares.into_iter().reduce(|a, b| t.add(a, b)).expect("a model has parameters");
        t.hold(norm_squared);
        let rule = self.rule();
        for (index, flat) in self.storage.flats().iter().enumerate() {
            let [parameters, m, v] = [&flat.values, &self.m[index], &self.v[index]].map(|tensor| t.bind(tensor));
            t.adamw(parameters, grads[index], m, v, filled[index], rates, Some(norm_squared), rule);
        }
        Update { rates, norm_squared }
    }

    /// Learning rate and bias corrections `1 - beta^step` of step 1, 2, .. as the update's uniform.
    pub fn rates(&self, step: u64, learning_rate: f64) -> [f32; 4] {
        self.rule().update(step, learning_rate)
    }

    fn rule(&self) -> AdamW {
        let Hyper { rule, beta1, beta2, eps, weight_decay, clip } = self.hyper;
        AdamW { beta1, beta2, eps, weight_decay: if rule == Rule::Adamw { weight_decay } else { 0.0 }, clip }
    }

    /// The moments under the names `m.PARAMETER` and `v.PARAMETER`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let (m, v) = (self.storage.named_in(&self.m), self.storage.named_in(&self.v));
        m.into_iter().zip(v).flat_map(|((name, m), (_, v))| [(format!("m.{name}"), m), (format!("v.{name}"), v)]).collect()
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
