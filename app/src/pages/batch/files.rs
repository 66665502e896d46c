//! Captions that come from files, and go into files; nothing is written over, in files or in the list, before somebody says so.

use std::path::{Path, PathBuf};

use egui::{Button, CollapsingHeader, ComboBox, Context, Id, Modal, RichText, TextEdit, Ui};
use seemore::data::{Captioned, Format, Layout};

use crate::asked::Asked;
use crate::gallery::{Gallery, Import};
use crate::toasts::Toasts;

/// The forms to save in, with the endings of their files.
const FORMS: [(Format, &str, &str); 5] = [
    (Format::Folder, "Text files beside the pictures", ""),
    (Format::Flickr, "CSV with the pictures' names", "csv"),
    (Format::Csv, "CSV with the pictures inside", "csv"),
    (Format::Jsonl, "JSON lines", "jsonl"),
    (Format::Coco, "COCO JSON", "json"),
];

#[derive(Default)]
pub struct Files {
    form: usize,
    /// Where to save, as it is typed.
    path: String,
    chosen: Asked<PathBuf>,
    saved: Asked<Result<Saved, String>>,
    saving: bool,
    import: Asked<PathBuf>,
    read: Asked<Result<Read, String>>,
    question: Option<Question>,
    /// What came of the last file.
    told: Option<String>,
}

/// What became of a file to be written.
enum Saved {
    Done(String),
    /// So many files are there already, with something else in them; one is named.
    There {
        order: Save,
        count: usize,
        first: PathBuf,
    },
}

/// Captions that are to be written.
struct Save {
    path: PathBuf,
    format: Format,
    captioned: Vec<Captioned>,
    /// How many pictures have no caption.
    without: usize,
}

/// What a file holds.
struct Read {
    path: PathBuf,
    captioned: Vec<Captioned>,
    /// How many of its rows cannot be used, and what is wrong with the first.
    problems: Option<(usize, String)>,
}

/// Before something is written over.
enum Question {
    Save {
        order: Save,
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
        self.read.ask(ctx, move || {
            let read = Captioned::read(&path, &layout).map_err(|error| error.to_string());
            Some(read.map(|(captioned, problems)| {
                let problems = problems
                    .first()
                    .map(|first| (problems.len(), first.place.clone()));
                Read {
                    path,
                    captioned,
                    problems,
                }
            }))
        });
    }

    /// Takes in what the files' threads have to say.
    pub fn receive(&mut self, gallery: &mut Gallery, toasts: &mut Toasts) {
        while let Some(path) = self.chosen.answer() {
            self.path = path.display().to_string();
        }
        while let Some(read) = self.read.answer() {
            match read {
                Ok(read) => self.take(read, gallery, toasts),
                Err(message) => toasts.add(message),
            }
        }
        while let Some(saved) = self.saved.answer() {
            self.saving = false;
            match saved {
                Ok(Saved::Done(told)) => self.told = Some(told),
                Ok(Saved::There {
                    order,
                    count,
                    first,
                }) => {
                    self.question = Some(Question::Save {
                        order,
                        count,
                        first,
                    })
                }
                Err(message) => toasts.add(format!("The captions are not saved: {message}")),
            }
        }
    }

    fn take(&mut self, read: Read, gallery: &mut Gallery, toasts: &mut Toasts) {
        let file = name(&read.path);
        let import = gallery.import(read.captioned);
        let mut strangers = import.unknown;
        if let Some((count, first)) = read.problems {
            strangers += count;
            toasts.add(format!(
                "{strangers} captions of {file} belong to no picture of this folder, or cannot be used; the first is {first}."
            ));
        } else if strangers > 0 {
            toasts.add(format!(
                "{strangers} captions of {file} belong to no picture of this folder."
            ));
        }
        if import.other.is_empty() {
            self.told = Some(told(import.new.len(), &file));
            gallery.set(import.new, None);
        } else {
            self.question = Some(Question::Import { import, file });
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, gallery: &mut Gallery) {
        ui.separator();
        CollapsingHeader::new(RichText::new("Files").heading())
            .default_open(true)
            .show(ui, |ui| self.fields(ui, gallery));
        while let Some(path) = self.import.answer() {
            self.import(ui.ctx(), gallery, path);
        }
        self.ask(ui, gallery);
    }

    fn fields(&mut self, ui: &mut Ui, gallery: &Gallery) {
        if ui
            .button("Import captions...")
            .on_hover_text("From CSV, JSON lines, COCO JSON or captions.txt; or drop the file here")
            .clicked()
        {
            let folder = gallery.folder().to_owned();
            self.import.ask(ui.ctx(), move || {
                let dialog = rfd::FileDialog::new()
                    .set_title("Choose a file with captions")
                    .set_directory(folder);
                dialog
                    .add_filter("Captions", &["csv", "jsonl", "ndjson", "json", "txt"])
                    .pick_file()
            });
        }
        ui.add_space(4.0);
        let label = ui.label("Save as");
        let list = ComboBox::from_id_salt("form")
            .selected_text(FORMS[self.form].1)
            .width(ui.available_width() - 8.0)
            .show_ui(ui, |ui| {
                for (number, (_, name, _)) in FORMS.iter().enumerate() {
                    ui.selectable_value(&mut self.form, number, *name);
                }
            });
        list.response.labelled_by(label.id);
        let (format, _, ending) = FORMS[self.form];
        let folder = gallery.folder();
        let usual = folder.join("captions").with_extension(ending);
        if format != Format::Folder {
            ui.horizontal(|ui| {
                let label = ui.label("into");
                let field = TextEdit::singleline(&mut self.path)
                    .desired_width(160.0)
                    .hint_text(usual.display().to_string());
                ui.add(field).labelled_by(label.id);
                if ui.button("File...").clicked() {
                    let folder = folder.to_owned();
                    self.chosen.ask(ui.ctx(), move || {
                        let dialog = rfd::FileDialog::new()
                            .set_title("Save the captions")
                            .set_directory(folder);
                        dialog
                            .set_file_name(format!("captions.{ending}"))
                            .save_file()
                    });
                }
            });
        }
        ui.horizontal(|ui| {
            if ui
                .add_enabled(!self.saving, Button::new("Save captions"))
                .on_hover_text("Of pictures that have one")
                .clicked()
            {
                let path = if self.path.trim().is_empty() || format == Format::Folder {
                    usual
                } else {
                    PathBuf::from(self.path.trim())
                };
                let captioned = gallery.captioned();
                let without = gallery.entries().len() - captioned.len();
                self.save(
                    ui.ctx(),
                    Save {
                        path,
                        format,
                        captioned,
                        without,
                    },
                    false,
                );
            }
            if self.saving {
                ui.spinner();
            }
        });
        if let Some(told) = &self.told {
            ui.label(RichText::new(told).weak());
        }
    }

    fn save(&mut self, ctx: &Context, order: Save, replace: bool) {
        (self.saving, self.told) = (true, None);
        self.saved.ask(ctx, move || Some(save(order, replace)));
    }

    /// Asks what must be answered before something is written over.
    fn ask(&mut self, ui: &mut Ui, gallery: &mut Gallery) {
        let Some(question) = &self.question else {
            return;
        };
        let (title, text, answers): (&str, String, &[&str]) = match question {
            Question::Save {
                count: 1, first, ..
            } => (
                "Replace it?",
                format!("{} is there already.", first.display()),
                &["Replace", "Cancel"],
            ),
            Question::Save { count, first, .. } => (
                "Replace them?",
                format!(
                    "{count} text files are there already with something else in them, {} for one.",
                    first.display()
                ),
                &["Replace", "Only new ones", "Cancel"],
            ),
            Question::Import { import, file } => (
                "Replace captions?",
                format!(
                    "{file} has captions of {} pictures without one, and other captions of {} pictures that have one.",
                    import.new.len(),
                    import.other.len()
                ),
                &["Replace", "Only new ones", "Cancel"],
            ),
        };
        let mut answer = None;
        let modal =
            Modal::new(Id::unique("before something is written over")).show(ui.ctx(), |ui| {
                ui.set_max_width(380.0);
                ui.heading(title);
                ui.label(text);
                ui.add_space(8.0);
                ui.horizontal(|ui| {
                    for name in answers {
                        if ui.button(*name).clicked() {
                            answer = Some(*name);
                        }
                    }
                });
            });
        if modal.should_close() {
            answer = Some("Cancel");
        }
        let Some(answer) = answer else { return };
        match (self.question.take(), answer) {
            (Some(Question::Save { order, .. }), "Replace") => self.save(ui.ctx(), order, true),
            (Some(Question::Save { mut order, .. }), "Only new ones") => {
                order
                    .captioned
                    .retain(|captioned| !Captioned::sidecar(&captioned.picture).exists());
                self.save(ui.ctx(), order, true);
            }
            (Some(Question::Import { mut import, file }), "Replace" | "Only new ones") => {
                if answer == "Replace" {
                    import.new.append(&mut import.other);
                }
                self.told = Some(told(import.new.len(), &file));
                gallery.set(import.new, None);
            }
            _ => self.told = Some("Nothing was changed.".into()),
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn told(count: usize, file: &str) -> String {
    format!("{count} captions came from {file}.")
}

/// Writes captions, unless files are there and `replace` is not said.
fn save(order: Save, replace: bool) -> Result<Saved, String> {
    let Save {
        path,
        format,
        captioned,
        without,
    } = &order;
    let there: Vec<PathBuf> = match format {
        _ if replace => vec![],
        Format::Folder => captioned.iter().filter_map(differs).collect(),
        _ => Some(path)
            .filter(|path| path.exists())
            .cloned()
            .into_iter()
            .collect(),
    };
    if let Some(first) = there.first().cloned() {
        return Ok(Saved::There {
            order,
            count: there.len(),
            first,
        });
    }
    Captioned::write(path, *format, captioned).map_err(|error| error.to_string())?;
    let place = if *format == Format::Folder {
        "text files".into()
    } else {
        path.display().to_string()
    };
    let rest = if *without == 0 {
        String::new()
    } else {
        format!("; {without} pictures have none")
    };
    Ok(Saved::Done(format!(
        "{} captions are in {place}{rest}.",
        captioned.len()
    )))
}

/// The text file beside a picture, if it is there and holds something else.
fn differs(captioned: &Captioned) -> Option<PathBuf> {
    let path = Captioned::sidecar(&captioned.picture);
    let same = || std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == captioned.caption);
    (path.exists() && !same()).then_some(path)
}
