//! Choosing the next token from logits.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the next token is chosen from the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divisor of the logits before the softmax; 0 takes the likeliest token every time.
    pub temperature: f32,
    /// Number of likeliest tokens to choose among; 0 for all.
    pub top_k: usize,
    /// Probability mass of the likeliest tokens to choose among (nucleus sampling, Holtzman et al.
    /// 2020); 1 for all.
    pub top_p: f32,
    /// Seed of the random choice.
    pub seed: u64,
}

impl Sampling {
    /// Takes the likeliest token every time.
    pub const GREEDY: Sampling = Sampling {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
    };

    /// Whether it takes the likeliest token every time.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling::GREEDY
    }
}

/// Chooses tokens reproducibly by a [`Sampling`].
pub struct Sampler {
    sampling: Sampling,
    excluded: Option<u32>,
    rng: ChaCha8Rng,
}

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Token id.
    pub token: u32,
    /// Probability that the model gave it, before temperature, top-k and top-p.
    pub probability: f32,
}

impl Sampler {
    /// A sampler at the beginning of its random sequence.
    pub fn new(sampling: Sampling) -> Sampler {
        Sampler {
            sampling,
            excluded: None,
            rng: ChaCha8Rng::seed_from_u64(sampling.seed),
        }
    }

    /// Never draws a token, such as the one for unknown text. Where the likeliest token is taken
    /// every time, it is taken all the same.
    pub fn without(mut self, token: Option<u32>) -> Sampler {
        self.excluded = token;
        self
    }

    /// Chooses a token from the logits of one position. Among equal logits the lowest token id
    /// ranks first.
    ///
    /// # Panics
    /// Without logits.
    pub fn choose(&mut self, logits: &[f32]) -> Choice {
        self.choose_of(logits, &ranked(logits))
    }

    /// As [`choose`](Self::choose), of logits that are [`ranked`] already.
    pub(super) fn choose_of(&mut self, logits: &[f32], ranked: &[Choice]) -> Choice {
        let Sampling {
            temperature,
            top_k,
            top_p,
            ..
        } = self.sampling;
        if self.sampling.is_greedy() {
            return ranked[0];
        }
        let excluded = |choice: &Choice| Some(choice.token) == self.excluded;
        let kept: Vec<Choice>;
        let ranked = match ranked.len() > 1 && ranked.iter().any(excluded) {
            true => {
                kept = ranked.iter().copied().filter(|it| !excluded(it)).collect();
                &kept[..]
            }
            false => ranked,
        };
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

/// All tokens with their probabilities, the likeliest first. Among equal logits the lowest token id
/// ranks first.
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
    fn greedy_takes_the_likeliest_token_and_the_lowest_of_equals() {
        let mut sampler = Sampler::new(Sampling::GREEDY);
        assert_eq!(sampler.choose(&[0.0, 3.0, 3.0, -1.0]).token, 1);
        let choice = sampler.choose(&[0.0, 0.0]);
        assert_eq!((choice.token, choice.probability), (0, 0.5));
    }

    #[test]
    fn ranks_tokens_by_probability() {
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
    fn draws_tokens_in_proportion_to_their_probability() {
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
    fn top_k_and_top_p_keep_the_likeliest_tokens() {
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
    fn a_seed_determines_the_tokens() {
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

    #[test]
    fn excluded_tokens_are_never_drawn() {
        let sampling = Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        };
        let mut sampler = Sampler::new(sampling).without(Some(1));
        assert!((0..200).all(|_| sampler.choose(&[0.0, 5.0, 0.0]).token != 1));
    }
}
