//! The list of pictures.

use egui::{
    Align2, Color32, FontId, Image, Key, Modifiers, Rect, Role, ScrollArea, Sense, StrokeKind,
    TextStyle, TextWrapMode, Ui, WidgetInfo, WidgetText, pos2, vec2,
};

use super::BatchPage;
use super::thumbnails::Thumbnails;
use crate::gallery::Entry;
use crate::pictures::THUMBNAIL;
use crate::theme;

/// Height of a row, in points.
const ROW: f32 = 56.0;

/// Width and height of a thumbnail, in points.
const SIDE: f32 = 48.0;

/// Action of the user on a row.
#[derive(Default)]
struct Clicked {
    row: bool,
    check: bool,
}

impl BatchPage {
    /// Draws the entries that match the filter.
    pub(super) fn list(&mut self, ui: &mut Ui) {
        let (Some(gallery), Some(thumbnails)) = (&mut self.gallery, &mut self.thumbnails) else {
            return;
        };
        if self.shown.is_empty() {
            ui.vertical_centered(|ui| {
                ui.add_space(ui.available_height() * 0.3);
                ui.label("No matches");
            });
            return;
        }
        let pitch = ROW + ui.spacing().item_spacing.y;
        let mut area = ScrollArea::vertical().auto_shrink(false);
        if let Some(row) = self.scroll_to.take() {
            // in the middle, so that the rows around it are visible, too
            let above = (ui.available_height() - ROW) / 2.0;
            area = area.vertical_scroll_offset((row as f32 * pitch - above).max(0.0));
        }
        let mut chosen = None;
        let output = area.show_rows(ui, ROW, self.shown.len(), |ui, rows| {
            for row in rows {
                let number = self.shown[row];
                let entry = &gallery.entries()[number];
                let current = self.current == Some(number);
                let clicked = show_row(ui, entry, number, current, thumbnails);
                if clicked.check {
                    let selected = !entry.selected;
                    gallery.select(number, selected);
                }
                if clicked.row {
                    chosen = Some(number);
                }
            }
        });
        self.page = ((output.inner_rect.height() / pitch) as usize).max(1);
        if let Some(entry) = chosen {
            self.choose(entry);
        }
    }

    /// Moves to another row with the keys for it, unless a text field uses them. Page up and down
    /// with Ctrl work anywhere.
    pub(super) fn list_keys(&mut self, ui: &Ui) {
        let pressed = |modifiers: Modifiers, key: Key| {
            ui.ctx()
                .input_mut(|input| input.consume_key(modifiers, key))
        };
        let page = self.page as isize;
        let mut step = None;
        for (key, rows) in [(Key::PageDown, 1), (Key::PageUp, -1)] {
            if pressed(Modifiers::COMMAND, key) {
                step = Some(rows);
            }
        }
        if !ui.ctx().egui_wants_keyboard_input() {
            let all = self.shown.len() as isize;
            for (key, rows) in [
                (Key::ArrowDown, 1),
                (Key::ArrowUp, -1),
                (Key::PageDown, page),
                (Key::PageUp, -page),
                (Key::Home, -all),
                (Key::End, all),
            ] {
                if pressed(Modifiers::NONE, key) {
                    step = Some(rows);
                }
            }
            if pressed(Modifiers::NONE, Key::Space)
                && let (Some(current), Some(gallery)) = (self.current, &mut self.gallery)
            {
                let selected = gallery.entries()[current].selected;
                gallery.select(current, !selected);
            }
        }
        if let Some(rows) = step {
            self.step(rows);
        }
    }

    /// Makes the entry that lies some rows further down the current one.
    pub(super) fn step(&mut self, rows: isize) {
        let Some(last) = self.shown.len().checked_sub(1) else {
            return;
        };
        let at = |entry| self.shown.iter().position(|&shown| shown == entry);
        let row = match self.current.and_then(at) {
            Some(row) => row.saturating_add_signed(rows).min(last),
            None => 0,
        };
        self.choose(self.shown[row]);
        self.scroll_to = Some(row);
    }
}

/// Draws a picture, its name and its caption.
fn show_row(
    ui: &mut Ui,
    entry: &Entry,
    number: usize,
    current: bool,
    thumbnails: &mut Thumbnails,
) -> Clicked {
    let size = vec2(ui.available_width(), ROW);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let caption = match entry.caption.trim() {
        "" => "No caption",
        caption => caption,
    };
    response.widget_info(|| {
        let label = format!("{}: {caption}", entry.name);
        WidgetInfo::selected(Role::ListBoxOption, true, current, label)
    });
    let visuals = ui.style().interact_selectable(&response, current);
    if current || response.hovered() {
        ui.painter().rect_filled(rect, 4.0, visuals.weak_bg_fill);
    }
    let check = Rect::from_center_size(pos2(rect.left() + 14.0, rect.center().y), vec2(20.0, 20.0));
    let mut selected = entry.selected;
    let checkbox = ui
        .push_id(number, |ui| {
            ui.put(check, egui::Checkbox::without_text(&mut selected))
        })
        .inner;
    checkbox.widget_info(|| {
        let label = format!("Select {}", entry.name);
        WidgetInfo::selected(Role::CheckBox, true, selected, label)
    });
    let place = Rect::from_center_size(
        pos2(check.right() + 6.0 + SIDE / 2.0, rect.center().y),
        vec2(SIDE, SIDE),
    );
    let mut error = entry.error.as_deref();
    match thumbnails.get(number, &entry.path) {
        Some(Ok(texture)) => {
            let size = texture.size_vec2() * (SIDE / THUMBNAIL as f32);
            let place = Rect::from_center_size(place.center(), size);
            Image::new((texture.id(), size)).paint_at(ui, place);
        }
        Some(Err(message)) => {
            error = error.or(Some(message));
            let edge = ui.visuals().widgets.noninteractive.bg_stroke;
            ui.painter()
                .rect_stroke(place, 2.0, edge, StrokeKind::Inside);
            ui.painter().text(
                place.center(),
                Align2::CENTER_CENTER,
                "?",
                FontId::proportional(24.0),
                ui.visuals().error_fg_color,
            );
        }
        None => {
            let fill = theme::colors(ui).button;
            ui.painter().rect_filled(place, 2.0, fill);
        }
    }
    let left = place.right() + 8.0;
    let width = rect.right() - 6.0 - left;
    let line = |text: &str, color: Color32, style: TextStyle, y: f32| {
        let first = text.lines().next().unwrap_or_default();
        let galley =
            WidgetText::from(first).into_galley(ui, Some(TextWrapMode::Truncate), width, style);
        let top = y - galley.size().y / 2.0;
        ui.painter()
            .galley_with_override_text_color(pos2(left, top), galley, color);
    };
    let weak = ui.visuals().weak_text_color();
    let (color, below) = match (error, entry.has_caption()) {
        (Some(error), _) => (ui.visuals().error_fg_color, error),
        (None, true) => (ui.visuals().text_color(), caption),
        (None, false) => (weak, caption),
    };
    line(&entry.name, weak, TextStyle::Small, rect.center().y - 11.0);
    line(below, color, TextStyle::Body, rect.center().y + 9.0);
    let response = match error {
        Some(error) => response.on_hover_text(error),
        None => response,
    };
    Clicked {
        row: response.clicked(),
        check: checkbox.changed(),
    }
}
