//! The buttons that check, start, pause, stop and resume.

use egui::{Button, Key, KeyboardShortcut, Modifiers, RichText, Ui};

use super::form::Mode;
use super::history::Stage;
use super::{CHECK, PAUSE, RESUME, START, STOP, TrainPage, USE};
use crate::page::{PageContext, Request};
use crate::theme::{Action, Icon};
use crate::worker::{Command, TrainCommand};

const START_KEYS: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Enter);
const PAUSE_KEYS: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::P);

impl TrainPage {
    /// Draws the buttons and what is missing to start.
    pub(super) fn buttons(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let pressed = |shortcut: &KeyboardShortcut| {
            ui.ctx().input_mut(|input| input.consume_shortcut(shortcut))
        };
        let asked = self.asked.take();
        let start_pressed = pressed(&START_KEYS) || asked == Some(START);
        let pause_pressed = pressed(&PAUSE_KEYS) || asked == Some(PAUSE);
        let (missing, running) = (self.form.missing(), self.is_running());
        // wrong pictures cost more time with a pretrained model than the check does
        let tuning = self.form.mode == Mode::Tune;
        let data = self.form.own_config().map(|config| config.data.clone());
        let checked = data
            .as_ref()
            .is_some_and(|data| self.check.has_passed(data));
        let checks_first = tuning && !checked;
        let stage = self.history.as_ref().map(|history| history.stage.clone());
        ui.horizontal_wrapped(|ui| {
            let can_check = !running && !self.check.is_running();
            if let Some(data) = &data {
                let ready = can_check && !data.train.is_empty();
                let check = match checks_first {
                    true => Action::new(Icon::ListChecks, "Check data").primary(),
                    false => Action::new(Icon::ListChecks, "Check data"),
                };
                let check = ui
                    .add_enabled(ready, check)
                    .on_hover_text("Count pictures, captions and problems, and show samples");
                let check_asked = asked == Some(CHECK) || checks_first && start_pressed;
                if check.clicked() || ready && check_asked {
                    self.check.start(ui, data);
                }
            }
            let can_start = !running && missing.is_none() && !checks_first;
            let why = match (running, missing) {
                (true, _) => "A training is running",
                (_, Some(missing)) => missing,
                _ => "Check the data first",
            };
            // the main action is the next one to take
            let start = match checks_first {
                true => Action::new(Icon::Play, "Start"),
                false => Action::new(Icon::Play, "Start").primary(),
            };
            let start = ui
                .add_enabled(can_start, start)
                .on_hover_text("Start the training (Ctrl+Enter)")
                .on_disabled_hover_text(why);
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
                context.worker.send(Command::Train(command));
            }
            let can_stop = running && stage != Some(Stage::Stopping);
            let stop = ui
                .add_enabled(can_stop, Button::new("Stop"))
                .on_hover_text("Save and end after this step");
            if stop.clicked() || can_stop && asked == Some(STOP) {
                context.worker.send(Command::Train(TrainCommand::Stop));
                // it takes effect after the next step, which can take long
                self.history
                    .iter_mut()
                    .for_each(|history| history.stage = Stage::Stopping);
            }
            let output = self
                .history
                .as_ref()
                .and_then(|history| history.output.clone());
            // these have their place before they can be used, so that nothing moves
            let ended = match &stage {
                Some(Stage::Ended { interrupted, .. }) => {
                    output.map(|output| (output, *interrupted))
                }
                _ => None,
            };
            let can_resume = ended.as_ref().is_some_and(|(_, interrupted)| *interrupted);
            let resume = ui
                .add_enabled(can_resume, Button::new("Resume run"))
                .on_hover_text("Continue where the training was stopped");
            let use_model = ui
                .add_enabled(ended.is_some(), Button::new("Use this model"))
                .on_hover_text("Load the trained model and caption pictures with it");
            if let Some((output, _)) = ended {
                if resume.clicked() || can_resume && asked == Some(RESUME) {
                    self.resume(context, output);
                } else if use_model.clicked() || asked == Some(USE) {
                    context.requests.push(Request::UseModel(output));
                }
            }
        });
        let advice = match (running, missing) {
            (false, Some(missing)) => missing,
            (false, None) if checks_first => "Check the data first.",
            _ => "",
        };
        ui.label(RichText::new(advice).weak());
    }
}
