//! The grid of layers and heads, and the figures of each head.

use egui::{Align2, FontId, Rect, Sense, Ui, vec2};
use seemore::explain::{AttentionMap, ColorMap, Heads, Matrix};

use super::{AttentionPage, Source, has_rollout};
use crate::heat;
use crate::theme;
use crate::worker::Attention;

/// Width of a layer's label, in points.
const LABEL: f32 = 30.0;

/// Bounds of the width and height of a map in the grid, in points.
const SIDES: [f32; 2] = [16.0, 36.0];

/// Height of an entropy bar, in points.
const BAR: f32 = 4.0;

/// Space between maps, in points.
const SPACE: f32 = 3.0;

impl AttentionPage {
    /// Draws a small map of every layer and head to select from.
    pub(super) fn layers(&mut self, ui: &mut Ui, attention: &Attention, colors: ColorMap) {
        let maps = &attention.maps;
        theme::card(ui, |ui| {
            ui.set_width(ui.available_width());
            theme::title(ui, "Layers and heads");
            ui.horizontal_wrapped(|ui| {
                if !attention.relevance.is_empty() {
                    ui.selectable_value(&mut self.source, Source::Relevance, "Relevance")
                        .on_hover_text(
                            "Contribution of each patch to the selected word: gradient times input",
                        );
                }
                if has_rollout(maps) {
                    ui.selectable_value(&mut self.source, Source::Rollout, "Rollout")
                        .on_hover_text(
                            "Product of all layers, each averaged with its residual connection \
                             (Abnar & Zuidema 2020)",
                        );
                }
            });
            if !maps.encoder.is_empty() {
                self.grid(ui, attention, "Encoder", &maps.encoder, colors);
            }
            self.grid(ui, attention, "Decoder", &maps.decoder, colors);
            theme::note(
                ui,
                "Bars: entropy of a head; a full bar spreads its attention evenly.",
            );
            self.heads(ui, attention);
        });
    }

    /// Draws a row of maps for each layer of a part: the mean and the maximum of its heads, then
    /// every head with its entropy.
    fn grid(
        &mut self,
        ui: &mut Ui,
        attention: &Attention,
        part: &str,
        maps: &[AttentionMap],
        colors: ColorMap,
    ) {
        ui.add_space(theme::SPACE);
        ui.strong(part);
        let heads = maps.iter().map(|map| map.shape[1]).max().unwrap_or(0);
        let columns = (heads + 2) as f32;
        let width = (ui.available_width() - LABEL) / columns - SPACE;
        let side = width.clamp(SIDES[0], SIDES[1]);
        ui.spacing_mut().item_spacing = vec2(SPACE, SPACE);
        ui.horizontal(|ui| {
            ui.allocate_exact_size(vec2(LABEL - SPACE, 14.0), Sense::hover());
            let combined = ["avg".to_owned(), "max".to_owned()];
            let numbers = (1..=heads).map(|head| head.to_string());
            for name in combined.into_iter().chain(numbers) {
                axis_label(ui, vec2(side, 14.0), &name);
            }
        });
        let offset = match part {
            "Encoder" => 0,
            _ => attention.maps.encoder.len(),
        };
        for (layer, map) in maps.iter().enumerate() {
            let source = match offset {
                0 if part == "Encoder" => Source::Encoder(layer),
                _ => Source::Decoder(layer),
            };
            let title = format!("{part} layer {}", layer + 1);
            let max = (map.shape[3].max(1) as f64).ln();
            ui.horizontal(|ui| {
                axis_label(ui, vec2(LABEL - SPACE, side), &format!("L{}", layer + 1));
                let combined = [
                    (Heads::Mean, "mean".to_owned()),
                    (Heads::Max, "max".to_owned()),
                ];
                let single = (0..map.shape[1]).map(|i| (Heads::One(i), (i + 1).to_string()));
                for (heads, name) in combined.into_iter().chain(single) {
                    let selected = (self.source, self.heads) == (source, heads);
                    let heat = || match source {
                        Source::Encoder(_) => {
                            self.encoder_heat(attention, &Matrix::new(map, heads))
                        }
                        _ => self.decoder_heat(attention, map, heads),
                    };
                    let name = format!("{title}, head {name}");
                    let clicked = ui.vertical(|ui| {
                        ui.set_width(side);
                        let tile = heat::small(ui, heat, colors, side, selected, &name);
                        let size = vec2(side, BAR);
                        let (bar, _) = ui.allocate_exact_size(size, Sense::hover());
                        if let Heads::One(head) = heads {
                            let share = attention.entropies(offset + layer)[head] / max.max(1e-9);
                            entropy_bar(ui, bar, share as f32);
                        }
                        tile.clicked()
                    });
                    if clicked.inner {
                        (self.source, self.heads) = (source, heads);
                    }
                }
            });
        }
    }

    /// Draws the entropy and mean distance of every head of the selected layer.
    fn heads(&self, ui: &mut Ui, attention: &Attention) {
        let encoder = attention.maps.encoder.len();
        let (map, index, has_distance) = match self.source {
            Source::Encoder(layer) => (&attention.maps.encoder[layer], layer, true),
            Source::Decoder(layer) => (&attention.maps.decoder[layer], encoder + layer, false),
            _ => return,
        };
        ui.add_space(theme::SPACE);
        match map.shape[3] {
            0 | 1 => theme::note(ui, "There is one position only, so every entropy is 0."),
            keys => {
                let max = (keys as f64).ln();
                ui.label(format!("Entropy of each head in nats (maximum {max:.2})"));
            }
        }
        egui::Grid::new("entropies")
            .striped(true)
            .spacing([18.0, 2.0])
            .show(ui, |ui| {
                ui.strong("Head");
                ui.strong("Entropy");
                if has_distance {
                    ui.strong("Distance in patches");
                }
                ui.end_row();
                for (head, entropy) in attention.entropies(index).iter().enumerate() {
                    ui.monospace((head + 1).to_string());
                    ui.monospace(format!("{entropy:.2}"));
                    if has_distance {
                        let matrix = Matrix::new(map, Heads::One(head));
                        let distance = matrix.distance(attention.maps.first);
                        ui.monospace(format!("{distance:.2}"));
                    }
                    ui.end_row();
                }
            });
    }
}

/// Draws the name of a row or column.
pub fn axis_label(ui: &mut Ui, size: egui::Vec2, name: &str) {
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let font = FontId::proportional(11.0);
    let color = theme::colors(ui).weak;
    ui.painter()
        .text(rect.center(), Align2::CENTER_CENTER, name, font, color);
}

fn entropy_bar(ui: &Ui, bar: Rect, share: f32) {
    let colors = theme::colors(ui);
    ui.painter().rect_filled(bar, 1.0, colors.edge);
    let filled = Rect::from_min_size(bar.min, vec2(bar.width() * share.clamp(0.0, 1.0), BAR));
    ui.painter().rect_filled(filled, 1.0, colors.link);
}
