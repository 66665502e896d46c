//! The Attention page: the attention of every layer and head over the picture, and of the decoder
//! over its own text.

mod layers;
mod mask;
mod options;
mod overlay;
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use egui::{CentralPanel, Key, Modifiers, Panel, ScrollArea, Ui};
use seemore::explain::{AttentionMap, AttentionMaps, Heads, Matrix, without_sinks};

use crate::background::Background;
use crate::heat::HeatView;
use crate::page::{Page, PageAction, PageContext, Request, Selection};
use crate::pictures::PictureSource;
use crate::theme::{self, Action, Icon};
use crate::worker::{Attention, AttentionJob, Command, Event};
use mask::Mask;

/// Entries in the command palette.
const NEXT_LAYER: &str = "Show the next layer";
const NEXT_HEAD: &str = "Show the next head";
const MASK: &str = "Hide patches with the pointer";
const RUN_MASKED: &str = "Run again without the hidden patches";
const SHOW_ALL: &str = "Show all hidden patches";
const HIDE_SINKS: &str = "Hide or show attention sinks";

/// The Attention page.
pub struct AttentionPage {
    attention: Option<Arc<Attention>>,
    /// The caption of the last job.
    requested: Option<Requested>,
    /// Number of the last job.
    number: u64,
    waiting: bool,
    source: Source,
    heads: Heads,
    /// The selected token.
    token: usize,
    /// The patch that was clicked.
    patch: Option<usize>,
    hide_sinks: bool,
    mask: Mask,
    view: HeatView,
    saved: Background<Result<PathBuf, String>>,
}

/// A caption whose attention was requested.
#[derive(Clone, PartialEq)]
struct Requested {
    /// Address of the source, for comparison only.
    source: *const PictureSource,
    prompt: String,
    tokens: Vec<u32>,
}

/// Source of the heat map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// Gradient times input of the selected token.
    Relevance,
    /// Attention rollout through the encoder or, where its maps are not recorded, through the
    /// decoder from the selected token.
    Rollout,
    /// A layer of the encoder.
    Encoder(usize),
    /// A layer of the decoder.
    Decoder(usize),
}

/// The heat map of the selected layer and head.
struct View {
    /// One value per patch; empty if the layer does not attend to patches.
    heat: Vec<f32>,
    /// Attention of the selected layer, if one is selected.
    matrix: Option<Matrix>,
}

impl Default for AttentionPage {
    fn default() -> AttentionPage {
        AttentionPage {
            attention: None,
            requested: None,
            number: 0,
            waiting: false,
            source: Source::Relevance,
            heads: Heads::Mean,
            token: 0,
            patch: None,
            hide_sinks: false,
            mask: Mask::default(),
            view: HeatView::default(),
            saved: Background::default(),
        }
    }
}

impl Page for AttentionPage {
    fn title(&self) -> &'static str {
        "Attention"
    }

    fn icon(&self) -> Icon {
        Icon::ScanEye
    }

    fn handle(&mut self, event: &Event, context: &mut PageContext) {
        match event {
            Event::ModelLoaded { slot: 0, .. } | Event::Stopped(_) => {
                (self.attention, self.requested, self.waiting) = (None, None, false);
            }
            Event::Masked(masked) => self.mask.take(masked, context),
            Event::Attention(Ok(attention)) => self.take(attention),
            // the same caption is not requested again
            Event::Attention(Err(message)) => {
                (self.attention, self.waiting) = (None, false);
                context.toasts.add(message);
            }
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        while let Some(saved) = self.saved.poll() {
            match saved {
                Ok(path) => context.toasts.success(format!("Saved {}.", path.display())),
                Err(message) => context.toasts.add(message),
            }
        }
        self.request(context);
        let (Some(attention), Some(selection)) =
            (self.attention.clone(), context.selection.clone())
        else {
            return self.empty(ui, context);
        };
        self.keys(ui, context, selection.tokens.len());
        let width = ui.available_width();
        Panel::right("layers")
            .default_size(380.0)
            .max_size((0.5 * width).max(240.0))
            .frame(theme::panel_frame(ui))
            .show(ui, |ui| {
                ScrollArea::vertical().show(ui, |ui| {
                    self.layers(ui, &attention, context.heat.colors);
                    ui.add_space(theme::SPACE);
                    self.options(ui, &attention, &selection, &mut context.heat);
                });
            });
        let view = self.view_of(&attention);
        CentralPanel::default().show(ui, |ui| {
            ScrollArea::both().auto_shrink(false).show(ui, |ui| {
                self.words(ui, &selection, &attention, &view);
                ui.add_space(theme::SPACE / 2.0);
                let side = overlay::side(&view.heat);
                self.mask_actions(ui, context, side);
                self.overlay(ui, &attention, &view, context.heat);
                self.mask_result(ui, &selection);
                self.text_matrix(ui, &selection, &attention, &view, context.heat.colors);
            });
        });
    }

    fn actions(&self, _context: &PageContext) -> Vec<PageAction> {
        if self.attention.is_none() {
            return vec![];
        }
        vec![
            PageAction::new(NEXT_LAYER, "L"),
            PageAction::new(NEXT_HEAD, "H"),
            PageAction::new(MASK, "M"),
            PageAction::new(RUN_MASKED, ""),
            PageAction::new(SHOW_ALL, ""),
            PageAction::new(HIDE_SINKS, ""),
        ]
    }

    fn act(&mut self, name: &str, context: &mut PageContext) {
        match name {
            NEXT_LAYER => self.show_next_layer(),
            NEXT_HEAD => self.show_next_head(),
            RUN_MASKED => self.run_masked(context),
            MASK => self.mask.toggle(),
            SHOW_ALL => self.mask.clear(),
            HIDE_SINKS => self.hide_sinks = !self.hide_sinks,
            _ => {}
        }
    }
}

impl AttentionPage {
    /// Takes the result of the last job.
    fn take(&mut self, attention: &Arc<Attention>) {
        if attention.number != self.number {
            return;
        }
        self.waiting = false;
        // the model may have other layers than the one before
        let layers = (attention.maps.encoder.len(), attention.maps.decoder.len());
        let available = match self.source {
            Source::Relevance => !attention.relevance.is_empty(),
            Source::Rollout => has_rollout(&attention.maps),
            Source::Encoder(layer) => layer < layers.0,
            Source::Decoder(layer) => layer < layers.1,
        };
        if !available {
            self.source = if attention.relevance.is_empty() {
                Source::Decoder(0)
            } else {
                Source::Relevance
            };
        }
        let maps = attention.maps.encoder.iter().chain(&attention.maps.decoder);
        let heads = maps.map(|map| map.shape[1]).min().unwrap_or(0);
        if matches!(self.heads, Heads::One(head) if head >= heads) {
            self.heads = Heads::Mean;
        }
        self.attention = Some(attention.clone());
    }

    /// Requests the attention of the selected caption, if it has changed since the last job.
    fn request(&mut self, context: &PageContext) {
        let (Some(selection), Some(_)) = (&context.selection, context.model(0)) else {
            return;
        };
        let tokens = selection.tokens.iter().map(|token| token.choice.token);
        let requested = Requested {
            source: Arc::as_ptr(&selection.source),
            prompt: selection.prompt.clone(),
            tokens: tokens.collect(),
        };
        let last = self.requested.as_ref();
        if requested.tokens.is_empty() || self.waiting || last == Some(&requested) {
            return;
        }
        if last.is_none_or(|last| last.source != requested.source) {
            (self.token, self.patch) = (0, None);
        }
        self.mask.clear();
        self.number += 1;
        self.waiting = true;
        context.worker.send(Command::Attention(AttentionJob {
            number: self.number,
            source: selection.source.clone(),
            prompt: requested.prompt.clone(),
            tokens: requested.tokens.clone(),
        }));
        self.requested = Some(requested);
    }

    fn empty(&self, ui: &mut Ui, context: &mut PageContext) {
        CentralPanel::default().show(ui, |ui| {
            let (heading, text) = match (context.model(0), self.waiting) {
                (None, _) => ("No model", "Choose a model to see its attention."),
                (_, true) => (
                    "Computing attention...",
                    "Every layer and head is read back from the device.",
                ),
                _ => (
                    "No caption",
                    "Select a picture on the Caption page to see the model's attention.",
                ),
            };
            theme::empty(ui, Icon::ScanEye, heading, text, |ui| {
                let choose = Action::new(Icon::Box, "Choose a model...").primary();
                if context.model(0).is_none() && ui.add(choose).clicked() {
                    context.requests.push(Request::ChooseModel(0));
                }
            });
        });
    }

    /// Left and Right select a word, L and H the next layer and head, and M hides patches.
    fn keys(&mut self, ui: &Ui, context: &PageContext, tokens: usize) {
        if context.shortcuts {
            let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
            let [right, left, mask] = [Key::ArrowRight, Key::ArrowLeft, Key::M].map(pressed);
            if pressed(Key::L) {
                self.show_next_layer();
            }
            if pressed(Key::H) {
                self.show_next_head();
            }
            if right {
                self.token += 1;
            }
            if left {
                self.token = self.token.saturating_sub(1);
            }
            if right || left {
                ui.memory_mut(|memory| memory.move_focus(egui::FocusDirection::None));
            }
            if mask {
                self.mask.toggle();
            }
        }
        self.token = self.token.min(tokens.saturating_sub(1));
    }

    /// Shows what follows in the order of the panel: relevance, rollout, the layers of the encoder
    /// and those of the decoder, then from the start.
    fn show_next_layer(&mut self) {
        let Some(attention) = &self.attention else {
            return;
        };
        let maps = &attention.maps;
        let relevance = (!attention.relevance.is_empty()).then_some(Source::Relevance);
        let rollout = has_rollout(maps).then_some(Source::Rollout);
        let encoder = (0..maps.encoder.len()).map(Source::Encoder);
        let decoder = (0..maps.decoder.len()).map(Source::Decoder);
        let sources = relevance.into_iter().chain(rollout);
        let sources: Vec<Source> = sources.chain(encoder).chain(decoder).collect();
        let at = sources.iter().position(|&source| source == self.source);
        let next = at.map_or(0, |at| (at + 1) % sources.len());
        self.source = sources.get(next).copied().unwrap_or(self.source);
    }

    /// Shows what follows the selected head: the mean, the maximum, and every head of the layer.
    fn show_next_head(&mut self) {
        let Some(attention) = &self.attention else {
            return;
        };
        let map = match self.source {
            Source::Encoder(layer) => &attention.maps.encoder[layer],
            Source::Decoder(layer) => &attention.maps.decoder[layer],
            Source::Relevance | Source::Rollout => return,
        };
        self.heads = match self.heads {
            Heads::Mean => Heads::Max,
            Heads::Max => Heads::One(0),
            Heads::One(head) if head + 1 < map.shape[1] => Heads::One(head + 1),
            Heads::One(_) => Heads::Mean,
        };
    }

    /// Returns the heat map of the selected layer and head.
    fn view_of(&self, attention: &Attention) -> View {
        let maps = &attention.maps;
        let matrix = match self.source {
            Source::Relevance => {
                let heat = attention.relevance.get(self.token).cloned();
                return View {
                    heat: heat.unwrap_or_default(),
                    matrix: None,
                };
            }
            Source::Rollout if maps.encoder.is_empty() => {
                return View {
                    heat: maps.token_rollout(attention.prompt, self.token),
                    matrix: None,
                };
            }
            Source::Rollout => maps.rollout(),
            Source::Encoder(layer) => Some(Matrix::new(&maps.encoder[layer], self.heads)),
            Source::Decoder(layer) => Some(Matrix::new(&maps.decoder[layer], self.heads)),
        };
        let heat = match (self.source, &matrix) {
            (Source::Decoder(layer), _) => {
                self.decoder_heat(attention, &maps.decoder[layer], self.heads)
            }
            (_, Some(matrix)) => self.encoder_heat(attention, matrix),
            _ => vec![],
        };
        View { heat, matrix }
    }

    /// Returns the attention of a layer or rollout of the encoder to each patch.
    fn encoder_heat(&self, attention: &Attention, matrix: &Matrix) -> Vec<f32> {
        let maps = &attention.maps;
        let heat = maps.over_patches(matrix, self.patch);
        match self.hide_sinks {
            true => without_sinks(&heat, &matrix.sinks()[maps.first..]),
            false => heat,
        }
    }

    /// Returns the attention of a layer of the decoder over the picture when it wrote the selected
    /// token; empty if the layer does not attend to patches.
    fn decoder_heat(&self, attention: &Attention, map: &AttentionMap, heads: Heads) -> Vec<f32> {
        let maps = &attention.maps;
        // a single visual token stands for the whole picture
        if maps.visual.len() <= 1 {
            return vec![];
        }
        // a row alone: matrices of all layers and heads take too long to make for every frame
        let query = maps.position(attention.prompt, self.token);
        let mut shares = maps.over_visual(&map.row(query, heads));
        if self.hide_sinks {
            let sinks = Matrix::new(map, heads).sinks();
            let sinks: Vec<bool> = maps.visual.iter().map(|&at| sinks[at]).collect();
            shares = without_sinks(&shares, &sinks);
        }
        maps.on_picture(&shares)
    }
}

/// Whether attention rollout has maps to go through. Without an encoder's it is for models whose
/// decoder looks at encoded rows.
fn has_rollout(maps: &AttentionMaps) -> bool {
    !maps.encoder.is_empty() || maps.layout.is_some()
}

/// Returns the caption of a token without surrounding spaces, or `?` if there is none.
fn word(selection: &Selection, token: usize) -> &str {
    selection
        .tokens
        .get(token)
        .map_or("?", |token| token.text.trim())
}
