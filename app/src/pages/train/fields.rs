//! The fields of a form on the screen.

use std::path::PathBuf;

use clap::ValueEnum;
use egui::{
    Align, Button, ComboBox, DragValue, Label, Layout, Response, RichText, Role, TextEdit,
    TextStyle, Ui, WidgetInfo, vec2,
};
use seemore::data::Strength;
use seemore::models::checkpoint;
use seemore::models::seemore::Preset;
use seemore::text::TokenKind;

use super::form::{self, Form, Kind, Until};
use crate::asked::Asked;

/// A field that a dialog fills.
pub enum Field {
    Data,
    ValData,
    Folder,
}

/// Draws the fields; dialogs that are opened answer to `dialog`.
pub fn show(ui: &mut Ui, form: &mut Form, dialog: &Asked<(Field, Vec<PathBuf>)>) {
    ui.horizontal(|ui| {
        for (kind, name, hover) in [
            (
                Kind::New,
                "New model",
                "A model from the start, on pictures of your choice",
            ),
            (
                Kind::Like,
                "Like another",
                "From the start, with the model, options and data of a training before",
            ),
            (Kind::Resume, "Go on", "Where another training has ended"),
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
    .on_hover_text(
        "Steps between two looks at the pictures to validate on; 0 for one at the end only",
    );
    number(
        ui,
        "Save every",
        DragValue::new(&mut form.save_every)
            .suffix(" steps")
            .range(0..=1_000_000),
    )
    .on_hover_text("Steps between two saves; 0 for one at the end only");
    if form.kind != Kind::Resume {
        text(ui, "Save into", &mut form.out, "runs/..")
            .on_hover_text("A folder; otherwise the first free one in runs. A checkpoint that is there is never written over");
    }
    text(ui, "More flags", &mut form.more, "--seed 7")
        .on_hover_text("Those of `train --help`, with spaces between them");
}

fn folder(ui: &mut Ui, form: &mut Form, dialog: &Asked<(Field, Vec<PathBuf>)>) {
    text(ui, "Folder", &mut form.folder, "runs/..")
        .on_hover_text("One that a training saved: it holds a folder states");
    if ui.button("Choose a folder...").clicked() {
        let title = "Choose the folder of a training";
        dialog.ask(ui.ctx(), move || {
            Some((
                Field::Folder,
                vec![rfd::FileDialog::new().set_title(title).pick_folder()?],
            ))
        });
    }
    if form.kind == Kind::Like
        && ui
            .button("The shipped model")
            .on_hover_text("Its recipe takes an hour and a half on two CPU cores")
            .clicked()
    {
        form.folder = checkpoint::shipped()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
    }
    ui.label(
        RichText::new("Model, tokenizer, options and data are those of that training.").weak(),
    );
}

fn new(ui: &mut Ui, form: &mut Form, dialog: &Asked<(Field, Vec<PathBuf>)>) {
    ui.strong("Pictures to train on");
    ui.horizontal_wrapped(|ui| {
        if ui
            .button("Drawings")
            .on_hover_text("48 drawings that come with seemore, and 12 others to validate on")
            .clicked()
        {
            (form.data, form.val_data) = form::shipped();
            form.allow_overlap = false;
        }
        if ui
            .button("Emoji")
            .on_hover_text("The emoji of five artists, and those of a sixth to validate on")
            .clicked()
        {
            (form.data, form.val_data) = form::emoji();
            form.allow_overlap = true;
        }
    });
    paths(ui, &mut form.data, "train on", || Field::Data, dialog);
    ui.strong("Pictures to validate on");
    if form.val_data.is_empty() {
        ui.label(
            RichText::new("A tenth of the pictures above, which are then not trained on.").weak(),
        );
    }
    paths(
        ui,
        &mut form.val_data,
        "validate on",
        || Field::ValData,
        dialog,
    );
    ui.checkbox(&mut form.allow_overlap, "Leave out what is in both")
        .on_hover_text(
            "Otherwise nothing is trained where pictures to train on are also there to validate on",
        );
    ui.separator();
    if let Some(preset) = choice::<Preset>(ui, "Preset", &form.preset) {
        form.choose(preset);
    }
    if let Some(tokenizer) = choice::<TokenKind>(ui, "Tokens", &form.tokenizer) {
        form.tokenizer = tokenizer;
    }
    number(
        ui,
        "Pictures in a step",
        DragValue::new(&mut form.batch_size).range(1..=4096),
    );
    let rate = DragValue::new(&mut form.learning_rate)
        .speed(1e-5)
        .range(1e-6..=1.0)
        .min_decimals(1)
        .max_decimals(6);
    number(ui, "Learning rate", rate)
        .on_hover_text("The highest; it rises to it, and then sinks to nothing");
    if let Some(augment) = choice::<Strength>(ui, "Change pictures", &form.augment) {
        form.augment = augment;
    }
    number(
        ui,
        "Class loss",
        DragValue::new(&mut form.class_loss)
            .speed(0.01)
            .range(0.0..=100.0),
    )
    .on_hover_text("Weight of a second loss, naming what the picture shows; 0 for none");
}

fn until(ui: &mut Ui, form: &mut Form) {
    ui.strong("Train for");
    ui.horizontal(|ui| {
        for (until, name) in [
            (Until::Steps, "steps"),
            (Until::Epochs, "epochs"),
            (Until::Minutes, "minutes"),
            (Until::Default, "default"),
        ] {
            ui.selectable_value(&mut form.until, until, name);
        }
    });
    match (form.until, form.kind) {
        (Until::Default, Kind::New) if form.preset == "tiny" => drop(ui.weak("200 steps")),
        (Until::Default, Kind::New) => drop(ui.weak("160 steps, or 210 s where that is less")),
        (Until::Default, _) => drop(ui.weak("as long as that training was to")),
        (Until::Steps, _) => drop(number(
            ui,
            "Steps",
            DragValue::new(&mut form.steps).range(1..=100_000_000),
        )),
        (Until::Epochs, _) => drop(number(
            ui,
            "Epochs",
            DragValue::new(&mut form.epochs).range(0.1..=100_000.0),
        )),
        (Until::Minutes, _) => drop(number(
            ui,
            "Minutes",
            DragValue::new(&mut form.minutes).range(0.1..=100_000.0),
        )),
    }
}

/// Files that can be taken out, and more of them put in.
fn paths(
    ui: &mut Ui,
    paths: &mut Vec<PathBuf>,
    what: &'static str,
    field: fn() -> Field,
    dialog: &Asked<(Field, Vec<PathBuf>)>,
) {
    let mut out = None;
    for (i, path) in paths.iter().enumerate() {
        let row = vec2(ui.available_width(), ui.spacing().interact_size.y);
        ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center), |ui| {
            let name = path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy();
            let button = ui.small_button("x").on_hover_text("Take it out");
            button.widget_info(|| {
                WidgetInfo::labeled(Role::Button, true, format!("Take out {name}"))
            });
            if button.clicked() {
                out = Some(i);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                // the end of a path tells more than its beginning
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
        let title = format!("Pictures with captions to {what}");
        let files = ui
            .add(button("Add files..."))
            .on_hover_text("CSV, JSON lines, COCO or Flickr8k captions");
        files.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, format!("Add files to {what}"))
        });
        if files.clicked() {
            let dialog_title = title.clone();
            dialog.ask(ui.ctx(), move || {
                let files = rfd::FileDialog::new()
                    .set_title(dialog_title)
                    .add_filter("Pictures with captions", &["csv", "jsonl", "json", "txt"]);
                Some((field(), files.pick_files()?))
            });
        }
        let folder = ui
            .add(button("Add a folder..."))
            .on_hover_text("Pictures with a .txt file beside each");
        folder.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, format!("Add a folder to {what}"))
        });
        if folder.clicked() {
            dialog.ask(ui.ctx(), move || {
                Some((
                    field(),
                    vec![rfd::FileDialog::new().set_title(title).pick_folder()?],
                ))
            });
        }
    });
}

/// A choice between the values of an option; returns another than the present one.
fn choice<T: ValueEnum>(ui: &mut Ui, label: &str, present: &str) -> Option<String> {
    let mut chosen = None;
    row(ui, label, |ui, label| {
        let list = ComboBox::from_id_salt(label)
            .selected_text(present)
            .width(130.0)
            .show_ui(ui, |ui| {
                for value in T::value_variants().iter().filter_map(T::to_possible_value) {
                    let help = value
                        .get_help()
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    let row = ui.selectable_label(value.get_name() == present, value.get_name());
                    if row.on_hover_text(help).clicked() {
                        chosen = Some(value.get_name().to_owned());
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
        // as it stands on the command line
        ui.add(
            TextEdit::singleline(text)
                .hint_text(hint)
                .font(TextStyle::Monospace)
                .desired_width(150.0),
        )
    })
}

/// A label at the left and its field in a column of its own.
fn row(ui: &mut Ui, label: &str, field: impl FnOnce(&mut Ui, &str) -> Response) -> Response {
    const LABEL: f32 = 116.0;
    let row = ui.horizontal(|ui| {
        let named = ui.label(label);
        ui.add_space((LABEL - named.rect.width()).max(0.0));
        field(ui, label).labelled_by(named.id)
    });
    row.inner
}
