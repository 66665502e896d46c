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
    /// Checks that a step fits, which computes a batch of `pictures` in `parts`; the error suggests
    /// how many parts fit.
    pub(super) fn check(
        &self,
        adapter: &str,
        pictures: usize,
        parts: usize,
    ) -> Result<(), TrainError> {
        const MB: u64 = 1_000_000;
        match self.free.filter(|&free| self.step > free) {
            Some(free) => Err(TrainError::Memory {
                need: self.step / MB,
                have: (self.parameters + self.optimizer) / MB,
                free: free / MB,
                adapter: adapter.to_owned(),
                parts: self.fitting(free, pictures, parts),
            }),
            None => Ok(()),
        }
    }

    /// The least number of parts of equal size of which one fits: the memory of a step grows with
    /// the pictures of a part.
    fn fitting(&self, free: u64, pictures: usize, parts: usize) -> Option<usize> {
        let fits = |more: &usize| {
            pictures.is_multiple_of(*more)
                && self.step as u128 * parts as u128 <= free as u128 * *more as u128
        };
        (parts + 1..=pictures).find(fits)
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
            .check("the adapter", 12, 1)
        };
        assert!(needs(7_000_000, Some(7_000_000)).is_ok() && needs(u64::MAX, None).is_ok());
        let error = needs(9_000_000, Some(7_000_000)).unwrap_err();
        assert_eq!(error.hint(), Some(Hint::LessMemory { parts: 2 }));
        // 12 pictures in 5 parts would be less than 2 of 7 MB, but not in equal parts
        let error = needs(30_000_000, Some(7_000_000)).unwrap_err();
        assert_eq!(error.hint(), Some(Hint::LessMemory { parts: 6 }));
        let error = needs(90_000_000, Some(7_000_000)).unwrap_err();
        assert_eq!(error.hint(), Some(Hint::SmallerBatch));
        let text = needs(9_000_000, Some(7_000_000)).unwrap_err().to_string();
        for word in ["9 MB", "12 MB", "7 MB", "the adapter"] {
            assert!(text.contains(word), "no {word} in: {text}");
        }
    }
}
