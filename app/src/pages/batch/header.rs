//! The folder, the filter and undo, above the panes; and the page without a folder.

use std::path::PathBuf;

use egui::{Button, Key, Label, RichText, TextEdit, Ui};

use super::{BatchPage, filter_id};
use crate::gallery::{Gallery, Source};
use crate::theme::{self, Action, Icon};

impl BatchPage {
    /// Draws the folder, the filter and the buttons that undo and redo.
    pub(super) fn bar(&mut self, ui: &mut Ui) {
        let mut changed = false;
        let width = ui.available_width();
        ui.horizontal(|ui| {
            let label = ui.label("Folder");
            let field = TextEdit::singleline(&mut self.folder)
                .desired_width((0.25 * width).min(240.0))
                .hint_text("Folder of pictures");
            let field = ui.add(field).labelled_by(label.id);
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            if entered && !self.folder.trim().is_empty() {
                let folder = PathBuf::from(self.folder.trim());
                self.open(&ui.ctx().clone(), Source::Folder(folder), None);
            }
            if ui
                .button("Choose...")
                .on_hover_text("Choose a folder of pictures")
                .clicked()
            {
                self.choose_folder(ui.ctx());
            }
            let Some(gallery) = &self.gallery else { return };
            ui.separator();
            let label = ui.label("Filter");
            let filter = TextEdit::singleline(&mut self.filter)
                .id(filter_id())
                .desired_width((0.2 * width).min(200.0))
                .hint_text("red OR tag:cat, missing");
            let filter = ui.add(filter).labelled_by(label.id).on_hover_text(
                "Words and \"phrases\" in caption or name, NOT, OR, ( ), missing, failed, \
                 selected, tag:NAME, name:TEXT, length<20, words>3, confidence<0.5 (Ctrl+F)",
            );
            changed |= filter.changed();
            let number = format!("{} of {}", self.shown.len(), gallery.entries().len());
            ui.label(number);
            let (can_undo, can_redo) = (gallery.can_undo(), gallery.can_redo());
            let idle = self.run.is_none();
            if ui
                .add_enabled(can_undo && idle, Button::new("Undo"))
                .on_hover_text("Undo the last change, also of an earlier session (Ctrl+Z)")
                .clicked()
            {
                self.step_history(Gallery::undo);
            }
            if ui
                .add_enabled(can_redo && idle, Button::new("Redo"))
                .on_hover_text("Redo the change that was undone (Ctrl+Y)")
                .clicked()
            {
                self.step_history(Gallery::redo);
            }
            if self.opening {
                ui.spinner();
            }
        });
        // the line keeps its height when there is nothing to say
        ui.horizontal(|ui| {
            ui.set_min_height(ui.text_style_height(&egui::TextStyle::Small));
            let skipped = self.gallery.as_ref().and_then(Gallery::skipped);
            if let Some(message) = &self.filter_error {
                let text = RichText::new(message).small();
                ui.label(text.color(ui.visuals().error_fg_color));
            } else if let Some(skipped) = skipped {
                let text = RichText::new(format!("Skipped: {skipped}")).small().weak();
                ui.add(Label::new(text).truncate()).on_hover_text(skipped);
            }
        });
        if changed {
            self.finish_edit();
            self.apply_filter();
        }
    }

    /// Draws the page without a folder.
    pub(super) fn empty(&mut self, ui: &mut Ui) {
        if self.opening {
            ui.centered_and_justified(|ui| ui.label("Reading the folder..."));
            return;
        }
        theme::empty(
            ui,
            Icon::Images,
            "Drop a folder of pictures here",
            "Caption all of them, edit the captions and save them as text, CSV or JSON.",
            |ui| {
                let choose = Action::new(Icon::FolderOpen, "Choose folder...").primary();
                if ui.add(choose).clicked() {
                    self.choose_folder(ui.ctx());
                }
            },
        );
    }
}
