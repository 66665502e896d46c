//! Validation: loss and exact match on pictures that the model was not trained on.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::{RankError, Ranks, ScoringPass, Text};
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

/// A batch of a validation, as the rank that measured it found it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Number of the batch.
    pub batch: usize,
    /// Bits of the sum of cross entropies, an `f64`: a text would round it.
    pub loss: u64,
    /// Number of tokens scored.
    pub tokens: usize,
    /// Captions written.
    pub written: Vec<String>,
}

impl Measured {
    /// Returns the batches of all ranks in order, or `None` if the observer of a rank broke.
    ///
    /// # Errors
    /// A rank that is lost.
    pub fn of_all(
        ranks: &Ranks,
        of_this: Option<Vec<Measured>>,
    ) -> Result<Option<Vec<Measured>>, RankError> {
        if !ranks.are_several() {
            return Ok(of_this);
        }
        let text = serde_json::to_string(&of_this).expect("results are plain data");
        let mut all = vec![];
        for (rank, text) in ranks.gather_texts(&text)?.iter().enumerate() {
            let of_rank: Option<Vec<Measured>> =
                serde_json::from_str(text).map_err(|error| RankError {
                    rank,
                    place: String::new(),
                    what: format!("sends no result of a validation: {error}"),
                })?;
            let Some(of_rank) = of_rank else {
                return Ok(None);
            };
            all.extend(of_rank);
        }
        all.sort_by_key(|measured| measured.batch);
        Ok(Some(all))
    }

    /// Returns the result of all batches of a data set.
    pub fn result(all: Vec<Measured>, dataset: &Dataset) -> ValidationResult {
        // the order of one process, since sums depend on it
        let loss = all.iter().map(|batch| f64::from_bits(batch.loss)).sum();
        let tokens = all.iter().map(|batch| batch.tokens).sum();
        let written = all.into_iter().flat_map(|batch| batch.written);
        let captions = dataset.samples.iter().zip(written);
        let captions =
            captions.map(|(sample, written)| (sample.id.clone(), sample.caption.clone(), written));
        ValidationResult::new(loss, tokens, captions.collect())
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
        let measured = self.measure(tokenizer, dataset, count_pads, (0, 1), on)?;
        Ok(measured.map(|measured| Measured::result(measured, dataset)))
    }

    /// Measures the batches of one of several ranks, given its number and that of all; otherwise as
    /// [`run`](Self::run).
    pub(super) fn measure(
        &mut self,
        tokenizer: &Tokenizer,
        dataset: &Dataset,
        count_pads: bool,
        (rank, ranks): (usize, usize),
        on: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Measured>>, DeviceError> {
        let mut measured = vec![];
        let batches = dataset.samples.chunks(self.batch).enumerate();
        for (number, samples) in batches.skip(rank).step_by(ranks) {
            let texts: Vec<Text> = samples
                .iter()
                .map(|sample| Text::new(tokenizer, &sample.caption))
                .collect();
            let texts: Vec<&Text> = texts.iter().collect();
            let images: Vec<f32> = samples
                .iter()
                .flat_map(|sample| sample.normalised())
                .collect();
            let (loss, count) = self.scoring.score(&images, &texts, tokenizer, count_pads)?;

            // a tokenizer without a begin token starts from the caption's first token
            let first = |text: &&Text| text.ids.first().copied().unwrap_or(tokenizer.pad());
            let prompts: Vec<u32> = texts.iter().map(first).collect();
            let single: Vec<&[u32]> = prompts.chunks(1).collect();
            let written = self.search.run(&images, &single, tokenizer.end())?;
            let written = written.iter().zip(prompts).map(|(written, prompt)| {
                let prompt = (tokenizer.begin() != Some(prompt)).then_some(prompt);
                let tokens: Vec<u32> = prompt
                    .into_iter()
                    .chain(written[0].tokens.iter().copied())
                    .collect();
                tokenizer.decode(&tokens)
            });
            measured.push(Measured {
                batch: number,
                loss: loss.to_bits(),
                tokens: count,
                written: written.collect(),
            });
            let done = number * self.batch + samples.len();
            if done < dataset.samples.len() && on(done).is_break() {
                return Ok(None);
            }
        }
        Ok(Some(measured))
    }
}
