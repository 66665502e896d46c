//! Cross entropy of given captions.

use super::loss::{Loss, Scale};
use super::{Batch, Objective, Text};
use crate::device::{Device, DeviceError, Plan};
use crate::models::Model;
use crate::nn::Context;
use crate::ops::IGNORE;
use crate::text::Tokenizer;

/// A recorded forward pass that scores captions: the sum of their tokens' cross entropies.
pub(crate) struct ScoringPass {
    plan: Plan,
    loss: Loss,
    rows: usize,
    length: usize,
    pixels: usize,
}

impl ScoringPass {
    /// Records the pass for `rows` pictures with captions of at most `length` positions.
    ///
    /// # Errors
    /// Insufficient device memory for the pass.
    pub(crate) fn new(
        device: &Device,
        model: &Model,
        rows: usize,
        length: usize,
    ) -> Result<ScoringPass, DeviceError> {
        let mut tape = device.tape();
        let loss = Loss::record(
            &mut Context::inference(&mut tape),
            model,
            rows,
            length,
            &Objective::CAPTIONS,
        );
        tape.hold(loss.value);
        let side = model.info().image_size();
        Ok(ScoringPass {
            plan: Plan::new(device, tape)?,
            loss,
            rows,
            length,
            pixels: 3 * side * side,
        })
    }

    /// Cross entropy in nats, summed over all tokens of the captions, and the number of these
    /// tokens. `images` are `[n, 3, side, side]` with `n` captions, at most as many as the pass has
    /// rows. Captions are cut to the pass's length. `count_pads` scores the padding too, as the
    /// original seemore does.
    pub(crate) fn score(
        &self,
        images: &[f32],
        texts: &[&Text],
        tokenizer: &Tokenizer,
        count_pads: bool,
    ) -> Result<(f64, usize), DeviceError> {
        let mut images = images.to_vec();
        images.resize(self.rows * self.pixels, 0.0);
        let mut batch = Batch::new(images, texts, self.length, tokenizer.pad(), count_pads);
        batch.ids.resize(self.rows * self.length, tokenizer.pad());
        batch.targets.resize(self.rows * self.length, IGNORE);
        self.loss.write(&self.plan, &batch, Scale::SUM);
        let sum = self.plan.run_and_read::<f32>(self.loss.value)?[0] as f64;
        Ok((sum, batch.count()))
    }
}
