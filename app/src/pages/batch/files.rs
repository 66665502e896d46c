//! Import and export of captions. Nothing is overwritten without a confirmation.

mod export;

use std::path::PathBuf;

use egui::{ComboBox, Context, Id, Modal, ProgressBar, RichText, TextEdit, Ui};
use seemore::data::{Captioned, Existing, Format, Layout};

use super::{CAPTION_FILES, file_name};
use crate::background::Background;
use crate::file_dialog::FileDialog;
use crate::format::count;
use crate::gallery::{Entry, Gallery, Import};
use crate::progress::Counter;
use crate::theme::{self, Action, Icon};
use crate::toasts::Toasts;
use export::{Done, Export, Exported, Row};

/// Names of the formats that captions are saved in, with the extensions of their files; a format
/// without extension is a folder.
const FORMATS: [(Format, &str, &str); 9] = [
    (Format::Folder, "Text files beside the pictures", ""),
    (Format::Flickr, "CSV with file names", "csv"),
    (Format::Csv, "CSV with embedded pictures", "csv"),
    (Format::Jsonl, "JSON lines", "jsonl"),
    (Format::Coco, "COCO JSON", "json"),
    (Format::Llava, "LLaVA conversations", "json"),
    (Format::Metadata, "Hugging Face ImageFolder", "csv"),
    (Format::Parquet, "Parquet", "parquet"),
    (Format::Webdataset, "WebDataset", "tar"),
];

/// Captions to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Scope {
    #[default]
    All,
    Filtered,
    Selected,
}

const OVERWRITE: &str = "Overwrite";
const NEW_ONLY: &str = "Only new ones";
const CANCEL: &str = "Cancel";

/// The import and export fields.
#[derive(Default)]
pub struct Files {
    /// Index of the format to save in.
    format: usize,
    scope: Scope,
    /// Text of the path field.
    path: String,
    chosen: Background<PathBuf>,
    exported: Background<Result<Exported, String>>,
    /// Counts the pictures of the export in progress.
    saving: Option<Counter>,
    import: Background<PathBuf>,
    read: Background<Result<Read, String>>,
    question: Option<Question>,
    /// Result of the last import or export.
    message: Option<String>,
}

/// Contents of a file with captions.
struct Read {
    path: PathBuf,
    captioned: Vec<Captioned>,
    /// Number of unusable rows, and where the first one is.
    unusable: Option<(usize, String)>,
}

/// A question that is asked before something is overwritten.
enum Question {
    Export {
        export: Export,
        count: usize,
        first: PathBuf,
        new: usize,
    },
    Import {
        import: Import,
        file: String,
    },
}

/// Returns the entries in the command palette that save captions, one for each format.
pub fn actions() -> impl Iterator<Item = String> {
    let action = |(_, name, _): &(Format, &str, &str)| format!("Save captions: {name}");
    FORMATS.iter().map(action)
}

impl Files {
    /// Reads a file with captions.
    pub fn import(&self, ctx: &Context, gallery: &Gallery, path: PathBuf) {
        let layout = Layout {
            images: Some(gallery.folder().to_owned()),
            ..Layout::default()
        };
        self.read.run(ctx, move || {
            let read = Captioned::read(&path, &layout).map_err(|error| error.to_string());
            Some(read.map(|(captioned, problems)| {
                let unusable = problems
                    .first()
                    .map(|first| (problems.len(), first.place.clone()));
                Read {
                    path,
                    captioned,
                    unusable,
                }
            }))
        });
    }

    /// Takes the results of background threads.
    pub fn poll(&mut self, gallery: &mut Gallery, toasts: &mut Toasts) {
        while let Some(path) = self.chosen.poll() {
            self.path = path.display().to_string();
        }
        while let Some(read) = self.read.poll() {
            match read {
                Ok(read) => self.take(read, gallery, toasts),
                Err(message) => toasts.add(message),
            }
        }
        while let Some(exported) = self.exported.poll() {
            self.saving = None;
            match exported {
                Ok(Exported::Done(Done {
                    message,
                    files,
                    version,
                })) => {
                    gallery.set_files(files);
                    version
                        .into_iter()
                        .for_each(|version| gallery.mark_exported(version));
                    self.message = Some(message);
                }
                Ok(Exported::Exists {
                    export,
                    count,
                    first,
                    new,
                }) => {
                    self.question = Some(Question::Export {
                        export,
                        count,
                        first,
                        new,
                    })
                }
                Err(message) => toasts.add(format!("Captions were not saved: {message}")),
            }
        }
    }

    /// Imports captions, or asks first if that would replace others.
    fn take(&mut self, read: Read, gallery: &mut Gallery, toasts: &mut Toasts) {
        let file = file_name(&read.path);
        let import = gallery.import(read.captioned);
        if import.unknown > 0 {
            toasts.add(format!(
                "{file}: {} without a picture in this folder.",
                count(import.unknown, "caption")
            ));
        }
        if let Some((unusable, first)) = read.unusable {
            toasts.add(format!(
                "{file}: {} cannot be used, the first at {first}.",
                count(unusable, "row")
            ));
        }
        if import.conflicting.is_empty() {
            self.message = Some(imported(import.new.len(), &file));
            gallery.set(import.new, None);
        } else {
            self.question = Some(Question::Import { import, file });
        }
    }

    /// Lets the user choose a file with captions.
    pub fn choose_import(&self, ctx: &Context, gallery: &Gallery) {
        let dialog = FileDialog::new(ctx).set_directory(gallery.folder());
        self.import.run(ctx, move || {
            dialog
                .set_title("Import captions")
                .add_filter("Captions", &CAPTION_FILES)
                .pick_file()
        });
    }

    /// Takes one of the [`actions`].
    pub fn act(&mut self, name: &str, ctx: &Context, gallery: &Gallery, shown: &[usize]) {
        if let Some(format) = actions().position(|action| action == name)
            && self.saving.is_none()
        {
            self.format = format;
            self.path.clear();
            self.save(ctx, gallery, shown);
        }
    }

    /// Returns the file that captions are saved to if none is named.
    fn default_path(&self, gallery: &Gallery) -> PathBuf {
        let (format, _, extension) = FORMATS[self.format];
        // ImageFolder knows its file by this name
        let name = match format {
            Format::Metadata => "metadata",
            _ => "captions",
        };
        gallery.folder().join(name).with_extension(extension)
    }

    /// Saves the captions of the chosen entries.
    fn save(&mut self, ctx: &Context, gallery: &Gallery, shown: &[usize]) {
        let (format, ..) = FORMATS[self.format];
        let path = match self.path.trim() {
            path if path.is_empty() || format == Format::Folder => self.default_path(gallery),
            path => PathBuf::from(path),
        };
        let export = self.collect(gallery, shown, path, format);
        self.export(ctx, export, None);
    }

    /// Draws the fields. `shown` are the entries that match the filter.
    pub fn ui(&mut self, ui: &mut Ui, gallery: &Gallery, shown: &[usize]) {
        theme::title(ui, "Import");
        if ui
            .button("Import captions...")
            .on_hover_text("Read any format that training reads. Files can be dropped here too.")
            .clicked()
        {
            self.choose_import(ui.ctx(), gallery);
        }
        ui.add_space(8.0);
        theme::title(ui, "Export");
        ui.horizontal(|ui| {
            for (scope, name) in [
                (Scope::All, "All"),
                (Scope::Filtered, "Filtered"),
                (Scope::Selected, "Selected"),
            ] {
                ui.radio_value(&mut self.scope, scope, name);
            }
        });
        let label = ui.label("Save as");
        let list = ComboBox::from_id_salt("format")
            .selected_text(FORMATS[self.format].1)
            .width(ui.available_width() - 8.0)
            // all formats without a scroll bar
            .height(320.0)
            .show_ui(ui, |ui| {
                for (number, (_, name, _)) in FORMATS.iter().enumerate() {
                    ui.selectable_value(&mut self.format, number, *name);
                }
            });
        list.response.labelled_by(label.id);
        let (format, ..) = FORMATS[self.format];
        let folder = gallery.folder();
        let default = self.default_path(gallery);
        // the field keeps its place where there is no file to name
        ui.add_enabled_ui(format != Format::Folder, |ui| {
            ui.horizontal(|ui| {
                let label = ui.label("File");
                let field = TextEdit::singleline(&mut self.path)
                    .desired_width(160.0)
                    .hint_text(default.display().to_string());
                ui.add(field).labelled_by(label.id);
                if ui.button("Choose...").clicked() {
                    let dialog = FileDialog::new(ui.ctx()).set_directory(folder);
                    let name = file_name(&default);
                    self.chosen.run(ui.ctx(), move || {
                        dialog
                            .set_title("Save captions")
                            .set_file_name(&name)
                            .save_file()
                    });
                }
            });
        });
        let button = Action::new(Icon::Save, "Save captions").primary();
        if ui
            .add_enabled(self.saving.is_none(), button)
            .on_hover_text("Save the captions of these pictures that have one")
            .clicked()
        {
            self.save(ui.ctx(), gallery, shown);
        }
        if let Some(progress) = &self.saving {
            let (done, total) = progress.get().unwrap_or((0, 0));
            let share = done as f32 / total.max(1) as f32;
            ui.add(ProgressBar::new(share).text(format!("Saving {done} of {total}")));
            ui.ctx()
                .request_repaint_after(std::time::Duration::from_millis(100));
        } else if let Some(message) = &self.message {
            ui.label(RichText::new(message).weak());
        }
    }

    /// Returns the captions of the chosen entries.
    fn collect(&self, gallery: &Gallery, shown: &[usize], path: PathBuf, format: Format) -> Export {
        let entries = gallery.entries();
        let chosen: Vec<usize> = match self.scope {
            Scope::All => (0..entries.len()).collect(),
            Scope::Filtered => shown.to_vec(),
            Scope::Selected => (0..entries.len())
                .filter(|&entry| entries[entry].selected)
                .collect(),
        };
        let row = |&entry: &usize| {
            let Entry {
                path,
                caption,
                file,
                ..
            } = &entries[entry];
            let caption = caption.trim();
            (!caption.is_empty()).then(|| Row {
                entry,
                picture: path.clone(),
                caption: caption.to_owned(),
                file: file.clone(),
            })
        };
        let rows: Vec<Row> = chosen.iter().filter_map(row).collect();
        Export {
            path,
            format,
            without: chosen.len() - rows.len(),
            version: (chosen.len() == entries.len()).then(|| gallery.version()),
            rows,
            progress: Counter::default(),
        }
    }

    fn export(&mut self, ctx: &Context, export: Export, choice: Option<Existing>) {
        (self.saving, self.message) = (Some(export.progress.clone()), None);
        self.exported.run(ctx, move || Some(export.write(choice)));
    }

    /// Asks the question, if there is one, and acts on the answer.
    pub fn ask(&mut self, ui: &mut Ui, gallery: &mut Gallery) {
        while let Some(path) = self.import.poll() {
            self.import(ui.ctx(), gallery, path);
        }
        let Some(question) = &self.question else {
            return;
        };
        let mut answer = None;
        let modal = Modal::new(Id::unique("overwrite question")).show(ui.ctx(), |ui| {
            ui.set_max_width(380.0);
            ui.heading("Overwrite?");
            ui.label(question.text());
            ui.add_space(8.0);
            ui.horizontal(|ui| {
                for name in question.answers() {
                    if ui.button(*name).clicked() {
                        answer = Some(*name);
                    }
                }
            });
        });
        if modal.should_close() {
            answer = Some(CANCEL);
        }
        let Some(answer) = answer else { return };
        match (self.question.take(), answer) {
            (Some(Question::Export { export, .. }), OVERWRITE) => {
                self.export(ui.ctx(), export, Some(Existing::Replace))
            }
            (Some(Question::Export { export, .. }), NEW_ONLY) => {
                self.export(ui.ctx(), export, Some(Existing::Skip))
            }
            (Some(Question::Import { mut import, file }), OVERWRITE | NEW_ONLY) => {
                if answer == OVERWRITE {
                    import.new.append(&mut import.conflicting);
                }
                self.message = Some(imported(import.new.len(), &file));
                gallery.set(import.new, None);
            }
            _ => self.message = Some("Nothing was changed.".into()),
        }
    }
}

impl Question {
    fn text(&self) -> String {
        match self {
            Question::Export {
                count: 1,
                first,
                new: 0,
                ..
            } => format!("{} already exists.", first.display()),
            Question::Export {
                count: number,
                first,
                new,
                ..
            } => {
                let new = match new {
                    0 => String::new(),
                    new => format!(" {} beside them would be new.", count(*new, "text file")),
                };
                format!(
                    "Of the text files with other contents, {number} would be replaced, such as {}.{new}",
                    first.display()
                )
            }
            Question::Import { import, file } => format!(
                "{file} has different captions for {} that already have one, and captions for \
                 {} without one.",
                count(import.conflicting.len(), "picture"),
                count(import.new.len(), "picture")
            ),
        }
    }

    fn answers(&self) -> &'static [&'static str] {
        match self {
            Question::Export { new: 0, .. } => &[OVERWRITE, CANCEL],
            _ => &[OVERWRITE, NEW_ONLY, CANCEL],
        }
    }
}

fn imported(captions: usize, file: &str) -> String {
    format!("Imported {} from {file}.", count(captions, "caption"))
}
