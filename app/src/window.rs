//! The window: what the worker reports goes to the pages, and what people do goes to the worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::{CreationContext, Frame, Storage};
use egui::{CentralPanel, Context, Key, KeyboardShortcut, Modifiers, Panel, Ui};
use seemore::explain::ColorMap;
use seemore::image::Picture;
use seemore::models::checkpoint;

use crate::asked::Asked;
use crate::desk::Desk;
use crate::pages::attention::AttentionPage;
use crate::pages::batch::BatchPage;
use crate::pages::caption::{CaptionPage, Wish};
use crate::pages::inspect::InspectPage;
use crate::pages::train::{Form, TrainPage};
use crate::pictures::{EXTENSIONS, Reader};
use crate::toasts::Toasts;
use crate::work::captioning::Settings;
use crate::work::training;
use crate::worker::{self, Failed, Loaded, Order, Report, Slot, Worker};

/// What the window opens with.
#[derive(Debug, Clone, Default)]
pub struct Start {
    pub pictures: Vec<PathBuf>,
    /// The one that comes with seemore where there is none.
    pub model: Option<PathBuf>,
    pub adapter: Option<String>,
}

/// What is kept between starts.
#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Kept {
    settings: Settings,
    opacity: Option<f32>,
    colors: ColorMap,
    training: Form,
    /// The folder of the batch page.
    batch: Option<PathBuf>,
    page: Page,
    /// The chosen model's folder.
    model: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
enum Page {
    #[default]
    Caption,
    Batch,
    Attention,
    Train,
    Inspect,
}

/// The pages in the order of their tabs, which Ctrl+1 and so on choose too.
const PAGES: [(Page, &str, Key); 5] = [
    (Page::Caption, "Caption", Key::Num1),
    (Page::Batch, "Batch", Key::Num2),
    (Page::Attention, "Attention", Key::Num3),
    (Page::Train, "Train", Key::Num4),
    (Page::Inspect, "Inspect", Key::Num5),
];

const OPEN: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::O);
const PASTE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::V);

/// The whole program.
pub struct Window {
    worker: Worker,
    /// None for a scripted worker, which nobody can start again.
    adapter_wanted: Option<Option<String>>,
    reader: Reader,
    page: Page,
    caption: CaptionPage,
    batch: BatchPage,
    attention: AttentionPage,
    train: TrainPage,
    inspect: InspectPage,
    colors: ColorMap,
    adapter: Option<String>,
    models: [Model; 2],
    /// Checkpoint folders to choose from.
    folders: Vec<PathBuf>,
    died: Option<String>,
    toasts: Toasts,
    pictures: Asked<Vec<PathBuf>>,
    checkpoint: Asked<(Slot, PathBuf)>,
    pasted: Asked<Result<Picture, String>>,
}

/// A model that is wanted, and one that is there.
#[derive(Default)]
struct Model {
    folder: Option<PathBuf>,
    loaded: Option<Loaded>,
    loading: bool,
}

impl Window {
    pub fn new(c: &CreationContext, start: Start) -> Window {
        let ctx = c.egui_ctx.clone();
        let worker = Worker::start(start.adapter.clone(), move || ctx.request_repaint());
        let mut window = Window::with(c, worker, start.clone());
        window.adapter_wanted = Some(start.adapter);
        window
    }

    /// With a worker that is running already, or that a test plays.
    pub fn with(c: &CreationContext, worker: Worker, start: Start) -> Window {
        // the weak text of the themes is hard to read
        c.egui_ctx
            .all_styles_mut(|style| style.visuals.weak_text_alpha = 0.8);
        let kept: Kept = c
            .storage
            .and_then(|storage| eframe::get_value(storage, "seemore"))
            .unwrap_or_default();
        let ctx = c.egui_ctx.clone();
        let reader = Reader::new(Arc::new(move || ctx.request_repaint()));
        reader.open(start.pictures);
        let folder = start
            .model
            .or(kept
                .model
                .filter(|folder| folder.join("model.safetensors").is_file()))
            .or_else(checkpoint::shipped);
        let mut window = Window {
            worker,
            adapter_wanted: None,
            reader,
            page: kept.page,
            caption: CaptionPage::new(kept.settings, kept.opacity),
            batch: BatchPage::new(kept.batch),
            attention: AttentionPage::default(),
            train: TrainPage::new(kept.training),
            inspect: InspectPage::default(),
            colors: kept.colors,
            adapter: None,
            models: [
                Model {
                    folder,
                    ..Model::default()
                },
                Model::default(),
            ],
            folders: vec![],
            died: None,
            toasts: Toasts::default(),
            pictures: Asked::default(),
            checkpoint: Asked::default(),
            pasted: Asked::default(),
        };
        window.begin();
        window
    }

    /// The first orders to a new worker.
    fn begin(&mut self) {
        self.worker.order(Order::Look);
        if self.models[0].folder.is_none() {
            self.toasts.add("The model that comes with seemore is not here: start this program in seemore's folder, or choose a checkpoint folder with the button beside \"Model\".");
        }
        (0..2).for_each(|slot| self.load(slot));
    }

    /// Orders the wanted model.
    fn load(&mut self, slot: Slot) {
        if let Some(folder) = self.models[slot].folder.clone() {
            self.models[slot].loading = true;
            self.worker.order(Order::Load { slot, folder });
        }
    }

    fn choose(&mut self, slot: Slot, folder: PathBuf) {
        self.models[slot].folder = Some(folder);
        self.load(slot);
    }

    /// Takes in everything that has come since the last frame.
    fn receive(&mut self, ctx: &Context) {
        while let Some(report) = self.worker.report() {
            match report {
                Report::Adapter(adapter) => self.adapter = Some(adapter),
                Report::Folders(folders) => self.folders = folders,
                Report::Loaded { slot, loaded } => {
                    self.models[slot] = Model {
                        folder: Some(loaded.folder.clone()),
                        loaded: Some(loaded),
                        loading: false,
                    };
                    self.caption.again(slot, &self.worker);
                    if slot == 0 {
                        self.attention.forget();
                        self.inspect.forget();
                    }
                }
                Report::Looked(looked) => self.attention.take(*looked),
                Report::Caption { job, progress } => self.caption.take(job, progress),
                Report::Batch { run, captions } => self.batch.take(run, captions, &self.worker),
                Report::Inspected(inspection) => self.inspect.take(*inspection),
                Report::Train(progress) => {
                    if matches!(progress, training::Progress::Saved { .. }) {
                        self.worker.order(Order::Look);
                    }
                    if let Some(message) = self.train.take(progress, self.page == Page::Train) {
                        self.toasts.add(message);
                    }
                }
                Report::Failed { order, message } => {
                    self.toasts.add(message);
                    match order {
                        // the model before, if there is one, is still there
                        Failed::Load { slot } => {
                            let Model {
                                folder,
                                loaded,
                                loading,
                            } = &mut self.models[slot];
                            (*folder, *loading) =
                                (loaded.as_ref().map(|loaded| loaded.folder.clone()), false);
                        }
                        Failed::Caption { job } => self.caption.failed(job),
                        Failed::Batch { run } => self.batch.failed(run),
                        Failed::Attention => self.attention.failed(),
                        Failed::Inspect => self.inspect.forget(),
                    }
                }
                Report::Died(message) => {
                    self.caption.stopped();
                    self.batch.stopped();
                    self.attention.forget();
                    self.train.stopped();
                    self.inspect.forget();
                    self.died = Some(message);
                }
            }
        }
        while let Some(arrival) = self.reader.next() {
            match arrival.picture {
                Ok((picture, small)) => {
                    let models = [0, 1].map(|slot: Slot| self.models[slot].loaded.is_some());
                    self.caption
                        .add(ctx, arrival.name, picture, small, &self.worker, models);
                }
                Err(message) => self.toasts.add(message),
            }
        }
        while let Some(paths) = self.pictures.answer() {
            if self.page == Page::Batch {
                self.page = Page::Caption;
            }
            self.reader.open(paths);
        }
        while let Some((slot, folder)) = self.checkpoint.answer() {
            self.choose(slot, folder);
        }
        while let Some(pasted) = self.pasted.answer() {
            match pasted {
                Ok(picture) => self.reader.give("pasted", picture),
                Err(message) => self.toasts.add(message),
            }
        }
    }

    fn open(&self, ctx: &Context) {
        self.pictures.ask(ctx, || {
            rfd::FileDialog::new()
                .set_title("Open pictures")
                .add_filter("Pictures", &EXTENSIONS)
                .pick_files()
        });
    }

    fn paste(&self, ctx: &Context) {
        self.pasted.ask(ctx, || Some(clipboard()));
    }

    fn samples(&mut self) {
        match samples() {
            Some(file) => self.reader.sample(file, SAMPLES),
            None => {
                self.toasts.add("The sample pictures are not here: start this program in seemore's folder, or open pictures of your own.")
            }
        }
    }

    fn restart(&mut self, ctx: &Context) {
        let Some(adapter) = self.adapter_wanted.clone() else {
            return;
        };
        let ctx = ctx.clone();
        self.worker = Worker::start(adapter, move || ctx.request_repaint());
        (self.died, self.adapter) = (None, None);
        self.models.iter_mut().for_each(|model| model.loaded = None);
        self.begin();
    }

    fn bar(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            let ctx = ui.ctx().clone();
            for (number, (page, name, _)) in PAGES.into_iter().enumerate() {
                ui.selectable_value(&mut self.page, page, name)
                    .on_hover_text(format!("Ctrl+{}", number + 1));
            }
            ui.separator();
            if ui
                .button("Open...")
                .on_hover_text("Open pictures (Ctrl+O), or drop them on the window")
                .clicked()
            {
                self.open(&ctx);
            }
            if ui
                .button("Folder...")
                .on_hover_text("Open all pictures of a folder")
                .clicked()
            {
                self.pictures.ask(&ctx, || {
                    Some(vec![
                        rfd::FileDialog::new()
                            .set_title("Open a folder")
                            .pick_folder()?,
                    ])
                });
            }
            if ui
                .button("Paste")
                .on_hover_text("Paste a picture (Ctrl+V)")
                .clicked()
            {
                self.paste(&ctx);
            }
            if ui
                .button("Samples")
                .on_hover_text("Drawings that the model that comes with seemore has never seen")
                .clicked()
            {
                self.samples();
            }
            ui.separator();
            self.picker(ui, 0);
            self.picker(ui, 1);
            egui::widgets::global_theme_preference_buttons(ui);
        });
    }

    /// The choice of a model.
    fn picker(&mut self, ui: &mut Ui, slot: Slot) {
        let label = ui.label(["Model", "compared with"][slot]);
        let model = &self.models[slot];
        let shown = model.folder.as_deref().map_or("none".into(), worker::name);
        let mut chosen = None;
        let list = egui::ComboBox::from_id_salt(("model", slot))
            .selected_text(shown)
            .show_ui(ui, |ui| {
                let mut none = false;
                if slot == 1
                    && ui
                        .selectable_label(model.folder.is_none(), "none")
                        .clicked()
                {
                    none = true;
                }
                for folder in &self.folders {
                    let row = ui.selectable_label(
                        model.folder.as_ref() == Some(folder),
                        worker::name(folder),
                    );
                    if row.on_hover_text(folder.display().to_string()).clicked() {
                        chosen = Some(folder.clone());
                    }
                }
                if ui.button("Another folder...").clicked() {
                    self.checkpoint.ask(ui.ctx(), move || {
                        Some((
                            slot,
                            rfd::FileDialog::new()
                                .set_title("Choose a checkpoint folder")
                                .pick_folder()?,
                        ))
                    });
                }
                none
            });
        let response = list.response.labelled_by(label.id);
        if model.loading {
            ui.spinner();
        } else if let Some(loaded) = &model.loaded {
            let millions = loaded.parameters as f64 / 1e6;
            response.on_hover_text(format!(
                "{}\n{millions:.1} million parameters, {} tokens, sees {side} x {side} pixels",
                loaded.folder.display(),
                loaded.tokens,
                side = loaded.side
            ));
        }
        if list.inner == Some(true) {
            self.models[1] = Model::default();
            self.caption.forget(1);
            self.worker.order(Order::Unload);
        }
        if let Some(folder) = chosen {
            self.choose(slot, folder);
        }
    }
}

/// Pictures to try.
const SAMPLES: usize = 24;

/// The picture on the clipboard, over white.
fn clipboard() -> Result<Picture, String> {
    let image = arboard::Clipboard::new().and_then(|mut clipboard| clipboard.get_image());
    let image = image.map_err(|error| {
        format!("There is no picture to paste: copy one first, or open its file ({error}).")
    })?;
    let over_white = |value: u8, alpha: u8| {
        ((value as u32 * alpha as u32 + 255 * (255 - alpha as u32) + 127) / 255) as u8
    };
    let rgb = image
        .bytes
        .chunks_exact(4)
        .flat_map(|p| [p[0], p[1], p[2]].map(|value| over_white(value, p[3])))
        .collect();
    Ok(Picture {
        width: image.width,
        height: image.height,
        rgb,
    })
}

/// The file that holds them: drawings that the shipped model was not trained on.
fn samples() -> Option<PathBuf> {
    let model = checkpoint::shipped()?;
    let file = model.ancestors().nth(2)?.join("emoji/fxemoji.csv");
    file.is_file().then_some(file)
}

impl eframe::App for Window {
    fn logic(&mut self, ctx: &Context, _frame: &mut Frame) {
        self.receive(ctx);
        let dropped = ctx.input(|input| input.raw.dropped_files.clone());
        match dropped.first() {
            Some(file) if self.page == Page::Batch => self.batch.dropped(ctx, file.path()),
            _ => self
                .reader
                .open(dropped.iter().map(|file| file.path().to_owned()).collect()),
        }
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut Frame) {
        let ctx = ui.ctx().clone();
        let typing = ctx.egui_wants_keyboard_input();
        if ctx.input_mut(|input| input.consume_shortcut(&OPEN)) {
            self.open(&ctx);
        }
        if !typing && ctx.input_mut(|input| input.consume_shortcut(&PASTE)) {
            self.paste(&ctx);
        }
        for (page, _, key) in PAGES {
            if ctx.input_mut(|input| input.consume_key(Modifiers::COMMAND, key)) {
                self.page = page;
            }
        }
        Panel::top("bar").show(ui, |ui| self.bar(ui));
        Panel::bottom("status").show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.label(
                    self.adapter
                        .as_deref()
                        .unwrap_or("opening the graphics adapter"),
                );
                if let Some(status) = self.train.status() {
                    ui.separator();
                    ui.label(status);
                }
            });
        });
        if let Some(message) = self.died.clone() {
            CentralPanel::default().show(ui, |ui| {
                ui.vertical_centered(|ui| {
                    ui.add_space(80.0);
                    ui.heading("The model has stopped");
                    ui.label(message);
                    ui.label("The pictures and settings are still here.");
                    if ui.button("Start it again").clicked() {
                        self.restart(&ctx);
                    }
                });
            });
        } else {
            let selected = self.caption.selected();
            let models = self.models.each_ref().map(|model| model.loaded.as_ref());
            let (colors, toasts) = (&mut self.colors, &mut self.toasts);
            let mut desk = Desk {
                worker: &self.worker,
                models,
                selected: selected.as_ref(),
                colors,
                toasts,
            };
            match self.page {
                Page::Caption => match self.caption.ui(ui, &mut desk) {
                    Some(Wish::Open) => self.open(&ctx),
                    Some(Wish::Samples) => self.samples(),
                    None => {}
                },
                Page::Batch => self.batch.ui(ui, &mut desk, self.caption.settings()),
                Page::Attention => self.attention.ui(ui, &mut desk),
                Page::Train => {
                    if let Some(folder) = self.train.ui(ui, &mut desk) {
                        self.choose(0, folder);
                        self.page = Page::Caption;
                    }
                }
                Page::Inspect => self.inspect.ui(ui, &mut desk),
            }
        }
        self.toasts.show(&ctx);
        if ctx.input(|input| !input.raw.hovered_files.is_empty()) {
            let painter = ctx.layer_painter(egui::LayerId::new(
                egui::Order::Foreground,
                egui::Id::unique("drop"),
            ));
            let rect = ctx.content_rect();
            painter.rect_filled(rect, 0.0, egui::Color32::from_black_alpha(160));
            let font = egui::FontId::proportional(28.0);
            painter.text(
                rect.center(),
                egui::Align2::CENTER_CENTER,
                "Drop pictures or a folder here",
                font,
                egui::Color32::WHITE,
            );
        }
    }

    fn save(&mut self, storage: &mut dyn Storage) {
        let kept = Kept {
            settings: self.caption.settings().clone(),
            opacity: Some(self.caption.opacity()),
            colors: self.colors,
            training: self.train.form().clone(),
            batch: self.batch.folder().map(Path::to_owned),
            page: self.page,
            model: self.models[0].folder.clone(),
        };
        eframe::set_value(storage, "seemore", &kept);
    }

    fn on_exit(&mut self) {
        self.batch.finish();
        // the program ends with the window, and what was trained so far would be lost
        if self.train.runs() {
            self.worker.finish();
        }
    }
}
