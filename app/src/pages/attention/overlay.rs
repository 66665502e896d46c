//! The words of the caption, and the picture under its heat map.

use std::hash::{DefaultHasher, Hash, Hasher};

use egui::{Color32, Pos2, Rect, RichText, Sense, StrokeKind, Ui, vec2};

use super::{AttentionPage, Source, View, word};
use crate::heat::{self, Layers};
use crate::page::{HeatStyle, Selection};
use crate::pages::caption::words;
use crate::theme;
use crate::worker::Attention;

/// Height that is kept for what lies above and below the picture, in points.
const AROUND: f32 = 170.0;

/// Smallest height of the picture, in points.
const LEAST: f32 = 220.0;

impl AttentionPage {
    /// Draws the words to select from and, below each, its attention to the clicked patch.
    pub(super) fn words(
        &mut self,
        ui: &mut Ui,
        selection: &Selection,
        attention: &Attention,
        view: &View,
    ) {
        ui.add_space(4.0);
        let shares = self
            .patch
            .and_then(|patch| self.shares(patch, selection, attention, view));
        ui.horizontal(|ui| {
            let touched = words::show(ui, &selection.tokens, Some(self.token), theme::DISPLAY);
            if let Some(token) = touched.clicked {
                self.token = token;
            }
            if self.waiting {
                ui.spinner();
            }
        });
        if let Some(shares) = &shares {
            ui.horizontal_wrapped(|ui| {
                for (index, share) in shares.iter().enumerate() {
                    let word = word(selection, index);
                    ui.monospace(format!("{word} {:.1} %", 100.0 * share));
                }
            });
        }
        if let (Some(patch), Some(_)) = (self.patch, &shares) {
            let grid = side(&view.heat).max(1);
            let (row, column) = (patch / grid + 1, patch % grid + 1);
            let text = format!("Share of each word in the patch in row {row}, column {column}");
            ui.label(RichText::new(text).weak());
        }
    }

    /// Returns the share of a patch for each word, if the selected source has one.
    fn shares(
        &self,
        patch: usize,
        selection: &Selection,
        attention: &Attention,
        view: &View,
    ) -> Option<Vec<f32>> {
        let relevance = &attention.relevance;
        match (self.source, &view.matrix) {
            (Source::Decoder(_), Some(matrix)) if attention.maps.visual.len() > 1 => {
                let tokens = relevance.len().min(selection.tokens.len());
                let maps = &attention.maps;
                Some(maps.by_token(matrix, attention.prompt, tokens, patch))
            }
            (Source::Relevance, _) => Some(relevance.iter().map(|heat| heat[patch]).collect()),
            _ => None,
        }
    }

    /// Draws the picture under the heat map; a click selects a patch.
    pub(super) fn overlay(
        &mut self,
        ui: &mut Ui,
        attention: &Attention,
        view: &View,
        style: HeatStyle,
    ) {
        // the view adds the style
        let mut key = DefaultHasher::new();
        let choice = (
            attention.number,
            self.source,
            self.heads,
            self.token,
            self.patch,
            self.hide_sinks,
        );
        choice.hash(&mut key);
        let clip = ui.clip_rect().size();
        let within = vec2(clip.x - 32.0, (clip.y - AROUND).max(LEAST));
        let input = &attention.input;
        let size = heat::fit([input.width, input.height], within);
        let layers = Layers {
            picture: (attention.number, input),
            sharp: false,
            heat: &view.heat,
            heat_key: key.finish(),
        };
        let image = self.view.show(ui, size, &layers, style);
        let image = image.interact(Sense::click_and_drag());
        let grid = side(&view.heat);
        if grid == 0 {
            theme::note(ui, "This layer does not attend to patches.");
            return;
        }
        let step = image.rect.size() / grid as f32;
        let patch_at = |at: Pos2| {
            let cell = |v: f32, step: f32| ((v / step).max(0.0) as usize).min(grid - 1);
            let (x, y) = (at.x - image.rect.left(), at.y - image.rect.top());
            cell(y, step.y) * grid + cell(x, step.x)
        };
        if self.mask.is_active() {
            self.mask.paint(&image, patch_at);
        }
        self.mask.show(ui, image.rect, grid);
        let clicked = image.interact_pointer_pos();
        let clicked = clicked.filter(|_| image.clicked() && !self.mask.is_active());
        if let Some(patch) = clicked.map(patch_at) {
            self.patch = (self.patch != Some(patch)).then_some(patch);
        }
        if let Some(patch) = self.patch.filter(|&patch| patch < view.heat.len()) {
            let corner = vec2((patch % grid) as f32, (patch / grid) as f32) * step;
            let square = Rect::from_min_size(image.rect.min + corner, step);
            ui.painter()
                .rect_stroke(square, 0.0, (2.0, Color32::WHITE), StrokeKind::Inside);
        }
        if let Some(patch) = image.hover_pos().map(patch_at) {
            image.on_hover_text_at_pointer(format!(
                "Row {}, column {}: {:.2} %",
                patch / grid + 1,
                patch % grid + 1,
                100.0 * view.heat[patch]
            ));
        }
        heat::legend(ui, &view.heat, style.colors, (size.x * 0.5).min(320.0));
        theme::note(ui, self.description(attention));
    }

    /// Returns what the heat map shows.
    pub(super) fn description(&self, attention: &Attention) -> &'static str {
        match (self.source, self.patch) {
            (Source::Relevance, _) => "Contribution of each patch to the selected word",
            (Source::Decoder(_), _) => "Attention of the decoder while it wrote the selected word",
            (Source::Rollout, _) if attention.maps.encoder.is_empty() => {
                "Attention rollout through the decoder from the selected word"
            }
            (_, Some(_)) => "Attention of the framed patch",
            _ if attention.maps.cls => "Attention of the CLS token",
            _ => "Mean attention of all patches. Click a patch for its own attention.",
        }
    }
}

/// Returns the number of patches along a side of the picture.
pub(super) fn side(heat: &[f32]) -> usize {
    (heat.len() as f64).sqrt() as usize
}
