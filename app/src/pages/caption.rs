//! The Caption page: pictures on the left, the selected picture and what the models write about it
//! in the middle, settings on the right.

mod controls;
mod keys;
mod list;
mod preview;
mod prompt;
mod thread;
mod view;
pub(crate) mod words;
mod writing;

use std::sync::Arc;

use egui::{CentralPanel, Panel, TextureHandle, Ui};
use seemore::caption::CaptionToken;

pub use prompt::entered;

use crate::format::count;
use crate::heat::{self, HeatView};
use crate::page::{Page, PageAction, PageContext, Request, Selection};
use crate::pictures::{OpenedPicture, PictureSource};
use crate::theme::{self, Action, Icon};
use crate::worker::{CaptionEvent, Event, Slot};
use preview::Preview;
use prompt::Prompt;
use thread::{Status, Thread};

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
const SEND: &str = "Send to Batch";
const ASK: &str = "Ask a question about the picture";
const AS_INPUT: &str = "Show the picture as the model sees it";

/// The Caption page.
#[derive(Default)]
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
    /// Whether the field of that question gets the focus in the next frame.
    focus_question: bool,
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

impl Page for CaptionPage {
    fn title(&self) -> &'static str {
        TITLE
    }

    fn icon(&self) -> Icon {
        Icon::MessageSquareText
    }

    fn handle(&mut self, event: &Event, context: &mut PageContext) {
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
            Event::Opened(opened) => self.add(opened.clone(), context),
            Event::Caption(CaptionEvent { job, progress }) => {
                self.progress(*job, progress, context)
            }
            _ => {}
        }
        self.send_next(context);
        self.share_selection(context);
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        if self.items.is_empty() {
            return empty(ui, context);
        }
        self.keys(ui, context);
        // a small window keeps room for the picture
        let width = ui.available_width();
        Panel::left("caption pictures")
            .default_size((0.24 * width).clamp(190.0, 210.0))
            .max_size((0.3 * width).max(190.0))
            .frame(theme::panel_frame(ui))
            .show(ui, |ui| self.list(ui, context));
        Panel::right("settings")
            .default_size(270.0)
            .max_size((0.36 * width).max(270.0))
            .frame(theme::panel_frame(ui))
            .show(ui, |ui| self.controls(ui, context));
        if self.items.is_empty() {
            return;
        }
        CentralPanel::default().show(ui, |ui| self.models(ui, context));
        self.send_next(context);
        self.share_selection(context);
    }

    fn actions(&self, context: &PageContext) -> Vec<PageAction> {
        if self.items.is_empty() {
            return vec![];
        }
        let mut actions = vec![
            PageAction::new(REGENERATE, "R"),
            PageAction::new(STOP, "Esc"),
            PageAction::new(CAPTION_REST, ""),
            PageAction::new(COPY, "C"),
            PageAction::new(SEND, ""),
            PageAction::new(AS_INPUT, "V"),
            PageAction::new(REMOVE, "Delete"),
            PageAction::new(REMOVE_ALL, ""),
        ];
        if answers(context) {
            actions.push(PageAction::new(ASK, ""));
        }
        actions
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
            SEND => self.send_to_batch(context),
            ASK => self.focus_question = true,
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

    /// Opens the picture files on the Batch page, with the captions of the first model.
    fn send_to_batch(&self, context: &mut PageContext) {
        let is_prefix = !context.model(0).is_some_and(|model| model.answers);
        let picture = |item: &Item| {
            let thread = &item.threads[0];
            let caption = match thread.is_busy() {
                true => String::new(),
                false => thread.text(is_prefix),
            };
            Some((item.source.path()?.to_owned(), caption))
        };
        let pictures: Vec<_> = self.items.iter().filter_map(picture).collect();
        let left = self.items.len() - pictures.len();
        if left > 0 {
            context.toasts.add(format!(
                "{} not sent to Batch: pictures that were pasted, and samples, are in no file.",
                count(left, "picture")
            ));
        }
        if !pictures.is_empty() {
            context.requests.push(Request::OpenInBatch(pictures));
        }
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
}

/// Whether one of the models answers questions.
fn answers(context: &PageContext) -> bool {
    (0..2).any(|slot| context.model(slot).is_some_and(|model| model.answers))
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
