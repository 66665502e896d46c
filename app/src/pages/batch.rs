//! The Batch page: a list of pictures, the current one with its caption, and tools that change many
//! captions at once.

mod editor;
mod files;
mod header;
mod list;
mod preview;
mod replace;
mod run;
mod running;
mod tagging;
mod thumbnails;
mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eframe::Storage;
use egui::{CentralPanel, Context, Id, Key, KeyboardShortcut, Modifiers, Panel, Ui};

use crate::background::Background;
use crate::file_dialog::FileDialog;
use crate::gallery::{self, Filter, Gallery, Source};
use crate::page::{Page, PageAction, PageContext};
use crate::theme::{self, Icon};
use crate::toasts::Toasts;
use crate::worker::{BatchEvent, Event, TokenCount};
use editor::Edit;
use files::Files;
use preview::Preview;
use replace::Replace;
use run::{Rest, Run};
use tagging::Tagging;
use thumbnails::Thumbnails;
use tools::{Captioning, Tab};

const UNDO: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Z);
const REDO: [KeyboardShortcut; 2] = [
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::Z),
    KeyboardShortcut::new(Modifiers::COMMAND, Key::Y),
];
const SELECT_ALL: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::A);
const FILTER: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::F);

/// Extensions of files with captions.
const CAPTION_FILES: [&str; 7] = ["csv", "tsv", "jsonl", "ndjson", "json", "txt", "parquet"];

/// Name on the page's tab.
pub const TITLE: &str = "Batch";

/// Entries in the command palette.
const CAPTION: &str = "Caption the chosen pictures";
const STOP: &str = "Stop captioning";
const EDIT_CAPTION: &str = "Edit the caption";
const FILTER_PICTURES: &str = "Filter the pictures";
const SELECT_FILTERED: &str = "Select the filtered pictures";
const UNDO_CHANGE: &str = "Undo the last change";
const REDO_CHANGE: &str = "Redo the change";
const REPLACE: &str = "Make the previewed replacements";
const IMPORT: &str = "Import captions...";
const TABS: [(&str, Tab); 4] = [
    ("Show the settings of captioning", Tab::Caption),
    ("Show tags", Tab::Tags),
    ("Find and replace", Tab::Replace),
    ("Import or export captions", Tab::Files),
];

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
    opened: Background<Result<Opened, String>>,
    opening: bool,
    gallery: Option<Gallery>,
    thumbnails: Option<Thumbnails>,
    preview: Option<Preview>,
    /// Text of the filter field.
    filter: String,
    /// Fault of that text, if it is no filter.
    filter_error: Option<String>,
    /// Entries that matched the filter when it was last applied. A caption that changes keeps its
    /// place.
    shown: Vec<usize>,
    /// Entry in the viewer and the editor.
    current: Option<usize>,
    edit: Option<Edit>,
    /// Whether the editor gets the focus in the next frame.
    focus_editor: bool,
    /// Text whose tokens the worker was last asked to count.
    to_count: Option<String>,
    /// The last answer.
    counted: Option<TokenCount>,
    /// Row to scroll to in the next frame.
    scroll_to: Option<usize>,
    /// Number of rows that the list shows at once.
    page: usize,
    tab: Tab,
    captioning: Captioning,
    tagging: Tagging,
    replace: Replace,
    files: Files,
    runs: u64,
    run: Option<Run>,
    /// The rest of the run that was stopped last.
    rest: Option<Rest>,
    /// Summary of the last run.
    summary: Option<String>,
}

/// Pictures that were read on a background thread.
struct Opened {
    gallery: Gallery,
    /// Reason why the folder could not be read.
    message: Option<String>,
    /// Picture to show.
    picture: Option<PathBuf>,
}

impl Page for BatchPage {
    fn title(&self) -> &'static str {
        TITLE
    }

    fn icon(&self) -> Icon {
        Icon::Images
    }

    fn handle(&mut self, event: &Event, context: &mut PageContext) {
        match event {
            Event::Stopped(_) => self.stop(),
            // another model has other tokens
            Event::ModelLoaded { slot: 0, .. } | Event::ModelUnloaded(0) => {
                (self.to_count, self.counted) = (None, None);
            }
            Event::OpenInBatch(pictures) => self.open_captioned(&context.egui, pictures.clone()),
            Event::TokensCounted(count) => self.counted = Some(count.clone()),
            Event::Batch(BatchEvent { run, captions }) => {
                self.take(*run, captions.clone(), context);
            }
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let ctx = ui.ctx().clone();
        self.poll(&ctx, &mut context.toasts);
        let frame = theme::panel_frame(ui);
        Panel::top("folder")
            .frame(frame)
            .show(ui, |ui| self.bar(ui));
        if self.gallery.is_none() {
            CentralPanel::default().show(ui, |ui| self.empty(ui));
            return;
        }
        self.keys(ui);
        Panel::bottom("run").show(ui, |ui| self.progress(ui, context));
        let width = ui.available_width();
        Panel::left("batch pictures")
            .default_size(280.0)
            .size_range(180.0..=(0.28 * width).clamp(180.0, 600.0))
            .frame(frame)
            .show(ui, |ui| self.list(ui));
        Panel::right("tools")
            .default_size(290.0)
            .size_range(260.0..=(0.36 * width).clamp(260.0, 480.0))
            .frame(frame)
            .show(ui, |ui| self.tools(ui, context));
        CentralPanel::default().show(ui, |ui| self.current(ui, context));
        if let Some(gallery) = &mut self.gallery {
            self.files.ask(ui, gallery);
        }
        if let Some(thumbnails) = &mut self.thumbnails {
            thumbnails.update(&ctx);
        }
    }

    /// Opens a folder, some pictures, the folder of one, or a file with captions.
    fn drop_files(&mut self, files: &[PathBuf], context: &mut PageContext) -> bool {
        let Some(path) = files.first() else {
            return false;
        };
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase());
        let captions = CAPTION_FILES.contains(&extension.as_deref().unwrap_or_default());
        let ctx = &context.egui;
        match &self.gallery {
            Some(gallery) if captions && path.is_file() => {
                self.files.import(ctx, gallery, path.clone());
            }
            _ if path.is_dir() => self.open(ctx, Source::Folder(path.clone()), None),
            _ if files.len() > 1 && gallery::are_pictures(files) => {
                self.open(ctx, Source::Files(files.to_vec()), None);
            }
            _ => {
                let folder = path.parent().unwrap_or(path).to_owned();
                self.open(ctx, Source::Folder(folder), Some(path.clone()));
            }
        }
        true
    }

    fn actions(&self, _context: &PageContext) -> Vec<PageAction> {
        if self.gallery.is_none() {
            return vec![];
        }
        let keys = [
            (CAPTION, ""),
            (STOP, ""),
            (EDIT_CAPTION, "Ctrl+Enter"),
            (FILTER_PICTURES, "Ctrl+F"),
            (SELECT_FILTERED, "Ctrl+A"),
            (UNDO_CHANGE, "Ctrl+Z"),
            (REDO_CHANGE, "Ctrl+Y"),
            (IMPORT, ""),
        ];
        let keys = keys.map(|(name, keys)| PageAction::new(name, keys));
        let tabs = TABS.map(|(name, _)| PageAction::new(name, ""));
        let saves = files::actions().map(|name| PageAction::new(name, ""));
        let replace = (self.tab == Tab::Replace).then(|| PageAction::new(REPLACE, ""));
        let actions = replace.into_iter().chain(keys).chain(tabs);
        actions.chain(saves).collect()
    }

    fn act(&mut self, name: &str, context: &mut PageContext) {
        let idle = self.run.is_none();
        match name {
            CAPTION if idle && context.model(0).is_some() => self.start_chosen(context),
            STOP => self.stop(),
            EDIT_CAPTION => self.focus_editor = true,
            FILTER_PICTURES => focus_filter(&context.egui),
            SELECT_FILTERED => self.select_shown(true),
            REPLACE => self.replace_previewed(),
            IMPORT => {
                if let Some(gallery) = &self.gallery {
                    self.files.choose_import(&context.egui, gallery);
                }
            }
            UNDO_CHANGE if idle => self.step_history(Gallery::undo),
            REDO_CHANGE if idle => self.step_history(Gallery::redo),
            name => {
                if let Some((_, tab)) = TABS.iter().find(|(tab, _)| *tab == name) {
                    self.tab = *tab;
                    self.replace.focus = *tab == Tab::Replace;
                } else if let Some(gallery) = &self.gallery {
                    self.files.act(name, &context.egui, gallery, &self.shown);
                }
            }
        }
    }

    fn restore(&mut self, storage: &dyn Storage) {
        self.last = eframe::get_value(storage, STORED).unwrap_or_default();
    }

    fn save(&self, storage: &mut dyn Storage) {
        let open = self
            .gallery
            .as_ref()
            .filter(|gallery| gallery.is_folder())
            .map(Gallery::folder);
        eframe::set_value(storage, STORED, &open.or(self.last.as_deref()));
    }

    fn unsaved(&mut self) -> Option<String> {
        self.finish_edit();
        let gallery = self.gallery.as_ref()?;
        gallery.is_unsaved().then(|| {
            format!(
                "The edited captions of {} are not saved, because the folder cannot be written. \
                 Export them on the Batch page to keep them.",
                gallery.folder().display()
            )
        })
    }

    fn close(&mut self) -> bool {
        self.finish_edit();
        // waits until the journal is written
        self.gallery = None;
        false
    }
}

impl BatchPage {
    /// Opens pictures; those before stay until they have been read. `picture` is then shown.
    fn open(&mut self, ctx: &Context, source: Source, picture: Option<PathBuf>) {
        self.last = None;
        self.opening = true;
        self.opened.run(ctx, move || {
            Some(Gallery::open(&source).map(|(gallery, message)| Opened {
                gallery,
                message,
                picture,
            }))
        });
    }

    /// Opens picture files, and sets the captions of those that have none.
    fn open_captioned(&mut self, ctx: &Context, pictures: Vec<(PathBuf, String)>) {
        self.last = None;
        self.opening = true;
        self.opened.run(ctx, move || {
            let absolute = |(path, caption): (PathBuf, String)| {
                (std::path::absolute(&path).unwrap_or(path), caption)
            };
            let captions: BTreeMap<PathBuf, String> = pictures.into_iter().map(absolute).collect();
            let source = Source::Files(captions.keys().cloned().collect());
            Some(Gallery::open(&source).map(|(mut gallery, message)| {
                let missing = gallery.entries().iter().enumerate();
                let missing = missing.filter(|(_, entry)| !entry.has_caption());
                let caption = |(number, entry): (usize, &gallery::Entry)| {
                    let caption = captions.get(&entry.path)?;
                    Some((number, caption.clone())).filter(|_| !caption.is_empty())
                };
                let captions = missing.filter_map(caption).collect();
                gallery.set(captions, None);
                Opened {
                    gallery,
                    message,
                    picture: None,
                }
            }))
        });
    }

    /// Lets the user choose a folder.
    fn choose_folder(&self, ctx: &Context) {
        let dialog = FileDialog::new(ctx);
        self.chosen.run(ctx, || {
            dialog
                .set_title("Choose a folder of pictures")
                .pick_folder()
        });
    }

    /// Takes the results of background threads.
    fn poll(&mut self, ctx: &Context, toasts: &mut Toasts) {
        if let Some(folder) = self.last.take() {
            self.open(ctx, Source::Folder(folder), None);
        }
        while let Some(folder) = self.chosen.poll() {
            self.open(ctx, Source::Folder(folder), None);
        }
        while let Some(opened) = self.opened.poll() {
            self.opening = false;
            match opened {
                Ok(opened) => {
                    opened
                        .message
                        .iter()
                        .for_each(|message| toasts.add(message));
                    self.show(ctx, opened.gallery, opened.picture.as_deref());
                }
                Err(message) => toasts.add(message),
            }
        }
        if let Some(gallery) = &mut self.gallery {
            gallery
                .journal_error()
                .into_iter()
                .for_each(|message| toasts.warn(message));
            let before = gallery.version();
            self.files.poll(gallery, toasts);
            if gallery.version() != before {
                self.apply_filter();
            }
        }
    }

    /// Shows a gallery in place of the one before, and a picture in it.
    fn show(&mut self, ctx: &Context, gallery: Gallery, picture: Option<&Path>) {
        self.finish_edit();
        self.stop();
        (self.summary, self.rest) = (None, None);
        self.folder = gallery.folder().display().to_string();
        let wanted = gallery
            .entries()
            .iter()
            .position(|entry| Some(entry.path.as_path()) == picture);
        self.gallery = Some(gallery);
        self.thumbnails
            .get_or_insert_with(|| Thumbnails::new(ctx))
            .clear();
        self.preview.get_or_insert_with(|| Preview::new(ctx));
        self.files = Files::default();
        self.tagging = Tagging::default();
        self.filter.clear();
        self.current = wanted;
        self.apply_filter();
    }

    /// Applies the filter, unless its text has a mistake. The list stays at the current picture, or
    /// goes to the first one that matches.
    fn apply_filter(&mut self) {
        let Some(gallery) = &self.gallery else { return };
        match Filter::parse(&self.filter) {
            Ok(filter) => {
                self.filter_error = None;
                self.shown = gallery.matching(&filter);
            }
            Err(message) => {
                self.filter_error = Some(message);
                return;
            }
        }
        let current = self.current;
        let row = self.shown.iter().position(|&shown| Some(shown) == current);
        if row.is_none() {
            self.finish_edit();
            self.current = self.shown.first().copied();
        }
        self.scroll_to = Some(row.unwrap_or(0));
    }

    /// Makes an entry the current one.
    fn choose(&mut self, entry: usize) {
        if self.current != Some(entry) {
            self.finish_edit();
            self.current = Some(entry);
        }
    }

    /// Sets captions as one change.
    fn change(&mut self, captions: Vec<(usize, String)>) {
        self.finish_edit();
        if let Some(gallery) = &mut self.gallery {
            gallery.set(captions, None);
        }
    }

    fn keys(&mut self, ui: &Ui) {
        let ctx = ui.ctx();
        let pressed = |keys: &KeyboardShortcut| ctx.input_mut(|input| input.consume_shortcut(keys));
        if pressed(&FILTER) {
            focus_filter(ctx);
        }
        self.editor_keys(ui);
        self.list_keys(ui);
        // a text field handles these keys itself, but for the editor after its text was recorded
        let typing = ctx.egui_wants_keyboard_input();
        let recorded = self.is_editor_focused(ctx) && !self.is_edited();
        if typing && !recorded || self.run.is_some() {
            return;
        }
        // Redo comes first because Ctrl+Z also matches Ctrl+Shift+Z
        if REDO.iter().any(pressed) {
            self.step_history(Gallery::redo);
        }
        if pressed(&UNDO) {
            self.step_history(Gallery::undo);
        }
        if !typing && pressed(&SELECT_ALL) {
            self.select_shown(true);
        }
    }

    /// Undoes or redoes a change and goes to it.
    fn step_history(&mut self, step: fn(&mut Gallery) -> Option<usize>) {
        self.finish_edit();
        let Some(entry) = self.gallery.as_mut().and_then(step) else {
            return;
        };
        self.choose(entry);
        self.apply_filter();
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

fn focus_filter(ctx: &Context) {
    ctx.memory_mut(|memory| memory.request_focus(filter_id()));
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
