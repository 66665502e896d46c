//! Rows of a form: a label and its field.

use std::path::PathBuf;

use egui::{
    Align, ComboBox, DragValue, Label, Layout, Response, Role, TextEdit, TextStyle, Ui, WidgetInfo,
    vec2,
};

use super::choices::Choices;
use super::fields::{Chosen, short_path};
use crate::file_dialog::FileDialog;
use crate::theme::{Action, Icon};

/// A field that a file dialog fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Training pictures.
    Data,
    /// Validation pictures.
    Validation,
    /// Folder of another training.
    Folder,
    /// Pretrained model.
    Model,
}

/// Draws a list of files with buttons to remove and add some.
pub fn paths(
    ui: &mut Ui,
    paths: &mut Vec<PathBuf>,
    what: &'static str,
    field: Field,
    chosen: &Chosen,
) {
    let mut removed = None;
    for (i, path) in paths.iter().enumerate() {
        let row = vec2(ui.available_width(), ui.spacing().interact_size.y);
        ui.allocate_ui_with_layout(row, Layout::right_to_left(Align::Center), |ui| {
            let name = path.file_name().unwrap_or(path.as_os_str());
            let label = format!("Remove {}", name.to_string_lossy());
            let button = Action::new(Icon::X, &label).icon_only();
            if ui.add(button).clicked() {
                removed = Some(i);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.add(Label::new(short_path(path)).truncate())
                    .on_hover_text(path.display().to_string());
            });
        });
    }
    if let Some(i) = removed {
        paths.remove(i);
    }
    ui.horizontal(|ui| {
        let title = format!("Captioned pictures for {what}");
        let button = |ui: &mut Ui, text: &str, label: String, hover: &str| {
            let button = ui.button(text).on_hover_text(hover);
            button.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
            button.clicked()
        };
        if button(
            ui,
            "Add files...",
            format!("Add {what} files"),
            "Add CSV, JSON lines, COCO JSON or Flickr8k files",
        ) {
            let dialog = FileDialog::new(ui.ctx()).set_title(&title);
            chosen.run(ui.ctx(), move || {
                let files = dialog
                    .add_filter("Captioned pictures", &["csv", "jsonl", "json", "txt"])
                    .pick_files()?;
                Some((field, files))
            });
        }
        if button(
            ui,
            "Add folder...",
            format!("Add a {what} folder"),
            "Add a folder of pictures with a .txt file beside each",
        ) {
            let dialog = FileDialog::new(ui.ctx()).set_title(&title);
            chosen.run(ui.ctx(), move || {
                let folder = dialog.pick_folder()?;
                Some((field, vec![folder]))
            });
        }
    });
}

/// Draws a list of values. Returns the chosen value if it differs from `current`; `None` there
/// stands for a custom value.
pub fn choice<T: Copy + PartialEq>(
    ui: &mut Ui,
    label: &str,
    current: Option<T>,
    choices: Choices<T>,
) -> Option<T> {
    let mut chosen = None;
    let name = choices
        .iter()
        .find(|(value, ..)| Some(*value) == current)
        .map_or("custom", |(_, name, _)| name);
    row(ui, label, |ui| {
        let list = ComboBox::from_id_salt(label)
            .selected_text(name)
            .width(130.0)
            .show_ui(ui, |ui| {
                for (value, name, help) in choices {
                    let row = ui.selectable_label(Some(*value) == current, *name);
                    if row.on_hover_text(*help).clicked() {
                        chosen = Some(*value);
                    }
                }
            });
        list.response
    });
    chosen.filter(|chosen| Some(*chosen) != current)
}

/// Draws a field for a number.
pub fn number(ui: &mut Ui, label: &str, value: DragValue) -> Response {
    row(ui, label, |ui| ui.add(value))
}

/// Draws a field for text.
pub fn text(ui: &mut Ui, label: &str, text: &mut String, hint: &str) -> Response {
    row(ui, label, |ui| {
        ui.add(
            TextEdit::singleline(text)
                .hint_text(hint)
                .font(TextStyle::Monospace)
                .desired_width(150.0),
        )
    })
}

/// Draws a field for a path; empty stands for `None`.
pub fn path(ui: &mut Ui, label: &str, path: &mut Option<PathBuf>, hint: &str) -> Response {
    let mut entered = path
        .as_ref()
        .map_or(String::new(), |path| path.display().to_string());
    let response = text(ui, label, &mut entered, hint);
    if response.changed() {
        *path = Some(entered)
            .filter(|entered| !entered.trim().is_empty())
            .map(PathBuf::from);
    }
    response
}

/// Draws a label and its field, aligned with those of the other rows.
pub(super) fn row(ui: &mut Ui, label: &str, field: impl FnOnce(&mut Ui) -> Response) -> Response {
    /// Width of the column of labels, in points.
    const LABEL: f32 = 128.0;
    let row = ui.horizontal(|ui| {
        let label = ui.label(label);
        ui.add_space((LABEL - label.rect.width()).max(0.0));
        field(ui).labelled_by(label.id)
    });
    row.inner
}
