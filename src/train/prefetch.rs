//! Prefetching: a thread prepares batches ahead of the device.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::tuning::{AnswerFeed, augmented};
use super::{Batch, Text};
use crate::data::{Batches, Dataset};
use crate::image::Augment;

/// Source of all batches. The batches of a step depend only on the seed and the number of the step.
pub(crate) struct Feed<'a> {
    /// Training pictures.
    pub train: &'a Dataset,
    /// Captions of each sample, at least one; successive draws take them in turn.
    pub texts: Vec<Vec<Text>>,
    /// Number of each sample's concept; [`IGNORE`](crate::ops::IGNORE) where there is none.
    pub classes: Vec<u32>,
    /// Order of the samples.
    pub order: Batches,
    /// Pictures in one batch, which is a part of a step.
    pub part: usize,
    /// Number `r` of this rank, and the number `n` of all. The rank computes batches `r`, `r + n`, ..
    /// of a step; the others have no pictures.
    pub rank: (usize, usize),
    /// Positions that texts are padded to.
    pub length: usize,
    /// Padding token.
    pub pad: u32,
    /// Whether padding is a target.
    pub count_pads: bool,
    /// Random changes of pictures.
    pub augment: Augment,
    /// Seed of the order and the changes.
    pub seed: u64,
    /// Questions about pictures with their answers, for pretrained models, in place of texts.
    pub answers: Option<AnswerFeed<'a>>,
}

impl Feed<'_> {
    /// Whether this rank computes a batch of a step.
    pub fn computes(&self, number: usize) -> bool {
        number % self.rank.1 == self.rank.0
    }

    /// Makes the batches of a step, counted from 0.
    pub fn batches(&self, step: u64) -> Vec<Batch> {
        let rows = self.order.indices(step);
        let whole = rows.len() as u64;
        if let Some(answers) = &self.answers {
            return self.answers(answers, &rows, step);
        }
        let part = |(number, rows): (usize, &[usize])| {
            let images: Vec<Vec<f32>> = rows
                .par_iter()
                .enumerate()
                .map(|(place, &row)| {
                    if self.train.side == 0 || !self.computes(number) {
                        // text alone
                        return vec![];
                    }
                    let draw = (number * self.part + place) as u64;
                    let samples = &self.train.samples;
                    let second = self
                        .augment
                        .partner(samples.len(), self.seed, step, draw)
                        .map(|row| &samples[row]);
                    self.augment.apply(
                        &samples[row],
                        second,
                        self.train.side,
                        self.seed,
                        step,
                        draw,
                    )
                })
                .collect();
            // the captions of a sample take turns, and each sample starts with another one
            let text = |(place, &row): (usize, &usize)| {
                let texts = &self.texts[row];
                let epoch = (step * whole + (number * self.part + place) as u64)
                    / self.order.epoch() as u64;
                &texts[(epoch as usize + row) % texts.len()]
            };
            let texts: Vec<&Text> = rows.iter().enumerate().map(text).collect();
            let classes = rows.iter().map(|&row| self.classes[row]).collect();
            Batch {
                classes,
                ..Batch::new(
                    images.concat(),
                    &texts,
                    self.length,
                    self.pad,
                    self.count_pads,
                )
            }
        };
        rows.chunks(self.part).enumerate().map(part).collect()
    }

    /// Makes the batches of a step for a pretrained model.
    fn answers(&self, answers: &AnswerFeed, rows: &[usize], step: u64) -> Vec<Batch> {
        let whole = rows.len() as u64;
        let part = |(number, rows): (usize, &[usize])| {
            let draw = |place: usize| (number * self.part + place) as u64;
            // the captions of a sample take turns, and each sample starts with another one
            let chosen = |(place, &row): (usize, &usize)| {
                let epoch = (step * whole + draw(place)) / self.order.epoch() as u64;
                (row, (epoch as usize + row) % answers.exchanges[row].len())
            };
            let samples: Vec<(usize, usize)> = rows.iter().enumerate().map(chosen).collect();
            let pictures = self.computes(number);
            answers.batch(self.train, &samples, pictures, &|place, tile, shown| {
                let sample = &self.train.samples[rows[place]];
                let of = [self.seed, step, draw(place)];
                augmented(&self.augment, answers.model, tile, shown, sample, of)
            })
        };
        rows.chunks(self.part).enumerate().map(part).collect()
    }
}

/// Largest number of steps whose batches wait; one more is being made.
const AHEAD: usize = 3;

/// Batches of consecutive steps, made ahead by a thread.
pub(crate) struct Prefetcher<'scope> {
    /// Taken on drop, which ends the thread.
    ready: Option<Receiver<Vec<Batch>>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
    waited: Duration,
}

impl<'scope> Prefetcher<'scope> {
    /// Starts the thread with step `first`. It ends after step `end - 1`, if there is an end, or on
    /// drop.
    pub fn new<'a: 'scope>(
        scope: &'scope Scope<'scope, '_>,
        feed: Arc<Feed<'a>>,
        first: u64,
        end: Option<u64>,
    ) -> Prefetcher<'scope> {
        let (send, ready) = sync_channel(AHEAD);
        let thread = scope.spawn(move || {
            for step in first..end.unwrap_or(u64::MAX) {
                if send.send(feed.batches(step)).is_err() {
                    break;
                }
            }
        });
        Prefetcher {
            ready: Some(ready),
            thread: Some(thread),
            waited: Duration::ZERO,
        }
    }

    /// Returns the batches of the next step; waits for them if necessary.
    ///
    /// # Errors
    /// The message of a panic of the thread.
    pub fn next(&mut self) -> Result<Vec<Batch>, String> {
        let start = Instant::now();
        let batches = self.ready.as_ref().and_then(|ready| ready.recv().ok());
        self.waited += start.elapsed();
        batches.ok_or_else(|| match self.thread.take().map(ScopedJoinHandle::join) {
            Some(Err(panic)) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                text.unwrap_or("a panic without a message").to_owned()
            }
            _ => "no step is left".into(),
        })
    }

    /// Returns the total time that [`next`](Self::next) has waited. The device may have been busy
    /// meanwhile, so its idle time is at most that.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Drop for Prefetcher<'_> {
    fn drop(&mut self) {
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            // a panic does not matter when no batch is wanted any more
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Sample;
    use crate::ops::IGNORE;

    fn dataset(samples: usize) -> Dataset {
        let sample = |i: usize| Sample::new(i.to_string(), vec![40 * i as u8; 3 * 64], "");
        Dataset {
            side: 8,
            samples: (0..samples).map(sample).collect(),
        }
    }

    fn feed(train: &Dataset, texts: usize) -> Arc<Feed<'_>> {
        let text = |i: usize| {
            vec![Text {
                ids: vec![i as u32; 2],
                targets: vec![i as u32; 2],
            }]
        };
        Arc::new(Feed {
            train,
            texts: (0..texts).map(text).collect(),
            classes: vec![IGNORE; train.samples.len()],
            order: Batches::new(train.samples.len(), 4, 9),
            part: 2,
            rank: (0, 1),
            length: 3,
            pad: 0,
            count_pads: false,
            augment: Augment::light(),
            seed: 9,
            answers: None,
        })
    }

    #[test]
    fn batches_come_in_order() {
        let train = dataset(5);
        let feed = feed(&train, 5);
        for first in [0, 7] {
            std::thread::scope(|scope| {
                let mut ahead = Prefetcher::new(scope, feed.clone(), first, Some(first + 9));
                for step in first..first + 9 {
                    assert_eq!(ahead.next().unwrap(), feed.batches(step), "step {step}");
                }
                assert_eq!(ahead.next().unwrap_err(), "no step is left");
            });
        }
        assert_eq!(feed.batches(0).len(), 2);
    }

    #[test]
    fn dropping_ends_the_thread() {
        let train = dataset(5);
        let feed = feed(&train, 5);
        std::thread::scope(|scope| {
            let mut ahead = Prefetcher::new(scope, feed.clone(), 0, None);
            ahead.next().unwrap();
            // the thread has no end of its own and would keep the scope open
        });
        assert_eq!(Arc::strong_count(&feed), 1);
    }

    #[test]
    fn a_panic_of_the_thread_becomes_an_error() {
        let train = dataset(5);
        // the fifth sample has no text
        let feed = feed(&train, 4);
        std::thread::scope(|scope| {
            let mut ahead = Prefetcher::new(scope, feed, 0, None);
            let error = (0..3)
                .find_map(|_| ahead.next().err())
                .expect("five samples come within three steps of four");
            assert!(error.contains("index out of bounds"), "{error}");
        });
    }
}
