//! Captions for many pictures of a gallery, some at once, until all have one or somebody cancels.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::duration::duration;
use crate::gallery::Gallery;
use crate::work::batching::{Captioned, Job};
use crate::work::captioning::Settings;
use crate::worker::{Order, Worker};

/// Pictures on the device at once.
const AT_ONCE: usize = 16;

pub struct Run {
    pub number: u64,
    left: VecDeque<usize>,
    /// The captions of the entries that the worker has, as they were.
    before: HashMap<usize, String>,
    total: usize,
    done: usize,
    troubles: usize,
    begun: Instant,
    settings: Settings,
}

impl Run {
    pub fn new(number: u64, entries: Vec<usize>, settings: Settings) -> Run {
        let total = entries.len();
        Run {
            number,
            left: entries.into(),
            before: HashMap::new(),
            total,
            done: 0,
            troubles: 0,
            begun: Instant::now(),
            settings,
        }
    }

    /// Orders the next captions; none where all are there.
    pub fn order(&mut self, gallery: &Gallery, worker: &Worker) -> bool {
        let next: Vec<usize> = self.left.drain(..AT_ONCE.min(self.left.len())).collect();
        if next.is_empty() {
            return false;
        }
        let entries = gallery.entries();
        self.before = next
            .iter()
            .map(|&entry| (entry, entries[entry].caption.clone()))
            .collect();
        let pictures = next
            .iter()
            .map(|&entry| (entry, entries[entry].path.clone()))
            .collect();
        worker.order(Order::Batch(Job {
            run: self.number,
            pictures,
            at_once: AT_ONCE,
            settings: self.settings.clone(),
        }));
        true
    }

    /// Takes captions in, but not where people wrote one of their own meanwhile, or are about to.
    pub fn take(&mut self, gallery: &mut Gallery, captions: Vec<Captioned>, typing: Option<usize>) {
        self.done += captions.len();
        let mut written = vec![];
        for (entry, caption) in captions {
            match caption {
                Ok(caption) => {
                    gallery.trouble(entry, None);
                    if Some(entry) != typing
                        && self.before.get(&entry) == Some(&gallery.entries()[entry].caption)
                    {
                        written.push((entry, caption));
                    }
                }
                Err(message) => {
                    gallery.trouble(entry, Some(message));
                    self.troubles += 1;
                }
            }
        }
        gallery.set(written, Some(self.number));
    }

    /// The share that is done, and how long the rest will take.
    pub fn progress(&self) -> (f32, String) {
        let share = self.done as f32 / self.total.max(1) as f32;
        let text = format!("{} of {}", self.done, self.total);
        if self.done == 0 {
            return (share, text);
        }
        let left =
            self.begun.elapsed().as_secs_f64() / self.done as f64 * (self.total - self.done) as f64;
        (
            share,
            format!("{text}, {} left", duration(Duration::from_secs_f64(left))),
        )
    }

    pub fn ended(&self) -> String {
        self.told("")
    }

    pub fn cancelled(&self) -> String {
        self.told("cancelled: ")
    }

    fn told(&self, how: &str) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        let speed = self.done as f64 / seconds.max(1e-3);
        let done = format!(
            "{how}{} pictures in {}, {speed:.0} a second",
            self.done,
            duration(self.begun.elapsed())
        );
        match self.troubles {
            0 => done,
            troubles => format!("{done}; {troubles} of them cannot be read, see their rows"),
        }
    }
}
