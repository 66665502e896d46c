//! The order of training samples.

use std::sync::Mutex;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An endless sequence of batches in which every sample comes once an epoch, in an order of its own each time; of variants only
/// a share does, others each time. A batch may span two epochs. It is a pure function of what it is made from, so that a run can go
/// on at any step.
///
/// Keep one for a run: it remembers the order of the last epoch that it was asked for, which takes time to make.
#[derive(Debug)]
pub struct Batches {
    /// The samples that come in every epoch.
    always: Vec<usize>,
    /// Those that take turns.
    variants: Vec<usize>,
    /// Variants in an epoch.
    turns: usize,
    batch: usize,
    seed: u64,
    /// The last epoch's number and order.
    last: Mutex<Option<(u64, Vec<usize>)>>,
}

impl Batches {
    /// # Panics
    /// Without samples.
    pub fn new(samples: usize, batch: usize, seed: u64) -> Batches {
        Self::with_variants(&vec![false; samples], 1.0, batch, seed)
    }

    /// Of the samples that `variant` says are variants of others, each epoch has a `share`, rounded.
    ///
    /// # Panics
    /// Without samples in an epoch.
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

    /// Samples in an epoch.
    pub fn epoch(&self) -> usize {
        self.always.len() + self.turns
    }

    /// The samples of epoch `number` in their order.
    fn order(&self, number: u64) -> Vec<usize> {
        let order = permutation(self.epoch(), self.seed, number);
        if self.variants.is_empty() {
            return order;
        }
        // a stream of its own, far from those of the epochs' orders
        let turns = permutation(self.variants.len(), self.seed, number ^ (1 << 63));
        let sample = |place: usize| match place.checked_sub(self.always.len()) {
            None => self.always[place],
            Some(turn) => self.variants[turns[turn]],
        };
        order.into_iter().map(sample).collect()
    }

    /// The samples of batch number `step`, counted from 0.
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

/// A permutation of `0..count` for a seed and an epoch (Fisher-Yates).
pub(super) fn permutation(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        // a 64-bit draw makes the bias of the remainder immeasurable
        order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_once_an_epoch() {
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
    fn what_was_asked_before_changes_nothing() {
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
    fn an_epoch_is_ordered_once() {
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
    fn epochs_and_seeds_have_orders_of_their_own() {
        let order = |seed, epoch| permutation(50, seed, epoch);
        assert_eq!(order(1, 2), order(1, 2));
        assert_ne!(order(1, 2), order(1, 3));
        assert_ne!(order(1, 2), order(2, 2));
    }
}
