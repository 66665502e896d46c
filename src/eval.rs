//! Evaluation of a model on a data set: captions of all pictures, metrics of them, and the
//! perplexity of the true captions.

mod answers;
pub mod metrics;
mod predictions;
mod report;

use std::time::{Duration, Instant};

use crate::caption::{Cancel, CaptionError, CaptionOptions, Session};
use crate::data::{Dataset, Sample};
use crate::device::DeviceError;
use crate::eval::metrics::{Calibration, Case, Scores, exact_match, word_f1, words};
use crate::progress::Progress;
use crate::text::Tokenizer;
use crate::train::{ScoringPass, Text};

pub use predictions::{PredictionError, Predictions, coco_results, json_lines};
pub use report::Report;

/// How captions are written in an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalOptions {
    /// Number of pictures at once.
    pub batch: usize,
    /// Number of hypotheses, see [`CaptionOptions::beam`].
    pub beam: usize,
    /// Length normalization, see [`CaptionOptions::length_power`].
    pub length_power: f64,
    /// Maximum number of tokens of a caption; by default one and a half times as many as the
    /// longest true caption has.
    pub max_tokens: Option<usize>,
}

/// A caption that the model wrote, compared with the true ones.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredCaption {
    /// The whole caption.
    pub caption: String,
    /// Probability of the whole caption, its end included; not a number if it was made elsewhere.
    pub probability: f64,
    /// Whether it equals one of the true captions.
    pub exact: bool,
    /// Word F1 against the closest true caption.
    pub word_f1: f64,
}

/// Result of an evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Captions of all samples, in their order.
    pub captions: Vec<ScoredCaption>,
    /// Share of captions that equal one of their true captions.
    pub exact_match: f64,
    /// Metrics over all captions.
    pub scores: Scores,
    /// Exponential of the mean cross entropy over the tokens of all true captions, their ends
    /// included. Characters outside the vocabulary count as the unknown token; tokens beyond the
    /// model's context do not count.
    pub perplexity: f64,
    /// How well the captions' probabilities predict whether they are exact.
    pub calibration: Calibration,
    /// Captions written per second, picture encoding included. The first batch, which compiles
    /// kernels, counts only if it is the only one.
    pub captions_per_s: f64,
}

/// Captions, compared with the true ones.
#[derive(Debug, Clone)]
pub struct ScoredCaptions {
    /// Captions of all samples, in their order.
    pub captions: Vec<ScoredCaption>,
    /// Share of captions that equal one of their true captions.
    pub exact_match: f64,
    /// Metrics over all captions.
    pub scores: Scores,
}

impl ScoredCaptions {
    /// Compares a caption of each sample, with its probability, with the true ones.
    ///
    /// # Panics
    /// With another number of captions than samples.
    pub fn new(samples: &[Sample], written: Vec<(String, f64)>) -> ScoredCaptions {
        assert_eq!(samples.len(), written.len(), "one caption for each sample");
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
        let exact = captions.iter().filter(|scored| scored.exact).count();
        ScoredCaptions {
            exact_match: exact as f64 / captions.len().max(1) as f64,
            scores: Scores::new(&cases),
            captions,
        }
    }
}

/// The true captions of a sample.
pub fn references(sample: &Sample) -> impl Iterator<Item = &str> {
    std::iter::once(&sample.caption)
        .chain(&sample.others)
        .map(String::as_str)
}

impl Evaluation {
    /// Evaluates a model. `progress` counts every picture once for its caption and once for each
    /// true caption.
    ///
    /// # Errors
    /// A pretrained model, for which there is [`of_answers`](Self::of_answers), a perplexity that is not finite, insufficient device memory for the batch,
    /// or a lost device.
    pub fn run(
        session: &Session,
        dataset: &Dataset,
        options: EvalOptions,
        progress: &dyn Progress,
    ) -> Result<Evaluation, CaptionError> {
        if session.model().dialogue().is_some() {
            return Err(CaptionError::NotMeasured);
        }
        let samples = &dataset.samples;
        let truths: Vec<(&Sample, Text)> = samples
            .iter()
            .flat_map(|sample| references(sample).map(move |truth| (sample, truth)))
            .map(|(sample, truth)| (sample, Text::new(session.tokenizer(), truth)))
            .collect();
        progress.set_total((samples.len() + truths.len()) as u64);
        let longest = truths
            .iter()
            .map(|(_, text)| text.len())
            .max()
            .unwrap_or(0)
            .clamp(1, session.room());
        let max_tokens = options.max_tokens.unwrap_or(longest + longest / 2);
        let (written, captions_per_s) = write(session, samples, max_tokens, options, progress)?;
        let perplexity = perplexity(session, &truths, longest, options.batch, progress)?;

        if !perplexity.is_finite() {
            return Err(CaptionError::NotFinite { perplexity });
        }
        let scored = ScoredCaptions::new(samples, written);
        Ok(Evaluation::new(scored, perplexity, captions_per_s))
    }

    /// Joins what was measured.
    fn new(scored: ScoredCaptions, perplexity: f64, captions_per_s: f64) -> Evaluation {
        let captions = scored.captions.iter();
        let outcomes: Vec<(f64, bool)> = captions.map(|it| (it.probability, it.exact)).collect();
        Evaluation {
            exact_match: scored.exact_match,
            scores: scored.scores,
            perplexity,
            calibration: Calibration::new(&outcomes),
            captions_per_s,
            captions: scored.captions,
        }
    }
}

/// Token that a sample's caption starts from: begin-of-text, or the true caption's first token
/// where the tokenizer has none.
fn first_token(tokenizer: &Tokenizer, sample: &Sample) -> u32 {
    let truth = || Text::new(tokenizer, &sample.caption).ids.first().copied();
    tokenizer.begin().or_else(truth).unwrap_or(tokenizer.pad())
}

/// A caption with its probability for every sample, and the number written per second.
fn write(
    session: &Session,
    samples: &[Sample],
    max_tokens: usize,
    options: EvalOptions,
    progress: &dyn Progress,
) -> Result<(Vec<(String, f64)>, f64), CaptionError> {
    let tokenizer = session.tokenizer();
    let options = CaptionOptions {
        max_tokens,
        beam: options.beam,
        length_power: options.length_power,
        batch_size: options.batch,
        ..CaptionOptions::default()
    };
    let prompts: Vec<Vec<u32>> = samples
        .iter()
        .map(|sample| vec![first_token(tokenizer, sample)])
        .collect();
    let mut captions = vec![];
    let mut times: Vec<(usize, Duration)> = vec![];
    let mut begun = Instant::now();
    let image = |index: usize| Ok(samples[index].normalised());
    session.search(
        &image,
        &prompts,
        &options,
        &Cancel::new(),
        &mut |range, found| {
            times.push((range.len(), begun.elapsed()));
            progress.advance(range.len() as u64);
            for (hypotheses, prompt) in found.into_iter().zip(&prompts[range]) {
                let best = &hypotheses[0];
                // a first token that is text is part of the caption
                let text = prompt
                    .iter()
                    .filter(|&&token| tokenizer.begin() != Some(token));
                let tokens: Vec<u32> = text.chain(&best.tokens).copied().collect();
                captions.push((tokenizer.decode(&tokens), best.log_probability().exp()));
            }
            begun = Instant::now();
        },
    )?;
    let timed = if times.len() > 1 {
        &times[1..]
    } else {
        &times[..]
    };
    let count: usize = timed.iter().map(|(count, _)| count).sum();
    let time: Duration = timed.iter().map(|(_, time)| time).sum();
    Ok((captions, count as f64 / time.as_secs_f64().max(1e-9)))
}

/// Perplexity of the true captions, of which the first `longest` positions count.
fn perplexity(
    session: &Session,
    truths: &[(&Sample, Text)],
    longest: usize,
    batch: usize,
    progress: &dyn Progress,
) -> Result<f64, DeviceError> {
    let rows = batch.clamp(1, truths.len().max(1));
    let pass = ScoringPass::new(session.device(), session.model(), rows, longest)?;
    let (mut sum, mut tokens) = (0.0, 0);
    for truths in truths.chunks(rows) {
        let images: Vec<f32> = truths
            .iter()
            .flat_map(|(sample, _)| sample.normalised())
            .collect();
        let texts: Vec<&Text> = truths.iter().map(|(_, text)| text).collect();
        let (loss, count) = pass.score(&images, &texts, session.tokenizer(), false)?;
        sum += loss;
        tokens += count;
        progress.advance(truths.len() as u64);
    }
    Ok((sum / tokens.max(1) as f64).exp())
}
