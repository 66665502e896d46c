//! The dialog in which a model is chosen or downloaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use egui::{Align, Layout, Modal, ProgressBar, RichText, ScrollArea, Ui};
use seemore::hub::{FetchObserver, HubError, Repository};
use seemore::models::checkpoint;
use seemore::models::library::{self, KNOWN, KnownModel};

use super::Window;
use crate::background::Background;
use crate::file_dialog::FileDialog;
use crate::path_field::PathField;
use crate::theme::{self, Action, Icon};
use crate::worker::{Command, Slot, is_shipped, model_name};

/// State of the dialog.
#[derive(Default)]
pub struct ModelDialog {
    /// The slot that a model is chosen for, while the dialog is shown.
    slot: Option<Slot>,
    field: PathField,
    download: Option<Download>,
    ended: Background<Result<PathBuf, String>>,
    chosen: Background<PathBuf>,
}

/// A download that runs.
struct Download {
    model: &'static KnownModel,
    progress: Arc<DownloadProgress>,
    /// Slot that the model is loaded into afterwards.
    slot: Slot,
}

/// Progress of a download, shared with its thread.
#[derive(Default)]
struct DownloadProgress {
    total: AtomicU64,
    done: AtomicU64,
    stopped: AtomicBool,
}

impl FetchObserver for DownloadProgress {
    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl DownloadProgress {
    /// Downloads a model, and returns its folder.
    fn fetch(&self, model: &KnownModel) -> Result<PathBuf, HubError> {
        let remote = Repository::connect(model.repository)?;
        let files = remote.files(None)?;
        let total = files.iter().map(|file| file.bytes).sum();
        self.total.store(total, Ordering::Relaxed);
        remote.fetch(&files, self)
    }
}

impl Window {
    /// Shows the dialog for a slot.
    pub(super) fn show_models(&mut self, slot: Slot) {
        self.context.worker.send(Command::ListCheckpoints);
        self.models.slot = Some(slot);
        self.models.field = PathField::focused(String::new());
    }

    /// Takes what the dialog's threads have sent.
    pub(super) fn poll_models(&mut self) {
        while let Some(path) = self.models.chosen.poll() {
            self.models.field.text = path.display().to_string();
        }
        while let Some(ended) = self.models.ended.poll() {
            let Some(Download { model, slot, .. }) = self.models.download.take() else {
                continue;
            };
            match ended {
                Ok(folder) => {
                    let toast = format!("Downloaded {}.", model.name);
                    self.context.toasts.success(toast);
                    self.context.worker.send(Command::ListCheckpoints);
                    self.choose_model(slot, folder);
                }
                Err(message) => self.context.toasts.add(message),
            }
        }
    }

    /// Draws the dialog.
    pub(super) fn model_dialog(&mut self, ui: &Ui) {
        let Some(slot) = self.models.slot else {
            return;
        };
        let mut chosen = None;
        let mut close = false;
        let modal = Modal::new(egui::Id::unique("models")).show(ui.ctx(), |ui| {
            ui.set_width(620.0);
            ui.horizontal(|ui| {
                theme::title(ui, ["Choose a model", "Compare with"][slot]);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let button = Action::new(Icon::X, "Close").icon_only();
                    close = ui.add(button).clicked();
                });
            });
            let height = ui.ctx().content_rect().height() - 220.0;
            ScrollArea::vertical().max_height(height).show(ui, |ui| {
                ui.set_width(ui.available_width());
                theme::title(ui, "On this machine");
                let unload = self.installed(ui, slot, &mut chosen);
                if unload {
                    self.context.models[1].loading = false;
                    self.context.worker.send(Command::UnloadModel(1));
                    close = true;
                }
                ui.add_space(theme::SPACE);
                theme::title(ui, "Get a model");
                self.downloads(ui, slot, &mut chosen);
            });
            ui.add_space(theme::SPACE);
            ui.separator();
            ui.label("Folder, GGUF file or name of a model");
            ui.horizontal(|ui| {
                let hint = "~/models/SmolVLM-256M-Instruct";
                let field = &mut self.models.field;
                let entered = field.show(ui, "Model path", hint, 400.0);
                let browse = ui.add(Action::new(Icon::FolderOpen, "Browse..."));
                if browse.clicked() {
                    let ctx = ui.ctx().clone();
                    self.models.chosen.run(ui.ctx(), move || {
                        FileDialog::new(&ctx)
                            .set_title("Choose a model folder")
                            .pick_folder()
                    });
                }
                let ready = !self.models.field.text.trim().is_empty();
                let load = ui.add_enabled(ready, Action::new(Icon::Check, "Load").primary());
                if load.clicked() {
                    chosen = Some(self.models.field.path());
                }
                chosen = chosen.take().or(entered);
            });
        });
        if let Some(folder) = chosen {
            self.choose_model(slot, folder);
            close = true;
        }
        if close || modal.should_close() {
            self.models.slot = None;
        }
    }

    /// Draws the models on this machine. Returns whether the second one is to be unloaded.
    fn installed(&self, ui: &mut Ui, slot: Slot, chosen: &mut Option<PathBuf>) -> bool {
        let current = self.context.models[slot].folder.as_ref();
        let mut unload = false;
        if slot == 1 {
            unload = row(ui, current.is_none(), "None", "show one model only").clicked();
        }
        for folder in &self.checkpoints {
            let (name, purpose) = (model_name(folder), purpose(folder));
            let selected = current == Some(folder);
            let shown = row(ui, selected, &name, purpose);
            if shown.on_hover_text(folder.display().to_string()).clicked() {
                *chosen = Some(folder.clone());
            }
        }
        unload
    }

    /// Draws the models that can be downloaded, and the download that runs.
    fn downloads(&mut self, ui: &mut Ui, slot: Slot, chosen: &mut Option<PathBuf>) {
        let captions = KNOWN.iter().filter(|model| model.captions_pictures);
        for model in captions {
            ui.horizontal(|ui| {
                ui.set_min_height(28.0);
                let running = self.models.download.as_ref();
                let running = running.filter(|download| download.model == model);
                let running = running.map(|download| download.progress.clone());
                let here = library::locate_repository(model.name).ok();
                let here = here.filter(|folder| library::has_weights(folder));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    match (running, here) {
                        (Some(progress), _) => cancel(ui, &progress),
                        (None, Some(folder)) => {
                            if ui.button("Load").clicked() {
                                *chosen = Some(folder);
                            }
                        }
                        (None, None) => {
                            let label = format!("Get {}", model.name);
                            let idle = self.models.download.is_none();
                            let get = Action::new(Icon::Download, &label);
                            if ui.add_enabled(idle, get).clicked() {
                                self.download(ui, model, slot);
                            }
                        }
                    }
                    let size = format!("{} MB, {}", model.megabytes, model.licence);
                    ui.label(RichText::new(size).weak());
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        ui.label(RichText::new(model.name).strong());
                        ui.add(egui::Label::new(RichText::new(model.purpose).weak()).truncate());
                    });
                });
            });
        }
        theme::note(
            ui,
            "Models come from the Hugging Face Hub and stay in its cache.",
        );
    }

    fn download(&mut self, ui: &Ui, model: &'static KnownModel, slot: Slot) {
        let progress = Arc::new(DownloadProgress::default());
        self.models.download = Some(Download {
            model,
            progress: progress.clone(),
            slot,
        });
        self.models.ended.run(ui.ctx(), move || {
            Some(progress.fetch(model).map_err(|error| match error {
                HubError::Stopped => {
                    format!(
                        "The download of {} was stopped; Get continues it.",
                        model.name
                    )
                }
                error @ HubError::Download { .. } => {
                    format!("{error}. Get continues the download.")
                }
                error => error.to_string(),
            }))
        });
    }
}

/// Draws the progress of a download and the button that stops it.
fn cancel(ui: &mut Ui, progress: &DownloadProgress) {
    if ui.add(Action::new(Icon::X, "Cancel")).clicked() {
        progress.stopped.store(true, Ordering::Relaxed);
    }
    let total = progress.total.load(Ordering::Relaxed);
    let done = progress.done.load(Ordering::Relaxed);
    let share = done as f32 / total.max(1) as f32;
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let text = match total {
        0 => "Connecting...".to_owned(),
        _ => format!("{} of {} MB", megabytes(done), megabytes(total)),
    };
    ui.add(ProgressBar::new(share).desired_width(140.0).text(text));
    let again = std::time::Duration::from_millis(200);
    ui.ctx().request_repaint_after(again);
}

/// Draws a model to choose.
fn row(ui: &mut Ui, selected: bool, name: &str, purpose: &str) -> egui::Response {
    let text = RichText::new(purpose).weak();
    let button = egui::Button::selectable(selected, name).right_text(text);
    let button = button.min_size(egui::vec2(ui.available_width(), 28.0));
    let response = ui.add(button);
    let info = || egui::WidgetInfo::selected(egui::Role::Button, true, selected, name);
    response.widget_info(info);
    response
}

/// Returns what the model in a folder is good for.
fn purpose(folder: &Path) -> &'static str {
    if is_shipped(folder) {
        return "drawings";
    }
    let same = |path: &Path| std::fs::canonicalize(path).ok();
    if checkpoint::shipped_photo().is_some_and(|photo| same(&photo) == same(folder)) {
        return "photographs of single things";
    }
    let known = library::repository_of(folder);
    let known = known.and_then(|repository| library::known(&repository));
    match known {
        Some(known) => known.purpose,
        None if folder.starts_with("runs") => "trained here",
        None => "pretrained",
    }
}
