//! Generation and heat map settings.

use egui::{DragValue, RichText, Slider, Ui};

use crate::generation::GenerationSettings;
use crate::page::PageContext;

/// Draws the settings.
pub fn show(ui: &mut Ui, context: &mut PageContext) {
    let GenerationSettings {
        temperature,
        top_k,
        top_p,
        seed,
        max_len,
        prefix,
        beams,
    } = &mut context.generation;
    ui.add_space(4.0);
    ui.heading("Generation");
    let label = ui.label("Prefix");
    ui.text_edit_singleline(prefix)
        .labelled_by(label.id)
        .on_hover_text("Text that the caption starts with");
    ui.add(Slider::new(temperature, 0.0..=2.0).text("Temperature"))
        .on_hover_text("0 always takes the most likely token; higher values vary more");
    ui.add_enabled_ui(*temperature > 0.0, |ui| {
        ui.add(Slider::new(top_k, 0..=100).text("Top k"))
            .on_hover_text("Sample from this many most likely tokens; 0 samples from all");
        ui.add(Slider::new(top_p, 0.05..=1.0).text("Top p"))
            .on_hover_text(
                "Sample from the most likely tokens that together reach this probability",
            );
        ui.horizontal(|ui| {
            let label = ui.label("Seed");
            ui.add(DragValue::new(seed)).labelled_by(label.id);
        });
    });
    ui.add(Slider::new(max_len, 1..=100).text("Max tokens"));
    ui.add(Slider::new(beams, 1..=16).text("Beams"))
        .on_hover_text("Above 1, a beam search lists the most likely captions too");
    ui.add_space(2.0);
    if ui
        .button("Reset")
        .on_hover_text("Restore the defaults of these settings")
        .clicked()
    {
        context.generation = GenerationSettings::default();
    }
    ui.separator();
    ui.heading("Heat map");
    ui.add(Slider::new(&mut context.heat.opacity, 0.0..=1.0).text("Opacity"));
    ui.label(
        RichText::new(
            "Click a word to see how much each part of the picture contributed to it. \
             This is an indication, not an explanation.",
        )
        .weak(),
    );
    ui.separator();
    ui.label(
        RichText::new(
            "Keys: Up and Down select a picture, Left and Right a word, R regenerates, Esc stops.",
        )
        .weak(),
    );
}
