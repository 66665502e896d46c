//! The Batch page: the pictures of a folder with editable captions, and tools that change many
//! captions at once.

mod files;
mod job;
mod list;
mod replace;
mod run;
mod thumbnails;
mod tools;

use std::path::{Path, PathBuf};

use eframe::Storage;
use egui::{
    Button, CentralPanel, Context, Id, Key, KeyboardShortcut, Modifiers, Panel, RichText,
    ScrollArea, TextEdit, Ui,
};

pub use job::{BatchCaption, BatchEvent, BatchJob};

use crate::background::Background;
use crate::gallery::Gallery;
use crate::page::{Page, PageContext};
use crate::toasts::Toasts;
use crate::worker::{Event, WorkerHandle};
use files::Files;
use list::Edit;
use replace::Replace;
use run::Run;
use thumbnails::Thumbnails;

const UNDO: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Z);
const REDO: [KeyboardShortcut; 2] = [
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::Z),
    KeyboardShortcut::new(Modifiers::COMMAND, Key::Y),
];
const SELECT_ALL: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::A);
const FILTER: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::F);

/// Extensions of files with captions.
const CAPTION_FILES: [&str; 5] = ["csv", "jsonl", "ndjson", "json", "txt"];

/// Name on the page's tab.
pub const TITLE: &str = "Batch";

/// Key of the stored folder.
const STORED: &str = "batch";

/// The Batch page.
#[derive(Default)]
pub struct BatchPage {
    /// Folder of the last session, opened when the page is first shown.
    last: Option<PathBuf>,
    /// Text of the folder field.
    folder: String,
    chosen: Background<PathBuf>,
    opened: Background<Result<(Gallery, Option<String>), String>>,
    opening: bool,
    gallery: Option<Gallery>,
    thumbnails: Option<Thumbnails>,
    filter: Filter,
    /// Entries that matched the filter when it was last applied. A caption that changes keeps its
    /// place.
    shown: Vec<usize>,
    edit: Option<Edit>,
    /// Row to scroll to in the next frame, and whether to focus its caption.
    scroll_to: Option<(usize, bool)>,
    replace: Replace,
    runs: u64,
    run: Option<Run>,
    /// Summary of the last run.
    summary: Option<String>,
    files: Files,
}

#[derive(Default, Clone, PartialEq)]
struct Filter {
    text: String,
    /// Only entries without a caption.
    missing: bool,
}

impl Page for BatchPage {
    fn title(&self) -> &'static str {
        TITLE
    }

    fn handle(&mut self, event: &mut Event, context: &mut PageContext) {
        if let Event::Stopped(_) = event {
            self.cancel();
        }
        if let Some(BatchEvent { run, captions }) = event.take::<BatchEvent>() {
            self.take(run, captions, context);
        }
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let ctx = ui.ctx().clone();
        self.poll(&ctx, &mut context.toasts);
        Panel::top("folder").show(ui, |ui| self.bar(ui));
        if self.gallery.is_none() {
            CentralPanel::default().show(ui, |ui| self.empty(ui));
            return;
        }
        self.keys(ui);
        Panel::right("tools").default_size(290.0).show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| {
                self.captioning(ui, context);
                self.replacing(ui);
                if let Some(gallery) = &mut self.gallery {
                    self.files.ui(ui, gallery);
                }
                ui.separator();
                ui.label(
                    RichText::new(
                        "Keys: Enter goes to the next caption, Ctrl+Z undoes, Ctrl+Y redoes, \
                         Ctrl+A selects the pictures shown, Ctrl+F filters.",
                    )
                    .weak(),
                );
            })
        });
        CentralPanel::default().show(ui, |ui| self.list(ui));
        if let Some(thumbnails) = &mut self.thumbnails {
            thumbnails.update(&ctx);
        }
    }

    /// Opens a folder, the folder of a picture, or a file with captions.
    fn drop_files(&mut self, files: &[PathBuf], context: &mut PageContext) -> bool {
        let Some(path) = files.first() else {
            return false;
        };
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase());
        let captions = CAPTION_FILES.contains(&extension.as_deref().unwrap_or_default());
        match (path.is_dir(), captions, &self.gallery) {
            (true, ..) => self.open(&context.egui, path.clone()),
            (false, true, Some(gallery)) => self.files.import(&context.egui, gallery, path.clone()),
            _ => self.open(&context.egui, path.parent().unwrap_or(path).to_owned()),
        }
        true
    }

    fn restore(&mut self, storage: &dyn Storage) {
        self.last = eframe::get_value(storage, STORED).unwrap_or_default();
    }

    fn save(&self, storage: &mut dyn Storage) {
        let open = self.gallery.as_ref().map(Gallery::folder);
        eframe::set_value(storage, STORED, &open.or(self.last.as_deref()));
    }

    fn close(&mut self) -> bool {
        self.finish_edit();
        // waits until the journal is written
        self.gallery = None;
        false
    }
}

impl BatchPage {
    /// Opens a folder; the one before stays until it has been read.
    fn open(&mut self, ctx: &Context, folder: PathBuf) {
        self.last = None;
        self.opening = true;
        self.opened.run(ctx, move || Some(Gallery::open(&folder)));
    }

    /// Lets the user choose a folder.
    fn choose_folder(&self, ctx: &Context) {
        self.chosen.run(ctx, || {
            rfd::FileDialog::new()
                .set_title("Choose a folder of pictures")
                .pick_folder()
        });
    }

    /// Takes the results of a job and sends the next one.
    fn take(
        &mut self,
        number: u64,
        captions: Result<Vec<BatchCaption>, String>,
        context: &mut PageContext,
    ) {
        let captions = match captions {
            Ok(captions) => captions,
            Err(message) => {
                // a run that was cancelled is gone, and its last job fails
                if self.run.as_ref().is_some_and(|run| run.number == number) {
                    context.toasts.add(message);
                    self.cancel();
                }
                return;
            }
        };
        let (Some(run), Some(gallery)) = (&mut self.run, &mut self.gallery) else {
            return;
        };
        if run.number != number {
            return;
        }
        let editing = self.edit.as_ref().map(|edit| edit.entry);
        run.take(gallery, captions, editing);
        if !run.send_next(gallery, &context.worker) {
            self.summary = self.run.take().map(|run| run.summary(false));
        }
    }

    /// Starts a run over some entries.
    fn start(&mut self, entries: Vec<usize>, context: &PageContext) {
        self.finish_edit();
        self.runs += 1;
        let mut run = Run::new(self.runs, entries, context.generation.clone());
        let worker: &WorkerHandle = &context.worker;
        if let Some(gallery) = &self.gallery {
            run.send_next(gallery, worker);
        }
        (self.run, self.summary) = (Some(run), None);
    }

    /// Ends the run. Captions that are already written stay.
    fn cancel(&mut self) {
        if let Some(run) = self.run.take() {
            run.cancel();
            self.summary = Some(run.summary(true));
        }
    }

    /// Takes the results of background threads.
    fn poll(&mut self, ctx: &Context, toasts: &mut Toasts) {
        if let Some(folder) = self.last.take() {
            self.open(ctx, folder);
        }
        while let Some(folder) = self.chosen.poll() {
            self.open(ctx, folder);
        }
        while let Some(opened) = self.opened.poll() {
            self.opening = false;
            match opened {
                Ok((gallery, message)) => {
                    message.into_iter().for_each(|message| toasts.add(message));
                    self.show(ctx, gallery);
                }
                Err(message) => toasts.add(message),
            }
        }
        if let Some(gallery) = &mut self.gallery {
            gallery
                .journal_error()
                .into_iter()
                .for_each(|message| toasts.add(message));
            let before = gallery.version();
            self.files.poll(gallery, toasts);
            if gallery.version() != before {
                self.apply_filter();
            }
        }
    }

    /// Shows a gallery in place of the one before.
    fn show(&mut self, ctx: &Context, gallery: Gallery) {
        self.finish_edit();
        self.cancel();
        self.summary = None;
        self.folder = gallery.folder().display().to_string();
        self.gallery = Some(gallery);
        self.thumbnails
            .get_or_insert_with(|| Thumbnails::new(ctx))
            .clear();
        self.files = Files::default();
        self.apply_filter();
    }

    fn apply_filter(&mut self) {
        if let Some(gallery) = &self.gallery {
            self.shown = gallery.matching(&self.filter.text, self.filter.missing);
        }
    }

    fn bar(&mut self, ui: &mut Ui) {
        let mut changed = false;
        ui.horizontal_wrapped(|ui| {
            let label = ui.label("Folder");
            let field = TextEdit::singleline(&mut self.folder)
                .desired_width(240.0)
                .hint_text("Folder of pictures");
            let field = ui.add(field).labelled_by(label.id);
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            if entered && !self.folder.trim().is_empty() {
                self.open(&ui.ctx().clone(), PathBuf::from(self.folder.trim()));
            }
            if ui
                .button("Choose...")
                .on_hover_text("Choose a folder of pictures")
                .clicked()
            {
                self.choose_folder(ui.ctx());
            }
            let Some(gallery) = &self.gallery else { return };
            ui.separator();
            let label = ui.label("Filter");
            let filter = TextEdit::singleline(&mut self.filter.text)
                .id(filter_id())
                .desired_width(120.0)
                .hint_text("Caption or name");
            changed |= ui.add(filter).labelled_by(label.id).changed();
            changed |= ui
                .checkbox(&mut self.filter.missing, "Without caption")
                .changed();
            let (can_undo, can_redo) = (gallery.can_undo(), gallery.can_redo());
            let idle = self.run.is_none();
            if ui
                .add_enabled(can_undo && idle, Button::new("Undo"))
                .on_hover_text("Undo the last change (Ctrl+Z)")
                .clicked()
            {
                self.step_history(Gallery::undo);
            }
            if ui
                .add_enabled(can_redo && idle, Button::new("Redo"))
                .on_hover_text("Redo the change that was undone (Ctrl+Y)")
                .clicked()
            {
                self.step_history(Gallery::redo);
            }
            let Some(gallery) = &self.gallery else { return };
            ui.label(format!(
                "{} of {}",
                self.shown.len(),
                gallery.entries().len()
            ));
            if self.opening {
                ui.spinner();
            }
        });
        if changed {
            self.finish_edit();
            self.apply_filter();
        }
    }

    fn empty(&mut self, ui: &mut Ui) {
        ui.vertical_centered(|ui| {
            ui.add_space(ui.available_height() * 0.3);
            if self.opening {
                ui.spinner();
                ui.label("Reading the folder...");
                return;
            }
            ui.heading("Drop a folder of pictures here");
            ui.label("Caption all of them, edit the captions and save them as text, CSV or JSON.");
            ui.add_space(12.0);
            if ui.button("Choose folder...").clicked() {
                self.choose_folder(ui.ctx());
            }
        });
    }

    fn keys(&mut self, ui: &Ui) {
        let ctx = ui.ctx();
        let pressed = |keys: &KeyboardShortcut| ctx.input_mut(|input| input.consume_shortcut(keys));
        if pressed(&FILTER) {
            ctx.memory_mut(|memory| memory.request_focus(filter_id()));
        }
        // a focused text field handles these keys itself
        if ctx.egui_wants_keyboard_input() || self.run.is_some() {
            return;
        }
        // Redo comes first because Ctrl+Z also matches Ctrl+Shift+Z
        if REDO.iter().any(pressed) {
            self.step_history(Gallery::redo);
        }
        if pressed(&UNDO) {
            self.step_history(Gallery::undo);
        }
        if pressed(&SELECT_ALL) {
            self.select_shown(true);
        }
    }

    /// Undoes or redoes a change and scrolls to it.
    fn step_history(&mut self, step: fn(&mut Gallery) -> Option<usize>) {
        self.finish_edit();
        let Some(entry) = self.gallery.as_mut().and_then(step) else {
            return;
        };
        self.apply_filter();
        let row = self.shown.iter().position(|&shown| shown == entry);
        self.scroll_to = row.map(|row| (row, false));
    }

    /// Selects exactly the entries shown, or none at all.
    fn select_shown(&mut self, selected: bool) {
        let Some(gallery) = &mut self.gallery else {
            return;
        };
        (0..gallery.entries().len()).for_each(|entry| gallery.select(entry, false));
        self.shown
            .iter()
            .for_each(|&entry| gallery.select(entry, selected));
    }
}

fn filter_id() -> Id {
    Id::unique("batch filter")
}

/// Returns the last part of a path.
fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
