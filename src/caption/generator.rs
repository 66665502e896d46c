//! Decoding by hand: logits after a prompt, then after each token.

use super::passes::{Decoding, DecodingSpec};
use super::{Choice, Sampler, Sampling};
use crate::device::{Device, DeviceError, Plan};
use crate::models::Model;

/// Continues prompts of a fixed number of pictures with a key/value cache, one token at a time.
///
/// This is the lowest level of generation, for measurements and tests; [`Session`](super::Session)
/// writes captions.
pub struct Generator {
    decoding: Decoding,
    vocab: usize,
}

impl Generator {
    /// Records the passes for `batch` pictures with prompts of `prompt` tokens and at most `new`
    /// tokens after them.
    ///
    /// # Errors
    /// Insufficient device memory for the caches or passes.
    pub fn new(
        device: &Device,
        model: &Model,
        batch: usize,
        prompt: usize,
        new: usize,
    ) -> Result<Generator, DeviceError> {
        let first = model.info().visual_tokens + prompt;
        // the last new token is returned, not fed back
        let capacity = first.saturating_add(new.max(1) - 1).min(model.positions());
        let spec = DecodingSpec {
            rows: batch,
            beam: 1,
            capacity,
            // a prompt may consist of places for images
            image_rows: match model.info().placeholder {
                Some(_) => batch * prompt,
                None => 0,
            },
            argmax: false,
            maps: false,
        };
        let mut decoding = Decoding::new(device, model, spec)?;
        decoding.prepare(device, model, prompt)?;
        Ok(Generator {
            decoding,
            vocab: model.info().vocab_size,
        })
    }

    fn by_row(&self, logits: Vec<f32>) -> Vec<Vec<f32>> {
        logits.chunks(self.vocab).map(<[f32]>::to_vec).collect()
    }

    /// Runs the prefill over pictures `[batch, 3, side, side]` and prompts of at most the recorded
    /// length, one for each picture. Returns the logits after each prompt.
    pub fn start(
        &mut self,
        images: &[f32],
        prompts: &[&[u32]],
    ) -> Result<Vec<Vec<f32>>, DeviceError> {
        self.decoding.start(images, prompts);
        Ok(self.by_row(self.decoding.logits()?))
    }

    /// Appends one token to each text and returns the logits after it; `None` when the caches are
    /// full.
    pub fn next(&mut self, tokens: &[u32]) -> Result<Option<Vec<Vec<f32>>>, DeviceError> {
        if (0..tokens.len()).any(|row| self.decoding.room(row) <= 1) {
            return Ok(None);
        }
        self.decoding.feed(tokens);
        Ok(Some(self.by_row(self.decoding.logits()?)))
    }

    /// Largest number of positions that a row of the caches holds, visual tokens included.
    pub fn past(&self) -> usize {
        let rows = self.decoding.spec().rows;
        (0..rows)
            .map(|row| self.decoding.past(row))
            .max()
            .unwrap_or(0)
    }

    /// The recorded pass over pictures and prompts, for measurements.
    pub fn prefill_plan(&self) -> &Plan {
        self.decoding.prefill_plan()
    }

    /// The recorded decode step, for measurements.
    pub fn step_plan(&self) -> &Plan {
        self.decoding.step_plan()
    }

    /// Continues all prompts until `end` or until the caches are full. The `end` token is not
    /// returned. Row `i` is sampled with the seed `sampling.seed + i`.
    pub fn complete(
        &mut self,
        images: &[f32],
        prompts: &[&[u32]],
        end: Option<u32>,
        sampling: Sampling,
    ) -> Result<Vec<Vec<Choice>>, DeviceError> {
        let mut logits = self.start(images, prompts)?;
        let mut samplers: Vec<Sampler> = (0..logits.len() as u64)
            .map(|row| {
                Sampler::new(Sampling {
                    seed: sampling.seed.wrapping_add(row),
                    ..sampling
                })
            })
            .collect();
        let mut texts = vec![vec![]; logits.len()];
        let mut open = vec![true; logits.len()];
        loop {
            let mut tokens = vec![];
            for (row, logits) in logits.iter().enumerate() {
                let choice = samplers[row].choose(logits);
                open[row] &= Some(choice.token) != end;
                if open[row] {
                    texts[row].push(choice);
                }
                tokens.push(choice.token);
            }
            if !open.contains(&true) {
                return Ok(texts);
            }
            match self.next(&tokens)? {
                Some(next) => logits = next,
                None => return Ok(texts),
            }
        }
    }
}
