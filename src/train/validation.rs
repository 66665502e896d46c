//! How well a model does on pictures it was not trained on.

use std::ops::ControlFlow;

use super::loss::{Loss, Scale};
use super::{Batch, Objective, Text};
use crate::caption::{Generator, Sampling};
use crate::data::Dataset;
use crate::device::Plan;
use crate::device::{Device, DeviceError};
use crate::models::seemore::Vlm;
use crate::nn::Context;
use crate::ops::IGNORE;
use crate::text::Tokenizer;

/// What a validation found.
#[derive(Debug, Clone)]
pub struct ValidationResult {
    /// Mean cross entropy of a caption's tokens, in nats.
    pub loss: f32,
    /// Share of the pictures whose greedily written caption is the true one to the letter.
    pub exact_match: f64,
    /// For every picture where it comes from, its true caption and the written one.
    pub captions: Vec<(String, String, String)>,
}

/// Recorded passes that measure a model on a data set.
pub struct Validation {
    plan: Plan,
    loss: Loss,
    generator: Generator,
    batch: usize,
    length: usize,
}

impl Validation {
    /// Most pictures measured at once.
    const BATCH: usize = 16;

    /// For a model and the data set that it is to be measured on. Captions may grow to half again the longest true one.
    pub fn new(
        device: &Device,
        model: &Vlm,
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
        let mut tape = device.tape();
        let loss = Loss::record(
            &mut Context::inference(&mut tape),
            model,
            batch,
            length,
            &Objective::CAPTIONS,
        );
        tape.hold(loss.value);
        let plan = Plan::new(device, tape)?;
        let generator = Generator::new(device, model, batch, 1, length + length / 2, false)?;
        Ok(Validation {
            plan,
            loss,
            generator,
            batch,
            length,
        })
    }

    /// Measures the model's present parameters. `dataset` is the one that this was made for. Between batches `on` hears how many pictures
    /// are done; when it breaks, there is no verdict.
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
            let mut images: Vec<f32> = samples
                .iter()
                .flat_map(|sample| sample.normalised())
                .collect();
            let padding = self.batch - samples.len();
            images.resize(images.len() / samples.len() * self.batch, 0.0);
            let mut batch = Batch::new(
                images,
                &texts.iter().collect::<Vec<_>>(),
                self.length,
                tokenizer.pad(),
                count_pads,
            );
            batch.ids.resize(self.batch * self.length, tokenizer.pad());
            batch.targets.resize(self.batch * self.length, IGNORE);
            let count = batch.count();
            self.loss.write(&self.plan, &batch, Scale::SUM);
            self.plan.run()?;
            loss += self.plan.read::<f32>(self.loss.value)?[0] as f64;
            tokens += count;

            // a tokenizer without a begin token starts from the caption's first character
            let first = |text: &Text| text.ids.first().copied().unwrap_or(tokenizer.pad());
            let prompts: Vec<u32> = texts
                .iter()
                .map(first)
                .chain(std::iter::repeat_n(tokenizer.pad(), padding))
                .collect();
            let written = self.generator.complete(
                &batch.images,
                &prompts,
                tokenizer.end(),
                Sampling::GREEDY,
            )?;
            for ((sample, written), prompt) in samples.iter().zip(written).zip(prompts) {
                let prompt = (tokenizer.begin() != Some(prompt)).then_some(prompt);
                let tokens: Vec<u32> = prompt
                    .into_iter()
                    .chain(written.iter().map(|choice| choice.token))
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
        let exact = captions
            .iter()
            .filter(|(_, truth, written)| truth == written)
            .count();
        let (loss, exact_match) = (
            (loss / tokens.max(1) as f64) as f32,
            exact as f64 / captions.len().max(1) as f64,
        );
        Ok(Some(ValidationResult {
            loss,
            exact_match,
            captions,
        }))
    }
}
