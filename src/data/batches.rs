//! The order of training samples.

use std::sync::Mutex;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Endless sequence of shuffled batches.
///
/// Every sample occurs once per epoch, in a new random order each time. Samples marked as variants
/// take turns: each epoch has a share of them. A batch may span two epochs. The sequence is a pure
/// function of the constructor's arguments, so a run can resume at any step.
///
/// Keep one value for a whole run: it caches the order of the last epoch used.
#[derive(Debug)]
pub struct Batches {
    /// Samples of every epoch.
    always: Vec<usize>,
    /// Samples that take turns.
    variants: Vec<usize>,
    /// Number of variants in an epoch.
    turns: usize,
    batch: usize,
    seed: u64,
    /// Number and order of the last epoch used.
    last: Mutex<Option<(u64, Vec<usize>)>>,
}

impl Batches {
    /// Creates the batches of `samples` samples without variants.
    ///
    /// # Panics
    /// Panics if `samples` is 0.
    pub fn new(samples: usize, batch: usize, seed: u64) -> Batches {
        Self::with_variants(&vec![false; samples], 1.0, batch, seed)
    }

    /// Creates batches in which each epoch has only a `share`, rounded, of the samples whose flag
    /// in `variant` is set.
    ///
    /// # Panics
    /// Panics if an epoch has no samples.
    pub fn with_variants(variant: &[bool], share: f64, batch: usize, seed: u64) -> Batches {
        let (variants, always): (Vec<usize>, Vec<usize>) =
            (0..variant.len()).partition(|&sample| variant[sample]);
        let turns = (share.clamp(0.0, 1.0) * variants.len() as f64).round() as usize;
        assert!(always.len() + turns > 0, "batches of no samples");
        Batches {
            always,
            variants,
            turns,
            batch,
            seed,
            last: Mutex::default(),
        }
    }

    /// Lets each sample occur as often in an epoch as `repeats` says; variants take turns as before.
    pub fn repeated(mut self, repeats: &[usize]) -> Batches {
        let times = |&sample: &usize| std::iter::repeat_n(sample, repeats[sample].max(1));
        self.always = self.always.iter().flat_map(times).collect();
        self
    }

    /// Returns the number of samples in an epoch.
    pub fn epoch(&self) -> usize {
        self.always.len() + self.turns
    }

    /// Returns the samples of epoch `number` in order.
    fn order(&self, number: u64) -> Vec<usize> {
        let order = permutation(self.epoch(), self.seed, number);
        if self.variants.is_empty() {
            return order.into_iter().map(|place| self.always[place]).collect();
        }
        // a separate random stream, far from those of the epochs' orders
        let turns = permutation(self.variants.len(), self.seed, number ^ (1 << 63));
        let sample = |place: usize| match place.checked_sub(self.always.len()) {
            None => self.always[place],
            Some(turn) => self.variants[turns[turn]],
        };
        order.into_iter().map(sample).collect()
    }

    /// Returns the indices of the samples in batch `step`, counted from 0.
    pub fn indices(&self, step: u64) -> Vec<usize> {
        let first = step * self.batch as u64;
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        (first..first + self.batch as u64)
            .map(|place| {
                let number = place / self.epoch() as u64;
                if last.as_ref().is_none_or(|(known, _)| *known != number) {
                    *last = Some((number, self.order(number)));
                }
                let Some((_, order)) = &*last else {
                    unreachable!("made above")
                };
                order[(place % self.epoch() as u64) as usize]
            })
            .collect()
    }
}

/// Returns a random permutation of `0..count` for a seed and an epoch (Fisher-Yates shuffle).
pub(super) fn permutation(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        // with 64 bits the bias of the remainder is negligible
        order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_occurs_once_per_epoch() {
        for (samples, batch) in [(10, 3), (3, 8), (1, 4), (16, 16), (48, 16)] {
            let batches = Batches::new(samples, batch, 5);
            let places: Vec<usize> = (0..60).flat_map(|step| batches.indices(step)).collect();
            for epoch in places.chunks_exact(samples) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..samples).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn variants_take_turns() {
        let variant: Vec<bool> = (0..20).map(|sample| sample % 2 == 1).collect();
        let batches = Batches::with_variants(&variant, 0.3, 13, 5);
        assert_eq!(batches.epoch(), 13);
        let mut seen = vec![0; 20];
        for epoch in 0..40 {
            let mut samples = batches.indices(epoch);
            assert_eq!(samples.iter().filter(|&&sample| variant[sample]).count(), 3);
            samples.iter().for_each(|&sample| seen[sample] += 1);
            samples.sort_unstable();
            samples.dedup();
            assert_eq!(samples.len(), 13);
        }
        assert!(
            (0..20).all(|sample| if variant[sample] {
                (2..30).contains(&seen[sample])
            } else {
                seen[sample] == 40
            }),
            "{seen:?}"
        );
    }

    #[test]
    fn earlier_calls_do_not_change_results() {
        let batches = Batches::new(10, 4, 5);
        for step in [0, 1, 2, 9, 2, 3, 0, 100, 1] {
            assert_eq!(
                batches.indices(step),
                Batches::new(10, 4, 5).indices(step),
                "step {step}"
            );
        }
    }

    #[test]
    fn shuffles_each_epoch_once() {
        let batches = Batches::new(10, 2, 5);
        let order = |step| {
            batches.indices(step);
            batches
                .last
                .lock()
                .unwrap()
                .as_ref()
                .map(|(number, order)| (*number, order.as_ptr()))
        };
        let first = order(0);
        assert!((1..5).all(|step| order(step) == first));
        assert_eq!(order(5).unwrap().0, 1);
    }

    #[test]
    fn epochs_and_seeds_have_different_orders() {
        let order = |seed, epoch| permutation(50, seed, epoch);
        assert_eq!(order(1, 2), order(1, 2));
        assert_ne!(order(1, 2), order(1, 3));
        assert_ne!(order(1, 2), order(2, 2));
    }
}
