//! Hides patches from the model and compares what it writes: a causal check of the heat map.

use std::collections::BTreeSet;

use egui::{Button, Color32, Pos2, Rect, Response, RichText, StrokeKind, Ui, vec2};

use super::{AttentionPage, overlay, word};
use crate::format::count;
use crate::generation::GenerationSettings;
use crate::page::{PageContext, Selection};
use crate::theme::{self, Action, Icon};
use crate::worker::{Command, GREY, MaskJob, Masked};

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
    pub fn take(&mut self, masked: &Result<Masked, String>, context: &mut PageContext) {
        match masked {
            Ok(masked) if masked.number == self.number => {
                (self.result, self.waiting) = (Some(masked.clone()), false);
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
    pub(super) fn mask_actions(&mut self, ui: &mut Ui, context: &PageContext, side: usize) {
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
                self.run_masked(context);
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

    /// Captions the picture without the hidden patches.
    pub(super) fn run_masked(&mut self, context: &PageContext) {
        let (Some(attention), Some(selection)) = (&self.attention, &context.selection) else {
            return;
        };
        if self.mask.hidden.is_empty() || self.mask.waiting {
            return;
        }
        let side = overlay::side(&self.view_of(attention).heat);
        self.mask.number += 1;
        self.mask.waiting = true;
        let tokens = selection.tokens.iter().map(|token| token.choice.token);
        context.worker.send(Command::Mask(MaskJob {
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
        }));
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
