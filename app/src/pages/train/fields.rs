//! Fields for the options of a training.

use std::path::PathBuf;

use egui::{
    Align, Button, ComboBox, DragValue, Label, Layout, Response, RichText, Role, TextEdit,
    TextStyle, Ui, WidgetInfo, vec2,
};
use seemore::cli::values::Named;
use seemore::image::Strength;
use seemore::models::checkpoint;
use seemore::models::seemore::Preset;
use seemore::text::TokenKind;

use super::form::{self, Form, Kind, Until};
use crate::background::Background;

/// A field that a file dialog fills.
pub enum Field {
    /// Training pictures.
    Data,
    /// Validation pictures.
    ValData,
    /// Folder of another training.
    Folder,
}

/// Draws the fields. File dialogs send their results to `dialog`.
pub fn show(ui: &mut Ui, form: &mut Form, dialog: &Background<(Field, Vec<PathBuf>)>) {
    ui.horizontal(|ui| {
        for (kind, name, hover) in [
            (Kind::New, "New model", "Train a new model"),
            (
                Kind::Like,
                "Copy settings",
                "Train a new model with the options and data of another training",
            ),
            (Kind::Resume, "Resume", "Continue another training"),
        ] {
            ui.selectable_value(&mut form.kind, kind, name)
                .on_hover_text(hover);
        }
    });
    ui.separator();
    match form.kind {
        Kind::New => new(ui, form, dialog),
        Kind::Like | Kind::Resume => folder(ui, form, dialog),
    }
    ui.separator();
    until(ui, form);
    number(
        ui,
        "Validate every",
        DragValue::new(&mut form.eval_every)
            .suffix(" steps")
            .range(0..=1_000_000),
    )
    .on_hover_text("Steps between validations; 0 validates only at the end");
    number(
        ui,
        "Save every",
        DragValue::new(&mut form.save_every)
            .suffix(" steps")
            .range(0..=1_000_000),
    )
    .on_hover_text("Steps between saves; 0 saves only at the end");
    if form.kind != Kind::Resume {
        text(ui, "Output", &mut form.out, "runs/..")
            .on_hover_text("Folder to save to; if empty, a new one in runs. An existing checkpoint is never overwritten");
    }
    text(ui, "More flags", &mut form.more, "--seed 7")
        .on_hover_text("Further flags of the train command, separated by spaces");
}

fn folder(ui: &mut Ui, form: &mut Form, dialog: &Background<(Field, Vec<PathBuf>)>) {
    text(ui, "Folder", &mut form.folder, "runs/..")
        .on_hover_text("Output folder of the other training");
    if ui.button("Choose folder...").clicked() {
        let title = "Choose the folder of a training";
        dialog.run(ui.ctx(), move || {
            Some((
                Field::Folder,
                vec![rfd::FileDialog::new().set_title(title).pick_folder()?],
            ))
        });
    }
    if form.kind == Kind::Like
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
    ui.label(RichText::new("Uses the model, tokenizer, options and data of that training.").weak());
}

fn new(ui: &mut Ui, form: &mut Form, dialog: &Background<(Field, Vec<PathBuf>)>) {
    ui.strong("Training pictures");
    ui.horizontal_wrapped(|ui| {
        if ui
            .button("Drawings")
            .on_hover_text("48 training and 12 validation drawings that come with seemore")
            .clicked()
        {
            (form.data, form.val_data) = form::shipped();
            form.allow_overlap = false;
        }
        if ui
            .button("Emoji")
            .on_hover_text("Emoji by five artists for training, by a sixth for validation")
            .clicked()
        {
            (form.data, form.val_data) = form::emoji();
            form.allow_overlap = true;
        }
    });
    paths(ui, &mut form.data, "training", || Field::Data, dialog);
    ui.strong("Validation pictures");
    if form.val_data.is_empty() {
        ui.label(
            RichText::new("A tenth of the training pictures, which is left out of training.")
                .weak(),
        );
    }
    paths(
        ui,
        &mut form.val_data,
        "validation",
        || Field::ValData,
        dialog,
    );
    ui.checkbox(&mut form.allow_overlap, "Skip duplicates across sets")
        .on_hover_text(
            "Leave training pictures out that are also validation pictures. Otherwise duplicates are an error",
        );
    ui.separator();
    if let Some(preset) = choice::<Preset>(ui, "Preset", &form.preset) {
        form.choose(preset);
    }
    if let Some(tokenizer) = choice::<TokenKind>(ui, "Tokenizer", &form.tokenizer) {
        form.tokenizer = tokenizer;
    }
    number(
        ui,
        "Batch size",
        DragValue::new(&mut form.batch_size).range(1..=4096),
    );
    let rate = DragValue::new(&mut form.learning_rate)
        .speed(1e-5)
        .range(1e-6..=1.0)
        .min_decimals(1)
        .max_decimals(6);
    number(ui, "Learning rate", rate).on_hover_text("Peak learning rate, reached after warm-up");
    if let Some(augment) = choice::<Strength>(ui, "Augmentation", &form.augment) {
        form.augment = augment;
    }
    number(
        ui,
        "Class loss",
        DragValue::new(&mut form.class_loss)
            .speed(0.01)
            .range(0.0..=100.0),
    )
    .on_hover_text("Weight of an auxiliary classification loss; 0 disables it");
}

fn until(ui: &mut Ui, form: &mut Form) {
    ui.strong("Train for");
    ui.horizontal(|ui| {
        for (until, name) in [
            (Until::Steps, "Steps"),
            (Until::Epochs, "Epochs"),
            (Until::Minutes, "Minutes"),
            (Until::Default, "Default"),
        ] {
            ui.selectable_value(&mut form.until, until, name);
        }
    });
    match (form.until, form.kind) {
        (Until::Default, Kind::New) if form.preset == "tiny" => drop(ui.weak("200 steps")),
        (Until::Default, Kind::New) => drop(ui.weak("160 steps, at most 210 s")),
        (Until::Default, _) => drop(ui.weak("Like that training")),
        (Until::Steps, _) => drop(number(
            ui,
            "Number of steps",
            DragValue::new(&mut form.steps).range(1..=100_000_000),
        )),
        (Until::Epochs, _) => drop(number(
            ui,
            "Number of epochs",
            DragValue::new(&mut form.epochs).range(0.1..=100_000.0),
        )),
        (Until::Minutes, _) => drop(number(
            ui,
            "Time limit",
            DragValue::new(&mut form.minutes).range(0.1..=100_000.0),
        )),
    }
}

/// Draws a list of files with buttons to remove and add some.
fn paths(
    ui: &mut Ui,
    paths: &mut Vec<PathBuf>,
    what: &'static str,
    field: fn() -> Field,
    dialog: &Background<(Field, Vec<PathBuf>)>,
) {
    let mut out = None;
    for (i, path) in paths.iter().enumerate() {
        let row = vec2(ui.available_width(), ui.spacing().interact_size.y);
        ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center), |ui| {
            let name = path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy();
            let button = ui.small_button("x").on_hover_text("Remove");
            button
                .widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Remove {name}")));
            if button.clicked() {
                out = Some(i);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                // the end of a path is the part that differs
                let folder = path
                    .parent()
                    .and_then(|folder| folder.file_name())
                    .unwrap_or_default()
                    .to_string_lossy();
                let shown = if folder.is_empty() {
                    name.to_string()
                } else {
                    format!("{folder}/{name}")
                };
                ui.add(Label::new(shown).truncate())
                    .on_hover_text(path.display().to_string());
            });
        });
    }
    if let Some(i) = out {
        paths.remove(i);
    }
    ui.horizontal(|ui| {
        let button = |text: &str| Button::new(text).small();
        let title = format!("Captioned pictures for {what}");
        let files = ui
            .add(button("Add files..."))
            .on_hover_text("Add CSV, JSON lines, COCO JSON or Flickr8k files");
        files.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Add {what} files")));
        if files.clicked() {
            let dialog_title = title.clone();
            dialog.run(ui.ctx(), move || {
                let files = rfd::FileDialog::new()
                    .set_title(dialog_title)
                    .add_filter("Captioned pictures", &["csv", "jsonl", "json", "txt"]);
                Some((field(), files.pick_files()?))
            });
        }
        let folder = ui
            .add(button("Add folder..."))
            .on_hover_text("Add a folder of pictures with a .txt file beside each");
        folder.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, format!("Add a {what} folder"))
        });
        if folder.clicked() {
            dialog.run(ui.ctx(), move || {
                Some((
                    field(),
                    vec![rfd::FileDialog::new().set_title(title).pick_folder()?],
                ))
            });
        }
    });
}

/// Draws a list of the values of an option. Returns the chosen value if it differs from `present`.
fn choice<T: Named>(ui: &mut Ui, label: &str, present: &str) -> Option<String> {
    let mut chosen = None;
    row(ui, label, |ui, label| {
        let list = ComboBox::from_id_salt(label)
            .selected_text(present)
            .width(130.0)
            .show_ui(ui, |ui| {
                for (_, name, help) in T::VALUES {
                    let row = ui.selectable_label(*name == present, *name);
                    if row.on_hover_text(*help).clicked() {
                        chosen = Some((*name).to_owned());
                    }
                }
            });
        list.response
    });
    chosen.filter(|chosen| chosen != present)
}

fn number(ui: &mut Ui, label: &str, value: DragValue) -> Response {
    row(ui, label, |ui, _| ui.add(value))
}

fn text(ui: &mut Ui, label: &str, text: &mut String, hint: &str) -> Response {
    row(ui, label, |ui, _| {
        ui.add(
            TextEdit::singleline(text)
                .hint_text(hint)
                .font(TextStyle::Monospace)
                .desired_width(150.0),
        )
    })
}

/// Draws a label and its field, aligned with those of the other rows.
fn row(ui: &mut Ui, label: &str, field: impl FnOnce(&mut Ui, &str) -> Response) -> Response {
    const LABEL: f32 = 116.0;
    let row = ui.horizontal(|ui| {
        let named = ui.label(label);
        ui.add_space((LABEL - named.rect.width()).max(0.0));
        field(ui, label).labelled_by(named.id)
    });
    row.inner
}
