//! Progress of a training and the figures of its last step.

use std::time::Duration;

use egui::{Label, ProgressBar, RichText, Ui};

use super::history::{History, Stage};
use crate::format::{bytes, duration, short};
use crate::progress::Counter;
use crate::worker::{Step, TrainInfo};

/// Draws the progress bar and the figures below it.
pub fn show(ui: &mut Ui, history: &History) {
    bar(ui, history);
    ui.horizontal_wrapped(|ui| {
        if let Some(Step {
            loss,
            learning_rate,
            tokens_per_s,
            ..
        }) = history.last
        {
            for text in [
                format!("Loss {loss:.4}"),
                format!("Learning rate {}", short(learning_rate)),
                format!("{tokens_per_s:.0} tokens/s"),
            ] {
                // a figure stays on one line with its unit
                ui.add(Label::new(text).extend());
            }
        }
        if let Some(info) = &history.info {
            memory(ui, info, history.last.as_ref());
        }
    });
    if let Some(TrainInfo {
        parameters,
        vocab_size,
        pictures: [train, validation],
        ..
    }) = &history.info
    {
        let output = history.output.as_ref().map_or(String::new(), |output| {
            format!(" Output: {}.", output.display())
        });
        let text = format!(
            "{:.1} million parameters, {vocab_size} tokens; {train} training and {validation} \
             validation pictures.{output}",
            *parameters as f64 / 1e6
        );
        ui.add(Label::new(RichText::new(text).weak()).wrap());
    }
}

fn bar(ui: &mut Ui, history: &History) {
    let text = summary(history);
    let share = match history.stage {
        Stage::Ended {
            interrupted: false, ..
        } => Some(1.0),
        _ => history.share(),
    };
    let reading = history.reading.as_ref().and_then(Counter::get);
    match (&history.stage, share, reading) {
        (Stage::Failed(_), None, _) => drop(ui.strong(text)),
        (_, Some(share), _) => drop(ui.add(ProgressBar::new(share).text(text))),
        (_, None, Some((done, total))) => {
            let text = format!("Reading pictures: {done} of {total}");
            ui.add(ProgressBar::new(done as f32 / total as f32).text(text));
            ui.ctx().request_repaint_after(Duration::from_millis(100));
        }
        (_, None, None) => drop(ui.horizontal(|ui| {
            ui.spinner();
            ui.label(text);
        })),
    }
}

/// Returns the text of the progress bar.
fn summary(history: &History) -> String {
    match (&history.stage, &history.last) {
        (
            Stage::Ended {
                steps,
                elapsed,
                interrupted,
            },
            _,
        ) => {
            let how = if *interrupted { "Stopped" } else { "Finished" };
            format!("{how} after {steps} steps and {}", duration(*elapsed))
        }
        (running, Some(last)) if running.is_running() => {
            let validating = history.validating.map_or(String::new(), |[done, total]| {
                format!("; validating {done} of {total}")
            });
            format!(
                "{}, {}, {} left{validating}",
                stage(running),
                step(last),
                duration(last.left)
            )
        }
        (Stage::Training, None) => "Compiling kernels (first run only)".into(),
        (other, _) => stage(other).to_owned(),
    }
}

/// Draws the memory that training takes on the device, and how much is free.
fn memory(ui: &mut Ui, info: &TrainInfo, step: Option<&Step>) {
    let footprint = &info.footprint;
    let taken = footprint.parameters + footprint.optimizer + footprint.step;
    let free = step.map_or(footprint.free, |step| step.free);
    let free = free.map_or(String::new(), |free| format!(", {} free", bytes(free)));
    ui.label(format!("{} of device memory{free}", bytes(taken)))
        .on_hover_text(format!(
            "{} parameters, {} gradients and moments, {} activations",
            bytes(footprint.parameters),
            bytes(footprint.optimizer),
            bytes(footprint.step)
        ));
}

/// Returns a stage as a word or two.
pub fn stage(stage: &Stage) -> &'static str {
    match stage {
        Stage::Preparing => "Preparing",
        Stage::Training => "Training",
        Stage::Paused => "Paused",
        Stage::Stopping => "Saving",
        Stage::Ended { .. } => "Finished",
        Stage::Failed(_) => "Training failed",
    }
}

/// Returns the number of a step and, if it is known, of all steps.
pub fn step(step: &Step) -> String {
    match step.steps {
        Some(steps) => format!("step {} of {steps}", step.step),
        None => format!("step {}", step.step),
    }
}
