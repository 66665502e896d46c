//! The Caption page: pictures on the left, the model's input and caption in the middle, settings on
//! the right.

mod controls;
mod job;
mod view;

use std::sync::Arc;

use egui::{CentralPanel, Key, Panel, RichText, ScrollArea, TextureHandle, Ui};
use seemore::caption::{Cancel, CaptionToken};
use seemore::image::Picture;

pub use job::{CaptionEvent, CaptionJob, CaptionProgress, INPUT_SIZE};

use crate::heat::{self, HeatView};
use crate::page::{Page, PageContext, Request, Selection};
use crate::pictures::OpenedPicture;
use crate::worker::{Event, Slot};

/// Name on the page's tab.
pub const TITLE: &str = "Caption";

/// The Caption page.
#[derive(Default)]
pub struct CaptionPage {
    items: Vec<Item>,
    selected: usize,
    /// Token whose heat map is shown, for each model; none shows the picture alone.
    tokens: [Option<usize>; 2],
    /// Number of the last job.
    jobs: u64,
    views: [HeatView; 2],
}

/// A picture and its captions.
struct Item {
    name: String,
    picture: Arc<Picture>,
    thumbnail: Picture,
    texture: TextureHandle,
    captions: [Caption; 2],
}

/// A caption by one of the models.
#[derive(Default)]
struct Caption {
    /// Number of the job that writes it; 0 before the first one.
    job: u64,
    /// Cancels that job.
    cancel: Cancel,
    status: Status,
    /// The model's input, once it is known.
    input: Option<Picture>,
    prefix: String,
    tokens: Vec<CaptionToken>,
    beams: Vec<seemore::caption::Caption>,
}

/// Status of a caption.
#[derive(Clone, Copy, PartialEq, Default)]
enum Status {
    /// There is no job, or it has failed.
    #[default]
    Idle,
    Queued,
    Writing,
    Done {
        seconds: f64,
        cancelled: bool,
    },
}

impl Status {
    fn is_busy(self) -> bool {
        matches!(self, Status::Queued | Status::Writing)
    }
}

impl Caption {
    /// Returns the text written so far.
    fn text(&self) -> String {
        let written: String = self
            .tokens
            .iter()
            .map(|token| token.text.as_str())
            .collect();
        format!("{}{written}", self.prefix).trim().to_owned()
    }

    fn update(&mut self, progress: CaptionProgress) {
        match progress {
            CaptionProgress::Input(picture) => {
                (self.input, self.status) = (Some(picture), Status::Writing)
            }
            CaptionProgress::Token(token) => self.tokens.push(token),
            CaptionProgress::Beams(beams) => self.beams = beams,
            CaptionProgress::Finished { seconds, cancelled } => {
                self.status = Status::Done { seconds, cancelled }
            }
            CaptionProgress::Failed(_) => self.status = Status::Idle,
        }
    }
}

impl Page for CaptionPage {
    fn title(&self) -> &'static str {
        TITLE
    }

    fn handle(&mut self, event: &mut Event, context: &mut PageContext) {
        match event {
            Event::ModelLoaded { slot, .. } => {
                (0..self.items.len()).for_each(|i| self.caption(i, *slot, context))
            }
            Event::ModelUnloaded(slot) => self.items.iter_mut().for_each(|item| {
                item.captions[*slot].cancel.cancel();
                item.captions[*slot] = Caption::default();
            }),
            Event::Stopped(_) => self
                .captions()
                .filter(|caption| caption.status.is_busy())
                .for_each(|caption| caption.status = Status::Idle),
            _ => {}
        }
        if let Some(opened) = event.take::<OpenedPicture>() {
            self.add(opened, context);
        }
        if let Some(CaptionEvent { job, progress }) = event.take::<CaptionEvent>() {
            if let CaptionProgress::Failed(message) = &progress {
                context.toasts.add(message);
            }
            // the caption of a replaced job is gone
            if let Some(caption) = self.captions().find(|caption| caption.job == job) {
                caption.update(progress);
            }
        }
        self.share_selection(context);
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        if self.items.is_empty() {
            return empty(ui, context);
        }
        self.keys(ui, context);
        Panel::left("pictures")
            .default_size(190.0)
            .show(ui, |ui| self.list(ui));
        Panel::right("settings").default_size(240.0).show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| controls::show(ui, context))
        });
        CentralPanel::default().show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| match context.model(1) {
                None => self.model(ui, context, 0),
                Some(_) => ui.columns(2, |columns| {
                    (0..2).for_each(|slot| self.model(&mut columns[slot], context, slot))
                }),
            });
        });
        self.share_selection(context);
    }
}

impl CaptionPage {
    fn captions(&mut self) -> impl Iterator<Item = &mut Caption> {
        self.items.iter_mut().flat_map(|item| &mut item.captions)
    }

    /// Adds a picture, selects it and captions it with every loaded model.
    fn add(&mut self, opened: OpenedPicture, context: &PageContext) {
        let OpenedPicture {
            name,
            picture,
            thumbnail,
        } = opened;
        let texture = heat::texture(&context.egui, &name, &thumbnail);
        self.items.push(Item {
            name,
            picture,
            thumbnail,
            texture,
            captions: Default::default(),
        });
        let last = self.items.len() - 1;
        self.select(last);
        (0..2)
            .filter(|&slot| context.model(slot).is_some())
            .for_each(|slot| self.caption(last, slot, context));
    }

    /// Starts a job for a picture, which replaces its caption.
    fn caption(&mut self, i: usize, slot: Slot, context: &PageContext) {
        self.jobs += 1;
        let settings = context.generation.clone();
        let item = &mut self.items[i];
        let cancel = Cancel::new();
        item.captions[slot].cancel.cancel();
        item.captions[slot] = Caption {
            job: self.jobs,
            cancel: cancel.clone(),
            status: Status::Queued,
            prefix: settings.prefix.clone(),
            ..Caption::default()
        };
        context.worker.send(CaptionJob {
            number: self.jobs,
            slot,
            picture: item.picture.clone(),
            settings,
            cancel,
        });
        if i == self.selected {
            self.tokens[slot] = None;
        }
    }

    /// Cancels the jobs up to a number.
    fn cancel(&mut self, job: u64) {
        self.captions()
            .filter(|caption| caption.job <= job && caption.status.is_busy())
            .for_each(|caption| caption.cancel.cancel());
    }

    fn select(&mut self, i: usize) {
        (self.selected, self.tokens) = (i, [None; 2]);
    }

    /// Tells the other pages which picture and caption are selected, if they have changed.
    fn share_selection(&self, context: &mut PageContext) {
        let Some(item) = self.items.get(self.selected) else {
            return;
        };
        let Caption { prefix, tokens, .. } = &item.captions[0];
        let known = |selection: &Selection| {
            Arc::ptr_eq(&selection.picture, &item.picture)
                && selection.prefix == *prefix
                && selection.tokens.len() == tokens.len()
                && selection
                    .tokens
                    .iter()
                    .zip(tokens)
                    .all(|(known, token)| known.choice.token == token.choice.token)
        };
        if !context.selection.as_ref().is_some_and(known) {
            context.selection = Some(Selection {
                picture: item.picture.clone(),
                prefix: prefix.clone(),
                tokens: tokens.clone(),
            });
        }
    }

    fn keys(&mut self, ui: &Ui, context: &PageContext) {
        if ui.ctx().egui_wants_keyboard_input() {
            return;
        }
        let pressed = |key| ui.input(|input| input.key_pressed(key) && input.modifiers.is_none());
        let last = self.items.len() - 1;
        if pressed(Key::ArrowDown) && self.selected < last {
            self.select(self.selected + 1);
        }
        if pressed(Key::ArrowUp) && self.selected > 0 {
            self.select(self.selected - 1);
        }
        for (slot, token) in self.tokens.iter_mut().enumerate() {
            let count = self.items[self.selected].captions[slot].tokens.len();
            if pressed(Key::ArrowRight) && count > 0 {
                *token = Some(token.map_or(0, |token| (token + 1).min(count - 1)));
            }
            if pressed(Key::ArrowLeft) {
                *token = token.and_then(|token| token.checked_sub(1));
            }
        }
        if pressed(Key::R) {
            (0..2)
                .filter(|&slot| context.model(slot).is_some())
                .for_each(|slot| self.caption(self.selected, slot, context));
        }
        if pressed(Key::Escape) {
            self.cancel(self.jobs);
        }
    }

    fn list(&mut self, ui: &mut Ui) {
        let height = 44.0;
        let mut selected = None;
        ScrollArea::vertical().auto_shrink(false).show_rows(
            ui,
            height,
            self.items.len(),
            |ui, rows| {
                for i in rows {
                    let item = &self.items[i];
                    let caption = item.captions[0].text();
                    let file = item.name.rsplit(['/', '\\']).next().unwrap_or(&item.name);
                    let text = if caption.is_empty() {
                        RichText::new(file).weak()
                    } else {
                        RichText::new(caption)
                    };
                    let image = egui::Image::new((item.texture.id(), egui::vec2(36.0, 36.0)));
                    let button =
                        egui::Button::selectable(i == self.selected, (image, text)).truncate();
                    let button = button.min_size(egui::vec2(ui.available_width(), height));
                    let row = ui
                        .with_layout(egui::Layout::top_down_justified(egui::Align::LEFT), |ui| {
                            ui.add(button)
                        })
                        .inner;
                    if row.on_hover_text(&item.name).clicked() {
                        selected = Some(i);
                    }
                }
            },
        );
        if let Some(i) = selected {
            self.select(i);
        }
    }
}

fn empty(ui: &mut Ui, context: &mut PageContext) {
    CentralPanel::default().show(ui, |ui| {
        ui.vertical_centered(|ui| {
            ui.add_space(ui.available_height() * 0.3);
            ui.heading("Drop a picture here");
            ui.label("or a folder of pictures. The model captions them one by one.");
            ui.add_space(12.0);
            if ui.button("Open pictures...").clicked() {
                context.requests.push(Request::OpenPictures);
            }
            if ui.button("Try the samples").clicked() {
                context.requests.push(Request::OpenSamples);
            }
        });
    });
}
