//! The Train page: the options of a training on the left, its progress on the right.

mod buttons;
mod captions;
mod choices;
mod curve;
mod data_check;
mod fields;
mod form;
mod history;
mod plots;
mod progress;
mod runs;
mod widgets;

use std::path::PathBuf;

use eframe::Storage;
use egui::{CentralPanel, CollapsingHeader, Label, Panel, RichText, ScrollArea, TextureHandle, Ui};
use seemore::train::RunConfig;

use crate::heat;
use crate::page::{Page, PageAction, PageContext, Request};
use crate::theme::{self, Icon};
use crate::worker::{Command, Event, Overrides, RunRequest, TrainCommand, TrainEvent, TrainInfo};
use data_check::DataCheck;
use fields::{Chosen, LocalModels};
use form::{Form, Mode, Stored};
use history::{History, Stage};
use plots::Overlay;
use runs::{Action, Runs, StoredRun};
use widgets::Field;

/// Entries in the command palette.
const CHECK: &str = "Check the data";
const START: &str = "Start the training";
const PAUSE: &str = "Pause or continue the training";
const STOP: &str = "Stop the training";
const RESUME: &str = "Resume the training that was stopped";
const USE: &str = "Use the trained model";
const CHOOSE_MODEL: &str = "Choose the pretrained model to fine-tune...";
const MODES: [(&str, Mode); 4] = [
    ("Train a new model", Mode::New),
    ("Fine-tune a pretrained model", Mode::Tune),
    ("Copy the settings of a training", Mode::Copy),
    ("Resume a training", Mode::Resume),
];

/// Key of the stored form.
const STORED: &str = "train";

/// Key of the stored run folders.
const STORED_RUNS: &str = "train runs";

/// The Train page.
#[derive(Default)]
pub struct TrainPage {
    form: Form,
    history: Option<History>,
    /// The training before, which comes back if the present one is refused.
    before: Option<History>,
    runs: Runs,
    check: DataCheck,
    models: LocalModels,
    /// Whether the loss axis is logarithmic.
    log: bool,
    /// Textures of the samples.
    textures: Vec<Option<TextureHandle>>,
    chosen: Chosen,
    /// Entry of the command palette that stands for a button.
    asked: Option<&'static str>,
}

impl Page for TrainPage {
    fn title(&self) -> &'static str {
        "Train"
    }

    fn icon(&self) -> Icon {
        Icon::GraduationCap
    }

    fn handle(&mut self, event: &Event, context: &mut PageContext) {
        let event = match event {
            Event::Stopped(_) => return self.worker_stopped(),
            Event::Train(event) => event,
            _ => return,
        };
        match event {
            TrainEvent::Failed(_) if !context.visible => context
                .toasts
                .add("The training has failed. The Train page shows why."),
            TrainEvent::Busy => context.toasts.warn(
                "A training is already running. Stop it or wait for it to end before you start \
                 another one.",
            ),
            TrainEvent::Saved { .. } => context.worker.send(Command::ListCheckpoints),
            TrainEvent::Ready(_) => {
                self.textures.clear();
                self.before = None;
            }
            TrainEvent::Preparing(folder)
                if !folder.starts_with("runs") && !self.runs.elsewhere.contains(folder) =>
            {
                self.runs.elsewhere.push(folder.clone());
            }
            _ => {}
        }
        let ended = matches!(event, TrainEvent::Ended { .. } | TrainEvent::Failed(_));
        if let Some(history) = &mut self.history {
            history.add(event.clone());
            // a training that was refused leaves nothing to look at
            if let (Stage::Failed(_), None) = (&history.stage, &history.info)
                && let Some(before) = self.before.take()
            {
                let refused = std::mem::replace(history, before);
                history.stage = refused.stage;
                history.notes = refused.notes;
            }
        }
        if ended {
            self.runs.refresh(&context.egui);
        }
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PageContext) {
        while let Some((field, paths)) = self.chosen.poll() {
            match field {
                Field::Data => self.form.config_mut().data.train.extend(paths),
                Field::Validation => self.form.config_mut().data.validation.extend(paths),
                Field::Model => self.form.tuning.model.base = paths.into_iter().next(),
                Field::Folder => {
                    self.form.folder = paths.iter().map(|path| path.to_string_lossy()).collect()
                }
            }
        }
        self.runs.poll(ui.ctx());
        self.check.poll();
        // half of a narrow window, whose fields then scroll to the side
        let half = (0.5 * ui.available_width()).max(160.0);
        Panel::left("training")
            .default_size(half.min(336.0))
            .size_range(half.min(280.0)..=half.min(480.0))
            .frame(theme::panel_frame(ui))
            .show(ui, |ui| {
                ScrollArea::both().show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.add_enabled_ui(!self.is_running(), |ui| {
                        fields::show(ui, &mut self.form, &mut self.models, &self.chosen)
                    });
                    if let Some(config) = self.form.own_config() {
                        ui.separator();
                        run_file(ui, config);
                    }
                });
            });
        CentralPanel::default().show(ui, |ui| {
            self.buttons(ui, context);
            ui.separator();
            ScrollArea::vertical()
                .auto_shrink(false)
                .show(ui, |ui| self.content(ui, context));
        });
    }

    /// Adds files and folders to the training pictures.
    fn drop_files(&mut self, files: &[PathBuf], _context: &mut PageContext) -> bool {
        let takes = !self.is_running() && self.form.own_config().is_some();
        if takes {
            let train = &mut self.form.config_mut().data.train;
            train.extend_from_slice(files);
        }
        takes
    }

    fn actions(&self, _context: &PageContext) -> Vec<PageAction> {
        let mut actions = vec![
            PageAction::new(CHECK, ""),
            PageAction::new(START, "Ctrl+Enter"),
            PageAction::new(PAUSE, "Ctrl+P"),
            PageAction::new(STOP, ""),
            PageAction::new(RESUME, ""),
            PageAction::new(USE, ""),
        ];
        if !self.is_running() {
            actions.extend(MODES.map(|(name, _)| PageAction::new(name, "")));
            actions.push(PageAction::new(CHOOSE_MODEL, ""));
        }
        actions
    }

    fn act(&mut self, name: &str, context: &mut PageContext) {
        let buttons = [CHECK, START, PAUSE, STOP, RESUME, USE];
        self.asked = buttons.into_iter().find(|button| *button == name);
        if let Some((_, mode)) = MODES.iter().find(|(mode, _)| *mode == name) {
            self.form.mode = *mode;
        }
        if name == CHOOSE_MODEL {
            self.form.mode = Mode::Tune;
            fields::choose_model(&context.egui, &self.chosen);
        }
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
        (self.runs.elsewhere, self.runs.dismissed) =
            eframe::get_value(storage, STORED_RUNS).unwrap_or_default();
    }

    fn save(&self, storage: &mut dyn Storage) {
        eframe::set_value(storage, STORED, &Stored::from(&self.form));
        let runs = (&self.runs.elsewhere, &self.runs.dismissed);
        eframe::set_value(storage, STORED_RUNS, &runs);
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

    /// Starts a training. One that resumes keeps the curves of its folder.
    fn start(&mut self, context: &PageContext, request: RunRequest) {
        let last = self.history.take();
        let resumed = request.resumes().and_then(|folder| match last {
            Some(ref last) if last.output.as_ref() == Some(folder) && last.has_results() => {
                Some(last.resumed())
            }
            _ => self.runs.get(folder).map(History::of_run),
        });
        self.history = Some(resumed.unwrap_or_default());
        self.before = last.filter(History::has_results);
        context
            .worker
            .send(Command::Train(TrainCommand::Start(request)));
    }

    /// Resumes a training of a run folder.
    fn resume(&mut self, context: &PageContext, folder: PathBuf) {
        let overrides = Overrides::default();
        self.start(context, RunRequest::Resume { folder, overrides });
    }

    /// Does what the user asked for in the list of runs.
    fn take_action(&mut self, action: Action, context: &mut PageContext) {
        match action {
            Action::Resume(folder) => self.resume(context, folder),
            Action::Use(folder) => context.requests.push(Request::UseModel(folder)),
        }
    }

    /// Draws what is below the buttons.
    fn content(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let running = self.is_running();
        let mut action = None;
        if !running {
            action = self.runs.offers(ui);
        }
        if self.check.has_report() {
            CollapsingHeader::new("Data check")
                .default_open(true)
                .open(running.then_some(false))
                .show(ui, |ui| self.check.show(ui));
            ui.add_space(8.0);
        }
        match &self.history {
            Some(_) => self.results(ui),
            None => {
                let others = self.runs.overlaid(None);
                if !others.is_empty() {
                    draw_plots(ui, &History::default(), &others, &mut self.log);
                } else if !self.check.has_report() {
                    empty(ui, self.form.mode);
                }
            }
        }
        ui.add_space(8.0);
        action = action.or(self.runs.list(ui, running));
        if let Some(action) = action {
            self.take_action(action, context);
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
            let others = self.runs.overlaid(history.output.as_ref());
            draw_plots(ui, history, &others, &mut self.log);
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
                .map(|sample| {
                    let picture = sample.picture.as_ref()?;
                    Some(heat::texture(ui.ctx(), &sample.id, picture))
                })
                .collect();
        }
        ui.strong("Captions for validation pictures");
        if history.validations.is_empty() {
            ui.weak("None yet: the first validation has not run.");
        }
        captions::show(ui, samples, &self.textures, &history.validations);
    }
}

/// Draws the curves of a training and of other runs.
fn draw_plots(ui: &mut Ui, history: &History, others: &[&StoredRun], log: &mut bool) {
    let names: Vec<String> = others.iter().map(|run| run.name()).collect();
    let overlays: Vec<Overlay> = others
        .iter()
        .zip(&names)
        .map(|(run, name)| Overlay {
            name,
            loss: &run.loss,
            validation_loss: &run.validation_loss,
        })
        .collect();
    plots::show(ui, history, &overlays, log);
}

/// Draws the settings as a run file, with which the command line runs the same training.
fn run_file(ui: &mut Ui, config: &RunConfig) {
    let file = form::run_file(config);
    ui.horizontal(|ui| {
        ui.strong("Run file");
        if ui
            .button("Copy")
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

fn empty(ui: &mut Ui, mode: Mode) {
    let text = match mode {
        Mode::New => {
            "Choose captioned pictures and a preset on the left, then press Start. The preset \"tiny\" \
             takes seconds, \"seemore\" a few minutes."
        }
        Mode::Tune => {
            "Choose a pretrained model and captioned pictures on the left, check the data, then press \
             Start."
        }
        Mode::Copy | Mode::Resume => {
            "Choose the folder of a training on the left, then press Start."
        }
    };
    theme::empty(ui, Icon::ChartLine, "Train a model", text, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_storage::Memory;

    #[test]
    fn next_start_knows_run_folders_and_settings() {
        let mut page = TrainPage::default();
        page.runs.elsewhere.push("/data/run".into());
        page.runs.dismissed.push("runs/old".into());
        page.form.mode = Mode::Tune;
        page.form.tuning.model.base = Some("smolvlm-256m".into());
        let mut storage = Memory::default();
        page.save(&mut storage);
        let mut next = TrainPage::default();
        next.restore(&storage);
        assert_eq!(next.form, page.form);
        assert_eq!(next.runs.elsewhere, page.runs.elsewhere);
        assert_eq!(next.runs.dismissed, page.runs.dismissed);
    }
}
