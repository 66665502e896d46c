//! The bar at the top: pages, opening pictures, models and the theme.

use egui::{ComboBox, Ui};

use super::Window;
use crate::worker::{Slot, UnloadModel, model_name};

impl Window {
    /// Draws the bar.
    pub(super) fn toolbar(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            for (index, page) in self.pages.iter().enumerate() {
                ui.selectable_value(&mut self.active, index, page.title())
                    .on_hover_text(format!("Ctrl+{}", index + 1));
            }
            ui.separator();
            if ui
                .button("Open...")
                .on_hover_text("Open pictures (Ctrl+O). They can be dropped on the window too.")
                .clicked()
            {
                self.open_pictures();
            }
            if ui
                .button("Folder...")
                .on_hover_text("Open all pictures in a folder")
                .clicked()
            {
                self.open_folder();
            }
            if ui
                .button("Paste")
                .on_hover_text("Paste a picture (Ctrl+V)")
                .clicked()
            {
                self.paste();
            }
            if ui
                .button("Samples")
                .on_hover_text("Open drawings that the shipped model was not trained on")
                .clicked()
            {
                self.open_samples();
            }
            ui.separator();
            self.model_list(ui, 0);
            self.model_list(ui, 1);
            egui::widgets::global_theme_preference_buttons(ui);
        });
    }

    /// Draws the list of models for a slot.
    fn model_list(&mut self, ui: &mut Ui, slot: Slot) {
        let label = ui.label(["Model", "Compare with"][slot]);
        let model = &self.context.models[slot];
        let name = model.folder.as_deref().map_or("None".into(), model_name);
        let mut chosen = None;
        let mut unload = false;
        let list = ComboBox::from_id_salt(("model", slot))
            .selected_text(name)
            .show_ui(ui, |ui| {
                if slot == 1 {
                    unload = ui
                        .selectable_label(model.folder.is_none(), "None")
                        .clicked();
                }
                for folder in &self.checkpoints {
                    let current = model.folder.as_ref() == Some(folder);
                    let row = ui.selectable_label(current, model_name(folder));
                    if row.on_hover_text(folder.display().to_string()).clicked() {
                        chosen = Some(folder.clone());
                    }
                }
                if ui.button("Other folder...").clicked() {
                    self.checkpoint.run(ui.ctx(), move || {
                        let folder = rfd::FileDialog::new()
                            .set_title("Choose a checkpoint folder")
                            .pick_folder()?;
                        Some((slot, folder))
                    });
                }
            });
        let response = list.response.labelled_by(label.id);
        if model.loading {
            ui.spinner();
        } else if let Some(info) = &model.info {
            response.on_hover_text(format!(
                "{}\n{:.1} million parameters, {} tokens, {side} x {side} pixels",
                info.folder.display(),
                info.parameters as f64 / 1e6,
                info.vocab_size,
                side = info.image_size
            ));
        }
        if unload {
            self.context.models[slot].loading = false;
            self.context.worker.send(UnloadModel(slot));
        }
        if let Some(folder) = chosen {
            self.choose_model(slot, folder);
        }
    }
}
