//! The Train page: the options of a training on the left, its progress on the right.

mod captions;
mod choices;
mod curve;
mod fields;
mod form;
mod history;
mod job;
mod plots;
mod progress;
mod request;
mod widgets;

use eframe::Storage;
use egui::{
    Button, CentralPanel, Key, KeyboardShortcut, Label, Modifiers, Panel, RichText, ScrollArea,
    TextureHandle, Ui,
};

pub use job::{Sample, Step, TrainCommand, TrainEvent, TrainInfo};
pub use request::{Overrides, RunRequest};

use crate::heat;
use crate::page::{Page, PageContext, Request};
use crate::worker::{Event, ListCheckpoints};
use fields::Chosen;
use form::{Form, Mode, Stored};
use history::{History, Stage};
use widgets::Field;

const START: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Enter);
const PAUSE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::P);

/// Key of the stored form.
const STORED: &str = "train";

/// The Train page.
#[derive(Default)]
pub struct TrainPage {
    form: Form,
    history: Option<History>,
    /// Whether the loss axis is logarithmic.
    log: bool,
    /// Textures of the samples.
    textures: Vec<TextureHandle>,
    chosen: Chosen,
}

impl Page for TrainPage {
    fn title(&self) -> &'static str {
        "Train"
    }

    fn handle(&mut self, event: &mut Event, context: &mut PageContext) {
        if let Event::Stopped(_) = event {
            self.worker_stopped();
        }
        let Some(event) = event.take::<TrainEvent>() else {
            return;
        };
        match &event {
            TrainEvent::Failed(_) if !context.visible => context
                .toasts
                .add("The training has failed. The Train page shows why."),
            TrainEvent::Busy => context.toasts.add(
                "A training is already running. Stop it or wait for it to end before you start \
                 another one.",
            ),
            TrainEvent::Saved { .. } => context.worker.send(ListCheckpoints),
            TrainEvent::Ready(_) => self.textures.clear(),
            _ => {}
        }
        if let Some(history) = &mut self.history {
            history.add(event);
        }
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        while let Some((field, paths)) = self.chosen.poll() {
            match field {
                Field::Data => self.form.config.data.train.extend(paths),
                Field::Validation => self.form.config.data.validation.extend(paths),
                Field::Folder => {
                    self.form.folder = paths.iter().map(|path| path.to_string_lossy()).collect()
                }
            }
        }
        Panel::left("training")
            .default_size(310.0)
            .size_range(280.0..=460.0)
            .show(ui, |ui| {
                ScrollArea::vertical().show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.add_enabled_ui(!self.is_running(), |ui| {
                        fields::show(ui, &mut self.form, &self.chosen)
                    });
                    if self.form.mode == Mode::New {
                        ui.separator();
                        self.run_file(ui);
                    }
                });
            });
        CentralPanel::default().show(ui, |ui| {
            self.buttons(ui, context);
            ui.separator();
            match &self.history {
                None => empty(ui),
                Some(_) => drop(
                    ScrollArea::vertical()
                        .auto_shrink(false)
                        .show(ui, |ui| self.results(ui)),
                ),
            }
        });
    }

    fn status(&self) -> Option<String> {
        let history = self.history.as_ref().filter(|_| self.is_running())?;
        let stage = progress::stage(&history.stage);
        Some(match &history.last {
            Some(step) => format!("{stage}, {}", progress::step(step)),
            None => stage.into(),
        })
    }

    fn restore(&mut self, storage: &dyn Storage) {
        let stored: Option<Stored> = eframe::get_value(storage, STORED);
        self.form = stored.unwrap_or_default().into();
    }

    fn save(&self, storage: &mut dyn Storage) {
        eframe::set_value(storage, STORED, &Stored::from(&self.form));
    }

    /// A training that runs must be saved first, since the program ends with the window.
    fn close(&mut self) -> bool {
        self.is_running()
    }
}

impl TrainPage {
    /// Whether a training runs or is about to.
    fn is_running(&self) -> bool {
        self.history
            .as_ref()
            .is_some_and(|history| history.stage.is_running())
    }

    fn worker_stopped(&mut self) {
        let Some(history) = self
            .history
            .as_mut()
            .filter(|history| history.stage.is_running())
        else {
            return;
        };
        let advice = history.saved.map_or("Nothing was saved.".into(), |step| {
            format!("Choose Resume to continue from step {step}, which was saved.")
        });
        history.stage = Stage::Failed(format!("The worker has stopped. {advice}"));
    }

    /// Starts a training. One that resumes in the folder of the last one keeps its curves.
    fn start(&mut self, context: &PageContext, request: RunRequest) {
        let same = |history: &History| {
            let output = history.output.as_ref();
            output.is_some() && output == request.resumes()
        };
        let last = self.history.take().filter(same);
        self.history = Some(last.map_or_else(History::default, History::resumed));
        context.worker.send(TrainCommand::Start(request));
    }

    /// Draws the settings as a run file, with which the command line runs the same training.
    fn run_file(&self, ui: &mut Ui) {
        let file = form::run_file(&self.form.config);
        ui.horizontal(|ui| {
            ui.strong("Run file");
            if ui
                .small_button("Copy")
                .on_hover_text(
                    "Copy the settings. Saved as run.toml, \"train run.toml\" runs them in a terminal.",
                )
                .clicked()
            {
                ui.ctx().copy_text(file.clone());
            }
        });
        let text = if file.is_empty() {
            "# default settings".into()
        } else {
            file
        };
        ui.add(Label::new(RichText::new(text).monospace().size(11.0)).wrap());
    }

    fn buttons(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let pressed = |shortcut: &KeyboardShortcut| {
            ui.ctx().input_mut(|input| input.consume_shortcut(shortcut))
        };
        let (start_pressed, pause_pressed) = (pressed(&START), pressed(&PAUSE));
        let (missing, running) = (self.form.missing(), self.is_running());
        let stage = self.history.as_ref().map(|history| history.stage.clone());
        ui.horizontal_wrapped(|ui| {
            let can_start = !running && missing.is_none();
            let start = ui
                .add_enabled(can_start, Button::new("Start"))
                .on_hover_text("Start the training (Ctrl+Enter)")
                .on_disabled_hover_text(missing.unwrap_or("A training is running"));
            if start.clicked() || start_pressed && can_start {
                let request = self.form.request();
                self.start(context, request);
            }
            let paused = stage == Some(Stage::Paused);
            let can_pause = paused || stage == Some(Stage::Training);
            let (name, hover, command) = match paused {
                true => (
                    "Continue",
                    "Continue the training (Ctrl+P)",
                    TrainCommand::Continue,
                ),
                false => (
                    "Pause",
                    "Pause after this step (Ctrl+P)",
                    TrainCommand::Pause,
                ),
            };
            let pause = ui
                .add_enabled(can_pause, Button::new(name))
                .on_hover_text(hover);
            if pause.clicked() || pause_pressed && can_pause {
                context.worker.send(command);
            }
            let can_stop = running && stage != Some(Stage::Stopping);
            if ui
                .add_enabled(can_stop, Button::new("Stop"))
                .on_hover_text("Save and end after this step")
                .clicked()
            {
                context.worker.send(TrainCommand::Stop);
                // it takes effect after the next step, which can take long
                self.history
                    .iter_mut()
                    .for_each(|history| history.stage = Stage::Stopping);
            }
            let output = self
                .history
                .as_ref()
                .and_then(|history| history.output.clone());
            let (Some(Stage::Ended { interrupted, .. }), Some(output)) = (&stage, output) else {
                return;
            };
            if *interrupted
                && ui
                    .button("Resume run")
                    .on_hover_text("Continue where the training was stopped")
                    .clicked()
            {
                let request = RunRequest::Resume {
                    folder: output.clone(),
                    overrides: Overrides::default(),
                };
                self.start(context, request);
            }
            if ui
                .button("Use this model")
                .on_hover_text("Load the trained model and caption pictures with it")
                .clicked()
            {
                context.requests.push(Request::UseModel(output));
            }
        });
        if let (false, Some(missing)) = (running, missing) {
            ui.label(RichText::new(missing).weak());
        }
    }

    /// Draws progress, plots and captions.
    fn results(&mut self, ui: &mut Ui) {
        let Some(history) = &self.history else { return };
        progress::show(ui, history);
        if let Stage::Failed(message) = &history.stage {
            ui.add_space(6.0);
            ui.colored_label(ui.visuals().error_fg_color, message);
        }
        for note in &history.notes {
            ui.add(Label::new(RichText::new(note).small().weak()).wrap());
        }
        ui.add_space(8.0);
        if history.last.is_some() || history.loss.last().is_some() {
            plots::show(ui, history, &mut self.log);
            ui.add_space(8.0);
        }
        let Some(TrainInfo { samples, .. }) = &history.info else {
            return;
        };
        if samples.is_empty() {
            ui.weak("There are no validation pictures.");
            return;
        }
        if self.textures.is_empty() {
            self.textures = samples
                .iter()
                .map(|sample| heat::texture(ui.ctx(), &sample.id, &sample.picture))
                .collect();
        }
        ui.strong("Captions for validation pictures");
        if history.validations.is_empty() {
            ui.weak("None yet: the first validation has not run.");
        }
        captions::show(ui, samples, &self.textures, &history.validations);
    }
}

fn empty(ui: &mut Ui) {
    ui.vertical_centered(|ui| {
        ui.add_space(ui.available_height() * 0.3);
        ui.heading("Train a model");
        ui.label("Choose captioned pictures and a preset on the left, then press Start.");
        ui.label("The preset \"tiny\" takes seconds, \"seemore\" a few minutes.");
    });
}
