//! Display options and export.

use std::sync::Arc;

use egui::{RichText, Slider, Ui};
use seemore::explain::{ColorMap, SINK, heatmap};

use super::{Attention, AttentionPage};
use crate::page::HeatStyle;

impl AttentionPage {
    /// Draws the display options, the export buttons and the notes below them.
    pub(super) fn options(
        &mut self,
        ui: &mut Ui,
        attention: &Arc<Attention>,
        style: &mut HeatStyle,
    ) {
        ui.checkbox(&mut self.hide_sinks, "Hide sinks")
            .on_hover_text(format!(
                "Hide patches that the average query attends to more than {SINK} times as much as \
                 to the average patch"
            ));
        ui.add(Slider::new(&mut style.opacity, 0.0..=1.0).text("Opacity"));
        ui.horizontal(|ui| {
            ui.label("Colours");
            ColorMap::ALL
                .into_iter()
                .for_each(|map| drop(ui.selectable_value(&mut style.colors, map, map.name())));
        });
        ui.horizontal(|ui| {
            if ui
                .button("Save picture...")
                .on_hover_text("Save the picture and the selected heat map as PNG")
                .clicked()
            {
                self.save_picture(ui, attention.clone(), *style);
            }
            if ui
                .button("Save values...")
                .on_hover_text("Save the attention of all layers and heads as safetensors")
                .clicked()
            {
                self.save_values(ui, attention.clone());
            }
        });
        ui.separator();
        ui.label(
            RichText::new(
                "Attention shows where a layer reads from; it is not an explanation of the \
                 caption. Different attention can produce the same words.",
            )
            .weak(),
        );
        if attention.maps.visual.len() <= 1 {
            ui.label(
                RichText::new(
                    "The decoder of this model sees the picture as one vector, so its attention \
                     covers words only. The encoder layers and the relevance cover patches.",
                )
                .weak(),
            );
        }
    }

    fn save_picture(&self, ui: &Ui, attention: Arc<Attention>, style: HeatStyle) {
        let heat = self.view_of(&attention).heat;
        self.saved.run(ui.ctx(), move || {
            let path = rfd::FileDialog::new()
                .set_title("Save picture")
                .set_file_name("attention.png")
                .save_file()?;
            let overlay = heatmap::overlay(&attention.input, &heat, style.colors, style.opacity);
            let saved = overlay.save(&path);
            Some(match saved {
                Ok(()) => Ok(path),
                Err(error) => Err(format!("Cannot save {}: {error}.", path.display())),
            })
        });
    }

    fn save_values(&self, ui: &Ui, attention: Arc<Attention>) {
        self.saved.run(ui.ctx(), move || {
            let path = rfd::FileDialog::new()
                .set_title("Save values")
                .set_file_name("attention.safetensors")
                .save_file()?;
            let saved = attention.save(&path).map_err(|error| error.to_string());
            Some(saved.map(|()| path))
        });
    }
}
