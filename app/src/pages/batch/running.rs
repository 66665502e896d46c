//! Starting, following and stopping runs.

use egui::{Align, Button, Label, Layout, ProgressBar, RichText, Ui, vec2};
use seemore::data::Existing;

use super::BatchPage;
use super::run::Run;
use crate::generation::GenerationSettings;
use crate::page::PageContext;
use crate::worker::BatchCaption;

impl BatchPage {
    /// Takes the results of a job and sends the next one.
    pub(super) fn take(
        &mut self,
        number: u64,
        captions: Result<Vec<BatchCaption>, String>,
        context: &mut PageContext,
    ) {
        let captions = match captions {
            Ok(captions) => captions,
            Err(message) => {
                // a run that was stopped is gone, and its last job fails
                if self.run.as_ref().is_some_and(|run| run.number == number) {
                    context.toasts.add(message);
                    self.stop();
                }
                return;
            }
        };
        let editing = self.edit.as_ref().map(|edit| edit.entry);
        let editing = editing.filter(|_| self.is_edited());
        let (Some(run), Some(gallery)) = (&mut self.run, &mut self.gallery) else {
            return;
        };
        if run.number != number {
            return;
        }
        run.take(gallery, captions, editing);
        // an edit without a change would undo the new caption when it ends
        if editing.is_none() {
            self.edit = None;
        }
        if !run.send_next(gallery, &context.worker) {
            self.summary = self.run.take().map(|run| run.summary(false));
            let summary = self.summary.iter().filter(|_| !context.visible);
            summary.for_each(|summary| context.toasts.success(summary));
        }
    }

    /// Starts a run over some entries.
    pub(super) fn start(
        &mut self,
        entries: Vec<usize>,
        settings: GenerationSettings,
        existing: Existing,
        context: &PageContext,
    ) {
        self.finish_edit();
        self.runs += 1;
        let mut run = Run::new(self.runs, entries, settings, existing);
        if let Some(gallery) = &self.gallery {
            run.send_next(gallery, &context.worker);
        }
        (self.run, self.rest, self.summary) = (Some(run), None, None);
    }

    /// Ends the run. Captions that are already written stay, and the rest can be captioned later.
    pub(super) fn stop(&mut self) {
        if let Some(run) = self.run.take() {
            self.summary = Some(run.summary(true));
            self.rest = run.cancel();
        }
    }

    /// Draws the progress of the run or what happened last. It has its place also when there is
    /// nothing to say.
    pub(super) fn progress(&mut self, ui: &mut Ui, context: &PageContext) {
        let size = vec2(ui.available_width(), ui.spacing().interact_size.y + 4.0);
        let (mut stop, mut resume) = (false, false);
        ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
            if let Some(run) = &self.run {
                stop = ui
                    .button("Stop")
                    .on_hover_text("Keep the captions written so far; the rest can follow later")
                    .clicked();
                let (done, text) = run.progress();
                ui.add(ProgressBar::new(done).text(text));
                return;
            }
            if let Some(rest) = &self.rest {
                let name = format!("Caption the remaining {}", rest.entries.len());
                let ready = context.model(0).is_some();
                resume = ui.add_enabled(ready, Button::new(name)).clicked();
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let text = self.summary.as_deref().unwrap_or(
                    "Ctrl+Enter edits and goes to the next caption, Ctrl+Page up and down change \
                     the picture, Ctrl+Z undoes, Ctrl+F filters.",
                );
                ui.add(Label::new(RichText::new(text).weak()).truncate());
            });
        });
        if stop {
            self.stop();
        }
        if resume && let Some(rest) = self.rest.take() {
            self.start(rest.entries, rest.settings, rest.existing, context);
        }
    }
}
