//! Probabilities at other temperatures, without all logits.

/// Number of bins, each half as likely as the one before.
const BINS: usize = 48;

/// Histogram of the probabilities of the tokens that a list of the likeliest ones leaves out.
///
/// It takes a few hundred bytes where all logits take up to 200 kB, and gives their total weight at
/// any temperature to a few per cent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tail {
    /// Number of tokens and sum of their natural logarithms of probability, of each bin in use.
    bins: Vec<(u32, f32)>,
}

impl Tail {
    /// Counts probabilities.
    pub fn new(probabilities: impl Iterator<Item = f32>) -> Tail {
        let mut bins = vec![];
        for probability in probabilities {
            let log = probability.max(f32::MIN_POSITIVE).ln();
            let bin = (-log / std::f32::consts::LN_2) as usize;
            let bin = bin.min(BINS - 1);
            if bins.len() <= bin {
                bins.resize(bin + 1, (0, 0.0));
            }
            bins[bin].0 += 1;
            bins[bin].1 += log;
        }
        Tail { bins }
    }

    /// Returns the sum of `p^(1 / temperature)` over the tokens.
    fn weight(&self, temperature: f64) -> f64 {
        let used = self.bins.iter().filter(|(count, _)| *count > 0);
        used.map(|&(count, logs)| {
            let mean = logs as f64 / count as f64;
            count as f64 * (mean / temperature).exp()
        })
        .sum()
    }

    /// Returns the probabilities of the likeliest tokens at a temperature, given those at
    /// temperature 1 in `top`. At temperature 0 the likeliest one is certain.
    pub fn at_temperature(&self, top: &[f32], temperature: f32) -> Vec<f32> {
        if temperature <= 0.0 {
            let most = top.iter().copied().fold(f32::MIN, f32::max);
            let best = top.iter().position(|&p| p == most);
            return (0..top.len())
                .map(|i| if Some(i) == best { 1.0 } else { 0.0 })
                .collect();
        }
        let temperature = temperature as f64;
        let weight = |p: &f32| (*p as f64).max(f64::MIN_POSITIVE).powf(1.0 / temperature);
        let weights: Vec<f64> = top.iter().map(weight).collect();
        let total = weights.iter().sum::<f64>() + self.weight(temperature);
        weights
            .iter()
            .map(|weight| (weight / total) as f32)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::ranked;

    #[test]
    fn probabilities_follow_the_temperature_as_those_of_all_logits_do() {
        // a long tail, as vocabularies have
        let logits: Vec<f32> = (0..2000)
            .map(|i| 8.0 - 1.9 * (i as f32 + 1.0).ln())
            .collect();
        let top: Vec<f32> = ranked(&logits).iter().map(|c| c.probability).collect();
        let (top, rest) = top.split_at(6);
        let tail = Tail::new(rest.iter().copied());
        for temperature in [0.3, 0.7, 1.0, 1.5, 2.0] {
            let scaled: Vec<f32> = logits.iter().map(|logit| logit / temperature).collect();
            let exact = ranked(&scaled);
            let found = tail.at_temperature(top, temperature);
            for (found, exact) in found.iter().zip(&exact) {
                let error = (found - exact.probability).abs();
                assert!(
                    error < 0.01,
                    "{temperature}: {found}, {}",
                    exact.probability
                );
            }
        }
        assert_eq!(tail.at_temperature(&[0.2, 0.5, 0.1], 0.0), [0.0, 1.0, 0.0]);
    }
}
