//! The loss of a batch, recorded once for training and validation.

use super::Batch;
use crate::model::{Logits, Vlm};
use crate::nn::Context;
use crate::plan::Plan;
use crate::tape::Var;

/// The forward pass over a batch of fixed size, up to its loss.
pub(crate) struct Loss {
    image: Var,
    ids: Var,
    targets: Var,
    scale: Var,
    /// `[1]`: the scale times the cross entropy summed over all targets.
    pub value: Var,
}

impl Loss {
    /// Records the pass for `batch` pictures with `length` text positions.
    pub fn record(c: &mut Context, model: &Vlm, batch: usize, length: usize) -> Loss {
        let config = model.config();
        let image = c.tape.input(&[batch, 3, config.image_size, config.image_size]);
        let ids = c.tape.input(&[batch, length]);
        let targets = c.tape.input(&[batch * length]);
        let scale = c.tape.input(&[1]);
        let logits = model.forward(c, Some(image), ids, None, Logits::Text);
        c.tape.reshape(logits, &[batch * length, config.vocab_size]);
        let value = c.tape.cross_entropy(logits, targets, scale);
        Loss { image, ids, targets, scale, value }
    }

    /// Writes the numbers of the next run.
    pub fn write(&self, plan: &Plan, batch: &Batch, scale: f32) {
        plan.write(self.image, &batch.images);
        plan.write(self.ids, &batch.ids);
        plan.write(self.targets, &batch.targets);
        plan.write(self.scale, &[scale]);
    }
}
