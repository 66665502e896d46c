//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// Course of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine from the peak to zero (Loshchilov & Hutter 2017, one cycle).
    Cosine,
    /// Straight line to zero.
    Linear,
    /// The peak until the end.
    Constant,
}

impl Schedule {
    /// Returns the learning rate as a fraction of the peak: a linear rise over `warmup` steps, then
    /// the schedule. `step` counts from 0; `progress` goes from 0 at the end of the warm-up to 1 at
    /// the end of training.
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
    fn rises_in_warmup_then_falls_to_zero() {
        assert_eq!(Schedule::Cosine.factor(0, 10, 0.0), 0.1);
        assert_eq!(Schedule::Cosine.factor(9, 10, 0.0), 1.0);
        assert!((Schedule::Cosine.factor(50, 10, 0.5) - 0.5).abs() < 1e-12);
        assert!(Schedule::Cosine.factor(100, 10, 1.0) < 1e-12);
        assert_eq!(Schedule::Linear.factor(75, 0, 0.75), 0.25);
        assert_eq!(Schedule::Constant.factor(99, 0, 1.0), 1.0);
    }
}
