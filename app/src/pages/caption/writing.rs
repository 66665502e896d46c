//! Queueing of captions and answers, one job for each model at a time.

use super::thread::{Status, Thread, Turn};
use super::{CaptionPage, Item};
use crate::generation::GenerationSettings;
use crate::page::PageContext;
use crate::worker::{CaptionJob, CaptionProgress, Command, Slot};

impl CaptionPage {
    /// Queues a caption with the chosen prompt and settings, which replaces what is there.
    pub(super) fn caption(&mut self, index: usize, slot: Slot, context: &PageContext) {
        self.replace(index, slot, context, 0);
    }

    fn replace(&mut self, index: usize, slot: Slot, context: &PageContext, varied: u64) {
        let Some(model) = context.model(slot) else {
            return;
        };
        let thread = &mut self.items[index].threads[slot];
        thread.cancel();
        *thread = Thread {
            turns: vec![Turn::queued(
                self.prompt.of(model),
                settings(context, varied),
            )],
            varied,
            model: Some(model.folder.clone()),
        };
        if index == self.selected {
            self.tokens[slot] = None;
        }
    }

    /// Writes a caption again. It differs from the one before: what has changed in the prompt and
    /// the settings is applied, and where nothing has, the caption is sampled with another seed.
    pub(super) fn regenerate(&mut self, index: usize, slot: Slot, context: &PageContext) {
        let Some(model) = context.model(slot) else {
            return;
        };
        let thread = &self.items[index].threads[slot];
        let same = thread.caption().is_some_and(|turn| {
            turn.prompt == self.prompt.of(model)
                && turn.settings == settings(context, thread.varied)
        });
        let varied = match same {
            true => thread.varied + 1,
            false => 0,
        };
        self.replace(index, slot, context, varied);
    }

    pub(super) fn regenerate_all(&mut self, context: &PageContext) {
        (0..2).for_each(|slot| self.regenerate(self.selected, slot, context));
    }

    /// Captions the selected picture with the chosen prompt and settings.
    pub(super) fn write_again(&mut self, context: &PageContext) {
        (0..2).for_each(|slot| self.caption(self.selected, slot, context));
    }

    /// Queues captions of all pictures that have none.
    pub(super) fn caption_rest(&mut self, context: &PageContext) {
        for index in 0..self.items.len() {
            for slot in 0..2 {
                if self.is_missing(index, slot) {
                    self.caption(index, slot, context);
                }
            }
        }
    }

    /// Whether a picture has no caption by a model, and none is being written.
    pub(super) fn is_missing(&self, index: usize, slot: Slot) -> bool {
        let thread = &self.items[index].threads[slot];
        !thread.is_busy() && thread.caption().is_none_or(|turn| turn.tokens.is_empty())
    }

    /// Queues an answer to a question about the selected picture by every model that answers.
    pub(super) fn ask(&mut self, context: &PageContext) {
        let question = std::mem::take(&mut self.question);
        let settings = GenerationSettings {
            beams: 1,
            ..context.generation.clone()
        };
        for slot in 0..2 {
            if context.model(slot).is_some_and(|model| model.answers) {
                let turns = &mut self.items[self.selected].threads[slot].turns;
                turns.push(Turn::queued(question.trim().to_owned(), settings.clone()));
            }
        }
    }

    /// Sends each model that has no job its next one: of the selected picture, else the first that
    /// waits.
    pub(super) fn send_next(&mut self, context: &PageContext) {
        for slot in 0..2 {
            if self.running[slot].is_some() || context.model(slot).is_none() {
                continue;
            }
            let waits = |item: &Item| {
                let turns = item.threads[slot].turns.iter();
                turns
                    .map(|turn| turn.status)
                    .position(|status| status == Status::Queued)
            };
            let order = std::iter::once(self.selected).chain(0..self.items.len());
            let next = order
                .filter(|&index| index < self.items.len())
                .find_map(|index| Some((index, waits(&self.items[index])?)));
            let Some((index, turn)) = next else {
                continue;
            };
            self.jobs += 1;
            let Item {
                source, threads, ..
            } = &mut self.items[index];
            let turns = &mut threads[slot].turns;
            let history = turns[..turn].iter();
            let history = history.map(|turn| (turn.prompt.clone(), turn.written()));
            let history = history.collect();
            let turn = &mut turns[turn];
            (turn.job, turn.status) = (self.jobs, Status::Sent);
            self.running[slot] = Some(self.jobs);
            context.worker.send(Command::Caption(CaptionJob {
                number: self.jobs,
                slot,
                source: source.clone(),
                history,
                prompt: turn.prompt.clone(),
                settings: turn.settings.clone(),
                cancel: turn.cancel.clone(),
            }));
        }
    }

    /// Takes the progress of a job.
    pub(super) fn progress(
        &mut self,
        job: u64,
        progress: &CaptionProgress,
        context: &mut PageContext,
    ) {
        let ended = matches!(
            progress,
            CaptionProgress::Finished { .. } | CaptionProgress::Failed(_)
        );
        if ended {
            let done = self
                .running
                .iter_mut()
                .filter(|running| **running == Some(job));
            done.for_each(|running| *running = None);
        }
        if let CaptionProgress::Failed(message) = progress {
            context.toasts.add(message);
        }
        let threads = self.items.iter_mut().flat_map(|item| &mut item.threads);
        let mut turns = threads.flat_map(|thread| &mut thread.turns);
        // the text of a job that was replaced is gone
        if let Some(turn) = turns.find(|turn| turn.job == job) {
            turn.update(progress);
        }
    }

    /// Cancels everything that is being written and that waits.
    pub(super) fn stop(&mut self) {
        let threads = self.items.iter_mut().flat_map(|item| &mut item.threads);
        threads.for_each(Thread::cancel);
    }
}

/// Returns the settings of a caption that was written again a number of times.
fn settings(context: &PageContext, varied: u64) -> GenerationSettings {
    match varied {
        0 => context.generation.clone(),
        times => context.generation.varied(times),
    }
}
