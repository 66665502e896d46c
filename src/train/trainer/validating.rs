//! Validations during training, and the best of them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::train::tuning::AnswerValidation;
use crate::train::validation::Measured;
use crate::train::{Event, Observer, TrainError, Validation, ValidationResult};

/// Recorded passes of a validation.
pub(super) enum Recorded {
    /// Of a model that writes captions.
    Captions(Box<Validation>),
    /// Of a pretrained model, which answers questions.
    Answers(Box<AnswerValidation>),
}

/// The best validation so far: most exact matches, then lowest loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Step of the validation.
    pub step: u64,
    /// Fraction of captions written exactly.
    pub exact_match: f64,
    /// Loss on the validation pictures.
    pub loss: f32,
    /// Validations since then.
    pub since: u64,
}

impl Best {
    /// Takes a result into account; returns whether it is the best one.
    pub(super) fn take(best: &mut Option<Best>, step: u64, result: &ValidationResult) -> bool {
        let ValidationResult {
            exact_match, loss, ..
        } = *result;
        let better = best.is_none_or(|best| {
            exact_match > best.exact_match || exact_match == best.exact_match && loss < best.loss
        });
        match best {
            Some(best) if !better => best.since += 1,
            _ => {
                *best = Some(Best {
                    step,
                    exact_match,
                    loss,
                    since: 0,
                })
            }
        }
        better
    }
}

impl Trainer<'_> {
    /// Measures the model, recording the passes the first time. Also returns the time that the
    /// observer took in between. The result is `None` without validation pictures, or when the
    /// observer ended it.
    pub(super) fn validate(
        &self,
        recorded: &mut Option<Recorded>,
        observer: &mut dyn Observer,
    ) -> Result<(Option<ValidationResult>, Duration), TrainError> {
        let Some(dataset) = self.validation else {
            return Ok((None, Duration::ZERO));
        };
        let validation = match recorded {
            Some(validation) => validation,
            None => recorded.insert(match self.tuning {
                Some(asked) => Recorded::Answers(Box::new(AnswerValidation::new(
                    self.device,
                    self.model,
                    self.tokenizer,
                    &asked.data,
                    dataset,
                    &asked.validation,
                    AnswerValidation::BATCH,
                )?)),
                None => Recorded::Captions(Box::new(Validation::new(
                    self.device,
                    self.model,
                    self.tokenizer,
                    dataset,
                )?)),
            }),
        };
        self.optimizer.swap_average()?;
        let (step, of, mut paused) = (self.step, dataset.samples.len(), Duration::ZERO);
        let mut on = |done: usize| {
            let asked = Instant::now();
            let flow = observer.on(Event::Validating { step, done, of });
            paused += asked.elapsed();
            flow
        };
        let rank = (self.ranks.rank(), self.ranks.size());
        let measured = match (validation, self.tuning) {
            (Recorded::Captions(validation), _) => {
                let count_pads = self.model.info().count_pads;
                let measured =
                    validation.measure(self.tokenizer, dataset, count_pads, rank, &mut on);
                measured.map_err(TrainError::from)
            }
            (Recorded::Answers(validation), Some(asked)) => {
                validation.measure(&asked.data, dataset, &asked.validation, rank, &mut on)
            }
            (Recorded::Answers(_), None) => unreachable!("answers are to questions"),
        };
        self.optimizer.swap_average()?;
        let all = Measured::of_all(self.ranks, measured?)?;
        Ok((all.map(|all| Measured::result(all, dataset)), paused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_exact_matches_then_low_loss() {
        let result = |exact_match, loss| ValidationResult {
            loss,
            exact_match,
            captions: vec![],
        };
        let mut best = None;
        assert!(Best::take(&mut best, 1, &result(0.5, 2.0)));
        assert!(!Best::take(&mut best, 2, &result(0.4, 1.0)));
        assert_eq!(best.unwrap().since, 1);
        assert!(Best::take(&mut best, 3, &result(0.5, 1.5)));
        assert_eq!((best.unwrap().step, best.unwrap().since), (3, 0));
    }
}
