//! The likeliest texts after many pictures at once: greedily, or with a beam of several hypotheses.

use std::cmp::Ordering;

use super::{Extent, Pass};
use crate::device::{Device, DeviceError};
use crate::models::seemore::{Caches, Vlm};

use crate::device::Plan;
use crate::graph::Var;

/// Sizes of a [`Search`], and what it looks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    /// Pictures at once.
    pub batch: usize,
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Most tokens after the prompt; the model's room is a limit, too.
    pub new: usize,
    /// Hypotheses kept of each picture. 1 is greedy: the likeliest token every time.
    pub beam: usize,
    /// Hypotheses are ranked by their log-probability over the number of their tokens to this power. 0 ranks whole texts by their
    /// probability, which is what exact match rewards; 1 by the mean of their tokens, which makes long texts cheaper.
    pub length_power: f64,
}

/// A text that may follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Without the end token.
    pub tokens: Vec<u32>,
    /// The logarithm of each token's probability, given the picture and those before it; one more for the end token, if it ended.
    pub log_probabilities: Vec<f64>,
    /// Whether the text ended by itself.
    pub ended: bool,
}

impl Hypothesis {
    const EMPTY: Hypothesis = Hypothesis {
        tokens: vec![],
        log_probabilities: vec![],
        ended: false,
    };

    /// The logarithm of the whole text's probability, its end included.
    pub fn log_probability(&self) -> f64 {
        self.log_probabilities.iter().sum()
    }

    fn push(&mut self, token: u32, log_probability: f64, end: Option<u32>) {
        self.log_probabilities.push(log_probability);
        self.ended = Some(token) == end;
        if !self.ended {
            self.tokens.push(token);
        }
    }
}

/// Rank of a text of `count` tokens, the end among them.
fn score(log_probability: f64, count: usize, length_power: f64) -> f64 {
    log_probability / (count as f64).powf(length_power)
}

/// A place in the beam that a hypothesis asks for.
struct Candidate {
    score: f64,
    /// The hypothesis that it is or goes on from.
    place: usize,
    /// The token to append, with the logarithm of its probability; none when the text has ended.
    more: Option<(u32, f64)>,
}

impl Candidate {
    /// The best first; of equals that of the earlier hypothesis and the lower token.
    fn order(&self, other: &Candidate) -> Ordering {
        let token = |candidate: &Candidate| candidate.more.map(|(token, _)| token);
        other
            .score
            .total_cmp(&self.score)
            .then(self.place.cmp(&other.place))
            .then(token(self).cmp(&token(other)))
    }
}

/// Fills caches with elements of caches.
struct Spread {
    plan: Plan,
    elements: Var,
}

impl Spread {
    /// For `count` elements of `caches`, which may be `from`.
    fn new(
        device: &Device,
        caches: &Caches,
        from: &Caches,
        count: usize,
    ) -> Result<Spread, DeviceError> {
        let mut tape = device.tape();
        let (elements, start) = (tape.input(&[count]), tape.input(&[1]));
        caches.take(&mut tape, from, elements, start);
        let plan = Plan::new(device, tape)?;
        plan.write(start, &[0u32]);
        Ok(Spread { plan, elements })
    }

    fn run(&self, elements: &[u32]) -> Result<(), DeviceError> {
        self.plan.write(self.elements, elements);
        self.plan.run()
    }
}

/// Recorded passes that write the likeliest texts for a fixed number of pictures.
pub struct Search {
    options: SearchOptions,
    start: Pass,
    next: Pass,
    /// With a beam: from the caches of the pictures to those of their hypotheses, and from hypotheses to those that go on from them.
    spread: Option<(Spread, Spread)>,
    /// Positions of visual tokens and prompt.
    first: usize,
    /// Most tokens of a text.
    most: usize,
    vocab: usize,
    pixels: usize,
}

impl Search {
    /// # Panics
    /// With a batch, prompt or beam of 0, or a prompt that the model has no room for.
    pub fn new(
        device: &Device,
        model: &Vlm,
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
            "a search of nothing: {options:?}"
        );
        assert!(
            prompt <= model.room(),
            "a prompt of {prompt} tokens in a room of {}",
            model.room()
        );
        let config = model.config();
        let first = config.visual() + prompt;
        // the last token is returned, not fed back
        let capacity = first.saturating_add(new.max(1) - 1).min(model.positions());
        let choice = beam == 1;
        let caches = model.caches(device, batch * beam, capacity)?;
        // a beam sees pictures and prompts once, with caches that all their hypotheses start from
        let roots = if choice {
            caches.clone()
        } else {
            model.caches(device, batch, first)?
        };
        let spread = |from: &Caches| Spread::new(device, &caches, from, batch * beam);
        Ok(Search {
            options,
            start: Pass::new(
                device,
                model,
                &roots,
                batch,
                prompt,
                Extent {
                    picture: true,
                    choice,
                    maps: false,
                },
            )?,
            next: Pass::new(
                device,
                model,
                &caches,
                batch * beam,
                1,
                Extent {
                    choice,
                    ..Extent::default()
                },
            )?,
            spread: if choice {
                None
            } else {
                Some((spread(&roots)?, spread(&caches)?))
            },
            first,
            most: (capacity + 1 - first).min(new.max(1)),
            vocab: config.vocab_size,
            pixels: 3 * config.image_size * config.image_size,
        })
    }

    /// Takes pictures `[n, 3, side, side]` and prompts `[n, prompt]`, `n` at most the batch; returns for each the hypotheses in the
    /// order of their rank: `beam` of them, unless there are fewer texts. They end with `end`, or where the room does.
    ///
    /// # Panics
    /// With more pictures than a batch has, or a prompt of another length.
    pub fn run(
        &self,
        images: &[f32],
        prompts: &[u32],
        end: Option<u32>,
    ) -> Result<Vec<Vec<Hypothesis>>, DeviceError> {
        let SearchOptions { batch, prompt, .. } = self.options;
        let count = images.len() / self.pixels;
        assert!(
            count <= batch && prompts.len() == count * prompt,
            "{count} pictures with {} tokens for {:?}",
            prompts.len(),
            self.options
        );
        let (mut images, mut prompts) = (images.to_vec(), prompts.to_vec());
        images.resize(batch * self.pixels, 0.0);
        prompts.resize(batch * prompt, 0);
        self.start.write(Some(&images), &prompts, 0);
        match &self.spread {
            None => self.greedy(count, end),
            Some((spread, reorder)) => self.beam(count, end, spread, reorder),
        }
    }

    /// The device chooses: two numbers a text come back for each token.
    fn greedy(&self, count: usize, end: Option<u32>) -> Result<Vec<Vec<Hypothesis>>, DeviceError> {
        let mut texts = vec![Hypothesis::EMPTY; count];
        for at in 0..self.most {
            let pass = if at == 0 { &self.start } else { &self.next };
            let (token, loss) = pass
                .choice
                .expect("a greedy search was recorded with its choice");
            let tokens: Vec<u32> = pass.plan.run_and_read(token)?;
            let losses: Vec<f32> = pass.plan.read(loss)?;
            for ((text, &token), loss) in texts
                .iter_mut()
                .zip(&tokens)
                .zip(losses)
                .filter(|((text, _), _)| !text.ended)
            {
                text.push(token, -loss as f64, end);
            }
            if texts.iter().all(|text| text.ended) {
                break;
            }
            self.next.write(None, &tokens, self.first + at);
        }
        Ok(texts.into_iter().map(|text| vec![text]).collect())
    }

    /// Logits come back for each token; each picture keeps its best hypotheses, those that have ended among them, until all have.
    fn beam(
        &self,
        count: usize,
        end: Option<u32>,
        spread: &Spread,
        reorder: &Spread,
    ) -> Result<Vec<Vec<Hypothesis>>, DeviceError> {
        let SearchOptions { batch, beam, .. } = self.options;
        let rows = batch * beam;
        let mut beams = vec![vec![Hypothesis::EMPTY]; count];
        let mut logits: Vec<f32> = self.start.plan.run_and_read(self.start.logits)?;
        // rows of logits a picture: one after the prompts, then one a hypothesis
        let mut stride = 1;
        for at in 0..self.most {
            let mut parents: Vec<u32> = (0..rows as u32).collect();
            let mut tokens = vec![0; rows];
            for (picture, hypotheses) in beams.iter_mut().enumerate() {
                let logits = &logits[picture * stride * self.vocab..][..stride * self.vocab];
                let best = self.best(hypotheses, logits, end);
                for (place, (parent, hypothesis)) in best.iter().enumerate() {
                    parents[picture * beam + place] = (picture * stride + parent) as u32;
                    tokens[picture * beam + place] = hypothesis.tokens.last().copied().unwrap_or(0);
                }
                *hypotheses = best.into_iter().map(|(_, hypothesis)| hypothesis).collect();
            }
            if at + 1 == self.most || beams.iter().flatten().all(|hypothesis| hypothesis.ended) {
                break;
            }
            if stride == 1 {
                // rows of pictures that are not there take any cache
                spread.run(
                    &parents
                        .iter()
                        .map(|&parent| parent.min(batch as u32 - 1))
                        .collect::<Vec<_>>(),
                )?;
            } else if parents.iter().zip(0..).any(|(&parent, row)| parent != row) {
                reorder.run(&parents)?;
            }
            stride = beam;
            logits = self.next.run(None, &tokens, self.first + at)?;
        }
        Ok(beams)
    }

    /// The best of a picture's hypotheses that have ended and of all continuations of the others, `logits: [.., vocab]`, with the
    /// place of what each comes from.
    fn best(
        &self,
        hypotheses: &[Hypothesis],
        logits: &[f32],
        end: Option<u32>,
    ) -> Vec<(usize, Hypothesis)> {
        let SearchOptions {
            beam, length_power, ..
        } = self.options;
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
            let logits = &logits[place * self.vocab..][..self.vocab];
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
                hypothesis.push(token, log_probability, end);
            }
            (place, hypothesis)
        };
        candidates.into_iter().map(extend).collect()
    }
}
