//! Validation: loss and exact match on pictures that the model was not trained on.

use std::ops::ControlFlow;

use super::{ScoringPass, Text};
use crate::caption::{Search, SearchOptions};
use crate::data::Dataset;
use crate::device::{Device, DeviceError};
use crate::models::Model;
use crate::text::Tokenizer;

/// Result of a validation.
#[derive(Debug, Clone)]
pub struct ValidationResult {
    /// Mean cross entropy of the captions' tokens, in nats.
    pub loss: f32,
    /// Share of pictures whose greedy caption equals the true one.
    pub exact_match: f64,
    /// Id, true caption and written caption of every picture.
    pub captions: Vec<(String, String, String)>,
}

impl ValidationResult {
    /// Returns the result of a sum of cross entropies over that many tokens, and of captions as in
    /// [`captions`](Self::captions).
    pub(super) fn new(
        loss: f64,
        tokens: usize,
        captions: Vec<(String, String, String)>,
    ) -> ValidationResult {
        let exact = captions
            .iter()
            .filter(|(_, truth, written)| truth == written)
            .count();
        ValidationResult {
            loss: (loss / tokens.max(1) as f64) as f32,
            exact_match: exact as f64 / captions.len().max(1) as f64,
            captions,
        }
    }
}

/// Recorded passes that measure a model on a data set.
pub struct Validation {
    scoring: ScoringPass,
    search: Search,
    batch: usize,
}

impl Validation {
    /// Maximum number of pictures at once.
    const BATCH: usize = 16;

    /// Records the passes for a model and a data set. Captions may have one and a half times as
    /// many tokens as the longest true one.
    ///
    /// # Errors
    /// Insufficient device memory for the passes.
    pub fn new(
        device: &Device,
        model: &Model,
        tokenizer: &Tokenizer,
        dataset: &Dataset,
    ) -> Result<Validation, DeviceError> {
        let batch = dataset.samples.len().clamp(1, Self::BATCH);
        let longest = dataset
            .samples
            .iter()
            .map(|sample| Text::new(tokenizer, &sample.caption).len())
            .max()
            .unwrap_or(0);
        let length = longest.clamp(1, model.room());
        let options = SearchOptions {
            batch,
            prompt: 1,
            new: length + length / 2,
            beam: 1,
            length_power: 0.0,
        };
        Ok(Validation {
            scoring: ScoringPass::new(device, model, batch, length)?,
            search: Search::new(device, model, options)?,
            batch,
        })
    }

    /// Measures the model's current parameters on the data set that the passes were recorded for.
    /// Calls `on` between batches with the number of pictures that are done; returns `None` when it
    /// breaks.
    ///
    /// # Errors
    /// A lost device.
    pub fn run(
        &mut self,
        tokenizer: &Tokenizer,
        dataset: &Dataset,
        count_pads: bool,
        on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<ValidationResult>, DeviceError> {
        let (mut loss, mut tokens, mut captions) = (0.0, 0, vec![]);
        for samples in dataset.samples.chunks(self.batch) {
            let texts: Vec<Text> = samples
                .iter()
                .map(|sample| Text::new(tokenizer, &sample.caption))
                .collect();
            let texts: Vec<&Text> = texts.iter().collect();
            let images: Vec<f32> = samples
                .iter()
                .flat_map(|sample| sample.normalised())
                .collect();
            let (sum, count) = self.scoring.score(&images, &texts, tokenizer, count_pads)?;
            loss += sum;
            tokens += count;

            // a tokenizer without a begin token starts from the caption's first token
            let first = |text: &&Text| text.ids.first().copied().unwrap_or(tokenizer.pad());
            let prompts: Vec<u32> = texts.iter().map(first).collect();
            let single: Vec<&[u32]> = prompts.chunks(1).collect();
            let written = self.search.run(&images, &single, tokenizer.end())?;
            for ((sample, written), prompt) in samples.iter().zip(&written).zip(prompts) {
                let prompt = (tokenizer.begin() != Some(prompt)).then_some(prompt);
                let tokens: Vec<u32> = prompt
                    .into_iter()
                    .chain(written[0].tokens.iter().copied())
                    .collect();
                captions.push((
                    sample.id.clone(),
                    sample.caption.clone(),
                    tokenizer.decode(&tokens),
                ));
            }
            if captions.len() < dataset.samples.len() && on(captions.len()).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(ValidationResult::new(loss, tokens, captions)))
    }
}
