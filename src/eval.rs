//! How good a model is on a data set: captions written for all of it, every metric of them, and what it thinks of the true ones.

pub mod metrics;
mod report;

use std::time::{Duration, Instant};

use crate::caption::{Search, SearchOptions};
use crate::data::{Dataset, Sample};
use crate::device::Plan;
use crate::device::{Device, DeviceError};
use crate::eval::metrics::{Calibration, Case, Scores, exact_match, word_f1, words};
use crate::models::seemore::Vlm;
use crate::nn::Context;
use crate::ops::IGNORE;
use crate::progress::Progress;
use crate::text::Tokenizer;
use crate::train::{Batch, Loss, Objective, Scale, Text};

pub use report::Report;

/// How captions are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalOptions {
    /// Pictures at once.
    pub batch: usize,
    /// See [`SearchOptions::beam`].
    pub beam: usize,
    /// See [`SearchOptions::length_power`].
    pub length_power: f64,
    /// Most tokens of a caption; without it half again as many as the longest true one has.
    pub most: Option<usize>,
}

/// A caption that the model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredCaption {
    pub caption: String,
    /// Of the whole caption, its end included.
    pub probability: f64,
    /// Whether it is one of the true captions.
    pub exact: bool,
    pub word_f1: f64,
}

/// What an evaluation found.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// For every sample in its order.
    pub captions: Vec<ScoredCaption>,
    /// Share of the captions that are right to the letter.
    pub exact_match: f64,
    pub scores: Scores,
    /// The exponential of the mean cross entropy of all true captions' tokens, their ends included. Characters that the tokenizer does
    /// not know count as its unknown token; tokens beyond the model's room do not count.
    pub perplexity: f64,
    /// Of the captions' probability against their being right.
    pub calibration: Calibration,
    /// Captions written in a second, picture encoding included. The first batch, which compiles kernels, counts only when there is
    /// no other.
    pub captions_per_s: f64,
}

/// The true captions of a sample.
pub fn references(sample: &Sample) -> impl Iterator<Item = &str> {
    std::iter::once(&sample.caption)
        .chain(&sample.others)
        .map(String::as_str)
}

impl Evaluation {
    /// Evaluates a model; `progress` counts the pictures, once for their captions and once for every true caption.
    ///
    /// # Errors
    /// A device without memory for the batch, or lost.
    pub fn run(
        device: &Device,
        model: &Vlm,
        tokenizer: &Tokenizer,
        dataset: &Dataset,
        options: EvalOptions,
        progress: &dyn Progress,
    ) -> Result<Evaluation, DeviceError> {
        let samples = &dataset.samples;
        let truths: Vec<(&Sample, Text)> = samples
            .iter()
            .flat_map(|sample| references(sample).map(move |truth| (sample, truth)))
            .map(|(sample, truth)| (sample, Text::new(tokenizer, truth)))
            .collect();
        progress.set_total((samples.len() + truths.len()) as u64);
        let longest = truths
            .iter()
            .map(|(_, text)| text.len())
            .max()
            .unwrap_or(0)
            .clamp(1, model.room());
        let most = options.most.unwrap_or(longest + longest / 2);
        let (written, captions_per_s) =
            write(device, model, tokenizer, samples, most, options, progress)?;
        let perplexity = perplexity(
            device,
            model,
            tokenizer,
            &truths,
            longest,
            options.batch,
            progress,
        )?;

        let cases: Vec<Case> = samples
            .iter()
            .zip(&written)
            .map(|(sample, (caption, _))| Case {
                candidate: words(caption),
                references: references(sample).map(words).collect(),
            })
            .collect();
        let captions: Vec<ScoredCaption> = written
            .into_iter()
            .zip(samples)
            .zip(&cases)
            .map(|(((caption, probability), sample), case)| ScoredCaption {
                exact: exact_match(&caption, references(sample)),
                word_f1: word_f1(case),
                caption,
                probability,
            })
            .collect();
        let right = captions.iter().filter(|judged| judged.exact).count();
        Ok(Evaluation {
            exact_match: right as f64 / captions.len().max(1) as f64,
            scores: Scores::new(&cases),
            perplexity,
            calibration: Calibration::new(
                &captions
                    .iter()
                    .map(|judged| (judged.probability, judged.exact))
                    .collect::<Vec<_>>(),
            ),
            captions_per_s,
            captions,
        })
    }
}

/// A caption for every sample with its probability, and how many were written in a second.
fn write(
    device: &Device,
    model: &Vlm,
    tokenizer: &Tokenizer,
    samples: &[Sample],
    most: usize,
    options: EvalOptions,
    progress: &dyn Progress,
) -> Result<(Vec<(String, f64)>, f64), DeviceError> {
    let EvalOptions {
        beam, length_power, ..
    } = options;
    let batch = options.batch.clamp(1, samples.len().max(1));
    let search = Search::new(
        device,
        model,
        SearchOptions {
            batch,
            prompt: 1,
            new: most,
            beam,
            length_power,
        },
    )?;
    let mut captions = vec![];
    let mut times: Vec<(usize, Duration)> = vec![];
    for samples in samples.chunks(batch) {
        let images: Vec<f32> = samples.iter().flat_map(Sample::normalised).collect();
        // a tokenizer without a begin token starts from the true caption's first token
        let first = |sample: &Sample| {
            Text::new(tokenizer, &sample.caption)
                .ids
                .first()
                .copied()
                .unwrap_or(tokenizer.pad())
        };
        let prompts: Vec<u32> = samples
            .iter()
            .map(|sample| tokenizer.begin().unwrap_or_else(|| first(sample)))
            .collect();
        let begun = Instant::now();
        let written = search.run(&images, &prompts, tokenizer.end())?;
        times.push((samples.len(), begun.elapsed()));
        for (hypotheses, prompt) in written.iter().zip(prompts) {
            let best = &hypotheses[0];
            let prompt = (tokenizer.begin() != Some(prompt)).then_some(prompt);
            let tokens: Vec<u32> = prompt
                .into_iter()
                .chain(best.tokens.iter().copied())
                .collect();
            captions.push((tokenizer.decode(&tokens), best.log_probability().exp()));
        }
        progress.advance(samples.len() as u64);
    }
    let timed = if times.len() > 1 {
        &times[1..]
    } else {
        &times[..]
    };
    let (count, time) = timed
        .iter()
        .fold((0, Duration::ZERO), |(count, time), batch| {
            (count + batch.0, time + batch.1)
        });
    Ok((captions, count as f64 / time.as_secs_f64().max(1e-9)))
}

/// The perplexity of the true captions, with `longest` positions each.
fn perplexity(
    device: &Device,
    model: &Vlm,
    tokenizer: &Tokenizer,
    truths: &[(&Sample, Text)],
    longest: usize,
    batch: usize,
    progress: &dyn Progress,
) -> Result<f64, DeviceError> {
    let rows = batch.clamp(1, truths.len().max(1));
    let mut tape = device.tape();
    let loss = Loss::record(
        &mut Context::inference(&mut tape),
        model,
        rows,
        longest,
        &Objective::CAPTIONS,
    );
    tape.hold(loss.value);
    let plan = Plan::new(device, tape)?;
    let (mut sum, mut tokens) = (0.0, 0);
    for truths in truths.chunks(rows) {
        let mut images: Vec<f32> = truths
            .iter()
            .flat_map(|(sample, _)| sample.normalised())
            .collect();
        images.resize(images.len() / truths.len() * rows, 0.0);
        let texts: Vec<&Text> = truths.iter().map(|(_, text)| text).collect();
        let mut batch = Batch::new(images, &texts, longest, tokenizer.pad(), false);
        batch.ids.resize(rows * longest, tokenizer.pad());
        batch.targets.resize(rows * longest, IGNORE);
        tokens += batch.count();
        loss.write(&plan, &batch, Scale::SUM);
        sum += plan.run_and_read::<f32>(loss.value)?[0] as f64;
        progress.advance(truths.len() as u64);
    }
    Ok((sum / tokens.max(1) as f64).exp())
}
