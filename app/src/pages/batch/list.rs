//! The list of pictures with editable captions.

use std::time::Duration;

use egui::{
    Align, Align2, Color32, FontId, Image, Key, Label, Layout, Response, RichText, Role,
    ScrollArea, Sense, StrokeKind, TextEdit, Ui, WidgetInfo, vec2,
};

use super::BatchPage;
use super::thumbnails::Thumbnails;
use crate::gallery::Gallery;

/// Height of a row, in points.
const ROW: f32 = 68.0;

/// Seconds after which a caption that is still being edited is saved.
const SAVE_AFTER: f64 = 1.0;

/// A caption that is being edited.
pub struct Edit {
    /// Number of the entry.
    pub entry: usize,
    before: String,
    /// When the first unsaved change was made, in egui's seconds.
    unsaved: Option<f64>,
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
        let time = ui.input(|input| input.time);
        let spacing = ui.spacing().item_spacing.y;
        let mut area = ScrollArea::vertical().auto_shrink(false);
        let scroll_to = self.scroll_to.take();
        if let Some((row, _)) = scroll_to {
            area = area.vertical_scroll_offset((row as f32 - 2.0).max(0.0) * (ROW + spacing));
        }
        let mut focused = None;
        let mut next = None;
        area.show_rows(ui, ROW, self.shown.len(), |ui, rows| {
            for row in rows {
                let entry = self.shown[row];
                let (field, typed) = show_row(ui, gallery, thumbnails, entry);
                if scroll_to == Some((row, true)) {
                    field.request_focus();
                }
                if field.has_focus() || field.lost_focus() {
                    focused = Some(entry);
                    if self.edit.as_ref().is_none_or(|edit| edit.entry != entry) {
                        if let Some(Edit { entry, before, .. }) = self.edit.take() {
                            gallery.finish_edit(entry, before);
                        }
                        // nothing is typed in the frame in which the field gets the focus
                        let before = gallery.entries()[entry].caption.clone();
                        self.edit = Some(Edit {
                            entry,
                            before,
                            unsaved: None,
                        });
                    }
                    if typed && let Some(edit) = &mut self.edit {
                        edit.unsaved.get_or_insert(time);
                    }
                }
                if field.lost_focus() {
                    focused = None;
                    let entered = ui.input(|input| input.key_pressed(Key::Enter));
                    if entered && row + 1 < self.shown.len() {
                        next = Some(row + 1);
                    }
                }
            }
        });
        if let Some(edit) = &mut self.edit {
            match edit.unsaved {
                Some(since) if time - since > SAVE_AFTER => {
                    gallery.save_draft(edit.entry);
                    edit.unsaved = None;
                }
                Some(_) => ui
                    .ctx()
                    .request_repaint_after(Duration::from_secs_f64(SAVE_AFTER)),
                None => {}
            }
            // a row that scrolls out of view loses the focus without an event
            if focused != Some(edit.entry) {
                self.finish_edit();
            }
        }
        if let Some(row) = next {
            self.scroll_to = Some((row, true));
            ui.ctx().request_repaint();
        }
    }

    /// Records the edit in progress.
    pub(super) fn finish_edit(&mut self) {
        if let (Some(Edit { entry, before, .. }), Some(gallery)) =
            (self.edit.take(), &mut self.gallery)
        {
            gallery.finish_edit(entry, before);
        }
    }
}

/// Draws a picture and its caption. Returns the caption's field and whether its text has changed.
fn show_row(
    ui: &mut Ui,
    gallery: &mut Gallery,
    thumbnails: &mut Thumbnails,
    entry: usize,
) -> (Response, bool) {
    let size = vec2(ui.available_width(), ROW);
    let row = ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        let picture = &gallery.entries()[entry];
        let name = picture.name.clone();
        let mut selected = picture.selected;
        let check = ui.checkbox(&mut selected, "");
        check.widget_info(|| {
            WidgetInfo::selected(Role::CheckBox, true, selected, format!("Select {name}"))
        });
        let (rect, response) = ui.allocate_exact_size(vec2(64.0, 64.0), Sense::hover());
        let mut error = picture.error.clone();
        match thumbnails.get(entry, &picture.path) {
            Some(Ok(texture)) => {
                Image::new((texture.id(), rect.size())).paint_at(ui, rect);
                response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Thumbnail"));
            }
            Some(Err(message)) => {
                error.get_or_insert_with(|| message.clone());
                let edge = ui.visuals().widgets.noninteractive.bg_stroke;
                ui.painter()
                    .rect_stroke(rect, 2.0, edge, StrokeKind::Inside);
                ui.painter().text(
                    rect.center(),
                    Align2::CENTER_CENTER,
                    "?",
                    FontId::proportional(24.0),
                    ui.visuals().error_fg_color,
                );
            }
            None => {
                let gray = if ui.visuals().dark_mode { 40 } else { 225 };
                ui.painter()
                    .rect_filled(rect, 2.0, Color32::from_gray(gray));
            }
        }
        response.on_hover_text(picture.path.display().to_string());
        let field = ui.vertical(|ui| {
            ui.add_space(6.0);
            let label = match &error {
                None => ui.add(Label::new(RichText::new(&name).weak().small()).truncate()),
                Some(error) => {
                    let text = RichText::new(format!("{name}: {error}"))
                        .color(ui.visuals().error_fg_color)
                        .small();
                    ui.add(Label::new(text).truncate()).on_hover_text(error)
                }
            };
            let field = TextEdit::singleline(gallery.caption_mut(entry))
                .id_salt(("caption", entry))
                .hint_text("No caption")
                .desired_width(f32::INFINITY);
            let field = ui.add(field).labelled_by(label.id);
            let typed = field.changed();
            (field, typed)
        });
        if check.changed() {
            gallery.select(entry, selected);
        }
        field.inner
    });
    row.inner
}
