//! Captioning many pictures.

use egui::{Button, ProgressBar, RichText, Ui};

use super::BatchPage;
use crate::page::PageContext;

impl BatchPage {
    /// Draws the buttons that start a run, and its progress.
    pub(super) fn captioning(&mut self, ui: &mut Ui, context: &PageContext) {
        let Some(gallery) = &self.gallery else { return };
        let entries = gallery.entries();
        let which = |filter: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..entries.len()).filter(|&i| filter(i)).collect()
        };
        let missing = which(&|i| entries[i].caption.trim().is_empty());
        let selected = which(&|i| entries[i].selected);
        let all = which(&|_| true);
        ui.add_space(4.0);
        ui.heading("Captions");
        ui.label(format!(
            "{} of {} pictures captioned",
            all.len() - missing.len(),
            all.len()
        ));
        let ready = context.model(0).is_some() && self.run.is_none();
        let mut entries = None;
        for (name, which) in [
            ("Caption missing", missing),
            ("Caption selected", selected),
            ("Caption all", all),
        ] {
            let button = Button::new(format!("{name} ({})", which.len()));
            if ui
                .add_enabled(ready && !which.is_empty(), button)
                .on_hover_text(
                    "Write the most likely caption, with Prefix, Max tokens and Beams of the \
                     Caption page. Undo restores the captions before.",
                )
                .clicked()
            {
                entries = Some(which);
            }
        }
        ui.horizontal(|ui| {
            if ui
                .button("Select shown")
                .on_hover_text("Select the pictures that match the filter (Ctrl+A)")
                .clicked()
            {
                self.select_shown(true);
            }
            if ui.button("Select none").clicked() {
                self.select_shown(false);
            }
        });
        if context.model(0).is_none() {
            ui.label(RichText::new("No model loaded").weak());
        }
        if let Some(entries) = entries {
            self.start(entries, context);
        }
        if let Some(run) = &self.run {
            let (done, text) = run.progress();
            ui.add(ProgressBar::new(done).text(text));
            if ui
                .button("Cancel")
                .on_hover_text("Keep the captions written so far")
                .clicked()
            {
                self.cancel();
            }
        } else if let Some(summary) = &self.summary {
            ui.label(RichText::new(summary).weak());
        }
    }
}
