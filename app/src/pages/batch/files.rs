//! Import and export of captions. Nothing is overwritten without a confirmation.

mod export;

use std::path::PathBuf;

use egui::{Button, CollapsingHeader, ComboBox, Context, Id, Modal, RichText, TextEdit, Ui};
use seemore::data::{Captioned, Format, Layout};

use super::{CAPTION_FILES, file_name};
use crate::background::Background;
use crate::format::count;
use crate::gallery::{Gallery, Import};
use crate::toasts::Toasts;
use export::{Export, Exported};

/// Formats to save in, with the extensions of their files.
const FORMATS: [(Format, &str, &str); 5] = [
    (Format::Folder, "Text files beside the pictures", ""),
    (Format::Flickr, "CSV with file names", "csv"),
    (Format::Csv, "CSV with embedded pictures", "csv"),
    (Format::Jsonl, "JSON lines", "jsonl"),
    (Format::Coco, "COCO JSON", "json"),
];

const OVERWRITE: &str = "Overwrite";
const NEW_ONLY: &str = "Only new ones";
const CANCEL: &str = "Cancel";

/// The import and export fields.
#[derive(Default)]
pub struct Files {
    /// Index of the format to save in.
    format: usize,
    /// Text of the path field.
    path: String,
    chosen: Background<PathBuf>,
    exported: Background<Result<Exported, String>>,
    saving: bool,
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
    },
    Import {
        import: Import,
        file: String,
    },
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
            self.saving = false;
            match exported {
                Ok(Exported::Done(message)) => self.message = Some(message),
                Ok(Exported::Exists {
                    export,
                    count,
                    first,
                }) => {
                    self.question = Some(Question::Export {
                        export,
                        count,
                        first,
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

    /// Draws the fields and the question, if there is one.
    pub fn ui(&mut self, ui: &mut Ui, gallery: &mut Gallery) {
        ui.separator();
        CollapsingHeader::new(RichText::new("Files").heading())
            .default_open(true)
            .show(ui, |ui| self.fields(ui, gallery));
        while let Some(path) = self.import.poll() {
            self.import(ui.ctx(), gallery, path);
        }
        self.ask(ui, gallery);
    }

    fn fields(&mut self, ui: &mut Ui, gallery: &Gallery) {
        if ui
            .button("Import captions...")
            .on_hover_text(
                "Read CSV, JSON lines, COCO JSON or captions.txt. Files can be dropped here too.",
            )
            .clicked()
        {
            let folder = gallery.folder().to_owned();
            self.import.run(ui.ctx(), move || {
                rfd::FileDialog::new()
                    .set_title("Import captions")
                    .set_directory(folder)
                    .add_filter("Captions", &CAPTION_FILES)
                    .pick_file()
            });
        }
        ui.add_space(4.0);
        let label = ui.label("Save as");
        let list = ComboBox::from_id_salt("format")
            .selected_text(FORMATS[self.format].1)
            .width(ui.available_width() - 8.0)
            .show_ui(ui, |ui| {
                for (number, (_, name, _)) in FORMATS.iter().enumerate() {
                    ui.selectable_value(&mut self.format, number, *name);
                }
            });
        list.response.labelled_by(label.id);
        let (format, _, extension) = FORMATS[self.format];
        let folder = gallery.folder();
        let default = folder.join("captions").with_extension(extension);
        if format != Format::Folder {
            ui.horizontal(|ui| {
                let label = ui.label("File");
                let field = TextEdit::singleline(&mut self.path)
                    .desired_width(160.0)
                    .hint_text(default.display().to_string());
                ui.add(field).labelled_by(label.id);
                if ui.button("Choose...").clicked() {
                    let folder = folder.to_owned();
                    self.chosen.run(ui.ctx(), move || {
                        rfd::FileDialog::new()
                            .set_title("Save captions")
                            .set_directory(folder)
                            .set_file_name(format!("captions.{extension}"))
                            .save_file()
                    });
                }
            });
        }
        ui.horizontal(|ui| {
            if ui
                .add_enabled(!self.saving, Button::new("Save captions"))
                .on_hover_text("Save the captions of all pictures that have one")
                .clicked()
            {
                let path = if self.path.trim().is_empty() || format == Format::Folder {
                    default
                } else {
                    PathBuf::from(self.path.trim())
                };
                let captioned = gallery.captioned();
                let without = gallery.entries().len() - captioned.len();
                let export = Export {
                    path,
                    format,
                    captioned,
                    without,
                };
                self.export(ui.ctx(), export, false);
            }
            if self.saving {
                ui.spinner();
            }
        });
        if let Some(message) = &self.message {
            ui.label(RichText::new(message).weak());
        }
    }

    fn export(&mut self, ctx: &Context, export: Export, overwrite: bool) {
        (self.saving, self.message) = (true, None);
        self.exported
            .run(ctx, move || Some(export.write(overwrite)));
    }

    /// Asks the question and acts on the answer.
    fn ask(&mut self, ui: &mut Ui, gallery: &mut Gallery) {
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
                self.export(ui.ctx(), export, true)
            }
            (Some(Question::Export { export, .. }), NEW_ONLY) => {
                self.export(ui.ctx(), export.only_new(), true)
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
                count: 1, first, ..
            } => format!("{} already exists.", first.display()),
            Question::Export { count, first, .. } => format!(
                "{count} text files with other contents already exist, such as {}.",
                first.display()
            ),
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
            Question::Export { count: 1, .. } => &[OVERWRITE, CANCEL],
            _ => &[OVERWRITE, NEW_ONLY, CANCEL],
        }
    }
}

fn imported(captions: usize, file: &str) -> String {
    format!("Imported {} from {file}.", count(captions, "caption"))
}
