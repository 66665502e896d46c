//! The Caption page: pictures on the left, the selected picture and what the models write about it
//! in the middle, settings on the right.

mod controls;
mod job;
mod list;
mod preview;
mod prompt;
mod thread;
mod view;
pub(crate) mod words;

use std::sync::Arc;

use egui::{CentralPanel, Key, Modifiers, Panel, TextureHandle, Ui};
use seemore::caption::CaptionToken;

pub use job::{CaptionEvent, CaptionJob, CaptionProgress, options};
pub use prompt::entered;

use crate::generation::GenerationSettings;
use crate::heat::{self, HeatView};
use crate::page::{Page, PageAction, PageContext, Request, Selection};
use crate::pictures::{OpenedPicture, PictureSource};
use crate::theme::{self, Action, Icon};
use crate::worker::{Event, Slot};
use preview::Preview;
use prompt::Prompt;
use thread::{Status, Thread, Turn};

/// Name on the page's tab.
pub const TITLE: &str = "Caption";

/// Key of the stored prompt.
const STORED: &str = "caption";

/// Entries in the command palette.
const REGENERATE: &str = "Regenerate the caption";
const STOP: &str = "Stop writing";
const CAPTION_REST: &str = "Caption the rest";
const COPY: &str = "Copy the caption";
const REMOVE: &str = "Remove the picture from the list";
const REMOVE_ALL: &str = "Remove all pictures from the list";
const AS_INPUT: &str = "Show the picture as the model sees it";

/// The Caption page.
pub struct CaptionPage {
    items: Vec<Item>,
    selected: usize,
    /// Frames in which the list scrolls to the selected picture: in the first one, its size may not be
    /// known.
    scroll: u8,
    /// Token whose heat map is shown, for each model; none shows the picture alone.
    tokens: [Option<Place>; 2],
    /// Token under the pointer.
    hovered: Option<(Slot, Place)>,
    /// Number of the last job.
    jobs: u64,
    /// Job of each model that is not finished.
    running: [Option<u64>; 2],
    views: [HeatView; 2],
    previews: [Preview; 2],
    prompt: Prompt,
    /// The next question about the selected picture.
    question: String,
    /// Whether pictures are shown with as many pixels as the model takes in.
    as_input: bool,
    /// Sliders, which take arrow keys while they have the focus.
    sliders: Vec<egui::Id>,
}

/// A token of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    turn: usize,
    token: usize,
}

/// A picture and what the models write about it.
struct Item {
    source: Arc<PictureSource>,
    texture: TextureHandle,
    thumbnail: seemore::image::Picture,
    /// Width and height of the picture, in pixels.
    size: [usize; 2],
    photograph: bool,
    threads: [Thread; 2],
}

impl Default for CaptionPage {
    fn default() -> CaptionPage {
        CaptionPage {
            items: vec![],
            selected: 0,
            scroll: 0,
            tokens: [None; 2],
            hovered: None,
            jobs: 0,
            running: [None; 2],
            views: Default::default(),
            previews: Default::default(),
            prompt: Prompt::new(),
            question: String::new(),
            as_input: false,
            sliders: vec![],
        }
    }
}

impl Page for CaptionPage {
    fn title(&self) -> &'static str {
        TITLE
    }

    fn icon(&self) -> Icon {
        Icon::MessageSquareText
    }

    fn handle(&mut self, event: &mut Event, context: &mut PageContext) {
        match event {
            Event::ModelLoaded { slot, model } => {
                for index in 0..self.items.len() {
                    // captions of the same model on another device stay
                    let thread = &self.items[index].threads[*slot];
                    if thread.model.as_ref() != Some(&model.folder) || thread.turns.is_empty() {
                        self.caption(index, *slot, context);
                    }
                }
            }
            Event::ModelUnloaded(slot) => {
                for item in &mut self.items {
                    item.threads[*slot].cancel();
                    item.threads[*slot] = Thread::default();
                }
            }
            Event::Stopped(_) => {
                self.running = [None; 2];
                self.items
                    .iter_mut()
                    .flat_map(|item| &mut item.threads)
                    .for_each(Thread::cancel);
                let turns = self.items.iter_mut().flat_map(|item| &mut item.threads);
                turns
                    .flat_map(|thread| &mut thread.turns)
                    .filter(|turn| turn.status.is_busy())
                    .for_each(|turn| turn.status = Status::Idle);
            }
            _ => {}
        }
        if let Some(opened) = event.take::<OpenedPicture>() {
            self.add(opened, context);
        }
        if let Some(CaptionEvent { job, progress }) = event.take::<CaptionEvent>() {
            self.progress(job, progress, context);
        }
        self.send_next(context);
        self.share_selection(context);
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        if self.items.is_empty() {
            return empty(ui, context);
        }
        self.keys(ui, context);
        Panel::left("pictures")
            .default_size(210.0)
            .show(ui, |ui| self.list(ui, context));
        Panel::right("settings")
            .default_size(270.0)
            .show(ui, |ui| self.controls(ui, context));
        if self.items.is_empty() {
            return;
        }
        CentralPanel::default().show(ui, |ui| self.models(ui, context));
        self.send_next(context);
        self.share_selection(context);
    }

    fn actions(&self, _context: &PageContext) -> Vec<PageAction> {
        if self.items.is_empty() {
            return vec![];
        }
        let actions = [
            (REGENERATE, "R"),
            (STOP, "Esc"),
            (CAPTION_REST, ""),
            (COPY, "C"),
            (AS_INPUT, "V"),
            (REMOVE, "Delete"),
            (REMOVE_ALL, ""),
        ];
        actions
            .map(|(name, keys)| PageAction { name, keys })
            .to_vec()
    }

    fn act(&mut self, name: &str, context: &mut PageContext) {
        if self.items.is_empty() {
            return;
        }
        match name {
            REGENERATE => self.regenerate_all(context),
            STOP => self.stop(),
            CAPTION_REST => self.caption_rest(context),
            COPY => {
                let is_prefix = !context.model(0).is_some_and(|model| model.answers);
                let text = self.items[self.selected].threads[0].text(is_prefix);
                context.egui.copy_text(text);
                context.toasts.success("Copied the caption.");
            }
            AS_INPUT => self.as_input = !self.as_input,
            REMOVE => self.remove(self.selected, context),
            REMOVE_ALL => {
                while !self.items.is_empty() {
                    self.remove(0, context);
                }
            }
            _ => {}
        }
        self.send_next(context);
        self.share_selection(context);
    }

    fn restore(&mut self, storage: &dyn eframe::Storage) {
        if let Some(prompt) = eframe::get_value(storage, STORED) {
            self.prompt = prompt;
        }
    }

    fn save(&self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, STORED, &self.prompt);
    }
}

impl CaptionPage {
    /// Adds a picture, selects it and captions it with every loaded model.
    fn add(&mut self, opened: OpenedPicture, context: &PageContext) {
        let OpenedPicture {
            source,
            thumbnail,
            size,
            photograph,
        } = opened;
        let texture = heat::texture(&context.egui, &source.name, &thumbnail);
        self.items.push(Item {
            source,
            texture,
            thumbnail,
            size,
            photograph,
            threads: Default::default(),
        });
        let last = self.items.len() - 1;
        self.select(last);
        (0..2)
            .filter(|&slot| context.model(slot).is_some())
            .for_each(|slot| self.caption(last, slot, context));
    }

    /// Removes a picture from the list; its file stays.
    fn remove(&mut self, index: usize, context: &mut PageContext) {
        let mut item = self.items.remove(index);
        item.threads.iter_mut().for_each(Thread::cancel);
        if self.selected > index || self.selected == self.items.len() {
            self.select(self.selected.saturating_sub(1));
        } else {
            self.select(self.selected);
        }
        if self.items.is_empty() {
            context.selection = None;
        }
    }

    /// Queues a caption with the chosen prompt and settings, which replaces what is there.
    fn caption(&mut self, index: usize, slot: Slot, context: &PageContext) {
        self.replace(index, slot, context, 0);
    }

    fn replace(&mut self, index: usize, slot: Slot, context: &PageContext, varied: u64) {
        let Some(model) = context.model(slot) else {
            return;
        };
        let settings = match varied {
            0 => context.generation.clone(),
            times => context.generation.varied(times),
        };
        let thread = &mut self.items[index].threads[slot];
        thread.cancel();
        *thread = Thread {
            turns: vec![Turn::queued(self.prompt.of(model), settings)],
            varied,
            model: Some(model.folder.clone()),
        };
        if index == self.selected {
            self.tokens[slot] = None;
        }
    }

    /// Writes a caption again. It differs from the one before: what has changed in the prompt and
    /// the settings is applied, and where nothing has, the caption is sampled with another seed.
    fn regenerate(&mut self, index: usize, slot: Slot, context: &PageContext) {
        let Some(model) = context.model(slot) else {
            return;
        };
        let thread = &self.items[index].threads[slot];
        let varied = match thread.caption() {
            Some(turn) if turn.prompt == self.prompt.of(model) => {
                let expected = match thread.varied {
                    0 => context.generation.clone(),
                    times => context.generation.varied(times),
                };
                if turn.settings == expected {
                    thread.varied + 1
                } else {
                    0
                }
            }
            _ => 0,
        };
        self.replace(index, slot, context, varied);
    }

    fn regenerate_all(&mut self, context: &PageContext) {
        (0..2).for_each(|slot| self.regenerate(self.selected, slot, context));
    }

    /// Captions the selected picture with the chosen prompt and settings.
    fn write_again(&mut self, context: &PageContext) {
        (0..2).for_each(|slot| self.caption(self.selected, slot, context));
    }

    /// Queues captions of all pictures that have none.
    fn caption_rest(&mut self, context: &PageContext) {
        for index in 0..self.items.len() {
            for slot in 0..2 {
                if self.is_missing(index, slot) {
                    self.caption(index, slot, context);
                }
            }
        }
    }

    /// Whether a picture has no caption by a model, and none is being written.
    fn is_missing(&self, index: usize, slot: Slot) -> bool {
        let thread = &self.items[index].threads[slot];
        !thread.is_busy() && thread.caption().is_none_or(|turn| turn.tokens.is_empty())
    }

    /// Queues an answer to a question about the selected picture by every model that answers.
    fn ask(&mut self, context: &PageContext) {
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
    fn send_next(&mut self, context: &PageContext) {
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
            context.worker.send(CaptionJob {
                number: self.jobs,
                slot,
                source: source.clone(),
                history,
                prompt: turn.prompt.clone(),
                settings: turn.settings.clone(),
                cancel: turn.cancel.clone(),
            });
        }
    }

    /// Takes the progress of a job.
    fn progress(&mut self, job: u64, progress: CaptionProgress, context: &mut PageContext) {
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
        if let CaptionProgress::Failed(message) = &progress {
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
    fn stop(&mut self) {
        let threads = self.items.iter_mut().flat_map(|item| &mut item.threads);
        threads.for_each(Thread::cancel);
    }

    fn select(&mut self, index: usize) {
        (self.selected, self.tokens, self.scroll) = (index, [None; 2], 3);
        self.hovered = None;
    }

    /// Returns the token whose alternatives are shown: the one under the pointer, else the selected
    /// one, else the last.
    fn shown_token(&self) -> Option<&CaptionToken> {
        let threads = &self.items.get(self.selected)?.threads;
        let selected = (0..2).find_map(|slot| Some((slot, self.tokens[slot]?)));
        if let Some((slot, place)) = self.hovered.or(selected) {
            return threads[slot].turns.get(place.turn)?.tokens.get(place.token);
        }
        threads[0].turns.last()?.tokens.last()
    }

    /// Tells the other pages which picture and caption are selected, if they have changed.
    fn share_selection(&self, context: &mut PageContext) {
        let Some(item) = self.items.get(self.selected) else {
            return;
        };
        let (prompt, tokens) = match item.threads[0].caption() {
            Some(turn) => (turn.prompt.as_str(), turn.tokens.as_slice()),
            None => ("", &[][..]),
        };
        let known = |selection: &Selection| {
            Arc::ptr_eq(&selection.source, &item.source)
                && selection.prompt == prompt
                && selection.tokens.len() == tokens.len()
                && selection
                    .tokens
                    .iter()
                    .zip(tokens)
                    .all(|(known, token)| known.choice.token == token.choice.token)
        };
        if !context.selection.as_ref().is_some_and(known) {
            context.selection = Some(Selection {
                source: item.source.clone(),
                prompt: prompt.to_owned(),
                tokens: tokens.to_vec(),
            });
        }
    }

    fn keys(&mut self, ui: &Ui, context: &mut PageContext) {
        if !context.shortcuts {
            return;
        }
        // also while a button has the focus, which the arrow keys would move otherwise
        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let arrows = [
            Key::ArrowDown,
            Key::ArrowUp,
            Key::ArrowRight,
            Key::ArrowLeft,
        ];
        // a slider takes them for itself
        let focused = ui.memory(|memory| memory.focused());
        let on_slider = focused.is_some_and(|id| self.sliders.contains(&id));
        let [down, up, right, left] = arrows.map(|key| !on_slider && pressed(key));
        if down || up || right || left {
            ui.memory_mut(|memory| memory.move_focus(egui::FocusDirection::None));
        }
        if down && self.selected + 1 < self.items.len() {
            self.select(self.selected + 1);
        }
        if up && self.selected > 0 {
            self.select(self.selected - 1);
        }
        for slot in 0..2 {
            let turns = &self.items[self.selected].threads[slot].turns;
            let places = turns.iter().enumerate().flat_map(|(turn, text)| {
                (0..text.tokens.len()).map(move |token| Place { turn, token })
            });
            let places: Vec<Place> = places.collect();
            let at = self.tokens[slot].and_then(|at| places.iter().position(|&it| it == at));
            if right && !places.is_empty() {
                let next = at.map_or(0, |at| (at + 1).min(places.len() - 1));
                self.tokens[slot] = Some(places[next]);
            }
            if left {
                self.tokens[slot] = at.and_then(|at| at.checked_sub(1)).map(|at| places[at]);
            }
        }
        for (key, action) in [
            (Key::R, REGENERATE),
            (Key::Escape, STOP),
            (Key::C, COPY),
            (Key::V, AS_INPUT),
            (Key::Delete, REMOVE),
        ] {
            if !self.items.is_empty() && pressed(key) {
                self.act(action, context);
            }
        }
    }
}

fn empty(ui: &mut Ui, context: &mut PageContext) {
    CentralPanel::default().show(ui, |ui| {
        theme::empty(
            ui,
            Icon::Image,
            "Drop a picture here",
            "or a folder of pictures. The model captions them one by one.",
            |ui| {
                let open = Action::new(Icon::FolderOpen, "Open pictures...").primary();
                if ui.add(open).clicked() {
                    context.requests.push(Request::OpenPictures);
                }
                ui.add_space(theme::SPACE);
                let samples = Action::new(Icon::Sparkles, "Try the samples");
                if ui.add(samples).clicked() {
                    context.requests.push(Request::OpenSamples);
                }
            },
        );
    });
}
