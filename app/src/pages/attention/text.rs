//! Attention of the decoder over its own text.

use egui::{Color32, Sense, Ui, vec2};
use seemore::explain::ColorMap;

use super::{Attention, AttentionPage, Source, View, word};
use crate::page::Selection;

/// Width and height of a cell, in points.
const CELL: f32 = 22.0;

impl AttentionPage {
    /// Draws the attention from each position of the text (rows) to those before it (columns).
    pub(super) fn text_matrix(
        &self,
        ui: &mut Ui,
        selection: &Selection,
        attention: &Attention,
        view: &View,
        colors: ColorMap,
    ) {
        let (Source::Decoder(_), Some(matrix)) = (self.source, &view.matrix) else {
            return;
        };
        ui.separator();
        ui.label("Attention from each word to the words before it");
        let positions = attention.maps.text();
        let first = attention.maps.front;
        let name = |position: usize| match position.checked_sub(first + attention.prompt) {
            Some(token) => word(selection, token),
            None if position == first => "(begin)",
            None => "(prefix)",
        };
        egui::Grid::new("text")
            .min_col_width(CELL)
            .spacing([1.0, 1.0])
            .show(ui, |ui| {
                for (index, &query) in positions.iter().enumerate() {
                    ui.label(name(query));
                    for &key in &positions[..=index] {
                        let share = matrix.row(query)[key];
                        let (rect, response) =
                            ui.allocate_exact_size(vec2(CELL, CELL), Sense::hover());
                        let [r, g, b] = colors.color(share).map(|v| v as u8);
                        let color = Color32::from_rgb(r, g, b);
                        ui.painter().rect_filled(rect, 2.0, color);
                        let percent = 100.0 * share;
                        let text = format!("{} to {}: {percent:.1} %", name(query), name(key));
                        response.widget_info(|| {
                            egui::WidgetInfo::labeled(egui::Role::Label, true, &text)
                        });
                        response.on_hover_text(text);
                    }
                    ui.end_row();
                }
            });
    }
}
