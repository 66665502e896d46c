//! The batches of a training, prepared on a thread of their own ahead of the device.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::{Batch, Text};
use crate::data::{Batches, Dataset};
use crate::image::Augment;

/// What every batch is made of. The batches of a step depend on the seed and the step's number only, so that they are the same
/// whoever makes them, and when.
pub(crate) struct Feed<'a> {
    pub train: &'a Dataset,
    /// Those of each sample, at least one, of which every draw takes another.
    pub texts: Vec<Vec<Text>>,
    /// The number of each sample's concept, [`IGNORE`](crate::ops::IGNORE) where there is none.
    pub classes: Vec<u32>,
    /// Which samples a step takes.
    pub order: Batches,
    /// Pictures in one batch: a step's part.
    pub part: usize,
    /// Positions that texts are padded to.
    pub length: usize,
    pub pad: u32,
    pub count_pads: bool,
    pub augment: Augment,
    pub seed: u64,
}

impl Feed<'_> {
    /// The batches of one step, counted from 0.
    pub fn batches(&self, step: u64) -> Vec<Batch> {
        let rows = self.order.indices(step);
        let whole = rows.len() as u64;
        let part = |(number, rows): (usize, &[usize])| {
            let images: Vec<Vec<f32>> = rows
                .par_iter()
                .enumerate()
                .map(|(place, &row)| {
                    if self.train.side == 0 {
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
            // samples of several captions show them in turn, each sample from another one on
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
}

/// Steps whose batches lie ready, at most; one more is being made.
const AHEAD: usize = 3;

/// The batches of consecutive steps, made ahead by a thread.
pub(crate) struct Prefetcher<'scope> {
    /// Taken when it is dropped, which ends the thread.
    ready: Option<Receiver<Vec<Batch>>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
    waited: Duration,
}

impl<'scope> Prefetcher<'scope> {
    /// Starts the thread with step `first`; it ends after step `end - 1`, if there is an end, or when this is dropped.
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

    /// The batches of the next step, waiting for them if they are not ready.
    ///
    /// # Errors
    /// What the thread panicked with.
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

    /// The time that [`next`](Self::next) has waited. The device may have been busy meanwhile, so it waited for no longer.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Drop for Prefetcher<'_> {
    fn drop(&mut self) {
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            // that it panicked matters to nobody who wants no batch any more
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
            length: 3,
            pad: 0,
            count_pads: false,
            augment: Augment::light(),
            seed: 9,
        })
    }

    #[test]
    fn batches_come_in_order_and_are_those_of_their_step() {
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
    fn the_thread_ends_with_its_user() {
        let train = dataset(5);
        let feed = feed(&train, 5);
        std::thread::scope(|scope| {
            let mut ahead = Prefetcher::new(scope, feed.clone(), 0, None);
            ahead.next().unwrap();
            // without an end of its own the thread would keep the scope open
        });
        assert_eq!(Arc::strong_count(&feed), 1);
    }

    #[test]
    fn a_panic_of_the_thread_is_an_error_with_its_message() {
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
