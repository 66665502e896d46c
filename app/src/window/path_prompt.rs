//! Asks for a path where the system has no dialog for files.

use egui::{Button, Modal, Ui};

use super::Window;
use crate::file_dialog::{self, Choice};
use crate::path_field::PathField;
use crate::theme::{self, Action, Icon};

impl Window {
    /// Draws the path that a thread waits for.
    pub(super) fn ask_for_path(&mut self, ui: &Ui) {
        if self.asked.is_none() {
            self.asked = file_dialog::next_request(ui.ctx()).map(|request| {
                let field = PathField::focused(request.file_name.clone());
                (request, field)
            });
        }
        let Some((request, field)) = &mut self.asked else {
            return;
        };
        let (mut chosen, mut cancel) = (None, false);
        let modal = Modal::new(egui::Id::unique("path")).show(ui.ctx(), |ui| {
            ui.set_width(520.0);
            theme::title(ui, &request.title);
            theme::note(
                ui,
                "This system has no file dialog. Type a path; Tab completes it.",
            );
            ui.add_space(theme::SPACE);
            let (icon, accept) = match request.choice {
                Choice::Save => (Icon::Save, "Save"),
                Choice::File | Choice::Folder => (Icon::Check, "Open"),
            };
            let label = match request.choice {
                Choice::Folder => "Folder path",
                Choice::File | Choice::Save => "File path",
            };
            chosen = field.show(ui, label, "~/", ui.available_width());
            ui.add_space(theme::SPACE);
            ui.horizontal(|ui| {
                let ready = !field.text.trim().is_empty();
                let button = Action::new(icon, accept).primary();
                if ui.add_enabled(ready, button).clicked() {
                    chosen = Some(field.path());
                }
                cancel = ui.add(Button::new("Cancel")).clicked();
            });
        });
        if chosen.is_none() && !cancel && !modal.should_close() {
            return;
        }
        if let Some((request, _)) = self.asked.take() {
            request.answer(chosen);
        }
    }
}
