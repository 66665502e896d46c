//! Checks of a configuration that need neither data nor a device.

use super::{BatchSize, RunConfig};
use crate::train::TrainError;

impl RunConfig {
    /// Checks settings that have no meaning for a pretrained model.
    fn check_tuning(&self) -> Result<(), TrainError> {
        let own = "belongs to models that start from nothing, and `model.base` is given";
        let given = [
            ("model.file", self.model.file.is_some()),
            ("model.dropout", self.model.dropout.is_some()),
            ("model.freeze", !self.model.freeze.is_empty()),
            ("tokenizer.file", self.tokenizer.file.is_some()),
            ("tokenizer.vocab_size", self.tokenizer.vocab_size.is_some()),
            ("init.load", self.init.load.is_some()),
            ("loss.classes", self.loss.classes > 0.0),
            ("loss.captions", self.loss.captions != 1.0),
            ("data.text", self.data.text.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(TrainError::setting(field, own)),
            None => Ok(()),
        }
    }

    /// Checks the ranges of all numbers and which settings go together.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        let zeros = [
            ("batch.size", self.batch.size == BatchSize::Pictures(0)),
            ("batch.accumulate", self.batch.accumulate == 0),
            ("log.every", self.log.every == 0),
            ("checkpoint.keep", self.checkpoint.keep == 0),
            ("budget.steps", self.budget.steps == Some(0)),
            ("validation.patience", self.validation.patience == Some(0)),
        ];
        if let Some((field, _)) = zeros.iter().find(|(_, zero)| *zero) {
            return Err(TrainError::setting(field, "must be at least 1"));
        }
        if let BatchSize::Pictures(pictures) = self.batch.size
            && !pictures.is_multiple_of(self.batch.accumulate)
        {
            return Err(TrainError::setting(
                "batch.accumulate",
                format!(
                    "is {}, which does not divide the batch size {pictures}",
                    self.batch.accumulate
                ),
            ));
        }
        let positive = [
            ("budget.epochs", self.budget.epochs),
            ("budget.seconds", self.budget.seconds),
            ("schedule.learning_rate", Some(self.schedule.learning_rate)),
        ];
        for (field, value) in positive {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
                return Err(TrainError::setting(
                    field,
                    format!("is {value} but must be above 0"),
                ));
            }
        }
        let not_negative = [
            ("optimizer.clip", self.optimizer.clip),
            ("optimizer.weight_decay", self.optimizer.weight_decay),
            ("checkpoint.seconds", self.checkpoint.seconds),
            ("loss.captions", self.loss.captions as f64),
            ("loss.classes", self.loss.classes as f64),
        ];
        for (field, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(TrainError::setting(
                    field,
                    format!("is {value} but must be 0 or more"),
                ));
            }
        }
        // at 1 they would divide by zero, never move, or want all tokens alike
        let below_one = [
            ("optimizer.beta1", Some(self.optimizer.beta1)),
            ("optimizer.beta2", Some(self.optimizer.beta2)),
            ("optimizer.ema", Some(self.optimizer.ema)),
            (
                "loss.label_smoothing",
                Some(self.loss.label_smoothing as f64),
            ),
            ("model.dropout", self.model.dropout.map(f64::from)),
            ("data.validation_split", self.data.validation_split),
        ];
        for (field, value) in below_one {
            if let Some(value) = value.filter(|value| !(0.0..1.0).contains(value)) {
                return Err(TrainError::setting(
                    field,
                    format!("is {value} but must be at least 0 and below 1"),
                ));
            }
        }
        let fractions = [("batch.variants", self.batch.variants)];
        for (field, value) in fractions {
            if !(0.0..=1.0).contains(&value) {
                return Err(TrainError::setting(
                    field,
                    format!("is {value} but must be from 0 to 1"),
                ));
            }
        }
        self.tune.check()?;
        if self.model.base.is_some() {
            self.check_tuning()?;
        }
        self.augment
            .check()
            .map_err(|reason| TrainError::setting("augment", format!("is not usable: {reason}")))
    }
}
