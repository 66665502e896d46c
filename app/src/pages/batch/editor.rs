//! The current picture with its caption in a text field of several lines.

use std::time::Duration;

use egui::{Align, Frame, Id, Key, Layout, Panel, RichText, ScrollArea, TextEdit, Ui};

use super::BatchPage;
use crate::format::count;
use crate::page::PageContext;
use crate::worker::Command;

/// Seconds after which a caption that is still being edited is saved.
const SAVE_AFTER: f64 = 1.0;

/// Height of the text field, in lines.
const LINES: usize = 4;

/// A caption that is being edited.
pub struct Edit {
    /// Number of the entry.
    pub entry: usize,
    before: String,
    /// When the first unsaved change was made, in egui's seconds.
    unsaved: Option<f64>,
}

impl BatchPage {
    /// Draws the current picture, its name and its caption.
    pub(super) fn current(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let Some(number) = self.current else {
            ui.centered_and_justified(|ui| ui.label("Choose a picture in the list."));
            return;
        };
        Panel::bottom("editor")
            .show_separator_line(false)
            // aligned with the picture
            .frame(Frame::NONE)
            .show(ui, |ui| self.editor(ui, number, context));
        let (Some(gallery), Some(preview)) = (&self.gallery, &mut self.preview) else {
            return;
        };
        let entry = &gallery.entries()[number];
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                preview.buttons(ui);
                let size = preview
                    .size(&entry.path)
                    .map_or(String::new(), |[w, h]| format!("{w} \u{d7} {h} px"));
                ui.label(RichText::new(size).weak());
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let name = egui::Label::new(RichText::new(&entry.name).strong());
                    ui.add(name.truncate())
                        .on_hover_text(entry.path.display().to_string());
                });
            });
        });
        preview.show(ui, &entry.path);
    }

    fn editor(&mut self, ui: &mut Ui, number: usize, context: &mut PageContext) {
        let Some(gallery) = &mut self.gallery else {
            return;
        };
        let time = ui.input(|input| input.time);
        ui.add_space(4.0);
        let label = ui.strong("Caption");
        let height = ui.text_style_height(&egui::TextStyle::Body) * LINES as f32 + 8.0;
        let field = ScrollArea::vertical()
            .id_salt("caption")
            .min_scrolled_height(height)
            .max_height(height)
            .show(ui, |ui| {
                let field = TextEdit::multiline(gallery.caption_mut(number))
                    .id(editor_id(number))
                    .hint_text("No caption")
                    .desired_rows(LINES)
                    .desired_width(f32::INFINITY);
                ui.add(field).labelled_by(label.id)
            })
            .inner;
        if std::mem::take(&mut self.focus_editor) {
            field.request_focus();
        }
        if field.has_focus() && self.edit.is_none() {
            // nothing is typed in the frame in which the field gets the focus
            self.edit = Some(Edit {
                entry: number,
                before: gallery.entries()[number].caption.clone(),
                unsaved: None,
            });
        }
        if let Some(edit) = &mut self.edit {
            if field.changed() {
                edit.unsaved.get_or_insert(time);
            }
            match edit.unsaved {
                Some(since) if time - since > SAVE_AFTER => {
                    gallery.save_draft(edit.entry, &edit.before);
                    edit.unsaved = None;
                }
                Some(_) => ui
                    .ctx()
                    .request_repaint_after(Duration::from_secs_f64(SAVE_AFTER)),
                None => {}
            }
        }
        let caption = &gallery.entries()[number].caption;
        if context.model(0).is_some() && self.to_count.as_ref() != Some(caption) {
            self.to_count = Some(caption.clone());
            context.worker.send(Command::CountTokens(caption.clone()));
        }
        let mut facts = vec![];
        let counted = self.counted.as_ref();
        let counted = counted.filter(|count| count.text == *caption);
        if let Some(tokens) = counted.and_then(|count| count.tokens) {
            facts.push(count(tokens, "token"));
        }
        facts.push(count(caption.split_whitespace().count(), "word"));
        facts.push(count(caption.chars().count(), "character"));
        if let Some(confidence) = gallery.entries()[number].confidence() {
            facts.push(format!("confidence {confidence:.2}"));
        }
        let error = gallery.entries()[number].error.clone();
        ui.horizontal(|ui| {
            ui.label(RichText::new(facts.join(" \u{b7} ")).weak());
            if let Some(error) = error {
                let text = RichText::new(error).color(ui.visuals().error_fg_color);
                ui.add(egui::Label::new(text).truncate());
            }
        });
        if field.lost_focus() {
            self.finish_edit();
        }
    }

    /// Handles the keys of the editor before the field does.
    pub(super) fn editor_keys(&mut self, ui: &Ui) {
        let focused = self.is_editor_focused(ui.ctx());
        let next = ui
            .ctx()
            .input_mut(|input| input.consume_key(egui::Modifiers::COMMAND, Key::Enter));
        if next {
            // from anywhere to the field, and from the field to the next picture
            if focused {
                self.step(1);
            }
            self.focus_editor = true;
        }
    }

    /// Whether the text field has the focus.
    pub(super) fn is_editor_focused(&self, ctx: &egui::Context) -> bool {
        let focused = |entry| ctx.memory(|memory| memory.has_focus(editor_id(entry)));
        self.current.is_some_and(focused)
    }

    /// Whether the caption that is being edited differs from the one before.
    pub(super) fn is_edited(&self) -> bool {
        self.edit.as_ref().is_some_and(|edit| {
            let gallery = self.gallery.as_ref();
            gallery.is_some_and(|gallery| gallery.entries()[edit.entry].caption != edit.before)
        })
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

/// Returns the id of the text field of an entry. Each has its own, as a field keeps what it can undo
/// under its id.
fn editor_id(entry: usize) -> Id {
    Id::unique("caption editor").with(entry)
}
