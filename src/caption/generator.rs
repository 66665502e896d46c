//! Writing text after a picture: the prompt at once, then one token at a time with a key/value cache.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::device::Plan;
use crate::device::{Device, DeviceError};
use crate::graph::Var;
use crate::models::seemore::{Caches, Logits, Vlm};
use crate::nn::Context;

/// How the next token is chosen from the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token; otherwise logits are divided by it before the softmax.
    pub temperature: f32,
    /// Only the so many likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability (Holtzman et al. 2020); 1 for all.
    pub top_p: f32,
    pub seed: u64,
}

impl Sampling {
    /// The likeliest token every time.
    pub const GREEDY: Sampling = Sampling {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
    };
}

/// Chooses tokens by a [`Sampling`], reproducibly.
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
}

/// A chosen token and the probability that the model gave it (before temperature, top-k and top-p).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    pub token: u32,
    pub probability: f32,
}

impl Sampler {
    pub fn new(sampling: Sampling) -> Sampler {
        Sampler {
            sampling,
            rng: ChaCha8Rng::seed_from_u64(sampling.seed),
        }
    }

    /// Chooses from the logits of one position. Of equal logits the lowest token comes first.
    ///
    /// # Panics
    /// Without logits.
    pub fn choose(&mut self, logits: &[f32]) -> Choice {
        let ranked = ranked(logits);
        let Sampling {
            temperature,
            top_k,
            top_p,
            ..
        } = self.sampling;
        if temperature <= 0.0 {
            return ranked[0];
        }
        let weight = |choice: &Choice| {
            (((logits[choice.token as usize] - logits[ranked[0].token as usize]) / temperature)
                as f64)
                .exp()
        };
        let count = if top_k == 0 {
            ranked.len()
        } else {
            top_k.min(ranked.len())
        };
        let mut weights: Vec<f64> = ranked[..count].iter().map(weight).collect();
        let all: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let nucleus = weights.iter().position(|weight| {
            sum += weight / all;
            sum >= top_p as f64
        });
        weights.truncate(nucleus.map_or(count, |last| last + 1));
        let all: f64 = weights.iter().sum();
        let mut point = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * all;
        for (&choice, weight) in ranked.iter().zip(&weights) {
            point -= weight;
            if point < 0.0 {
                return choice;
            }
        }
        ranked[weights.len() - 1]
    }
}

/// All tokens with their probabilities, the likeliest first; of equal logits the lowest token comes first.
pub fn ranked(logits: &[f32]) -> Vec<Choice> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let weight = |token: usize| ((logits[token] - logits[order[0]]) as f64).exp();
    let total: f64 = order.iter().map(|&token| weight(token)).sum();
    order
        .iter()
        .map(|&token| Choice {
            token: token as u32,
            probability: (weight(token) / total) as f32,
        })
        .collect()
}

/// What a pass does beside computing logits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extent {
    /// It sees pictures, and begins the text.
    pub(crate) picture: bool,
    /// The attention can be read.
    pub(crate) maps: bool,
    /// The likeliest tokens are chosen on the device.
    pub(crate) choice: bool,
}

/// A recorded pass over `tokens` new positions.
pub(crate) struct Pass {
    pub(crate) plan: Plan,
    pub(crate) image: Option<Var>,
    pub(crate) ids: Var,
    pub(crate) past: Var,
    pub(crate) logits: Var,
    pub(crate) maps: Vec<(String, Var)>,
    /// The likeliest token of each text `[batch]`, and the negative logarithm of its probability `[batch]`.
    pub(crate) choice: Option<(Var, Var)>,
}

impl Pass {
    pub(crate) fn new(
        device: &Device,
        model: &Vlm,
        caches: &Caches,
        batch: usize,
        tokens: usize,
        extent: Extent,
    ) -> Result<Pass, DeviceError> {
        let side = model.config().image_size;
        let mut tape = device.tape();
        let image = extent.picture.then(|| tape.input(&[batch, 3, side, side]));
        let ids = tape.input(&[batch, tokens]);
        let mut c = Context::inference(&mut tape);
        c.maps = extent.maps.then(Vec::new);
        let logits = model.forward(&mut c, image, ids, Some(caches), Logits::Last);
        let (past, maps) = (c.past, c.maps.take().unwrap_or_default());
        tape.hold(logits);
        let one = tape.input(&[1]);
        let choice = extent.choice.then(|| {
            let token = tape.argmax(logits);
            let loss = tape.cross_entropies(logits, token, one);
            [token, loss].into_iter().for_each(|v| tape.hold(v));
            (token, loss)
        });
        let plan = Plan::new(device, tape)?;
        plan.write(one, &[1f32]);
        Ok(Pass {
            plan,
            image,
            ids,
            past,
            logits,
            maps,
            choice,
        })
    }

    pub(crate) fn write(&self, images: Option<&[f32]>, ids: &[u32], past: usize) {
        if let (Some(var), Some(images)) = (self.image, images) {
            self.plan.write(var, images);
        }
        self.plan.write(self.ids, ids);
        self.plan.write(self.past, &[past as u32]);
    }

    pub(crate) fn run(
        &self,
        images: Option<&[f32]>,
        ids: &[u32],
        past: usize,
    ) -> Result<Vec<f32>, DeviceError> {
        self.write(images, ids, past);
        self.plan.run_and_read(self.logits)
    }
}

/// Attention probabilities of one layer.
#[derive(Debug, Clone)]
pub struct Map {
    /// The layer's path, such as `vit.blocks.2.attn`.
    pub layer: String,
    /// `[batch, heads, queries, keys]`.
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Generates text for a fixed number of pictures at once.
pub struct Generator {
    start: Pass,
    next: Pass,
    vocab: usize,
    /// Positions that the caches hold.
    past: usize,
    first: usize,
    capacity: usize,
    last_was_start: bool,
}

impl Generator {
    /// For `batch` pictures with a prompt of `prompt` tokens each, and at most `new` tokens after it. With `maps` the
    /// attention of every pass can be read.
    pub fn new(
        device: &Device,
        model: &Vlm,
        batch: usize,
        prompt: usize,
        new: usize,
        maps: bool,
    ) -> Result<Generator, DeviceError> {
        let first = model.config().visual() + prompt;
        // the last new token is returned, not fed back
        let capacity = first.saturating_add(new.max(1) - 1).min(model.positions());
        let caches = model.caches(device, batch, capacity)?;
        Ok(Generator {
            start: Pass::new(
                device,
                model,
                &caches,
                batch,
                prompt,
                Extent {
                    picture: true,
                    maps,
                    choice: false,
                },
            )?,
            next: Pass::new(
                device,
                model,
                &caches,
                batch,
                1,
                Extent {
                    maps,
                    ..Extent::default()
                },
            )?,
            vocab: model.config().vocab_size,
            past: 0,
            first,
            capacity,
            last_was_start: true,
        })
    }

    /// Takes pictures `[batch, 3, side, side]` and prompts `[batch, prompt]`; returns the logits after the prompts, `vocab` a picture.
    pub fn start(&mut self, images: &[f32], prompts: &[u32]) -> Result<Vec<Vec<f32>>, DeviceError> {
        let logits = self.start.run(Some(images), prompts, 0)?;
        (self.past, self.last_was_start) = (self.first, true);
        Ok(logits.chunks(self.vocab).map(<[f32]>::to_vec).collect())
    }

    /// Appends one token to each text; returns the logits after it. `None` when there is no room for another position.
    pub fn next(&mut self, tokens: &[u32]) -> Result<Option<Vec<Vec<f32>>>, DeviceError> {
        if self.past >= self.capacity {
            return Ok(None);
        }
        let logits = self.next.run(None, tokens, self.past)?;
        self.past += 1;
        self.last_was_start = false;
        Ok(Some(
            logits.chunks(self.vocab).map(<[f32]>::to_vec).collect(),
        ))
    }

    /// Number of positions that the caches hold.
    pub fn past(&self) -> usize {
        self.past
    }

    /// The recorded pass over pictures and prompts, for measurements.
    pub fn first_plan(&self) -> &Plan {
        &self.start.plan
    }

    /// The recorded pass of one further token, for measurements.
    pub fn token_plan(&self) -> &Plan {
        &self.next.plan
    }

    /// The attention of the last pass, by layer; empty unless maps were asked for.
    pub fn maps(&self) -> Result<Vec<Map>, DeviceError> {
        let pass = if self.last_was_start {
            &self.start
        } else {
            &self.next
        };
        pass.maps
            .iter()
            .map(|(layer, var)| {
                Ok(Map {
                    layer: layer.clone(),
                    shape: pass.plan.shape(*var).to_vec(),
                    values: pass.plan.read(*var)?,
                })
            })
            .collect()
    }

    /// Greedily or randomly continues all prompts until `end` or the room's end; the `end` token is not returned.
    pub fn complete(
        &mut self,
        images: &[f32],
        prompts: &[u32],
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling);
        let mut counts = vec![0; logits.len()];
        (0..4000).for_each(|_| counts[sampler.choose(logits).token as usize] += 1);
        counts
    }

    #[test]
    fn greedy_takes_the_likeliest_and_of_equals_the_lowest() {
        let mut sampler = Sampler::new(Sampling::GREEDY);
        assert_eq!(sampler.choose(&[0.0, 3.0, 3.0, -1.0]).token, 1);
        let choice = sampler.choose(&[0.0, 0.0]);
        assert_eq!((choice.token, choice.probability), (0, 0.5));
    }

    #[test]
    fn tokens_are_ranked_by_their_probabilities() {
        let logits: Vec<f32> = [0.1f32, 0.6, 0.3].iter().map(|p| p.ln() + 5.0).collect();
        let ranked = ranked(&logits);
        assert_eq!(
            ranked.iter().map(|choice| choice.token).collect::<Vec<_>>(),
            [1, 2, 0]
        );
        for (choice, p) in ranked.iter().zip([0.6, 0.3, 0.1]) {
            assert!((choice.probability - p).abs() < 1e-6, "{choice:?}");
        }
    }

    #[test]
    fn sampling_follows_the_probabilities() {
        let sampling = Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            seed: 3,
        };
        let logits: Vec<f32> = [0.6f32, 0.3, 0.1].iter().map(|p| p.ln()).collect();
        let counts = counts(sampling, &logits);
        for (count, p) in counts.iter().zip([0.6, 0.3, 0.1]) {
            // four standard deviations of 4000 draws
            assert!(
                (*count as f64 - 4000.0 * p).abs() < 4.0 * (4000.0f64 * p * (1.0 - p)).sqrt(),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn top_k_and_top_p_leave_the_likeliest_only() {
        let logits: Vec<f32> = [0.1f32, 0.5, 0.4].iter().map(|p| p.ln()).collect();
        let sampling = Sampling {
            temperature: 1.0,
            top_k: 2,
            top_p: 1.0,
            seed: 1,
        };
        assert_eq!(counts(sampling, &logits)[0], 0);
        let top_p = counts(
            Sampling {
                top_k: 0,
                top_p: 0.6,
                ..sampling
            },
            &logits,
        );
        assert!(top_p[0] == 0 && top_p[1] > 0 && top_p[2] > 0, "{top_p:?}");
        assert_eq!(
            counts(
                Sampling {
                    top_k: 0,
                    top_p: 0.3,
                    ..sampling
                },
                &logits
            )[1],
            4000
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let sampling = Sampling {
            temperature: 1.3,
            top_k: 0,
            top_p: 0.9,
            seed: 5,
        };
        let logits = [0.1, 0.7, -0.4, 0.2];
        let draw = |seed| {
            let mut sampler = Sampler::new(Sampling { seed, ..sampling });
            (0..50)
                .map(|_| sampler.choose(&logits).token)
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
