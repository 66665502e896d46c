//! The window: passes events to the pages, draws the page that is chosen, and handles input that
//! concerns all of them.

mod clipboard;
mod closing;
mod models;
mod palette;
mod path_prompt;
mod settings;
mod toolbar;

use std::path::PathBuf;

use eframe::{CreationContext, Frame, Storage};
use egui::{CentralPanel, Context, Key, KeyboardShortcut, Modifiers, Panel, Ui};
use seemore::device::{AdapterInfo, Device};
use seemore::models::{checkpoint, library};

use crate::background::Background;
use crate::file_dialog::{self, FileDialog, PathRequest};
use crate::page::{ModelSlot, Page, PageContext, Request};
use crate::pages;
use crate::path_field::PathField;
use crate::pictures::{EXTENSIONS, Reader};
use crate::theme;
use crate::toasts::Toasts;
use crate::worker::{Command, Event, LoadModel, Slot, WorkerHandle, WorkerOptions};
use clipboard::Pasted;
use closing::Closing;
use models::ModelDialog;
use palette::{Palette, WindowCommand};
use settings::Settings;

/// Options that the window starts with.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Pictures and folders to open.
    pub pictures: Vec<PathBuf>,
    /// Folder, GGUF file or name of a model. `None` takes the last one used, else the model that comes with seemore.
    pub model: Option<PathBuf>,
    /// Device to run on, as [`Device::open`](seemore::device::Device::open) reads it. `None` takes the
    /// best one.
    pub device: Option<String>,
    /// Whether kernel variants are chosen by measuring them on the adapter.
    pub autotune: bool,
    /// Whether dialogs for files are the system's; otherwise the window asks for paths.
    pub system_dialogs: bool,
}

const OPEN: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::O);
const OPEN_FOLDER: KeyboardShortcut =
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::O);
const MODELS: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::L);
const PALETTE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::K);

/// Keys that show a page together with Ctrl, in the order of the pages.
const PAGE_KEYS: [Key; 9] = [
    Key::Num1,
    Key::Num2,
    Key::Num3,
    Key::Num4,
    Key::Num5,
    Key::Num6,
    Key::Num7,
    Key::Num8,
    Key::Num9,
];

/// Number of sample pictures to open.
const SAMPLES: usize = 24;

/// The whole app.
pub struct Window {
    pages: Vec<Box<dyn Page>>,
    /// Index of the page on screen.
    active: usize,
    context: PageContext,
    /// How the worker is started. `None` for a scripted worker, which cannot be started again.
    worker_options: Option<WorkerOptions>,
    reader: Reader,
    /// Description of the adapter, once the device is open.
    adapter: Option<String>,
    /// Checkpoint folders to choose from.
    checkpoints: Vec<PathBuf>,
    /// Why the worker has stopped.
    stopped: Option<String>,
    pictures: Background<Vec<PathBuf>>,
    closing: Closing,
    pasted: Background<Result<Pasted, String>>,
    /// Graphics adapters, once they are listed.
    devices: Option<Vec<AdapterInfo>>,
    listed: Background<Vec<AdapterInfo>>,
    path: PathField,
    palette: Palette,
    models: ModelDialog,
    /// The path that is asked for, and what is typed.
    asked: Option<(PathRequest, PathField)>,
}

impl Window {
    /// Opens the window and starts a worker.
    pub fn new(c: &CreationContext, start: StartOptions) -> Window {
        let stored = c.storage.map(Settings::load).unwrap_or_default();
        let options = WorkerOptions {
            device: start.device.clone().or(stored.device),
            autotune: start.autotune,
        };
        let ctx = c.egui_ctx.clone();
        let worker = WorkerHandle::start(options.clone(), move || ctx.request_repaint());
        let mut window = Window::with(c, worker, start);
        window.worker_options = Some(options);
        window
    }

    /// Opens the window with a given worker, which may be scripted by a test.
    pub fn with(c: &CreationContext, worker: WorkerHandle, start: StartOptions) -> Window {
        theme::apply(&c.egui_ctx);
        file_dialog::use_system_dialogs(&c.egui_ctx, start.system_dialogs);
        let settings = c.storage.map(Settings::load).unwrap_or_default();
        let mut pages = pages::all();
        if let Some(storage) = c.storage {
            pages.iter_mut().for_each(|page| page.restore(storage));
        }
        let ctx = c.egui_ctx.clone();
        let reader = Reader::new(move || ctx.request_repaint());
        reader.open(start.pictures);
        let folder = start
            .model
            .or(settings
                .model
                .filter(|folder| library::locate(folder).is_ok()))
            .or_else(checkpoint::default_folder);
        let chosen = ModelSlot {
            folder,
            ..ModelSlot::default()
        };
        let active = pages
            .iter()
            .position(|page| page.title() == settings.tab)
            .unwrap_or(0);
        let mut window = Window {
            pages,
            active,
            context: PageContext {
                egui: c.egui_ctx.clone(),
                worker,
                models: [chosen, ModelSlot::default()],
                selection: None,
                generation: settings.generation,
                heat: settings.heat,
                toasts: Toasts::default(),
                requests: vec![],
                visible: false,
                shortcuts: true,
            },
            worker_options: None,
            reader,
            adapter: None,
            checkpoints: vec![],
            stopped: None,
            pictures: Background::default(),
            pasted: Background::default(),
            closing: Closing::default(),
            devices: None,
            listed: Background::default(),
            path: PathField::default(),
            palette: Palette::default(),
            models: ModelDialog::default(),
            asked: None,
        };
        window.send_first_commands();
        window
    }

    /// Sends a new worker its first commands.
    fn send_first_commands(&mut self) {
        self.context.worker.send(Command::ListCheckpoints);
        (0..2).for_each(|slot| self.load(slot));
    }

    /// Loads the model that a slot asks for.
    fn load(&mut self, slot: Slot) {
        let model = &mut self.context.models[slot];
        if let Some(folder) = model.folder.clone() {
            model.loading = true;
            let model = LoadModel { slot, folder };
            self.context.worker.send(Command::LoadModel(model));
        }
    }

    fn choose_model(&mut self, slot: Slot, folder: PathBuf) {
        self.context.models[slot].folder = Some(folder);
        self.load(slot);
    }

    fn show_page(&mut self, title: &str) {
        if let Some(index) = self.pages.iter().position(|page| page.title() == title) {
            self.active = index;
        }
    }

    /// Applies an event to the window, then passes it to every page.
    fn dispatch(&mut self, event: &Event) {
        match event {
            Event::Adapter(adapter) => self.adapter = Some(adapter.clone()),
            Event::Checkpoints(folders) => self.checkpoints.clone_from(folders),
            Event::ModelLoaded { slot, model } => {
                self.context.models[*slot] = ModelSlot {
                    folder: Some(model.folder.clone()),
                    info: Some(model.clone()),
                    loading: false,
                };
            }
            Event::ModelFailed { slot, message } => {
                // the model before, if there is one, is still loaded
                let model = &mut self.context.models[*slot];
                model.folder = model.info.as_ref().map(|info| info.folder.clone());
                model.loading = false;
                self.context.toasts.add(message);
            }
            Event::ModelUnloaded(slot) => self.context.models[*slot] = ModelSlot::default(),
            Event::Stopped(message) => self.stopped = Some(message.clone()),
            _ => {}
        }
        for (index, page) in self.pages.iter_mut().enumerate() {
            self.context.visible = index == self.active;
            page.handle(event, &mut self.context);
        }
    }

    /// Takes everything that has arrived since the last frame.
    fn poll(&mut self) {
        while let Some(event) = self.context.worker.poll() {
            self.dispatch(&event);
        }
        while let Some(opened) = self.reader.poll() {
            match opened {
                Ok(opened) => self.dispatch(&Event::Opened(opened)),
                Err(message) => self.context.toasts.add(message),
            }
        }
        while let Some(paths) = self.pictures.poll() {
            self.open_paths(paths);
        }
        while let Some(pasted) = self.pasted.poll() {
            match pasted {
                Ok(pasted) => self.take_pasted(pasted),
                Err(message) => self.context.toasts.warn(message),
            }
        }
        while let Some(devices) = self.listed.poll() {
            self.devices = Some(devices);
        }
        self.poll_models();
    }

    /// Opens files and folders on the page on screen, which may be another one's pictures.
    fn open_paths(&mut self, paths: Vec<PathBuf>) {
        if !self.pages[self.active].drop_files(&paths, &mut self.context) {
            self.show_page(pages::caption::TITLE);
            self.reader.open(paths);
        }
    }

    fn take_pasted(&mut self, pasted: Pasted) {
        match pasted {
            Pasted::Picture(picture) => {
                self.show_page(pages::caption::TITLE);
                self.reader.add("Pasted picture", picture);
            }
            Pasted::Files(files) => self.open_paths(files),
        }
    }

    /// Takes what a command asks for.
    fn run(&mut self, command: WindowCommand) {
        match command {
            WindowCommand::Page(index) => self.active = index,
            WindowCommand::OpenPictures => self.open_pictures(),
            WindowCommand::OpenFolder => self.open_folder(),
            WindowCommand::OpenSamples => self.open_samples(),
            WindowCommand::Paste => self.paste(),
            WindowCommand::ChooseModel(slot) => self.show_models(slot),
            WindowCommand::Device(device) => self.use_device(device),
            WindowCommand::Theme(theme) => self.context.egui.set_theme(theme),
            WindowCommand::Act(name) => self.pages[self.active].act(&name, &mut self.context),
        }
    }

    /// Returns the requested device of the worker; `None` for the best one.
    fn device(&self) -> Option<&str> {
        self.worker_options.as_ref()?.device.as_deref()
    }

    /// Returns the devices to choose from.
    fn device_choices(&self) -> Vec<(String, Option<String>)> {
        let mut choices = vec![
            ("The best one".into(), None),
            ("CPU".into(), Some("cpu".into())),
        ];
        let gpus = self.devices.iter().flatten();
        choices.extend(gpus.map(|it| (format!("GPU: {it}"), Some(it.index.to_string()))));
        choices
    }

    fn list_devices(&self) {
        self.listed
            .run(&self.context.egui, || Some(Device::adapters()));
    }

    /// Restarts the worker on another device, with the same models.
    fn use_device(&mut self, device: Option<String>) {
        if let Some(options) = &mut self.worker_options {
            options.device = device;
            self.dispatch(&Event::Stopped(String::new()));
            self.restart_worker();
        }
    }

    /// Takes the actions that pages have asked for.
    fn take_requests(&mut self) {
        for request in std::mem::take(&mut self.context.requests) {
            match request {
                Request::OpenPictures => self.open_pictures(),
                Request::OpenSamples => self.open_samples(),
                Request::ChooseModel(slot) => self.show_models(slot),
                Request::UseModel(folder) => {
                    self.choose_model(0, folder);
                    self.show_page(pages::caption::TITLE);
                }
                Request::OpenInBatch(pictures) => {
                    self.dispatch(&Event::OpenInBatch(pictures));
                    self.show_page(pages::batch::TITLE);
                }
            }
        }
    }

    fn open_pictures(&self) {
        let ctx = self.context.egui.clone();
        self.pictures.run(&self.context.egui, move || {
            FileDialog::new(&ctx)
                .set_title("Open pictures")
                .add_filter("Pictures", &EXTENSIONS)
                .pick_files()
        });
    }

    fn open_folder(&self) {
        let ctx = self.context.egui.clone();
        self.pictures.run(&self.context.egui, move || {
            let folder = FileDialog::new(&ctx)
                .set_title("Open a folder")
                .pick_folder()?;
            Some(vec![folder])
        });
    }

    fn paste(&self) {
        self.pasted
            .run(&self.context.egui, || Some(clipboard::read()));
    }

    fn open_samples(&mut self) {
        match samples() {
            Some(file) => self.reader.open_samples(file, SAMPLES),
            None => self.context.toasts.add(
                "The sample pictures were not found. Start the app in seemore's folder, or open \
                 other pictures.",
            ),
        }
    }

    fn restart_worker(&mut self) {
        let Some(options) = self.worker_options.clone() else {
            return;
        };
        let ctx = self.context.egui.clone();
        self.context.worker = WorkerHandle::start(options, move || ctx.request_repaint());
        (self.stopped, self.adapter) = (None, None);
        self.context
            .models
            .iter_mut()
            .for_each(|model| model.info = None);
        self.send_first_commands();
    }

    /// Takes the keys that work on every page, whatever has the focus, unless a dialog is shown.
    fn keys(&mut self, ctx: &Context) {
        let pressed = |keys| ctx.input_mut(|input| input.consume_shortcut(keys));
        let modal = ctx.memory(|memory| memory.top_modal_layer().is_some());
        let typing = ctx.text_edit_focused();
        self.context.shortcuts = !typing && !modal;
        // it is a dialog itself
        if (!modal || self.palette.is_shown()) && pressed(&PALETTE) {
            self.palette.toggle();
            // so that no other field takes text of this frame
            ctx.memory_mut(egui::Memory::stop_text_input);
        }
        if modal {
            return;
        }
        // before Ctrl+O, which it contains
        if pressed(&OPEN_FOLDER) {
            self.open_folder();
        }
        if pressed(&OPEN) {
            self.open_pictures();
        }
        if pressed(&MODELS) {
            self.show_models(0);
        }
        let pasted = ctx.input(|input| clipboard::pasted(&input.events, typing));
        if let Some(pasted) = pasted {
            self.take_pasted(pasted);
        }
        for (index, key) in PAGE_KEYS.into_iter().take(self.pages.len()).enumerate() {
            if ctx.input_mut(|input| input.consume_key(Modifiers::COMMAND, key)) {
                self.active = index;
            }
        }
    }

    fn status_bar(&self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            ui.label(self.adapter.as_deref().unwrap_or("Opening the device..."));
            for status in self.pages.iter().filter_map(|page| page.status()) {
                ui.separator();
                ui.label(status);
            }
        });
    }

    /// Draws a message in place of the page after the worker has stopped.
    fn stopped(&mut self, ui: &mut Ui, message: &str) {
        let mut restart = false;
        CentralPanel::default().show(ui, |ui| {
            ui.vertical_centered(|ui| {
                ui.add_space(80.0);
                ui.heading("The worker has stopped");
                ui.label(message);
                ui.label("Pictures and settings are still here.");
                restart = ui.button("Restart").clicked();
            });
        });
        if restart {
            self.restart_worker();
        }
    }
}

/// Returns the data set of sample pictures, on which the shipped model was not trained.
fn samples() -> Option<PathBuf> {
    let model = checkpoint::shipped()?;
    let file = model.ancestors().nth(2)?.join("emoji/fxemoji.csv");
    file.is_file().then_some(file)
}

/// Draws a hint over the whole window while files are dragged over it.
fn drop_hint(ctx: &Context) {
    let painter = ctx.layer_painter(egui::LayerId::new(
        egui::Order::Foreground,
        egui::Id::unique("drop"),
    ));
    let rect = ctx.content_rect();
    painter.rect_filled(rect, 0.0, egui::Color32::from_black_alpha(160));
    painter.text(
        rect.center(),
        egui::Align2::CENTER_CENTER,
        "Drop pictures or a folder here",
        egui::FontId::proportional(28.0),
        egui::Color32::WHITE,
    );
}

impl eframe::App for Window {
    fn logic(&mut self, ctx: &Context, _frame: &mut Frame) {
        self.poll();
        self.closing.guard(ctx, &mut self.pages);
        let dropped: Vec<PathBuf> = ctx.input(|input| {
            let files = input.raw.dropped_files.iter();
            files.map(|file| file.path().to_owned()).collect()
        });
        if !dropped.is_empty() {
            self.open_paths(dropped);
        }
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut Frame) {
        let ctx = ui.ctx().clone();
        self.keys(&ctx);
        let frame = egui::Frame::side_top_panel(ui.style());
        let rail = frame.fill(theme::colors(ui).card).inner_margin(4);
        Panel::left("rail")
            .exact_size(76.0)
            .resizable(false)
            .frame(rail)
            .show(ui, |ui| self.rail(ui));
        Panel::top("bar")
            .frame(frame.inner_margin(theme::SPACE))
            .show(ui, |ui| self.toolbar(ui));
        Panel::bottom("status").show(ui, |ui| self.status_bar(ui));
        if let Some(message) = self.stopped.clone() {
            self.stopped(ui, &message);
        } else {
            self.context.visible = true;
            self.pages[self.active].ui(ui, &mut self.context);
            self.take_requests();
        }
        self.model_dialog(ui);
        self.show_palette(ui);
        self.ask_for_path(ui);
        self.context.toasts.show(&ctx);
        self.closing.ask(&ctx);
        if ctx.input(|input| !input.raw.hovered_files.is_empty()) {
            drop_hint(&ctx);
        }
    }

    fn save(&mut self, storage: &mut dyn Storage) {
        Settings {
            generation: self.context.generation.clone(),
            heat: self.context.heat,
            tab: self.pages[self.active].title().to_owned(),
            model: self.context.models[0].folder.clone(),
            device: self.device().map(str::to_owned),
        }
        .save(storage);
        self.pages.iter().for_each(|page| page.save(storage));
    }

    fn on_exit(&mut self) {
        let mut wait = false;
        for page in &mut self.pages {
            wait |= page.close();
        }
        if wait {
            self.context.worker.finish();
        }
    }
}
