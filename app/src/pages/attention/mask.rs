//! Hides patches from the model and compares what it writes: a causal check of the heat map.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use egui::{Button, Color32, Pos2, Rect, Response, RichText, StrokeKind, Ui, vec2};
use seemore::caption::{CaptionToken, Session};
use seemore::image::Picture;

use super::{AttentionPage, word};
use crate::format::count;
use crate::generation::GenerationSettings;
use crate::hint;
use crate::page::{PageContext, Selection};
use crate::pages::caption::options;
use crate::pictures::PictureSource;
use crate::theme::{self, Action, Icon};
use crate::worker::{Command, Worker};

/// Colour of hidden patches.
const GREY: [u8; 3] = [127; 3];

/// Command that captions a picture with hidden patches. Its result is a [`MaskEvent`].
#[derive(Debug, Clone)]
pub struct MaskJob {
    /// Number of the job, repeated in the result.
    pub number: u64,
    /// Where the picture can be read.
    pub source: Arc<PictureSource>,
    /// Text that the caption starts with, or the question that it answers.
    pub prompt: String,
    /// Tokens of the caption of the whole picture.
    pub tokens: Vec<u32>,
    /// Number of patches along a side of the picture.
    pub side: usize,
    /// Hidden patches, row by row.
    pub patches: Vec<usize>,
    /// Settings that the caption is generated with.
    pub settings: GenerationSettings,
}

/// Result of a [`MaskJob`], or why there is none and what to do.
pub type MaskEvent = Result<Masked, String>;

/// Captions of a picture with and without its hidden patches.
#[derive(Debug, Clone)]
pub struct Masked {
    /// Number of the job.
    pub number: u64,
    /// Number of hidden patches.
    pub hidden: usize,
    /// Caption of the picture with hidden patches.
    pub caption: String,
    /// Probabilities of the tokens of the caption of the whole picture, first given the whole one,
    /// then given the one with hidden patches.
    pub probabilities: Vec<(f32, f32)>,
}

impl Command for MaskJob {
    fn run(self: Box<Self>, worker: &mut Worker) {
        let event: MaskEvent = self
            .compute(worker)
            .map_err(|error| hint::explain(error.as_ref()));
        worker.events().page(event);
    }
}

impl MaskJob {
    fn compute(&self, worker: &mut Worker) -> anyhow::Result<Masked> {
        let picture = worker.picture(&self.source)?;
        let session = worker.model(0)?;
        let (before, _) = self.score(session, &picture, &[])?;
        let (after, caption) = self.score(session, &picture, &self.patches)?;
        Ok(Masked {
            number: self.number,
            hidden: self.patches.len(),
            caption,
            probabilities: before.into_iter().zip(after).collect(),
        })
    }

    /// Returns the probabilities of the caption's tokens, and the caption that the model writes.
    fn score(
        &self,
        session: &Session,
        picture: &Picture,
        patches: &[usize],
    ) -> anyhow::Result<(Vec<f32>, String)> {
        let input = session.masked_input(picture, self.side, patches, GREY)?;
        let mut options = options(session, &self.settings, &self.prompt);
        options.heat = false;
        let mut probabilities = vec![];
        session.score_of(
            &input,
            &self.tokens,
            &options,
            &mut |token: &CaptionToken| {
                probabilities.push(token.choice.probability);
                ControlFlow::Continue(())
            },
        )?;
        let caption = match patches.is_empty() {
            true => String::new(),
            false => {
                let on = &mut |_: &CaptionToken| ControlFlow::Continue(());
                session.stream_of(&input, &options, on)?.text
            }
        };
        Ok((probabilities, caption))
    }
}

/// Hidden patches, and what the model makes of the picture without them.
#[derive(Default)]
pub struct Mask {
    /// Whether the pointer hides patches instead of selecting one.
    active: bool,
    hidden: BTreeSet<usize>,
    /// Whether the pointer hides or shows the patches that it is dragged over.
    hides: bool,
    number: u64,
    waiting: bool,
    result: Option<Masked>,
}

impl Mask {
    /// Whether the pointer hides patches.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Switches between hiding patches and selecting one.
    pub fn toggle(&mut self) {
        self.active = !self.active;
    }

    /// Shows all patches again.
    pub fn clear(&mut self) {
        self.hidden.clear();
        (self.result, self.waiting) = (None, false);
    }

    /// Takes the result of a job.
    pub fn take(&mut self, event: MaskEvent, context: &mut PageContext) {
        match event {
            Ok(masked) if masked.number == self.number => {
                (self.result, self.waiting) = (Some(masked), false);
            }
            Ok(_) => {}
            Err(message) => {
                self.waiting = false;
                context.toasts.add(message);
            }
        }
    }

    /// Hides or shows the patches that the pointer is pressed on.
    pub fn paint(&mut self, image: &Response, patch_at: impl Fn(Pos2) -> usize) {
        let Some(at) = image
            .interact_pointer_pos()
            .filter(|at| image.rect.contains(*at))
        else {
            return;
        };
        let patch = patch_at(at);
        if image.drag_started() || image.clicked() {
            self.hides = !self.hidden.contains(&patch);
        }
        if image.dragged() || image.clicked() {
            let changed = match self.hides {
                true => self.hidden.insert(patch),
                false => self.hidden.remove(&patch),
            };
            if changed {
                self.result = None;
            }
        }
    }

    /// Draws the hidden patches over the picture.
    pub fn show(&self, ui: &Ui, image: Rect, side: usize) {
        let step = image.size() / side as f32;
        for patch in &self.hidden {
            let corner = vec2(
                (patch % side) as f32 * step.x,
                (patch / side) as f32 * step.y,
            );
            let square = Rect::from_min_size(image.min + corner, step);
            let [r, g, b] = GREY;
            ui.painter()
                .rect_filled(square, 0.0, Color32::from_rgb(r, g, b));
            let stroke = (1.0, Color32::from_gray(90));
            ui.painter()
                .rect_stroke(square, 0.0, stroke, StrokeKind::Inside);
        }
    }
}

impl AttentionPage {
    /// Draws the actions on hidden patches.
    pub(super) fn mask_actions(
        &mut self,
        ui: &mut Ui,
        context: &PageContext,
        selection: &Selection,
        side: usize,
    ) {
        ui.horizontal(|ui| {
            let button = Action::new(Icon::Eraser, "Hide patches").selected(self.mask.active);
            if ui
                .add_enabled(side > 0, button)
                .on_hover_text("Drag over the picture to hide patches from the model (M)")
                .clicked()
            {
                self.mask.toggle();
            }
            let hidden = self.mask.hidden.len();
            let ready = hidden > 0 && !self.mask.waiting;
            let run = Action::new(Icon::Play, "Run again").primary();
            if ui
                .add_enabled(ready, run)
                .on_hover_text("Caption the picture without the hidden patches")
                .clicked()
            {
                self.mask.number += 1;
                self.mask.waiting = true;
                let tokens = selection.tokens.iter().map(|token| token.choice.token);
                context.worker.send(MaskJob {
                    number: self.mask.number,
                    source: selection.source.clone(),
                    prompt: selection.prompt.clone(),
                    tokens: tokens.collect(),
                    side,
                    patches: self.mask.hidden.iter().copied().collect(),
                    settings: GenerationSettings {
                        beams: 1,
                        ..context.generation.clone()
                    },
                });
            }
            if ui
                .add_enabled(hidden > 0, Button::new("Show all"))
                .clicked()
            {
                self.mask.clear();
            }
            if self.mask.waiting {
                ui.spinner();
            }
            if hidden > 0 {
                ui.label(RichText::new(format!("{} hidden", count(hidden, "patch"))).weak());
            }
        });
    }

    /// Draws what the model makes of the picture without the hidden patches.
    pub(super) fn mask_result(&self, ui: &mut Ui, selection: &Selection) {
        let Some(masked) = &self.mask.result else {
            return;
        };
        let colors = theme::colors(ui);
        theme::card(ui, |ui| {
            theme::title(ui, "Without the hidden patches");
            let caption = masked.caption.trim();
            let before: String = selection.tokens.iter().map(|it| it.text.as_str()).collect();
            let (note, color) = match caption == before.trim() {
                true => ("The caption stays the same.", colors.weak),
                false => ("The caption changes.", colors.warning),
            };
            ui.label(
                RichText::new(caption)
                    .size(theme::TITLE)
                    .color(colors.strong),
            );
            ui.label(RichText::new(note).color(color));
            let product = |of: fn(&(f32, f32)) -> f32| -> f64 {
                masked
                    .probabilities
                    .iter()
                    .map(|it| of(it) as f64)
                    .product()
            };
            let [whole, hidden] = [product(|it| it.0), product(|it| it.1)];
            ui.label(format!(
                "Probability of the first caption: {}, {} with {} hidden",
                percent(whole),
                percent(hidden),
                count(masked.hidden, "patch")
            ));
            egui::Grid::new("masked")
                .striped(true)
                .spacing([24.0, 4.0])
                .show(ui, |ui| {
                    ["Word", "Whole picture", "Patches hidden", "Change"]
                        .into_iter()
                        .for_each(|title| drop(ui.strong(title)));
                    ui.end_row();
                    for (index, (whole, hidden)) in masked.probabilities.iter().enumerate() {
                        ui.label(word(selection, index));
                        ui.monospace(percent(*whole as f64));
                        ui.monospace(percent(*hidden as f64));
                        let change = 100.0 * (hidden - whole);
                        let color = match change {
                            ..-1.0 => colors.error,
                            1.0.. => colors.success,
                            _ => colors.weak,
                        };
                        let text = format!("{change:+.1} points");
                        ui.label(RichText::new(text).monospace().color(color));
                        ui.end_row();
                    }
                });
        });
    }
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent >= 0.1 => format!("{percent:.1} %"),
        percent => format!("{percent:.0e} %"),
    }
}
