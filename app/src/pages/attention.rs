//! The attention page: every layer and head over the picture, and the decoder's looks at its own text.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use egui::{
    CentralPanel, Color32, Key, Panel, Rect, RichText, ScrollArea, Sense, Slider, StrokeKind, Ui,
    pos2, vec2,
};
use seemore::explain::ColorMap;
use seemore::explain::heatmap;
use seemore::explain::{Heads, Matrix, SINK, without_sinks};
use seemore::image::Picture;

use crate::asked::Asked;
use crate::desk::{Desk, Selected};
use crate::heat::{self, HeatView};
use crate::work::attention::{Look, Looked};
use crate::worker::Order;

pub struct AttentionPage {
    looked: Option<Arc<Looked>>,
    /// The caption that was asked about last, by its picture and tokens.
    asked: Option<(*const Picture, String, Vec<u32>)>,
    number: u64,
    waiting: bool,
    source: Source,
    heads: Heads,
    token: usize,
    /// The patch that was clicked.
    patch: Option<usize>,
    hide_sinks: bool,
    opacity: f32,
    view: HeatView,
    saved: Asked<Result<PathBuf, String>>,
}

/// What the heat is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    /// Gradient times input, for the chosen token.
    Relevance,
    /// The encoder's layers multiplied up.
    Rollout,
    Encoder(usize),
    Decoder(usize),
}

/// Points of a side of the picture.
const SIDE: f32 = 400.0;

/// Points of a side of a small map in the grid of layers and heads.
const SMALL: f32 = 34.0;

impl Default for AttentionPage {
    fn default() -> AttentionPage {
        AttentionPage {
            looked: None,
            asked: None,
            number: 0,
            waiting: false,
            source: Source::Relevance,
            heads: Heads::Mean,
            token: 0,
            patch: None,
            hide_sinks: false,
            opacity: 0.6,
            view: HeatView::default(),
            saved: Asked::default(),
        }
    }
}

/// What is seen of one choice of layer and head.
struct View {
    /// Over the patches; empty where the choice says nothing of them.
    heat: Vec<f32>,
    /// Of the layer that was chosen.
    matrix: Option<Matrix>,
}

impl AttentionPage {
    pub fn take(&mut self, looked: Looked) {
        if looked.number != self.number {
            return;
        }
        self.waiting = false;
        // a model of other layers may have come
        let layers = (looked.maps.encoder.len(), looked.maps.decoder.len());
        let there = match self.source {
            Source::Relevance => !looked.relevance.is_empty(),
            Source::Rollout => layers.0 > 0,
            Source::Encoder(layer) => layer < layers.0,
            Source::Decoder(layer) => layer < layers.1,
        };
        if !there {
            self.source = if looked.relevance.is_empty() {
                Source::Decoder(0)
            } else {
                Source::Relevance
            };
        }
        let maps = looked.maps.encoder.iter().chain(&looked.maps.decoder);
        let heads = maps.map(|map| map.shape[1]).min().unwrap_or(0);
        if matches!(self.heads, Heads::One(head) if head >= heads) {
            self.heads = Heads::Mean;
        }
        self.looked = Some(Arc::new(looked));
    }

    /// The order could not be followed; it is not given again for the same caption.
    pub fn failed(&mut self) {
        (self.looked, self.waiting) = (None, false);
    }

    /// There is another model.
    pub fn forget(&mut self) {
        (self.looked, self.asked, self.waiting) = (None, None, false);
    }

    /// Asks about the caption that is chosen on the caption page, once it is another one.
    fn ask(&mut self, desk: &Desk, selected: &Selected) {
        let tokens: Vec<u32> = selected
            .tokens
            .iter()
            .map(|token| token.choice.token)
            .collect();
        let wanted = (
            Arc::as_ptr(&selected.picture),
            selected.prompt.clone(),
            tokens,
        );
        if wanted.2.is_empty() || self.waiting || self.asked.as_ref() == Some(&wanted) {
            return;
        }
        if self.asked.as_ref().is_none_or(|asked| asked.0 != wanted.0) {
            (self.token, self.patch) = (0, None);
        }
        self.number += 1;
        self.waiting = true;
        let (picture, prompt, tokens) = (
            selected.picture.clone(),
            selected.prompt.clone(),
            wanted.2.clone(),
        );
        self.asked = Some(wanted);
        desk.worker.order(Order::Attention(Look {
            picture,
            prompt,
            tokens,
            number: self.number,
        }));
    }

    pub fn ui(&mut self, ui: &mut Ui, desk: &mut Desk) {
        while let Some(saved) = self.saved.answer() {
            desk.toasts
                .add(saved.map_or_else(|error| error, |path| format!("Saved {}.", path.display())));
        }
        if let (Some(selected), true) = (desk.selected, desk.models[0].is_some()) {
            self.ask(desk, selected);
        }
        let (Some(looked), Some(selected)) = (self.looked.clone(), desk.selected) else {
            CentralPanel::default().show(ui, |ui| {
                ui.vertical_centered(|ui| {
                    ui.add_space(ui.available_height() * 0.3);
                    ui.label(match (desk.models[0], self.waiting) {
                        (None, _) => "Load a model to see where it looks.",
                        (_, true) => "The attention is on its way.",
                        _ => "Choose a picture on the caption page to see where the model looks.",
                    });
                });
            });
            return;
        };
        self.keys(ui, selected.tokens.len());
        Panel::right("layers").default_size(330.0).show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| {
                self.sources(ui, &looked, *desk.colors);
                self.options(ui, &looked, desk.colors);
            });
        });
        let view = self.view_of(&looked);
        CentralPanel::default().show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| {
                self.words(ui, selected, &looked, &view);
                self.picture(ui, &looked, &view, *desk.colors);
                self.text_matrix(ui, selected, &looked, &view, *desk.colors);
            });
        });
    }

    /// Left and right choose a word.
    fn keys(&mut self, ui: &Ui, tokens: usize) {
        let pressed = |key| {
            !ui.ctx().egui_wants_keyboard_input()
                && ui.input(|input| input.key_pressed(key) && input.modifiers.is_none())
        };
        if pressed(Key::ArrowRight) {
            self.token += 1;
        }
        if pressed(Key::ArrowLeft) {
            self.token = self.token.saturating_sub(1);
        }
        self.token = self.token.min(tokens.saturating_sub(1));
    }

    /// What is seen of the present choice.
    fn view_of(&self, looked: &Looked) -> View {
        let matrix = match self.source {
            Source::Relevance => {
                return View {
                    heat: looked
                        .relevance
                        .get(self.token)
                        .cloned()
                        .unwrap_or_default(),
                    matrix: None,
                };
            }
            Source::Rollout => looked.maps.rollout(),
            Source::Encoder(layer) => Some(Matrix::new(&looked.maps.encoder[layer], self.heads)),
            Source::Decoder(layer) => Some(Matrix::new(&looked.maps.decoder[layer], self.heads)),
        };
        View {
            heat: matrix
                .as_ref()
                .map(|matrix| self.heat_of(looked, self.source, matrix))
                .unwrap_or_default(),
            matrix,
        }
    }

    /// The heat over the patches that a layer's attention makes; empty where it says nothing of them.
    fn heat_of(&self, looked: &Looked, source: Source, matrix: &Matrix) -> Vec<f32> {
        let maps = &looked.maps;
        let (heat, patches) = match source {
            // a single visual token stands for the whole picture
            Source::Decoder(_) if maps.visual <= 1 => return vec![],
            Source::Decoder(_) => (
                maps.of_token(matrix, looked.prompt, self.token),
                0..maps.visual,
            ),
            _ => (
                maps.over_patches(matrix, self.patch),
                maps.first..matrix.rows,
            ),
        };
        if self.hide_sinks {
            without_sinks(&heat, &matrix.sinks()[patches])
        } else {
            heat
        }
    }

    /// The grid of all layers and heads to choose from.
    fn sources(&mut self, ui: &mut Ui, looked: &Looked, colors: ColorMap) {
        ui.add_space(4.0);
        ui.heading("Layers and heads");
        ui.horizontal_wrapped(|ui| {
            if !looked.relevance.is_empty() {
                ui.selectable_value(&mut self.source, Source::Relevance, "Relevance")
                    .on_hover_text("How much each patch speaks for the chosen word: gradient times input");
            }
            if !looked.maps.encoder.is_empty() {
                ui.selectable_value(&mut self.source, Source::Rollout, "Rollout")
                    .on_hover_text("All encoder layers multiplied up, half of each the residual (Abnar & Zuidema 2020)");
            }
        });
        let parts = [
            ("Encoder", &looked.maps.encoder),
            ("Decoder", &looked.maps.decoder),
        ];
        for (part, maps) in parts {
            for (layer, map) in maps.iter().enumerate() {
                let source = if part == "Encoder" {
                    Source::Encoder(layer)
                } else {
                    Source::Decoder(layer)
                };
                ui.label(format!("{part} layer {}", layer + 1));
                let named = [
                    (Heads::Mean, "mean".to_owned()),
                    (Heads::Max, "max".to_owned()),
                ];
                let heads = named.into_iter().chain(
                    (0..map.shape[1]).map(|head| (Heads::One(head), (head + 1).to_string())),
                );
                ui.horizontal_wrapped(|ui| {
                    ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
                    for (heads, name) in heads {
                        let chosen = (self.source, self.heads) == (source, heads);
                        let heat = self.heat_of(looked, source, &Matrix::new(map, heads));
                        let said = format!("{part} layer {}, head {name}", layer + 1);
                        if heat::small(ui, &heat, colors, SMALL, chosen, &said).clicked() {
                            (self.source, self.heads) = (source, heads);
                        }
                    }
                });
            }
        }
        ui.separator();
        self.per_head(ui, looked);
    }

    /// Entropy and distance of every head of the chosen layer.
    fn per_head(&self, ui: &mut Ui, looked: &Looked) {
        let (maps, distances) = match self.source {
            Source::Encoder(layer) => (&looked.maps.encoder[layer], true),
            Source::Decoder(layer) => (&looked.maps.decoder[layer], false),
            _ => return,
        };
        ui.label(format!(
            "Entropy of each head, of at most {:.2} nats",
            (maps.shape[2] as f64).ln()
        ));
        egui::Grid::new("entropies")
            .striped(true)
            .spacing([18.0, 2.0])
            .show(ui, |ui| {
                ui.strong("Head");
                ui.strong("Entropy");
                if distances {
                    ui.strong("Distance in patches");
                }
                ui.end_row();
                for head in 0..maps.shape[1] {
                    let matrix = Matrix::new(maps, Heads::One(head));
                    ui.monospace((head + 1).to_string());
                    ui.monospace(format!("{:.2}", matrix.entropy()));
                    if distances {
                        ui.monospace(format!("{:.2}", matrix.distance(looked.maps.first)));
                    }
                    ui.end_row();
                }
            });
        ui.separator();
    }

    fn options(&mut self, ui: &mut Ui, looked: &Arc<Looked>, colors: &mut ColorMap) {
        ui.checkbox(&mut self.hide_sinks, "Hide sinks").on_hover_text(format!(
            "Leaves out what the mean query looks at more than {SINK} times as much as at the even share, whatever it looks for"
        ));
        ui.add(Slider::new(&mut self.opacity, 0.0..=1.0).text("strength"));
        ui.horizontal(|ui| {
            ui.label("Colours");
            ColorMap::ALL
                .into_iter()
                .for_each(|map| drop(ui.selectable_value(colors, map, map.name())));
        });
        ui.horizontal(|ui| {
            let ctx = ui.ctx().clone();
            if ui
                .button("Save picture...")
                .on_hover_text("The picture under the heat that is chosen, as PNG")
                .clicked()
            {
                let (looked, heat, colors, opacity) = (
                    looked.clone(),
                    self.view_of(looked).heat,
                    *colors,
                    self.opacity,
                );
                self.saved.ask(&ctx, move || {
                    let path = rfd::FileDialog::new()
                        .set_title("Save the picture")
                        .set_file_name("attention.png")
                        .save_file()?;
                    let saved = heatmap::overlay(&looked.shown, &heat, colors, opacity).save(&path);
                    Some(
                        saved
                            .map(|()| path.clone())
                            .map_err(|error| format!("Cannot save {}: {error}.", path.display())),
                    )
                });
            }
            if ui
                .button("Save numbers...")
                .on_hover_text("All layers and heads, as safetensors")
                .clicked()
            {
                let looked = looked.clone();
                self.saved.ask(&ctx, move || {
                    let path = rfd::FileDialog::new()
                        .set_title("Save the numbers")
                        .set_file_name("attention.safetensors")
                        .save_file()?;
                    Some(
                        looked
                            .save(&path)
                            .map(|()| path)
                            .map_err(|error| error.to_string()),
                    )
                });
            }
        });
        ui.separator();
        ui.label(RichText::new("Attention tells where a layer took its numbers from. It is not an explanation of the caption: other attention can give the same words.").weak());
        if looked.maps.visual <= 1 {
            ui.label(RichText::new("The decoder of this model sees the picture as one vector, so that its attention is among words alone. What tells of the patches are the encoder's rows, and the relevance.").weak());
        }
    }

    /// The caption's words, to choose from; and how much each of them looked at the patch that was clicked.
    fn words(&mut self, ui: &mut Ui, selected: &Selected, looked: &Looked, view: &View) {
        ui.add_space(4.0);
        let at_patch = self
            .patch
            .and_then(|patch| match (self.source, &view.matrix) {
                (Source::Decoder(_), Some(matrix)) if looked.maps.visual > 1 => {
                    Some(looked.maps.by_token(
                        matrix,
                        looked.prompt,
                        looked.relevance.len().min(selected.tokens.len()),
                        patch,
                    ))
                }
                (Source::Relevance, _) => Some(
                    looked
                        .relevance
                        .iter()
                        .map(|relevance| relevance[patch])
                        .collect(),
                ),
                _ => None,
            });
        ui.horizontal_wrapped(|ui| {
            for (n, token) in selected.tokens.iter().enumerate() {
                ui.vertical(|ui| {
                    if ui
                        .selectable_label(
                            self.token == n,
                            RichText::new(token.text.trim()).size(20.0),
                        )
                        .clicked()
                    {
                        self.token = n;
                    }
                    if let Some(share) = at_patch.as_ref().and_then(|shares| shares.get(n)) {
                        ui.monospace(format!("{:.1} %", 100.0 * share));
                    }
                });
            }
            if self.waiting {
                ui.spinner();
            }
        });
        if let (Some(patch), Some(_)) = (self.patch, &at_patch) {
            let grid = (view.heat.len() as f64).sqrt() as usize;
            let (row, column) = (patch / grid.max(1) + 1, patch % grid.max(1) + 1);
            ui.label(
                RichText::new(format!(
                    "below each word: its share of the patch in row {row}, column {column}"
                ))
                .weak(),
            );
        }
    }

    /// The picture under its heat; a click chooses a patch.
    fn picture(&mut self, ui: &mut Ui, looked: &Looked, view: &View, colors: ColorMap) {
        let side = SIDE.min(ui.available_width() - 8.0);
        let mut key = DefaultHasher::new();
        let choice = (
            looked.number,
            self.source,
            self.heads,
            self.token,
            self.patch,
            self.hide_sinks,
            colors,
            self.opacity.to_bits(),
        );
        choice.hash(&mut key);
        let image = self
            .view
            .show(
                ui,
                side,
                &looked.shown,
                &view.heat,
                (colors, self.opacity),
                key.finish(),
            )
            .interact(Sense::click());
        let grid = (view.heat.len() as f64).sqrt() as usize;
        if grid == 0 {
            ui.label(RichText::new("This choice says nothing of the picture's patches.").weak());
            return;
        }
        let step = image.rect.width() / grid as f32;
        let patch_at = |at: egui::Pos2| {
            let place = |v: f32| ((v / step) as usize).min(grid - 1);
            place(at.y - image.rect.top()) * grid + place(at.x - image.rect.left())
        };
        let square = |patch: usize| {
            let corner = image.rect.min + vec2((patch % grid) as f32, (patch / grid) as f32) * step;
            Rect::from_min_size(corner, vec2(step, step))
        };
        if let Some(patch) = image
            .interact_pointer_pos()
            .filter(|_| image.clicked())
            .map(patch_at)
        {
            self.patch = (self.patch != Some(patch)).then_some(patch);
        }
        if let Some(patch) = self.patch.filter(|&patch| patch < view.heat.len()) {
            ui.painter().rect_stroke(
                square(patch),
                0.0,
                (2.0, Color32::WHITE),
                StrokeKind::Inside,
            );
        }
        if let Some(patch) = image.hover_pos().map(patch_at) {
            let text = format!(
                "row {}, column {}: {:.2} %",
                patch / grid + 1,
                patch % grid + 1,
                100.0 * view.heat[patch]
            );
            image.on_hover_text(text);
        }
        heat::legend(ui, &view.heat, colors, side * 0.6);
        let said = match (self.source, self.patch) {
            (Source::Relevance, _) => "how much each patch speaks for the chosen word",
            (Source::Decoder(_), _) => "where the decoder looked while it wrote the chosen word",
            (_, Some(_)) => "what the framed patch looks at",
            _ if looked.maps.cls => "what the CLS row looks at",
            _ => "what the mean patch looks at; click a patch for its own look",
        };
        ui.label(RichText::new(said).weak());
    }

    /// Which words the decoder looked at while it wrote each word.
    fn text_matrix(
        &self,
        ui: &mut Ui,
        selected: &Selected,
        looked: &Looked,
        view: &View,
        colors: ColorMap,
    ) {
        let (Source::Decoder(_), Some(matrix)) = (self.source, &view.matrix) else {
            return;
        };
        ui.separator();
        ui.label("From each position of the text to those before it");
        let (visual, length) = (looked.maps.visual, matrix.rows - looked.maps.visual);
        let name = |position: usize| match position.checked_sub(looked.prompt) {
            Some(token) => selected
                .tokens
                .get(token)
                .map_or("?", |token| token.text.trim()),
            None if position == 0 => "(begin)",
            None => "(prompt)",
        };
        let cell = 22.0;
        egui::Grid::new("text")
            .min_col_width(cell)
            .spacing([1.0, 1.0])
            .show(ui, |ui| {
                for query in 0..length {
                    ui.label(name(query));
                    for key in 0..=query {
                        let share = matrix.row(visual + query)[visual + key];
                        let (rect, response) =
                            ui.allocate_exact_size(vec2(cell, cell), Sense::hover());
                        let [r, g, b] = colors.color(share).map(|v| v as u8);
                        ui.painter().rect_filled(
                            Rect::from_min_max(rect.min, pos2(rect.right(), rect.bottom())),
                            2.0,
                            Color32::from_rgb(r, g, b),
                        );
                        let said = format!(
                            "{} looks at {}: {:.1} %",
                            name(query),
                            name(key),
                            100.0 * share
                        );
                        response.widget_info(|| {
                            egui::WidgetInfo::labeled(egui::Role::Label, true, &said)
                        });
                        response.on_hover_text(said);
                    }
                    ui.end_row();
                }
            });
    }
}
