//! The caption page: pictures on the left, what the model sees and says in the middle, how it is asked on the right.

use std::sync::Arc;

use egui::{CentralPanel, Context, Key, Panel, RichText, ScrollArea, Slider, TextureHandle, Ui};
use seemore::caption::{CaptionToken, Whole};
use seemore::image::Picture;

use crate::desk::{Desk, Selected};
use crate::heat::{self, HeatView};
use crate::work::captioning::{Job, Progress, Settings};
use crate::worker::{Order, Slot, Worker};

/// What the page asks of the window.
pub enum Wish {
    Open,
    Samples,
}

/// A picture and what the models said of it.
struct Item {
    name: String,
    picture: Arc<Picture>,
    small: Picture,
    thumbnail: TextureHandle,
    said: [Said; 2],
}

/// What one model said of a picture.
#[derive(Default)]
struct Said {
    /// The job that captions it; 0 for none.
    job: u64,
    state: State,
    shown: Option<Picture>,
    tokens: Vec<CaptionToken>,
    /// What the caption was begun with.
    prefix: String,
    beams: Vec<Whole>,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum State {
    /// No job, or one whose caption could not be written.
    #[default]
    Idle,
    Waiting,
    Writing,
    Done {
        seconds: f64,
        stopped: bool,
    },
}

impl State {
    fn at_work(self) -> bool {
        matches!(self, State::Waiting | State::Writing)
    }
}

impl Said {
    fn caption(&self) -> String {
        let written: String = self
            .tokens
            .iter()
            .map(|token| token.text.as_str())
            .collect();
        format!("{}{written}", self.prefix).trim().to_owned()
    }

    fn take(&mut self, progress: Progress) {
        match progress {
            Progress::Shown(picture) => (self.shown, self.state) = (Some(picture), State::Writing),
            Progress::Token(written) => self.tokens.push(written),
            Progress::Beams(found) => self.beams = found,
            Progress::Ended { seconds, stopped } => self.state = State::Done { seconds, stopped },
        }
    }
}

pub struct CaptionPage {
    settings: Settings,
    opacity: f32,
    items: Vec<Item>,
    selected: usize,
    /// Of each model's caption the token whose heat is shown; none for the picture alone.
    tokens: [Option<usize>; 2],
    jobs: u64,
    views: [HeatView; 2],
}

/// Most points of a side of the picture.
const SIDE: f32 = 360.0;

impl CaptionPage {
    pub fn new(settings: Settings, opacity: Option<f32>) -> CaptionPage {
        CaptionPage {
            settings,
            opacity: opacity.unwrap_or(0.6),
            items: vec![],
            selected: 0,
            tokens: [None; 2],
            jobs: 0,
            views: Default::default(),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn opacity(&self) -> f32 {
        self.opacity
    }

    /// The chosen picture with what the first model said of it.
    pub fn selected(&self) -> Option<Selected> {
        let Item { picture, said, .. } = self.items.get(self.selected)?;
        let Said { prefix, tokens, .. } = &said[0];
        Some(Selected {
            picture: picture.clone(),
            prompt: prefix.clone(),
            tokens: tokens.clone(),
        })
    }

    /// Takes in a picture, and has it captioned by the models that there are.
    pub fn add(
        &mut self,
        ctx: &Context,
        name: String,
        picture: Arc<Picture>,
        small: Picture,
        worker: &Worker,
        models: [bool; 2],
    ) {
        let thumbnail = heat::texture(ctx, &name, &small);
        self.items.push(Item {
            name,
            picture,
            small,
            thumbnail,
            said: Default::default(),
        });
        let last = self.items.len() - 1;
        self.select(last);
        (0..2)
            .filter(|&slot| models[slot])
            .for_each(|slot| self.caption(last, slot, worker));
    }

    /// Has every picture captioned by a model that has just come.
    pub fn again(&mut self, slot: Slot, worker: &Worker) {
        (0..self.items.len()).for_each(|i| self.caption(i, slot, worker));
    }

    /// Forgets what a model said.
    pub fn forget(&mut self, slot: Slot) {
        self.items
            .iter_mut()
            .for_each(|item| item.said[slot] = Said::default());
    }

    fn caption(&mut self, i: usize, slot: Slot, worker: &Worker) {
        self.jobs += 1;
        let (picture, settings) = (self.items[i].picture.clone(), self.settings.clone());
        self.items[i].said[slot] = Said {
            job: self.jobs,
            state: State::Waiting,
            prefix: settings.prefix.clone(),
            ..Said::default()
        };
        if i == self.selected {
            self.tokens[slot] = None;
        }
        worker.order(Order::Caption(Job {
            number: self.jobs,
            slot,
            picture,
            settings,
        }));
    }

    fn select(&mut self, i: usize) {
        (self.selected, self.tokens) = (i, [None; 2]);
    }

    /// The worker is gone, and every job with it.
    pub fn stopped(&mut self) {
        let said = self.items.iter_mut().flat_map(|item| &mut item.said);
        said.filter(|said| said.state.at_work())
            .for_each(|said| said.state = State::Idle);
    }

    /// What a job is about; one that was given up is about nothing.
    fn said(&mut self, job: u64) -> Option<&mut Said> {
        self.items
            .iter_mut()
            .flat_map(|item| &mut item.said)
            .find(|said| said.job == job)
    }

    pub fn failed(&mut self, job: u64) {
        if let Some(said) = self.said(job) {
            said.state = State::Idle;
        }
    }

    pub fn take(&mut self, job: u64, progress: Progress) {
        if let Some(said) = self.said(job) {
            said.take(progress);
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, desk: &mut Desk) -> Option<Wish> {
        if self.items.is_empty() {
            return empty(ui);
        }
        self.keys(ui, desk);
        Panel::left("pictures")
            .default_size(190.0)
            .show(ui, |ui| self.list(ui));
        Panel::right("settings").default_size(240.0).show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| self.controls(ui))
        });
        CentralPanel::default().show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| match desk.models[1] {
                None => self.model(ui, desk, 0),
                Some(_) => ui.columns(2, |columns| {
                    (0..2).for_each(|slot| self.model(&mut columns[slot], desk, slot))
                }),
            });
        });
        None
    }

    fn keys(&mut self, ui: &Ui, desk: &Desk) {
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
            let count = self.items[self.selected].said[slot].tokens.len();
            if pressed(Key::ArrowRight) && count > 0 {
                *token = Some(token.map_or(0, |token| (token + 1).min(count - 1)));
            }
            if pressed(Key::ArrowLeft) {
                *token = token.and_then(|token| token.checked_sub(1));
            }
        }
        if pressed(Key::R) {
            (0..2)
                .filter(|&slot| desk.models[slot].is_some())
                .for_each(|slot| self.caption(self.selected, slot, desk.worker));
        }
        if pressed(Key::Escape) {
            desk.worker.stop(self.jobs);
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
                    let caption = item.said[0].caption();
                    let file = item.name.rsplit(['/', '\\']).next().unwrap_or(&item.name);
                    let text = if caption.is_empty() {
                        RichText::new(file).weak()
                    } else {
                        RichText::new(caption)
                    };
                    let image = egui::Image::new((item.thumbnail.id(), egui::vec2(36.0, 36.0)));
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

    fn controls(&mut self, ui: &mut Ui) {
        let Settings {
            temperature,
            top_k,
            top_p,
            seed,
            most,
            prefix,
            beams,
        } = &mut self.settings;
        ui.add_space(4.0);
        ui.heading("How it is asked");
        let label = ui.label("The caption starts with");
        ui.text_edit_singleline(prefix)
            .labelled_by(label.id)
            .on_hover_text("The model goes on from these words");
        ui.add(Slider::new(temperature, 0.0..=2.0).text("temperature"))
            .on_hover_text("0 takes the likeliest token every time; higher values dare more");
        ui.add_enabled_ui(*temperature > 0.0, |ui| {
            ui.add(Slider::new(top_k, 0..=100).text("top k"))
                .on_hover_text("Only the so many likeliest tokens; 0 for all");
            ui.add(Slider::new(top_p, 0.05..=1.0).text("top p"))
                .on_hover_text("Only the likeliest tokens that together reach this probability");
            ui.horizontal(|ui| {
                let label = ui.label("seed");
                ui.add(egui::DragValue::new(seed)).labelled_by(label.id);
            });
        });
        ui.add(Slider::new(most, 1..=100).text("most tokens"));
        ui.add(Slider::new(beams, 1..=16).text("beams"))
            .on_hover_text("More than 1: the likeliest whole captions are searched too");
        ui.add_space(2.0);
        if ui
            .button("As it was")
            .on_hover_text("Set all of these back")
            .clicked()
        {
            self.settings = Settings::default();
        }
        ui.separator();
        ui.heading("Where it looks");
        ui.add(Slider::new(&mut self.opacity, 0.0..=1.0).text("strength"));
        ui.label(
            RichText::new("Choose a word to see how much each part of the picture speaks for it. That is a hint, not an explanation.")
                .weak(),
        );
        ui.separator();
        ui.label(RichText::new("Keys: up and down choose a picture, left and right a word, R writes again, Esc stops.").weak());
    }

    /// What one model sees and says.
    fn model(&mut self, ui: &mut Ui, desk: &mut Desk, slot: Slot) {
        let i = self.selected;
        let item = &self.items[i];
        let said = &item.said[slot];
        let loaded = desk.models[slot];
        if let (Some(loaded), Some(_)) = (loaded, desk.models[1]) {
            ui.vertical_centered(|ui| ui.strong(loaded.name()));
        }
        let token = self.tokens[slot].filter(|&token| token < said.tokens.len());
        let heat = token.map_or(&[][..], |token| &said.tokens[token].heat);
        let seen = said.shown.as_ref().unwrap_or(&item.small);
        let opacity = (self.opacity * 100.0) as u64;
        let key = (i as u64) << 48
            ^ said.job << 24
            ^ (said.shown.is_some() as u64) << 20
            ^ token.map_or(0, |token| token as u64 + 1) << 12
            ^ (*desk.colors as u64) << 8
            ^ opacity;
        let side = SIDE.min(ui.available_width() - 8.0);
        ui.add_space(6.0);
        ui.vertical_centered(|ui| {
            self.views[slot].show(ui, side, seen, heat, (*desk.colors, self.opacity), key)
        });
        if !heat.is_empty() {
            ui.horizontal(|ui| {
                ui.add_space((ui.available_width() - side * 0.5 - 120.0).max(0.0) / 2.0);
                heat::legend(ui, heat, *desk.colors, side * 0.5);
            });
        }
        ui.add_space(6.0);
        let mut chosen = None;
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            if !said.prefix.is_empty() {
                ui.label(RichText::new(&said.prefix).size(22.0).weak());
            }
            for (n, written) in said.tokens.iter().enumerate() {
                let word = ui.selectable_label(
                    token == Some(n),
                    RichText::new(written.text.trim()).size(22.0),
                );
                if word.on_hover_ui(|ui| alternatives(ui, written)).clicked() {
                    chosen = Some(if token == Some(n) { None } else { Some(n) });
                }
            }
            if said.state.at_work() {
                ui.spinner();
            }
        });
        let state = match said.state {
            State::Idle if loaded.is_some() => "no caption yet".into(),
            State::Idle => "no model is loaded".into(),
            State::Waiting => "waiting".into(),
            State::Writing => "writing".into(),
            State::Done {
                seconds,
                stopped: true,
            } => format!("stopped after {seconds:.2} s"),
            State::Done { seconds, .. } => {
                format!(
                    "{} tokens in {seconds:.2} s; click a word to see where the model looked",
                    said.tokens.len()
                )
            }
        };
        ui.label(RichText::new(state).weak());
        for whole in &said.beams {
            ui.label(format!(
                "{}   {:.1} %",
                whole.text.trim(),
                100.0 * whole.log_probability.exp()
            ));
        }
        ui.add_space(4.0);
        let (busy, caption, job) = (said.state.at_work(), said.caption(), said.job);
        let mut again = false;
        ui.horizontal(|ui| {
            let button = egui::Button::new("Write again");
            again = ui
                .add_enabled(loaded.is_some(), button)
                .on_hover_text("Caption this picture again (R)")
                .clicked();
            if ui
                .add_enabled(busy, egui::Button::new("Stop"))
                .on_hover_text("Stop writing (Esc)")
                .clicked()
            {
                desk.worker.stop(job);
            }
            if ui
                .add_enabled(!caption.is_empty(), egui::Button::new("Copy"))
                .on_hover_text("Copy the caption")
                .clicked()
            {
                ui.ctx().copy_text(caption);
            }
        });
        if let Some(chosen) = chosen {
            self.tokens[slot] = chosen;
        }
        if again {
            self.caption(i, slot, desk.worker);
        }
    }
}

/// How likely a token was, and what else might have stood there.
fn alternatives(ui: &mut Ui, written: &CaptionToken) {
    ui.strong(format!(
        "{}  {:.1} %",
        written.text.trim(),
        100.0 * written.choice.probability
    ));
    for (text, probability) in &written.others {
        ui.label(format!("{}  {:.1} %", text.trim(), 100.0 * probability));
    }
}

fn empty(ui: &mut Ui) -> Option<Wish> {
    let mut wish = None;
    CentralPanel::default().show(ui, |ui| {
        ui.vertical_centered(|ui| {
            ui.add_space(ui.available_height() * 0.3);
            ui.heading("Drop a picture here");
            ui.label("or a folder of pictures, and read what the model says of them");
            ui.add_space(12.0);
            if ui.button("Open pictures...").clicked() {
                wish = Some(Wish::Open);
            }
            if ui.button("Try the samples").clicked() {
                wish = Some(Wish::Samples);
            }
        });
    });
    wish
}
