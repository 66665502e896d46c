//! Device memory of a training.

use super::TrainError;

/// Device memory of a training in bytes, without validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Parameters.
    pub parameters: u64,
    /// Moments, gradients, their sums when they are accumulated, and the average of the parameters.
    pub optimizer: u64,
    /// Peak of a step beside them.
    pub step: u64,
    /// Largest buffer of a step.
    pub largest: u64,
    /// What the device has left for the step, if it reports that.
    pub free: Option<u64>,
}

impl Footprint {
    /// Checks that a step fits; `parts` is the number of parts to suggest otherwise.
    pub(super) fn check(&self, adapter: &str, parts: usize) -> Result<(), TrainError> {
        const MB: u64 = 1_000_000;
        match self.free.filter(|&free| self.step > free) {
            Some(free) => Err(TrainError::Memory {
                need: self.step / MB,
                have: (self.parameters + self.optimizer) / MB,
                free: free / MB,
                adapter: adapter.to_owned(),
                parts,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::{Hint, Hinted};

    #[test]
    fn a_step_that_does_not_fit_is_refused() {
        let needs = |step, free| {
            Footprint {
                parameters: 4_000_000,
                optimizer: 8_000_000,
                step,
                largest: 0,
                free,
            }
            .check("the adapter", 2)
        };
        assert!(needs(7_000_000, Some(7_000_000)).is_ok() && needs(u64::MAX, None).is_ok());
        let error = needs(9_000_000, Some(7_000_000)).unwrap_err();
        assert_eq!(error.hint(), Some(Hint::LessMemory { parts: 2 }));
        let text = error.to_string();
        for word in ["9 MB", "12 MB", "7 MB", "the adapter"] {
            assert!(text.contains(word), "no {word} in: {text}");
        }
    }
}
