//! Attention of the decoder over its own text.

use egui::{Align2, Color32, FontId, Sense, StrokeKind, Ui, pos2, vec2};
use seemore::explain::ColorMap;

use super::{AttentionPage, Source, View, word};
use crate::page::Selection;
use crate::theme;
use crate::worker::Attention;

/// Width and height of a cell, in points.
const CELL: f32 = 24.0;

/// Longest label of a row or column, in characters.
const LONGEST: usize = 14;

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
        ui.add_space(theme::GAP);
        theme::title(ui, "Attention between words");
        theme::note(ui, "From each word (rows) to the words before it (columns)");
        let positions = attention.maps.text();
        let first = attention.maps.front;
        let name = |position: usize| match position.checked_sub(first + attention.prompt) {
            Some(token) => word(selection, token),
            None if position == first => "(begin)",
            None => "(prompt)",
        };
        let palette = theme::colors(ui);
        let font = FontId::proportional(theme::TEXT);
        let label = |ui: &Ui, position| {
            let text: String = name(position).chars().take(LONGEST).collect();
            ui.painter()
                .layout_no_wrap(text, font.clone(), palette.text)
        };
        let labels: Vec<_> = positions.iter().map(|&at| label(ui, at)).collect();
        let margin = labels
            .iter()
            .map(|label| label.size().x)
            .fold(40.0, f32::max)
            + theme::SPACE;
        let side = positions.len() as f32 * CELL;
        // columns are labelled upwards
        let (rect, _) = ui.allocate_exact_size(vec2(margin + side, margin + side), Sense::hover());
        let corner = rect.min + vec2(margin, margin);
        for (index, label) in labels.iter().enumerate() {
            let middle = (index as f32 + 0.5) * CELL;
            let at = pos2(
                corner.x - theme::SPACE / 2.0 - label.size().x,
                corner.y + middle - label.size().y / 2.0,
            );
            ui.painter().galley(at, label.clone(), palette.text);
            let at = pos2(
                corner.x + middle - label.size().y / 2.0,
                corner.y - theme::SPACE / 2.0,
            );
            let shape = egui::epaint::TextShape::new(at, label.clone(), palette.text);
            ui.painter()
                .add(shape.with_angle(-std::f32::consts::FRAC_PI_2));
        }
        for (row, &query) in positions.iter().enumerate() {
            for (column, &key) in positions[..=row].iter().enumerate() {
                let share = matrix.row(query)[key];
                let at = corner + vec2(column as f32, row as f32) * CELL;
                let cell = egui::Rect::from_min_size(at, vec2(CELL - 1.0, CELL - 1.0));
                let [r, g, b] = colors.color(share).map(|v| v as u8);
                ui.painter()
                    .rect_filled(cell, 2.0, Color32::from_rgb(r, g, b));
                let id = ui.scope_id().with(("cell", query, key));
                let response = ui.interact(cell, id, Sense::hover());
                let text = format!("{} to {}: {:.1} %", name(query), name(key), 100.0 * share);
                response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &text));
                if response.hovered() {
                    let stroke = (1.5, palette.strong);
                    ui.painter()
                        .rect_stroke(cell, 2.0, stroke, StrokeKind::Outside);
                    let at = corner + vec2(0.0, side + 2.0);
                    ui.painter()
                        .text(at, Align2::LEFT_TOP, &text, font.clone(), palette.text);
                }
            }
        }
        ui.add_space(theme::GAP);
    }
}
