//! Fields of the tuning of a pretrained model.

use std::path::PathBuf;

use egui::{ComboBox, Context, DragValue, Ui};
use seemore::models::composition::missing_parts;
use seemore::models::{checkpoint, library};
use seemore::named::Named;
use seemore::text::Style;
use seemore::train::Tuned;

use super::super::choices::{PARTS, TILES};
use super::super::form::Form;
use super::super::widgets::{Field, choice, number, path, row, text};
use super::{Chosen, common, pictures};
use crate::background::Background;
use crate::file_dialog::FileDialog;

/// Pretrained models on this machine, listed in the background.
#[derive(Default)]
pub struct LocalModels {
    listed: Background<Vec<LocalModel>>,
    found: Option<Vec<LocalModel>>,
    asked: bool,
}

/// A pretrained model on this machine.
struct LocalModel {
    name: String,
    /// Its folder, or its name as [`library::locate`] takes it.
    base: PathBuf,
    /// Purpose of the model, or nothing if it is not a known one.
    purpose: &'static str,
}

impl LocalModels {
    fn poll(&mut self, ui: &Ui) -> &[LocalModel] {
        if !std::mem::replace(&mut self.asked, true) {
            self.listed.run(ui.ctx(), || Some(list()));
        }
        while let Some(found) = self.listed.poll() {
            self.found = Some(found);
        }
        self.found.as_deref().unwrap_or_default()
    }
}

/// Lists the models that take pictures.
fn list() -> Vec<LocalModel> {
    let shipped = checkpoint::shipped_photo();
    let shipped = shipped.filter(|folder| missing_parts(folder).is_empty());
    let shipped = shipped.map(|base| LocalModel {
        name: "photo".into(),
        base,
        purpose: "comes with seemore; photographs of single things",
    });
    let named = |name: &str, purpose| LocalModel {
        name: name.to_owned(),
        base: name.into(),
        purpose,
    };
    let known = library::KNOWN.iter().filter(|model| {
        let found = library::locate_repository(model.name);
        model.captions_pictures && found.is_ok_and(|folder| library::has_weights(&folder))
    });
    let known = known.map(|model| named(model.name, model.purpose));
    let cached = library::cache_folder().map(|cache| library::cached(&cache));
    let others = cached.into_iter().flatten().filter(|(name, folder)| {
        let usable = library::has_weights(folder) && library::takes_pictures(folder) == Some(true);
        usable && library::known(name).is_none()
    });
    let others = others.map(|(name, _)| named(&name, ""));
    shipped.into_iter().chain(known).chain(others).collect()
}

/// Lets the user choose the folder of the pretrained model.
pub fn choose_model(ctx: &Context, chosen: &Chosen) {
    let dialog = FileDialog::new(ctx);
    chosen.run(ctx, || {
        let folder = dialog
            .set_title("Choose the folder of a pretrained model")
            .pick_folder()?;
        Some((Field::Model, vec![folder]))
    });
}

/// Draws the fields.
pub fn show(ui: &mut Ui, form: &mut Form, models: &mut LocalModels, chosen: &Chosen) {
    path(
        ui,
        "Model",
        &mut form.tuning.model.base,
        "folder or smolvlm-256m",
    )
    .on_hover_text("Folder or GGUF file of a pretrained model, or a name of the Hugging Face Hub");
    ui.horizontal(|ui| {
        if ui.button("Choose model...").clicked() {
            choose_model(ui.ctx(), chosen);
        }
        let models = models.poll(ui);
        ui.add_enabled_ui(!models.is_empty(), |ui| {
            ComboBox::from_id_salt("local models")
                .selected_text("On this machine")
                .show_ui(ui, |ui| {
                    for LocalModel {
                        name,
                        base,
                        purpose,
                    } in models
                    {
                        let current = form.tuning.model.base.as_ref() == Some(base);
                        if ui
                            .selectable_label(current, name)
                            .on_hover_text(*purpose)
                            .clicked()
                        {
                            form.tuning.model.base = Some(base.clone());
                        }
                    }
                });
        });
    });
    ui.separator();
    ui.strong("Training pictures");
    pictures(ui, &mut form.tuning.data, chosen);
    ui.separator();
    ui.strong("Trained parts");
    for (part, name, help) in PARTS {
        let mut trains = form.tuning.tune.parts.contains(part);
        if ui
            .checkbox(&mut trains, *name)
            .on_hover_text(*help)
            .changed()
        {
            form.set_part(*part, trains);
        }
    }
    let tune = &mut form.tuning.tune;
    ui.weak(match tune.parts.is_empty() {
        true => "The projector of a new composition, else adapters",
        false => "",
    });
    let adapts = tune.parts.is_empty() || tune.parts.contains(&Tuned::Lora);
    ui.add_enabled_ui(adapts, |ui| {
        number(ui, "Rank", DragValue::new(&mut tune.rank).range(1..=1024))
            .on_hover_text("Rank of adapters");
        number(
            ui,
            "Alpha",
            DragValue::new(&mut tune.alpha).range(0.1..=4096.0),
        )
        .on_hover_text("Adapters count alpha / rank times");
    });
    ui.separator();
    if let Some(style) = choice(ui, "Caption style", Some(tune.style), Style::VALUES) {
        tune.style = style;
    }
    let mut question = tune.prompt.clone().unwrap_or_default();
    let family = "smolvlm";
    if text(ui, "Question", &mut question, tune.style.prompt(family))
        .on_hover_text("Question that the captions answer; if empty, that of the style")
        .changed()
    {
        tune.prompt = Some(question).filter(|question| !question.trim().is_empty());
    }
    if let Some(tiles) = choice(ui, "Tiles", Some(tune.tiles), TILES) {
        tune.tiles = tiles;
    }
    common(ui, &mut form.tuning);
    row(ui, "Rounding", |ui| {
        ui.checkbox(&mut form.tuning.tune.round, "bf16 where it is faster")
            .on_hover_text(
                "Round what frozen 16-bit weights are multiplied with, on processors with bf16",
            )
    });
}
