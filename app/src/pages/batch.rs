//! The batch page: a folder as a list of pictures whose captions are edited in place, and what is done to all of them at the right.

mod files;
mod run;
mod thumbnails;

use std::path::{Path, PathBuf};

use egui::{
    Align, Button, CentralPanel, CollapsingHeader, Color32, Context, Id, Image, Key,
    KeyboardShortcut, Layout, Modifiers, Panel, ProgressBar, RichText, Role, ScrollArea, TextEdit,
    Ui, WidgetInfo, vec2,
};

use crate::asked::Asked;
use crate::desk::Desk;
use crate::gallery::{Find, Gallery};
use crate::toasts::Toasts;
use crate::work::batching;
use crate::work::captioning::Settings;
use crate::worker::Worker;
use files::Files;
use run::Run;
use thumbnails::Thumbnails;

/// Of a row, in points.
const ROW: f32 = 68.0;

/// Seconds of typing after which a caption is saved though it is not finished.
const SAVE: f64 = 1.0;

const UNDO: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Z);
const REDO: [KeyboardShortcut; 2] = [
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::Z),
    KeyboardShortcut::new(Modifiers::COMMAND, Key::Y),
];
const ALL: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::A);
const FILTER: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::F);

pub struct BatchPage {
    /// To open when the page is first seen.
    first: Option<PathBuf>,
    /// The folder as it is typed.
    folder: String,
    chosen: Asked<PathBuf>,
    opened: Asked<Result<(Gallery, Option<String>), String>>,
    opening: bool,
    gallery: Option<Gallery>,
    thumbnails: Option<Thumbnails>,
    filter: Filter,
    /// The entries that the filter lets through, as they were when it was set: a caption that changes stays in its place.
    shown: Vec<usize>,
    typing: Option<Typing>,
    /// The row that the list is scrolled to next, and whether its caption is to be typed.
    goal: Option<(usize, bool)>,
    find: Find,
    replaced: Option<Replaced>,
    runs: u64,
    run: Option<Run>,
    /// What the last run came to.
    ended: Option<String>,
    files: Files,
}

#[derive(Default, Clone, PartialEq)]
struct Filter {
    text: String,
    missing: bool,
}

/// What replacing would do.
struct Replaced {
    find: Find,
    /// Of the gallery.
    version: u64,
    within: Vec<usize>,
    changes: Result<Vec<(usize, String)>, String>,
}

/// A caption that is being typed.
struct Typing {
    entry: usize,
    before: String,
    /// When something was typed that is not saved, in egui's seconds.
    unsaved: Option<f64>,
}

impl BatchPage {
    /// `folder` is opened when the page is first seen.
    pub fn new(folder: Option<PathBuf>) -> BatchPage {
        BatchPage {
            first: folder,
            folder: String::new(),
            chosen: Asked::default(),
            opened: Asked::default(),
            opening: false,
            gallery: None,
            thumbnails: None,
            filter: Filter::default(),
            shown: vec![],
            typing: None,
            goal: None,
            find: Find::default(),
            replaced: None,
            runs: 0,
            run: None,
            ended: None,
            files: Files::default(),
        }
    }

    /// The folder that is open, or was to be.
    pub fn folder(&self) -> Option<&Path> {
        self.gallery
            .as_ref()
            .map(Gallery::folder)
            .or(self.first.as_deref())
    }

    /// Opens a folder; the one before stays until it is there.
    pub fn open(&mut self, ctx: &Context, folder: PathBuf) {
        self.first = None;
        self.opening = true;
        self.opened.ask(ctx, move || Some(Gallery::open(&folder)));
    }

    /// Takes in what was dropped: a folder, or a picture whose folder it is, or a file with captions.
    pub fn dropped(&mut self, ctx: &Context, path: &Path) {
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        let captions = ["csv", "json", "jsonl", "ndjson", "txt"]
            .contains(&ending.as_deref().unwrap_or_default());
        match (path.is_dir(), captions, &self.gallery) {
            (true, ..) => self.open(ctx, path.to_owned()),
            (false, true, Some(gallery)) => self.files.import(ctx, gallery, path.to_owned()),
            _ => self.open(ctx, path.parent().unwrap_or(path).to_owned()),
        }
    }

    /// Saves everything, at the end of the program.
    pub fn finish(&mut self) {
        self.end_typing();
        self.gallery = None;
    }

    /// The worker is gone.
    pub fn stopped(&mut self) {
        if let Some(run) = self.run.take() {
            self.ended = Some(run.cancelled());
        }
    }

    /// No job of a run can be done; why, was told.
    pub fn failed(&mut self, number: u64) {
        if self.run.as_ref().is_some_and(|run| run.number == number) {
            self.stopped();
        }
    }

    /// Takes in captions, and orders the next ones.
    pub fn take(&mut self, number: u64, captions: Vec<batching::Captioned>, worker: &Worker) {
        let (Some(run), Some(gallery)) = (&mut self.run, &mut self.gallery) else {
            return;
        };
        if run.number != number {
            return;
        }
        // what was typed while the model was at work stays
        let typing = self.typing.as_ref().map(|typing| typing.entry);
        run.take(gallery, captions, typing);
        if !run.order(gallery, worker) {
            self.ended = self.run.take().map(|run| run.ended());
        }
    }

    fn receive(&mut self, ctx: &Context, toasts: &mut Toasts) {
        if let Some(folder) = self.first.take() {
            self.open(ctx, folder);
        }
        while let Some(folder) = self.chosen.answer() {
            self.open(ctx, folder);
        }
        while let Some(opened) = self.opened.answer() {
            self.opening = false;
            match opened {
                Ok((gallery, lost)) => {
                    lost.into_iter().for_each(|lost| toasts.add(lost));
                    self.end_typing();
                    self.stopped();
                    self.ended = None;
                    self.folder = gallery.folder().display().to_string();
                    self.gallery = Some(gallery);
                    self.thumbnails
                        .get_or_insert_with(|| Thumbnails::new(ctx))
                        .forget();
                    self.files = Files::default();
                    self.sift();
                }
                Err(message) => toasts.add(message),
            }
        }
        if let Some(gallery) = &mut self.gallery {
            gallery.lost().into_iter().for_each(|lost| toasts.add(lost));
            let before = gallery.version();
            self.files.receive(gallery, toasts);
            if gallery.version() != before {
                self.sift();
            }
        }
    }

    /// Lets the filter choose anew.
    fn sift(&mut self) {
        if let Some(gallery) = &self.gallery {
            self.shown = gallery.matching(&self.filter.text, self.filter.missing);
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, desk: &mut Desk, settings: &Settings) {
        let ctx = ui.ctx().clone();
        self.receive(&ctx, desk.toasts);
        Panel::top("folder").show(ui, |ui| self.bar(ui));
        if self.gallery.is_none() {
            CentralPanel::default().show(ui, |ui| self.empty(ui));
            return;
        }
        self.keys(ui);
        Panel::right("all").default_size(290.0).show(ui, |ui| {
            ScrollArea::vertical().show(ui, |ui| {
                self.captioning(ui, desk, settings);
                self.replacing(ui);
                if let Some(gallery) = &mut self.gallery {
                    self.files.ui(ui, gallery);
                }
                ui.separator();
                let keys = "Keys: Enter goes to the next caption; Ctrl+Z takes back, Ctrl+Y makes again; Ctrl+A selects what is shown, Ctrl+F filters.";
                ui.label(RichText::new(keys).weak());
            })
        });
        CentralPanel::default().show(ui, |ui| self.list(ui));
        if let Some(thumbnails) = &mut self.thumbnails {
            thumbnails.update(&ctx);
        }
    }

    fn bar(&mut self, ui: &mut Ui) {
        let mut sift = false;
        ui.horizontal_wrapped(|ui| {
            let label = ui.label("Pictures in");
            let field = TextEdit::singleline(&mut self.folder)
                .desired_width(240.0)
                .hint_text("a folder");
            let field = ui.add(field).labelled_by(label.id);
            if field.lost_focus()
                && ui.input(|input| input.key_pressed(Key::Enter))
                && !self.folder.trim().is_empty()
            {
                self.open(&ui.ctx().clone(), PathBuf::from(self.folder.trim()));
            }
            if ui
                .button("Choose...")
                .on_hover_text("Choose a folder of pictures")
                .clicked()
            {
                self.chosen.ask(ui.ctx(), || {
                    rfd::FileDialog::new()
                        .set_title("Choose a folder of pictures")
                        .pick_folder()
                });
            }
            let Some(gallery) = &self.gallery else { return };
            ui.separator();
            let label = ui.label("Filter");
            let filter = TextEdit::singleline(&mut self.filter.text)
                .id(filter_id())
                .desired_width(120.0)
                .hint_text("words or names");
            sift |= ui.add(filter).labelled_by(label.id).changed();
            sift |= ui
                .checkbox(&mut self.filter.missing, "without caption")
                .changed();
            let (undo, redo) = (gallery.can_undo(), gallery.can_redo());
            let at_work = self.run.is_some();
            if ui
                .add_enabled(undo && !at_work, Button::new("Undo"))
                .on_hover_text("Take the last change back (Ctrl+Z)")
                .clicked()
            {
                self.undo(Gallery::undo);
            }
            if ui
                .add_enabled(redo && !at_work, Button::new("Redo"))
                .on_hover_text("Make it again (Ctrl+Y)")
                .clicked()
            {
                self.undo(Gallery::redo);
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
        if sift {
            self.end_typing();
            self.sift();
        }
    }

    fn empty(&mut self, ui: &mut Ui) {
        ui.vertical_centered(|ui| {
            ui.add_space(ui.available_height() * 0.3);
            if self.opening {
                ui.spinner();
                ui.label("reading the folder");
                return;
            }
            ui.heading("Drop a folder of pictures here");
            ui.label("to caption all of them, read and edit the captions, and save them in the form that you need");
            ui.add_space(12.0);
            if ui.button("Choose a folder...").clicked() {
                self.chosen.ask(ui.ctx(), || rfd::FileDialog::new().set_title("Choose a folder of pictures").pick_folder());
            }
        });
    }

    fn keys(&mut self, ui: &Ui) {
        let ctx = ui.ctx();
        let pressed = |keys: &KeyboardShortcut| ctx.input_mut(|input| input.consume_shortcut(keys));
        if pressed(&FILTER) {
            ctx.memory_mut(|memory| memory.request_focus(filter_id()));
        }
        // while something is typed, these are the field's own
        if ctx.egui_wants_keyboard_input() || self.run.is_some() {
            return;
        }
        // the longer ones first: Ctrl+Z is a part of Ctrl+Shift+Z
        if REDO.iter().any(pressed) {
            self.undo(Gallery::redo);
        }
        if pressed(&UNDO) {
            self.undo(Gallery::undo);
        }
        if pressed(&ALL) {
            self.select(true);
        }
    }

    /// Takes a change back, or makes it again, and goes to where it was.
    fn undo(&mut self, change: fn(&mut Gallery) -> Option<usize>) {
        self.end_typing();
        let Some(entry) = self.gallery.as_mut().and_then(change) else {
            return;
        };
        self.sift();
        self.goal = self
            .shown
            .iter()
            .position(|&shown| shown == entry)
            .map(|row| (row, false));
    }

    /// Selects everything that is shown, and nothing else; or nothing at all.
    fn select(&mut self, selected: bool) {
        let Some(gallery) = &mut self.gallery else {
            return;
        };
        (0..gallery.entries().len()).for_each(|entry| gallery.select(entry, false));
        self.shown
            .iter()
            .for_each(|&entry| gallery.select(entry, selected));
    }

    fn list(&mut self, ui: &mut Ui) {
        let (Some(gallery), Some(thumbnails)) = (&mut self.gallery, &mut self.thumbnails) else {
            return;
        };
        if self.shown.is_empty() {
            ui.vertical_centered(|ui| {
                ui.add_space(ui.available_height() * 0.3);
                ui.label("No picture is like that.");
            });
            return;
        }
        let time = ui.input(|input| input.time);
        let spacing = ui.spacing().item_spacing.y;
        let mut area = ScrollArea::vertical().auto_shrink(false);
        let goal = self.goal.take();
        if let Some((row, _)) = goal {
            area = area.vertical_scroll_offset((row as f32 - 2.0).max(0.0) * (ROW + spacing));
        }
        let mut focused = None;
        let mut next = None;
        area.show_rows(ui, ROW, self.shown.len(), |ui, rows| {
            for row in rows {
                let entry = self.shown[row];
                let (line, typed) = self::row(ui, gallery, thumbnails, entry);
                if let Some((goal, true)) = goal
                    && goal == row
                {
                    line.request_focus();
                }
                if line.has_focus() || line.lost_focus() {
                    focused = Some(entry);
                    if self
                        .typing
                        .as_ref()
                        .is_none_or(|typing| typing.entry != entry)
                    {
                        if let Some(Typing { entry, before, .. }) = self.typing.take() {
                            gallery.typed(entry, before);
                        }
                        // nothing has been typed in the frame that brings the focus
                        let before = gallery.entries()[entry].caption.clone();
                        self.typing = Some(Typing {
                            entry,
                            before,
                            unsaved: None,
                        });
                    }
                    if typed && let Some(typing) = &mut self.typing {
                        typing.unsaved.get_or_insert(time);
                    }
                }
                if line.lost_focus() {
                    focused = None;
                    if ui.input(|input| input.key_pressed(Key::Enter)) && row + 1 < self.shown.len()
                    {
                        next = Some(row + 1);
                    }
                }
            }
        });
        if let Some(typing) = &mut self.typing {
            match typing.unsaved {
                Some(since) if time - since > SAVE => {
                    gallery.save(typing.entry);
                    typing.unsaved = None;
                }
                Some(_) => ui
                    .ctx()
                    .request_repaint_after(std::time::Duration::from_secs_f64(SAVE)),
                None => {}
            }
            // also where it was scrolled out of sight, and lost the focus there
            if focused != Some(typing.entry) {
                self.end_typing();
            }
        }
        if let Some(row) = next {
            self.goal = Some((row, true));
            ui.ctx().request_repaint();
        }
    }

    fn end_typing(&mut self) {
        if let (Some(Typing { entry, before, .. }), Some(gallery)) =
            (self.typing.take(), &mut self.gallery)
        {
            gallery.typed(entry, before);
        }
    }

    fn captioning(&mut self, ui: &mut Ui, desk: &Desk, settings: &Settings) {
        let Some(gallery) = &self.gallery else { return };
        let entries = gallery.entries();
        let which = |wanted: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..entries.len()).filter(|&i| wanted(i)).collect()
        };
        let missing = which(&|i| entries[i].caption.trim().is_empty());
        let selected = which(&|i| entries[i].selected);
        let counts = (missing.len(), selected.len(), entries.len());
        ui.add_space(4.0);
        ui.heading("Captions");
        ui.label(format!(
            "{} of {} pictures have one",
            counts.2 - counts.0,
            counts.2
        ));
        let ready = desk.models[0].is_some() && self.run.is_none();
        let hover = "The model's likeliest caption; the beginning, most tokens and beams are those of the caption page. Can be taken back";
        let mut wanted = None;
        for (name, entries) in [
            ("Caption missing", missing),
            ("Caption selected", selected),
            ("Caption all", (0..counts.2).collect()),
        ] {
            let text = format!("{name} ({})", entries.len());
            if ui
                .add_enabled(ready && !entries.is_empty(), Button::new(text))
                .on_hover_text(hover)
                .clicked()
            {
                wanted = Some(entries);
            }
        }
        ui.horizontal(|ui| {
            if ui
                .button("Select shown")
                .on_hover_text("Select what the filter shows (Ctrl+A)")
                .clicked()
            {
                self.select(true);
            }
            if ui.button("Select none").clicked() {
                self.select(false);
            }
        });
        if desk.models[0].is_none() {
            ui.label(RichText::new("No model is loaded.").weak());
        }
        if let Some(entries) = wanted {
            self.end_typing();
            self.runs += 1;
            let mut run = Run::new(self.runs, entries, settings.clone());
            if let Some(gallery) = &self.gallery {
                run.order(gallery, desk.worker);
            }
            (self.run, self.ended) = (Some(run), None);
        }
        if let Some(run) = &self.run {
            let (done, text) = run.progress();
            ui.add(ProgressBar::new(done).text(text));
            if ui
                .button("Cancel")
                .on_hover_text("The captions that are there stay")
                .clicked()
            {
                self.stopped();
            }
        } else if let Some(ended) = &self.ended {
            ui.label(RichText::new(ended).weak());
        }
    }

    fn replacing(&mut self, ui: &mut Ui) {
        ui.separator();
        CollapsingHeader::new(RichText::new("Find and replace").heading()).default_open(true).show(ui, |ui| {
            for (name, text) in [("Find", &mut self.find.text), ("Replace with", &mut self.find.with)] {
                ui.horizontal(|ui| {
                    let label = ui.label(name);
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        ui.add(TextEdit::singleline(text).desired_width(170.0)).labelled_by(label.id)
                    });
                });
            }
            ui.horizontal(|ui| {
                ui.checkbox(&mut self.find.case, "match case");
                ui.checkbox(&mut self.find.pattern, "pattern")
                    .on_hover_text("What is looked for is a regular expression; $1 stands for its first group");
            });
            let Some(gallery) = &self.gallery else { return };
            let known = self.replaced.as_ref();
            let (version, within) = (gallery.version(), &self.shown);
            if known.is_none_or(|known| (&known.find, known.version, &known.within) != (&self.find, version, within)) {
                let changes = gallery.replaced(within, &self.find);
                self.replaced = Some(Replaced { find: self.find.clone(), version, within: within.clone(), changes });
            }
            let Some(Replaced { changes, .. }) = &self.replaced else { return };
            let changes = match changes {
                Err(message) => {
                    ui.colored_label(ui.visuals().error_fg_color, message);
                    return;
                }
                Ok(changes) => changes,
            };
            if self.find.text.is_empty() {
                ui.label(RichText::new("Of the captions that are shown; what would change is listed here first.").weak());
                return;
            }
            let button = Button::new(format!("Replace in {}", captions(changes.len())));
            let replace = ui.add_enabled(!changes.is_empty() && self.run.is_none(), button).clicked();
            let height = ui.text_style_height(&egui::TextStyle::Body) * 2.0;
            ScrollArea::vertical().id_salt("changes").max_height(200.0).show_rows(ui, height, changes.len(), |ui, rows| {
                for (entry, after) in &changes[rows] {
                    ui.allocate_ui(vec2(ui.available_width(), height), |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        let before = RichText::new(&gallery.entries()[*entry].caption).strikethrough().weak();
                        ui.add(egui::Label::new(before).truncate());
                        ui.add(egui::Label::new(after).truncate());
                    });
                }
            });
            if replace {
                let changes = changes.clone();
                self.end_typing();
                self.gallery.as_mut().expect("its captions are to change").set(changes, None);
            }
        });
    }
}

/// A picture with its caption; the caption's field, and whether it was typed in.
fn row(
    ui: &mut Ui,
    gallery: &mut Gallery,
    thumbnails: &mut Thumbnails,
    entry: usize,
) -> (egui::Response, bool) {
    let line = ui.allocate_ui_with_layout(
        vec2(ui.available_width(), ROW),
        Layout::left_to_right(Align::Center),
        |ui| {
            let picture = &gallery.entries()[entry];
            let name = picture.name.clone();
            let mut selected = picture.selected;
            let check = ui.checkbox(&mut selected, "");
            check.widget_info(|| {
                WidgetInfo::selected(Role::CheckBox, true, selected, format!("Select {name}"))
            });
            let (rect, response) = ui.allocate_exact_size(vec2(64.0, 64.0), egui::Sense::hover());
            let mut trouble = picture.trouble.clone();
            match thumbnails.get(entry, &picture.path) {
                Some(Ok(texture)) => {
                    Image::new((texture.id(), rect.size())).paint_at(ui, rect);
                    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "thumbnail"));
                }
                Some(Err(message)) => {
                    trouble.get_or_insert_with(|| message.clone());
                    ui.painter().rect_stroke(
                        rect,
                        2.0,
                        ui.visuals().widgets.noninteractive.bg_stroke,
                        egui::StrokeKind::Inside,
                    );
                    let font = egui::FontId::proportional(24.0);
                    ui.painter().text(
                        rect.center(),
                        egui::Align2::CENTER_CENTER,
                        "?",
                        font,
                        ui.visuals().error_fg_color,
                    );
                }
                None => drop(ui.painter().rect_filled(
                    rect,
                    2.0,
                    Color32::from_gray(if ui.visuals().dark_mode { 40 } else { 225 }),
                )),
            }
            response.on_hover_text(picture.path.display().to_string());
            let line = ui.vertical(|ui| {
                ui.add_space(6.0);
                let label = match &trouble {
                    None => {
                        ui.add(egui::Label::new(RichText::new(&name).weak().small()).truncate())
                    }
                    Some(trouble) => {
                        let text = RichText::new(format!("{name}: {trouble}"))
                            .color(ui.visuals().error_fg_color)
                            .small();
                        ui.add(egui::Label::new(text).truncate())
                            .on_hover_text(trouble)
                    }
                };
                let field = TextEdit::singleline(gallery.typing(entry))
                    .id_salt(("caption", entry))
                    .hint_text("no caption");
                let line = ui
                    .add(field.desired_width(f32::INFINITY))
                    .labelled_by(label.id);
                let typed = line.changed();
                (line, typed)
            });
            if check.changed() {
                gallery.select(entry, selected);
            }
            line.inner
        },
    );
    line.inner
}

fn captions(count: usize) -> String {
    if count == 1 {
        "1 caption".into()
    } else {
        format!("{count} captions")
    }
}

fn filter_id() -> Id {
    Id::unique("batch filter")
}
