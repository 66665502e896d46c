//! Greedy and beam search for the likeliest texts of many pictures at once.

use std::cmp::Ordering;

use super::passes::{Decoding, DecodingSpec};
use super::{Cancel, Sampler, Sampling};
use crate::device::{Device, DeviceError};
use crate::models::Model;

/// Sizes of a [`Search`], and how it ranks texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    /// Number of pictures at once.
    pub batch: usize,
    /// Largest number of tokens of a prompt.
    pub prompt: usize,
    /// Maximum number of tokens after the prompt; the model's context limits it, too.
    pub new: usize,
    /// Number of hypotheses kept for each picture; 1 is greedy search.
    pub beam: usize,
    /// Exponent of the length normalization: hypotheses are ranked by their log-probability divided
    /// by their number of tokens to this power (Wu et al. 2016). 0 ranks texts by probability,
    /// which exact match rewards; 1 by the mean over their tokens, which favours long texts.
    pub length_power: f64,
}

/// A text found by a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Token ids after the prompt, without the end token.
    pub tokens: Vec<u32>,
    /// Logarithm of each token's probability, given the picture and the tokens before it. Has one
    /// more entry for the end token if the text ended.
    pub log_probabilities: Vec<f64>,
    /// Whether the text ended with the end token.
    pub ended: bool,
}

impl Hypothesis {
    const EMPTY: Hypothesis = Hypothesis {
        tokens: vec![],
        log_probabilities: vec![],
        ended: false,
    };

    /// Logarithm of the whole text's probability, its end included.
    pub fn log_probability(&self) -> f64 {
        self.log_probabilities.iter().sum()
    }

    fn push(&mut self, token: u32, log_probability: f64, ends: &[u32]) {
        self.log_probabilities.push(log_probability);
        self.ended = ends.contains(&token);
        if !self.ended {
            self.tokens.push(token);
        }
    }
}

/// Score of a text of `count` tokens, its end included.
fn score(log_probability: f64, count: usize, length_power: f64) -> f64 {
    log_probability / (count as f64).powf(length_power)
}

/// A hypothesis that competes for a place in the beam.
struct Candidate {
    score: f64,
    /// Index of the hypothesis that it is or continues.
    place: usize,
    /// Token to append with the logarithm of its probability; `None` for a text that has ended.
    more: Option<(u32, f64)>,
}

impl Candidate {
    /// Orders by descending score, then by hypothesis, then by token.
    fn order(&self, other: &Candidate) -> Ordering {
        let token = |candidate: &Candidate| candidate.more.map(|(token, _)| token);
        other
            .score
            .total_cmp(&self.score)
            .then(self.place.cmp(&other.place))
            .then(token(self).cmp(&token(other)))
    }
}

/// Searches for the likeliest texts of a fixed number of pictures.
///
/// [`Session`](super::Session) searches with recorded passes that it shares; this is for models
/// without a tokenizer.
pub struct Search {
    options: SearchOptions,
    decoding: Decoding,
}

impl Search {
    /// Records the passes.
    ///
    /// # Errors
    /// Insufficient device memory for the caches or passes.
    ///
    /// # Panics
    /// With a batch, prompt or beam of 0, or a prompt longer than the model's context.
    pub fn new(
        device: &Device,
        model: &Model,
        options: SearchOptions,
    ) -> Result<Search, DeviceError> {
        let SearchOptions {
            batch,
            prompt,
            new,
            beam,
            ..
        } = options;
        assert!(
            batch > 0 && prompt > 0 && beam > 0,
            "batch, prompt and beam must be at least 1: {options:?}"
        );
        assert!(
            prompt <= model.room(),
            "a prompt of {prompt} tokens exceeds the {} that the model has room for",
            model.room()
        );
        let first = model.info().visual_tokens + prompt;
        let spec = DecodingSpec {
            rows: batch,
            beam,
            // the last token is returned, not fed back
            capacity: first.saturating_add(new.max(1) - 1).min(model.positions()),
            image_rows: match model.info().placeholder {
                Some(_) => batch * first,
                None => 0,
            },
            argmax: beam == 1,
            maps: false,
        };
        let mut decoding = Decoding::new(device, model, spec)?;
        decoding.prepare(device, model, prompt)?;
        Ok(Search { options, decoding })
    }

    /// Returns the hypotheses for pictures `[n, 3, side, side]` and their prompts, the best first:
    /// `beam` for each picture, unless there are fewer texts. They end with the token `end`, or
    /// where the context or the maximum number of tokens does.
    ///
    /// # Panics
    /// With more pictures than the batch has, another number of prompts, or a prompt that is empty
    /// or too long.
    pub fn run(
        &mut self,
        images: &[f32],
        prompts: &[&[u32]],
        end: Option<u32>,
    ) -> Result<Vec<Vec<Hypothesis>>, DeviceError> {
        self.decoding.start(images, prompts);
        let wanted = Wanted {
            count: prompts.len(),
            new: self.options.new,
            ends: end.into_iter().collect(),
            unknown: None,
            length_power: self.options.length_power,
        };
        let found = search(&mut self.decoding, &wanted, None)?;
        Ok(found.expect("nothing cancels it"))
    }
}

/// What is asked of one search.
pub(crate) struct Wanted {
    /// Number of pictures that were written.
    pub(crate) count: usize,
    /// Maximum number of tokens of a text.
    pub(crate) new: usize,
    /// Tokens of which each ends a text.
    pub(crate) ends: Vec<u32>,
    /// Token for unknown text, which is never drawn.
    pub(crate) unknown: Option<u32>,
    /// See [`SearchOptions::length_power`].
    pub(crate) length_power: f64,
}

impl Wanted {
    /// Maximum number of tokens for each picture.
    fn limits(&self, decoding: &Decoding) -> Vec<usize> {
        (0..self.count)
            .map(|picture| decoding.room(picture).min(self.new.max(1)))
            .collect()
    }
}

/// Searches for texts of pictures whose prefill is written; greedily without a beam. `None` when
/// cancelled.
pub(crate) fn search(
    decoding: &mut Decoding,
    wanted: &Wanted,
    cancel: Option<&Cancel>,
) -> Result<Option<Vec<Vec<Hypothesis>>>, DeviceError> {
    if decoding.spec().beam > 1 {
        return beam(decoding, wanted, cancel);
    }
    Ok(greedy(decoding, wanted, cancel)?
        .map(|texts| texts.into_iter().map(|text| vec![text]).collect()))
}

fn is_cancelled(cancel: Option<&Cancel>) -> bool {
    cancel.is_some_and(Cancel::is_cancelled)
}

/// Takes the likeliest token every time. The device chooses: two numbers for each text come back
/// per token.
fn greedy(
    decoding: &mut Decoding,
    wanted: &Wanted,
    cancel: Option<&Cancel>,
) -> Result<Option<Vec<Hypothesis>>, DeviceError> {
    let limits = wanted.limits(decoding);
    let mut texts = vec![Hypothesis::EMPTY; wanted.count];
    let longest = limits.iter().copied().max().unwrap_or(0);
    for at in 0..longest {
        if is_cancelled(cancel) {
            return Ok(None);
        }
        let (tokens, log_probabilities) = decoding.likeliest()?;
        let open = |text: &Hypothesis, limit: usize, at: usize| !text.ended && at < limit;
        for (row, text) in texts.iter_mut().enumerate() {
            if open(text, limits[row], at) {
                text.push(tokens[row], log_probabilities[row], &wanted.ends);
            }
        }
        let mut rows = texts.iter().zip(&limits);
        if !rows.any(|(text, &limit)| open(text, limit, at + 1)) {
            break;
        }
        decoding.feed(&tokens);
    }
    Ok(Some(texts))
}

/// Draws texts token by token; picture `i` with the sampler `samplers[i]`. `None` when cancelled.
pub(crate) fn sample(
    decoding: &mut Decoding,
    wanted: &Wanted,
    samplings: &[Sampling],
    cancel: Option<&Cancel>,
) -> Result<Option<Vec<Hypothesis>>, DeviceError> {
    let limits = wanted.limits(decoding);
    let mut samplers: Vec<Sampler> = samplings
        .iter()
        .map(|&sampling| Sampler::new(sampling).without(wanted.unknown))
        .collect();
    let mut texts = vec![Hypothesis::EMPTY; wanted.count];
    loop {
        if is_cancelled(cancel) {
            return Ok(None);
        }
        let rows = decoding.spec().rows;
        let logits = decoding.logits()?;
        let mut tokens = vec![0; rows];
        for (row, logits) in logits
            .chunks(logits.len() / rows)
            .take(wanted.count)
            .enumerate()
        {
            let text = &mut texts[row];
            if text.ended || text.tokens.len() == limits[row] {
                continue;
            }
            let choice = samplers[row].choose(logits);
            tokens[row] = choice.token;
            text.push(choice.token, (choice.probability as f64).ln(), &wanted.ends);
        }
        let mut open = texts.iter().zip(&limits);
        if !open.any(|(text, &limit)| !text.ended && text.tokens.len() < limit) {
            return Ok(Some(texts));
        }
        decoding.feed(&tokens);
    }
}

/// Keeps the best hypotheses of each picture, those that have ended among them, until all have.
/// Logits come back for each token.
fn beam(
    decoding: &mut Decoding,
    wanted: &Wanted,
    cancel: Option<&Cancel>,
) -> Result<Option<Vec<Vec<Hypothesis>>>, DeviceError> {
    let DecodingSpec {
        rows: batch, beam, ..
    } = *decoding.spec();
    let limits = wanted.limits(decoding);
    let rows = batch * beam;
    let mut beams = vec![vec![Hypothesis::EMPTY]; wanted.count];
    let mut logits: Vec<f32> = decoding.logits()?;
    let vocab = logits.len() / batch;
    // rows of logits for each picture: one after the prompt, then one for each hypothesis
    let mut stride = 1;
    for at in 0.. {
        if is_cancelled(cancel) {
            return Ok(None);
        }
        let mut parents: Vec<u32> = (0..rows as u32).collect();
        let mut tokens = vec![0; rows];
        for (picture, hypotheses) in beams.iter_mut().enumerate() {
            if at >= limits[picture] {
                continue;
            }
            let logits = &logits[picture * stride * vocab..][..stride * vocab];
            let best = best(hypotheses, logits, vocab, beam, wanted);
            for (place, (parent, hypothesis)) in best.iter().enumerate() {
                parents[picture * beam + place] = (picture * stride + parent) as u32;
                tokens[picture * beam + place] = hypothesis.tokens.last().copied().unwrap_or(0);
            }
            *hypotheses = best.into_iter().map(|(_, hypothesis)| hypothesis).collect();
        }
        let mut open = beams.iter().zip(&limits);
        if !open.any(|(beam, &limit)| at + 1 < limit && beam.iter().any(|text| !text.ended)) {
            break;
        }
        if stride == 1 {
            // rows of missing pictures and hypotheses may continue any picture
            let pictures = parents.iter().map(|&parent| parent.min(batch as u32 - 1));
            decoding.spread(&pictures.collect::<Vec<_>>())?;
        } else if parents.iter().zip(0..).any(|(&parent, row)| parent != row) {
            decoding.reorder(&parents)?;
        }
        stride = beam;
        decoding.feed(&tokens);
        logits = decoding.logits()?;
    }
    Ok(Some(beams))
}

/// The best of a picture's hypotheses that have ended and of all continuations of the others, each
/// with the index of the hypothesis that it is or continues. `logits: [hypotheses, vocab]`.
fn best(
    hypotheses: &[Hypothesis],
    logits: &[f32],
    vocab: usize,
    beam: usize,
    wanted: &Wanted,
) -> Vec<(usize, Hypothesis)> {
    let length_power = wanted.length_power;
    let mut candidates: Vec<Candidate> = vec![];
    for (place, hypothesis) in hypotheses.iter().enumerate() {
        let (sum, tokens) = (
            hypothesis.log_probability(),
            hypothesis.log_probabilities.len(),
        );
        if hypothesis.ended {
            candidates.push(Candidate {
                score: score(sum, tokens, length_power),
                place,
                more: None,
            });
            continue;
        }
        let logits = &logits[place * vocab..][..vocab];
        let most = logits.iter().copied().max_by(f32::total_cmp).unwrap_or(0.0) as f64;
        let total = most
            + logits
                .iter()
                .map(|&logit| (logit as f64 - most).exp())
                .sum::<f64>()
                .ln();
        candidates.extend(logits.iter().zip(0..).map(|(&logit, token)| {
            let log_probability = logit as f64 - total;
            Candidate {
                score: score(sum + log_probability, tokens + 1, length_power),
                place,
                more: Some((token, log_probability)),
            }
        }));
    }
    if candidates.len() > beam {
        candidates.select_nth_unstable_by(beam, Candidate::order);
        candidates.truncate(beam);
    }
    candidates.sort_unstable_by(Candidate::order);
    let extend = |Candidate { place, more, .. }| {
        let mut hypothesis: Hypothesis = hypotheses[place].clone();
        if let Some((token, log_probability)) = more {
            hypothesis.push(token, log_probability, &wanted.ends);
        }
        (place, hypothesis)
    };
    candidates.into_iter().map(extend).collect()
}
