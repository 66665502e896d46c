//! The grid of layers and heads, and the figures of each head.

use egui::{Ui, vec2};
use seemore::explain::{ColorMap, Heads, Matrix};

use super::{Attention, AttentionPage, Source, has_rollout};
use crate::heat;

/// Width and height of a map in the grid, in points.
const SIDE: f32 = 34.0;

impl AttentionPage {
    /// Draws a small map of every layer and head to select from.
    pub(super) fn layers(&mut self, ui: &mut Ui, attention: &Attention, colors: ColorMap) {
        let maps = &attention.maps;
        ui.add_space(4.0);
        ui.heading("Layers and heads");
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
        for (part, maps) in [("Encoder", &maps.encoder), ("Decoder", &maps.decoder)] {
            for (layer, map) in maps.iter().enumerate() {
                let source = if part == "Encoder" {
                    Source::Encoder(layer)
                } else {
                    Source::Decoder(layer)
                };
                let title = format!("{part} layer {}", layer + 1);
                ui.label(&title);
                let combined = [
                    (Heads::Mean, "mean".to_owned()),
                    (Heads::Max, "max".to_owned()),
                ];
                let single = (0..map.shape[1]).map(|i| (Heads::One(i), (i + 1).to_string()));
                ui.horizontal_wrapped(|ui| {
                    ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
                    for (heads, name) in combined.into_iter().chain(single) {
                        let selected = (self.source, self.heads) == (source, heads);
                        let heat = || match source {
                            Source::Encoder(_) => {
                                self.encoder_heat(attention, &Matrix::new(map, heads))
                            }
                            _ => self.decoder_heat(attention, map, heads),
                        };
                        let name = format!("{title}, head {name}");
                        if heat::small(ui, heat, colors, SIDE, selected, &name).clicked() {
                            (self.source, self.heads) = (source, heads);
                        }
                    }
                });
            }
        }
        ui.separator();
        self.heads(ui, attention);
    }

    /// Draws the entropy and mean distance of every head of the selected layer.
    fn heads(&self, ui: &mut Ui, attention: &Attention) {
        let (map, has_distance) = match self.source {
            Source::Encoder(layer) => (&attention.maps.encoder[layer], true),
            Source::Decoder(layer) => (&attention.maps.decoder[layer], false),
            _ => return,
        };
        let max = (map.shape[2] as f64).ln();
        ui.label(format!("Entropy of each head in nats (maximum {max:.2})"));
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
                for head in 0..map.shape[1] {
                    let matrix = Matrix::new(map, Heads::One(head));
                    ui.monospace((head + 1).to_string());
                    ui.monospace(format!("{:.2}", matrix.entropy()));
                    if has_distance {
                        let distance = matrix.distance(attention.maps.first);
                        ui.monospace(format!("{distance:.2}"));
                    }
                    ui.end_row();
                }
            });
        ui.separator();
    }
}
