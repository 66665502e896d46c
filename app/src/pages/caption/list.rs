//! The list of pictures.

use egui::{Align, Button, Layout, Rect, RichText, ScrollArea, Ui, vec2};

use super::{CaptionPage, REMOVE, REMOVE_ALL, SEND};
use crate::format::count;
use crate::page::{Page, PageContext};
use crate::theme::{self, Action, Icon};

/// Height of a row, in points.
const ROW: f32 = 48.0;

impl CaptionPage {
    /// Draws the list of pictures, and the actions on it.
    pub(super) fn list(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let missing = (0..self.items.len()).filter(|&index| self.is_missing(index, 0));
        let missing = missing.count();
        let waiting = self.items.iter().filter(|item| item.threads[0].is_busy());
        let waiting = waiting.count();
        ui.horizontal(|ui| {
            ui.strong(count(self.items.len(), "picture"));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                // room for the number of very many pictures
                ui.spacing_mut().item_spacing.x = 0.0;
                ui.spacing_mut().button_padding.x = theme::SPACE / 2.0;
                if ui
                    .add(Action::new(Icon::ListX, REMOVE_ALL).icon_only())
                    .clicked()
                {
                    self.act(REMOVE_ALL, context);
                }
                if ui
                    .add(Action::new(Icon::Trash2, REMOVE).icon_only())
                    .clicked()
                {
                    self.act(REMOVE, context);
                }
                let send = ui.add(Action::new(Icon::Images, SEND).icon_only());
                if send.clicked() {
                    self.act(SEND, context);
                }
            });
        });
        if self.items.is_empty() {
            return;
        }
        // always there, so that the list below stays in place
        ui.horizontal(|ui| {
            ui.set_min_height(theme::CONTROL);
            if waiting > 0 {
                let stop = ui.add(Action::new(Icon::Square, "Stop all"));
                if stop.on_hover_text("Stop writing (Esc)").clicked() {
                    self.stop();
                }
                ui.label(RichText::new(format!("{waiting} left")).weak());
            } else if missing > 0 && context.model(0).is_some() {
                let label = format!("Caption the rest ({missing})");
                if ui.add(Action::new(Icon::Play, &label)).clicked() {
                    self.caption_rest(context);
                }
            }
        });
        let is_prefix = !context.model(0).is_some_and(|model| model.answers);
        let mut selected = None;
        let spacing = ui.spacing().item_spacing.y;
        let mut area = ScrollArea::vertical().auto_shrink(false);
        let viewport = ui.available_height();
        if self.scroll > 0 {
            self.scroll -= 1;
            ui.ctx().request_repaint();
            // in the middle, so that the pictures around it are seen
            let top = self.selected as f32 * (ROW + spacing);
            area = area.vertical_scroll_offset((top - viewport / 2.0 + ROW).max(0.0));
        }
        area.show_rows(ui, ROW, self.items.len(), |ui, rows| {
            for index in rows {
                let item = &self.items[index];
                let caption = item.threads[0].text(is_prefix);
                let name = &item.source.name;
                let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
                let text = match caption.lines().next() {
                    None | Some("") => RichText::new(file).weak(),
                    Some(line) => RichText::new(line),
                };
                let side = thumbnail_size(item.size);
                let image = egui::Image::new((item.texture.id(), side));
                let button = Button::selectable(index == self.selected, (image, text)).truncate();
                let button = button.min_size(vec2(ui.available_width(), ROW));
                let layout = Layout::top_down_justified(Align::LEFT);
                let row = ui.with_layout(layout, |ui| ui.add(button)).inner;
                if item.threads[0].turns.iter().any(|turn| turn.is_uncertain()) {
                    let at = row.rect.right_top() + vec2(-16.0, 4.0);
                    let color = theme::colors(ui).warning;
                    let dot = Rect::from_min_size(at, vec2(6.0, 6.0));
                    ui.painter().circle_filled(dot.center(), 4.0, color);
                }
                let row = row.on_hover_ui(|ui| {
                    ui.label(format!(
                        "{name}\n{} x {} pixels",
                        item.size[0], item.size[1]
                    ));
                    if !caption.is_empty() {
                        ui.label(&caption);
                    }
                });
                if row.clicked() {
                    selected = Some(index);
                }
            }
        });
        if let Some(index) = selected {
            self.select(index);
            // the row is where the pointer is
            self.scroll = 0;
        }
    }
}

/// Size of a thumbnail with the picture's proportions, in points.
fn thumbnail_size(size: [usize; 2]) -> egui::Vec2 {
    crate::heat::fit(size, vec2(40.0, 40.0))
}
