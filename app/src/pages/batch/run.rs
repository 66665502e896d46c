//! A run over many pictures, sent to the worker in batches.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use seemore::caption::Cancel;
use seemore::data::Existing;

use crate::format::{count, duration, short};
use crate::gallery::Gallery;
use crate::generation::GenerationSettings;
use crate::worker::{BatchCaption, BatchJob, Command, WorkerHandle, WrittenCaption};

/// Number of pictures in a job.
const BATCH_SIZE: usize = 16;

/// A run that captions pictures until all are done or the user stops it.
pub struct Run {
    /// Number of the run.
    pub number: u64,
    remaining: VecDeque<usize>,
    /// Captions of the entries in the present job, as they were when it was sent.
    before: HashMap<usize, String>,
    /// Entries of the present job, in order.
    sent: Vec<usize>,
    total: usize,
    done: usize,
    failed: usize,
    started: Instant,
    settings: GenerationSettings,
    existing: Existing,
    /// Cancels the present job.
    cancel: Cancel,
}

/// Entries that a stopped run has not captioned, and its settings.
pub struct Rest {
    /// The entries without a result.
    pub entries: Vec<usize>,
    /// Settings that the run wrote captions with.
    pub settings: GenerationSettings,
    /// Treatment of captions that were there.
    pub existing: Existing,
}

impl Run {
    /// Returns a run over entries of a gallery. `existing` says whether a new caption takes the
    /// place of one that is there or follows it.
    pub fn new(
        number: u64,
        entries: Vec<usize>,
        settings: GenerationSettings,
        existing: Existing,
    ) -> Run {
        let total = entries.len();
        Run {
            number,
            remaining: entries.into(),
            before: HashMap::new(),
            sent: vec![],
            total,
            done: 0,
            failed: 0,
            started: Instant::now(),
            settings,
            existing,
            cancel: Cancel::new(),
        }
    }

    /// Sends the next job. Returns whether there was one.
    pub fn send_next(&mut self, gallery: &Gallery, worker: &WorkerHandle) -> bool {
        let size = BATCH_SIZE.min(self.remaining.len());
        self.sent = self.remaining.drain(..size).collect();
        if self.sent.is_empty() {
            return false;
        }
        let entries = gallery.entries();
        self.before = self
            .sent
            .iter()
            .map(|&entry| (entry, entries[entry].caption.clone()))
            .collect();
        let pictures = self
            .sent
            .iter()
            .map(|&entry| (entry, entries[entry].path.clone()))
            .collect();
        worker.send(Command::Batch(BatchJob {
            run: self.number,
            pictures,
            batch_size: BATCH_SIZE,
            settings: self.settings.clone(),
            cancel: self.cancel.clone(),
        }));
        true
    }

    /// Ends the job in progress, whose captions are dropped. Returns what is left of the run.
    pub fn cancel(self) -> Option<Rest> {
        self.cancel.cancel();
        let entries: Vec<usize> = self.sent.into_iter().chain(self.remaining).collect();
        (!entries.is_empty()).then_some(Rest {
            entries,
            settings: self.settings,
            existing: self.existing,
        })
    }

    /// Sets the captions of a job, except those that the user has changed or is editing
    /// (`editing`).
    pub fn take(
        &mut self,
        gallery: &mut Gallery,
        captions: Vec<BatchCaption>,
        editing: Option<usize>,
    ) {
        self.done += captions.len();
        let mut written = vec![];
        for (entry, caption) in captions {
            match caption {
                Ok(WrittenCaption { text, confidence }) => {
                    gallery.set_error(entry, None);
                    let before = &gallery.entries()[entry].caption;
                    if self.before.get(&entry) != Some(before) || Some(entry) == editing {
                        continue;
                    }
                    let appends = self.existing == Existing::Append && !before.trim().is_empty();
                    let text = match appends {
                        true => format!("{}\n{text}", before.trim_end()),
                        false => text,
                    };
                    gallery.set_confidence(entry, &text, confidence);
                    written.push((entry, text));
                }
                Err(message) => {
                    gallery.set_error(entry, Some(message));
                    self.failed += 1;
                }
            }
        }
        self.sent.clear();
        gallery.set(written, Some(self.number));
    }

    /// Returns the share that is done, and text with the remaining time.
    pub fn progress(&self) -> (f32, String) {
        let share = self.done as f32 / self.total.max(1) as f32;
        let text = format!("{} of {}", self.done, self.total);
        if self.done == 0 {
            return (share, text);
        }
        let per_picture = self.started.elapsed().as_secs_f64() / self.done as f64;
        let remaining = Duration::from_secs_f64(per_picture * (self.total - self.done) as f64);
        (share, format!("{text}, {} left", duration(remaining)))
    }

    /// Returns text about a run that has ended.
    pub fn summary(&self, stopped: bool) -> String {
        let elapsed = self.started.elapsed();
        let speed = self.done as f64 / elapsed.as_secs_f64().max(1e-3);
        let summary = format!(
            "{} {} in {} ({} per second)",
            if stopped {
                "Stopped after"
            } else {
                "Captioned"
            },
            count(self.done, "picture"),
            duration(elapsed),
            short(speed)
        );
        match self.failed {
            0 => summary,
            failed => format!(
                "{summary}. {} could not be read; filter by \"failed\".",
                count(failed, "picture")
            ),
        }
    }
}
