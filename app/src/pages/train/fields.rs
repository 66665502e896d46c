//! Fields that edit the form.

mod pretrained;

use std::path::{Path, PathBuf};

use egui::{CollapsingHeader, DragValue, RichText, Ui};
use seemore::graph::Precision;
use seemore::image::{Augment, Strength};
use seemore::models::{Preset, checkpoint};
use seemore::named::Named;
use seemore::text::TokenKind;
use seemore::train::{BatchSize, Budget, DataConfig, OnNan, RunConfig, Schedule};

use super::choices::strength;
use super::form::{self, Form, Mode};
use super::widgets::{Field, choice, number, path, paths, text};
use crate::background::Background;
use crate::file_dialog::FileDialog;
pub use pretrained::{LocalModels, choose_model};

/// Results of file dialogs, with the field that each is for.
pub type Chosen = Background<(Field, Vec<PathBuf>)>;

/// Draws the fields. File dialogs send their results to `chosen`.
pub fn show(ui: &mut Ui, form: &mut Form, models: &mut LocalModels, chosen: &Chosen) {
    ui.horizontal_wrapped(|ui| {
        for (mode, name, hover) in [
            (Mode::New, "New model", "Train a new model"),
            (
                Mode::Tune,
                "Fine-tune",
                "Train a pretrained model on your pictures",
            ),
            (
                Mode::Copy,
                "Copy settings",
                "Train a new model with the settings and data of another training",
            ),
            (Mode::Resume, "Resume", "Continue another training"),
        ] {
            ui.selectable_value(&mut form.mode, mode, name)
                .on_hover_text(hover);
        }
    });
    ui.separator();
    match form.mode {
        Mode::New => new_model(ui, form, chosen),
        Mode::Tune => pretrained::show(ui, form, models, chosen),
        Mode::Copy | Mode::Resume => other_training(ui, form, chosen),
    }
    ui.separator();
    let mode = form.mode;
    let config = form.config_mut();
    budget(ui, config, mode);
    let interval = |steps| DragValue::new(steps).suffix(" steps").range(0..=1_000_000);
    number(ui, "Validate every", interval(&mut config.validation.every))
        .on_hover_text("Steps between validations; 0 validates only at the end");
    number(ui, "Save every", interval(&mut config.checkpoint.every))
        .on_hover_text("Steps between saves; 0 saves only at the end");
    if mode != Mode::Resume {
        path(ui, "Output", &mut config.checkpoint.out, "runs/...")
            .on_hover_text("Folder to save to; if empty, a new one in runs");
        ui.checkbox(&mut config.checkpoint.overwrite, "Overwrite")
            .on_hover_text("Replace a checkpoint that is already in the output folder");
    }
    if matches!(mode, Mode::New | Mode::Tune) {
        CollapsingHeader::new("Advanced").show(ui, |ui| advanced(ui, config));
    }
}

fn other_training(ui: &mut Ui, form: &mut Form, chosen: &Chosen) {
    text(ui, "Folder", &mut form.folder, "runs/...")
        .on_hover_text("Output folder of the other training");
    if ui.button("Choose folder...").clicked() {
        let dialog = FileDialog::new(ui.ctx());
        chosen.run(ui.ctx(), || {
            let folder = dialog
                .set_title("Choose the folder of a training")
                .pick_folder()?;
            Some((Field::Folder, vec![folder]))
        });
    }
    if form.mode == Mode::Copy
        && ui
            .button("Shipped model")
            .on_hover_text(
                "Settings of the model that comes with seemore; takes 90 minutes on two CPU cores",
            )
            .clicked()
    {
        form.folder = checkpoint::shipped()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
    }
    ui.label(
        RichText::new("Uses the model, tokenizer, settings and data of that training.").weak(),
    );
}

fn new_model(ui: &mut Ui, form: &mut Form, chosen: &Chosen) {
    let data = &mut form.config.data;
    ui.strong("Training pictures");
    ui.horizontal_wrapped(|ui| {
        if ui
            .button("Drawings")
            .on_hover_text("48 training and 12 validation drawings that come with seemore")
            .clicked()
        {
            (data.train, data.validation) = form::drawings();
            data.allow_overlap = false;
        }
        if ui
            .button("Emoji")
            .on_hover_text("Emoji by six artists for training, by a seventh for validation")
            .clicked()
        {
            (data.train, data.validation) = form::emoji();
            data.allow_overlap = true;
        }
    });
    pictures(ui, data, chosen);
    ui.separator();
    if let Some(preset) = choice(ui, "Preset", Some(form.config.model.preset), Preset::VALUES) {
        form.set_preset(preset);
    }
    let config = &mut form.config;
    let kind = &mut config.tokenizer.kind;
    *kind = choice(ui, "Tokenizer", Some(*kind), TokenKind::VALUES).unwrap_or(*kind);
    common(ui, config);
    let weight = DragValue::new(&mut config.loss.classes)
        .speed(0.01)
        .range(0.0..=100.0);
    number(ui, "Class loss", weight)
        .on_hover_text("Weight of an auxiliary classification loss; 0 disables it");
}

/// Draws the lists of training and validation pictures.
fn pictures(ui: &mut Ui, data: &mut DataConfig, chosen: &Chosen) {
    paths(ui, &mut data.train, "training", Field::Data, chosen);
    ui.strong("Validation pictures");
    if data.validation.is_empty() {
        ui.label(
            RichText::new("A tenth of the training pictures, which is left out of training.")
                .weak(),
        );
    }
    paths(
        ui,
        &mut data.validation,
        "validation",
        Field::Validation,
        chosen,
    );
    ui.checkbox(&mut data.allow_overlap, "Skip duplicates across sets")
        .on_hover_text(
            "Leave training pictures out that are also validation pictures. Otherwise duplicates \
             are an error.",
        );
}

/// Draws the settings that every training has.
fn common(ui: &mut Ui, config: &mut RunConfig) {
    let mut size = match config.batch.size {
        BatchSize::Pictures(size) => size,
        BatchSize::Auto => 0,
    };
    let field = DragValue::new(&mut size)
        .range(0..=4096)
        .custom_formatter(|size, _| match size {
            0.0 => "auto".into(),
            size => format!("{size:.0}"),
        });
    number(ui, "Batch size", field)
        .on_hover_text("Pictures per step; 0 finds the largest number that fits the device");
    config.batch.size = match size {
        0 => BatchSize::Auto,
        size => BatchSize::Pictures(size),
    };
    let rate = DragValue::new(&mut config.schedule.learning_rate)
        .speed(1e-5)
        .range(1e-6..=1.0)
        .min_decimals(1)
        .max_decimals(6);
    number(ui, "Learning rate", rate).on_hover_text("Peak learning rate, reached after warm-up");
    let current = strength(&config.augment);
    if let Some(strength) = choice(ui, "Augmentation", current, Strength::VALUES) {
        config.augment = Augment::from(strength);
    }
}

/// Draws the settings that few trainings change.
fn advanced(ui: &mut Ui, config: &mut RunConfig) {
    number(
        ui,
        "Gradient accumulation",
        DragValue::new(&mut config.batch.accumulate).range(1..=4096),
    )
    .on_hover_text("Parts that a batch is computed in, to save memory; must divide the batch size");
    ui.checkbox(
        &mut config.memory.checkpoint_activations,
        "Recompute activations",
    )
    .on_hover_text("Recompute each block in the backward pass: less memory, more time");
    let precision = &mut config.batch.precision;
    *precision = choice(ui, "Precision", Some(*precision), Precision::VALUES).unwrap_or(*precision);
    number(
        ui,
        "Warm-up",
        DragValue::new(&mut config.schedule.warmup).suffix(" steps"),
    )
    .on_hover_text("Steps until the learning rate reaches its peak");
    let schedule = &mut config.schedule.shape;
    *schedule = choice(ui, "Schedule", Some(*schedule), Schedule::VALUES).unwrap_or(*schedule);
    let decimals = |value| DragValue::new(value).speed(0.01).range(0.0..=1000.0);
    number(
        ui,
        "Gradient clipping",
        decimals(&mut config.optimizer.clip),
    )
    .on_hover_text("Maximum norm of the gradient; 0 disables clipping");
    number(
        ui,
        "Weight decay",
        decimals(&mut config.optimizer.weight_decay),
    )
    .on_hover_text("AdamW weight decay, per step and unit of learning rate");
    let smoothing = DragValue::new(&mut config.loss.label_smoothing)
        .speed(0.01)
        .range(0.0..=1.0);
    number(ui, "Label smoothing", smoothing)
        .on_hover_text("Probability mass spread over the whole vocabulary");
    let on_nan = &mut config.guard.on_nan;
    *on_nan = choice(ui, "Non-finite loss", Some(*on_nan), OnNan::VALUES).unwrap_or(*on_nan);
    let patience = config.validation.patience.get_or_insert(0);
    number(
        ui,
        "Patience",
        DragValue::new(patience).range(0..=1_000_000),
    )
    .on_hover_text("End after this many validations without improvement; 0 never does");
    config.validation.patience = Some(*patience).filter(|&patience| patience > 0);
    number(ui, "Seed", DragValue::new(&mut config.seed))
        .on_hover_text("The same seed gives the same training on the same adapter");
    number(
        ui,
        "Report every",
        DragValue::new(&mut config.log.every)
            .suffix(" steps")
            .range(1..=1_000_000),
    )
    .on_hover_text("Steps between points of the loss curve");
    text(
        ui,
        "Picture column",
        &mut config.data.image_column,
        "image, file_name, ..",
    )
    .on_hover_text("Column or field with the pictures; found by its usual names if empty");
    text(
        ui,
        "Caption column",
        &mut config.data.caption_column,
        "caption, text, ..",
    )
    .on_hover_text("Column or field with the captions; found by its usual names if empty");
    path(ui, "Picture folder", &mut config.data.images, "")
        .on_hover_text("Folder of the pictures that files name");
    let mut skip = !config.data.strict;
    ui.checkbox(&mut skip, "Skip unusable rows")
        .on_hover_text("Leave rows out that cannot be used. Otherwise they are an error.");
    config.data.strict = !skip;
}

/// Limit that ends a training.
#[derive(Clone, Copy, PartialEq)]
enum Limit {
    Steps,
    Epochs,
    Minutes,
    Default,
}

fn budget(ui: &mut Ui, config: &mut RunConfig, mode: Mode) {
    let tiny = config.model.preset == Preset::Tiny && mode == Mode::New;
    let budget = &mut config.budget;
    let current = match budget {
        Budget { steps: Some(_), .. } => Limit::Steps,
        Budget {
            epochs: Some(_), ..
        } => Limit::Epochs,
        Budget {
            seconds: Some(_), ..
        } => Limit::Minutes,
        _ => Limit::Default,
    };
    let mut limit = current;
    ui.strong("Train for");
    ui.horizontal(|ui| {
        for (value, name) in [
            (Limit::Steps, "Steps"),
            (Limit::Epochs, "Epochs"),
            (Limit::Minutes, "Minutes"),
            (Limit::Default, "Default"),
        ] {
            ui.selectable_value(&mut limit, value, name);
        }
    });
    if limit != current {
        *budget = Budget::default();
        match limit {
            Limit::Steps => budget.steps = Some(200),
            Limit::Epochs => budget.epochs = Some(20.0),
            Limit::Minutes => budget.seconds = Some(600.0),
            Limit::Default => {}
        }
    }
    match budget {
        Budget {
            steps: Some(steps), ..
        } => drop(number(
            ui,
            "Number of steps",
            DragValue::new(steps).range(1..=100_000_000),
        )),
        Budget {
            epochs: Some(epochs),
            ..
        } => drop(number(
            ui,
            "Number of epochs",
            DragValue::new(epochs).range(0.1..=100_000.0),
        )),
        Budget {
            seconds: Some(seconds),
            ..
        } => {
            let mut minutes = *seconds / 60.0;
            let field = DragValue::new(&mut minutes)
                .suffix(" min")
                .range(0.1..=100_000.0);
            if number(ui, "Time limit", field).changed() {
                *seconds = minutes * 60.0;
            }
        }
        _ => drop(ui.weak(match mode {
            Mode::New if tiny => "200 steps",
            Mode::New | Mode::Tune => "200 steps, at most 210 s",
            _ => "As long as that training",
        })),
    }
}

/// Returns the last folder and the file name of a path, which is the part that differs between
/// paths.
pub(super) fn short_path(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let folder = path.parent().and_then(|folder| folder.file_name());
    match folder {
        Some(folder) => format!("{}/{}", folder.to_string_lossy(), name.to_string_lossy()),
        None => name.to_string_lossy().into_owned(),
    }
}
