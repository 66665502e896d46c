//! The train page: what is asked of a training on the left, its course on the right.

mod course;
mod curve;
mod evaluations;
mod fields;
mod form;
mod plots;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use egui::{
    Button, CentralPanel, Key, KeyboardShortcut, Label, Modifiers, Panel, ProgressBar, RichText,
    ScrollArea, TextureHandle, Ui,
};

use crate::asked::Asked;
use crate::desk::Desk;
use crate::duration::duration;
use crate::heat;
use crate::work::training::{Command, Progress, Start, Step};
use crate::worker::Order;
use course::{Course, Stage};
use fields::Field;
pub use form::Form;

const START: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Enter);
const PAUSE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::P);

pub struct TrainPage {
    form: Form,
    course: Option<Course>,
    /// Whether the losses are drawn by their logarithms.
    log: bool,
    /// The shown pictures of the present training, once they are drawn.
    textures: Vec<TextureHandle>,
    dialog: Asked<(Field, Vec<PathBuf>)>,
}

impl TrainPage {
    pub fn new(form: Form) -> TrainPage {
        TrainPage {
            form,
            course: None,
            log: false,
            textures: vec![],
            dialog: Asked::default(),
        }
    }

    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Whether the worker trains, or is about to.
    pub fn runs(&self) -> bool {
        self.course
            .as_ref()
            .is_some_and(|course| course.stage.runs())
    }

    /// Takes in how the training goes on; returns what is to be said beside it. `open` is whether the page is seen.
    pub fn take(&mut self, progress: Progress, open: bool) -> Option<&'static str> {
        let message = match &progress {
            Progress::Failed(_) if !open => {
                Some("The training has failed; the page \"Train\" says why.")
            }
            Progress::Refused => {
                Some("A training is running already: stop it first, or wait for its end.")
            }
            _ => None,
        };
        if matches!(progress, Progress::Ready(_)) {
            self.textures.clear();
        }
        if let Some(course) = &mut self.course {
            course.take(progress);
        }
        message
    }

    /// The worker is gone, and the training with it.
    pub fn stopped(&mut self) {
        let Some(course) = self.course.as_mut().filter(|course| course.stage.runs()) else {
            return;
        };
        let kept = course.saved.map_or("nothing was saved".into(), |step| {
            format!("go on with what was saved at step {step}")
        });
        course.stage = Stage::Failed(format!("The worker has stopped: {kept}."));
    }

    /// A few words on a training that runs.
    pub fn status(&self) -> Option<String> {
        let course = self.course.as_ref().filter(|course| course.stage.runs())?;
        let step = course
            .last
            .as_ref()
            .map(|step| format!(", {}", of_steps(step)));
        Some(format!(
            "{}{}",
            doing(&course.stage),
            step.unwrap_or_default()
        ))
    }

    /// Orders a training. One that goes on in the folder of the last keeps its curves.
    fn start(&mut self, desk: &Desk, words: Vec<OsString>) {
        let resumed = words
            .iter()
            .position(|word| word == "--resume")
            .and_then(|at| words.get(at + 1));
        let same = |course: &Course| {
            course
                .out
                .as_ref()
                .is_some_and(|out| resumed.is_some_and(|folder| folder == out))
        };
        self.course = Some(
            self.course
                .take()
                .filter(same)
                .map_or_else(Course::default, Course::resumed),
        );
        desk.worker.order(Order::Train(Command::Start(words)));
    }

    /// Draws the page; returns a checkpoint folder that is to be captioned with.
    pub fn ui(&mut self, ui: &mut Ui, desk: &mut Desk) -> Option<PathBuf> {
        while let Some((field, paths)) = self.dialog.answer() {
            match field {
                Field::Data => self.form.data.extend(paths),
                Field::ValData => self.form.val_data.extend(paths),
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
                    ui.add_enabled_ui(!self.runs(), |ui| {
                        fields::show(ui, &mut self.form, &self.dialog)
                    });
                    ui.separator();
                    self.command_line(ui);
                });
            });
        let mut wish = None;
        CentralPanel::default().show(ui, |ui| {
            wish = self.buttons(ui, desk);
            ui.separator();
            match &self.course {
                None => empty(ui),
                Some(_) => drop(
                    ScrollArea::vertical()
                        .auto_shrink(false)
                        .show(ui, |ui| self.course(ui)),
                ),
            }
        });
        wish
    }

    /// The same training from a terminal.
    fn command_line(&self, ui: &mut Ui) {
        let line = form::command_line(&self.form.words());
        ui.horizontal(|ui| {
            ui.strong("The same from a terminal");
            if ui
                .small_button("Copy")
                .on_hover_text("Copy the command line")
                .clicked()
            {
                ui.ctx().copy_text(line.clone());
            }
        });
        ui.add(Label::new(RichText::new(line).monospace().size(11.0)).wrap());
    }

    fn buttons(&mut self, ui: &mut Ui, desk: &Desk) -> Option<PathBuf> {
        let pressed = |shortcut: &KeyboardShortcut| {
            ui.ctx().input_mut(|input| input.consume_shortcut(shortcut))
        };
        let (start_pressed, pause_pressed) = (pressed(&START), pressed(&PAUSE));
        let (missing, runs) = (self.form.missing(), self.runs());
        let stage = self.course.as_ref().map(|course| course.stage.clone());
        let order = |command: Command| desk.worker.order(Order::Train(command));
        let mut wish = None;
        ui.horizontal_wrapped(|ui| {
            let may_start = !runs && missing.is_none();
            let start = ui
                .add_enabled(may_start, Button::new("Start"))
                .on_hover_text("Start the training (Ctrl+Enter)");
            let start = start.on_disabled_hover_text(missing.unwrap_or("A training is running"));
            if start.clicked() || start_pressed && may_start {
                let words = self.form.words();
                self.start(desk, words);
            }
            let paused = stage == Some(Stage::Paused);
            let may_pause = paused || stage == Some(Stage::Training);
            let (name, hover, command) = match paused {
                true => (
                    "Continue",
                    "Go on with the next step (Ctrl+P)",
                    Command::Continue,
                ),
                false => (
                    "Pause",
                    "Stop after this step, and wait (Ctrl+P)",
                    Command::Pause,
                ),
            };
            let pause = ui
                .add_enabled(may_pause, Button::new(name))
                .on_hover_text(hover);
            if pause.clicked() || pause_pressed && may_pause {
                order(command);
            }
            let may_stop = runs && stage != Some(Stage::Stopping);
            if ui
                .add_enabled(may_stop, Button::new("Stop"))
                .on_hover_text("Save, and end after this step")
                .clicked()
            {
                order(Command::Stop);
                // it takes effect after the next step, which may be the first
                self.course
                    .iter_mut()
                    .for_each(|course| course.stage = Stage::Stopping);
            }
            let out = self.course.as_ref().and_then(|course| course.out.clone());
            let (Some(Stage::Ended { interrupted, .. }), Some(out)) = (&stage, out) else {
                return;
            };
            if *interrupted
                && ui
                    .button("Resume")
                    .on_hover_text("Go on where it was stopped, to where it was to end")
                    .clicked()
            {
                self.start(desk, form::resume(&out));
            }
            if ui
                .button("Caption with it")
                .on_hover_text("Load what was trained, and caption pictures with it")
                .clicked()
            {
                wish = Some(out);
            }
        });
        if let (false, Some(missing)) = (runs, missing) {
            ui.label(RichText::new(missing).weak());
        }
        wish
    }

    fn course(&mut self, ui: &mut Ui) {
        let Some(course) = &self.course else { return };
        progress(ui, course);
        if let Stage::Failed(message) = &course.stage {
            ui.add_space(6.0);
            ui.colored_label(ui.visuals().error_fg_color, message);
        }
        for note in &course.notes {
            ui.add(Label::new(RichText::new(note).small().weak()).wrap());
        }
        ui.add_space(8.0);
        if course.last.is_some() || course.loss.last().is_some() {
            plots::show(ui, course, &mut self.log);
            ui.add_space(8.0);
        }
        let Some(Start { shown, .. }) = &course.start else {
            return;
        };
        if shown.is_empty() {
            ui.weak("There are no pictures to validate on.");
            return;
        }
        if self.textures.is_empty() {
            self.textures = shown
                .iter()
                .map(|shown| heat::texture(ui.ctx(), &shown.id, &shown.picture))
                .collect();
        }
        ui.strong("What it writes of pictures that it is never trained on");
        if course.evaluations.is_empty() {
            ui.weak("Nothing yet: the first validation is still to come.");
        }
        evaluations::show(ui, shown, &self.textures, &course.evaluations);
    }
}

fn empty(ui: &mut Ui) {
    ui.vertical_centered(|ui| {
        ui.add_space(ui.available_height() * 0.3);
        ui.heading("Watch a model learn to speak");
        ui.label("Choose pictures with captions and a model on the left, and press Start.");
        ui.label("With the preset \"tiny\" that takes seconds, with \"seemore\" some minutes.");
    });
}

/// What happens, how far it is, and the numbers of the last step.
fn progress(ui: &mut Ui, course: &Course) {
    let text = match (&course.stage, &course.last) {
        (
            Stage::Ended {
                steps,
                elapsed,
                interrupted,
            },
            _,
        ) => {
            let how = if *interrupted { "stopped" } else { "done" };
            format!("{how} after {steps} steps and {}", duration(*elapsed))
        }
        (stage, Some(step)) if stage.runs() => {
            let validating = course.validating.map_or(String::new(), |[done, of]| {
                format!("; {done} of {of} pictures validated on")
            });
            format!(
                "{}, {}, {} left{validating}",
                doing(stage),
                of_steps(step),
                duration(step.left)
            )
        }
        (Stage::Training, None) => {
            "building the first step: where it was never built before, that takes its time".into()
        }
        (stage, _) => doing(stage).to_owned(),
    };
    let share = if let Stage::Ended {
        interrupted: false, ..
    } = course.stage
    {
        Some(1.0)
    } else {
        course.share()
    };
    let reading = course
        .reading
        .as_ref()
        .and_then(|bar| Some((bar.position(), bar.length().filter(|&length| length > 0)?)));
    match (&course.stage, share, reading) {
        (Stage::Failed(_), None, _) => drop(ui.strong(text)),
        (_, Some(share), _) => drop(ui.add(ProgressBar::new(share).text(text))),
        (_, None, Some((done, all))) => {
            drop(
                ui.add(
                    ProgressBar::new(done as f32 / all as f32)
                        .text(format!("{done} of {all} pictures read")),
                ),
            );
            ui.ctx().request_repaint_after(Duration::from_millis(100));
        }
        (_, None, None) => drop(ui.horizontal(|ui| {
            ui.spinner();
            ui.label(text);
        })),
    }
    ui.horizontal_wrapped(|ui| {
        if let Some(Step {
            loss,
            learning_rate,
            tokens_per_s,
            ..
        }) = course.last
        {
            ui.label(format!("loss {loss:.4}"));
            ui.label(format!("learning rate {}", plots::short(learning_rate)));
            ui.label(format!("{tokens_per_s:.0} tokens/s"));
        }
        if let Some(start) = &course.start {
            memory(ui, start, course.last.as_ref());
        }
    });
    if let Some(Start {
        parameters,
        tokens,
        pictures: [train, validation],
        ..
    }) = &course.start
    {
        let out = course.out.as_ref().map_or(String::new(), |out| {
            format!(" It is saved into {}.", out.display())
        });
        let text = format!(
            "{:.1} million parameters, {tokens} tokens; {train} pictures to train on, {validation} to validate on.{out}",
            *parameters as f64 / 1e6
        );
        ui.add(Label::new(RichText::new(text).weak()).wrap());
    }
}

/// Memory on the device: what training takes, and what is left.
fn memory(ui: &mut Ui, start: &Start, step: Option<&Step>) {
    let footprint = &start.footprint;
    let taken = footprint.parameters + footprint.optimizer + footprint.step;
    let free = step.map_or(footprint.free, |step| step.free);
    let free = free.map_or(String::new(), |free| format!(", {} left", megabytes(free)));
    ui.label(format!("{} of device memory{free}", megabytes(taken)))
        .on_hover_text(format!(
            "{} parameters, {} gradients and moments, {} for a step",
            megabytes(footprint.parameters),
            megabytes(footprint.optimizer),
            megabytes(footprint.step)
        ));
}

fn doing(stage: &Stage) -> &'static str {
    match stage {
        Stage::Preparing => "preparing",
        Stage::Training => "training",
        Stage::Paused => "paused",
        Stage::Stopping => "stopping and saving",
        Stage::Ended { .. } => "ended",
        Stage::Failed(_) => "the training has failed",
    }
}

fn of_steps(step: &Step) -> String {
    step.steps.map_or_else(
        || format!("step {}", step.step),
        |steps| format!("step {} of {steps}", step.step),
    )
}

fn megabytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 1e9 {
        format!("{:.1} MB", bytes / 1e6)
    } else {
        format!("{:.1} GB", bytes / 1e9)
    }
}
