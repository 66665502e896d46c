//! The words of the caption, and the picture under its heat map.

use std::hash::{DefaultHasher, Hash, Hasher};

use egui::{Color32, Pos2, Rect, RichText, Sense, StrokeKind, Ui, vec2};

use super::{Attention, AttentionPage, Source, View};
use crate::heat;
use crate::page::{HeatStyle, Selection};

/// Maximum width and height of the picture, in points.
const SIDE: f32 = 400.0;

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
        ui.horizontal_wrapped(|ui| {
            for (n, token) in selection.tokens.iter().enumerate() {
                ui.vertical(|ui| {
                    let text = RichText::new(token.text.trim()).size(20.0);
                    if ui.selectable_label(self.token == n, text).clicked() {
                        self.token = n;
                    }
                    if let Some(share) = shares.as_ref().and_then(|shares| shares.get(n)) {
                        ui.monospace(format!("{:.1} %", 100.0 * share));
                    }
                });
            }
            if self.waiting {
                ui.spinner();
            }
        });
        if let (Some(patch), Some(_)) = (self.patch, &shares) {
            let grid = side(&view.heat).max(1);
            let (row, column) = (patch / grid + 1, patch % grid + 1);
            let text =
                format!("Below each word: its share of the patch in row {row}, column {column}");
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
        let mut key = DefaultHasher::new();
        let choice = (
            attention.number,
            self.source,
            self.heads,
            self.token,
            self.patch,
            self.hide_sinks,
            style.colors,
            style.opacity.to_bits(),
        );
        choice.hash(&mut key);
        let width = SIDE.min(ui.available_width() - 8.0);
        let image = self
            .view
            .show(ui, width, &attention.input, &view.heat, style, key.finish())
            .interact(Sense::click());
        let grid = side(&view.heat);
        if grid == 0 {
            ui.label(RichText::new("This layer does not attend to patches.").weak());
            return;
        }
        let step = image.rect.width() / grid as f32;
        let patch_at = |at: Pos2| {
            let cell = |v: f32| ((v / step) as usize).min(grid - 1);
            cell(at.y - image.rect.top()) * grid + cell(at.x - image.rect.left())
        };
        let clicked = image.interact_pointer_pos().filter(|_| image.clicked());
        if let Some(patch) = clicked.map(patch_at) {
            self.patch = (self.patch != Some(patch)).then_some(patch);
        }
        if let Some(patch) = self.patch.filter(|&patch| patch < view.heat.len()) {
            let corner = image.rect.min + vec2((patch % grid) as f32, (patch / grid) as f32) * step;
            let square = Rect::from_min_size(corner, vec2(step, step));
            ui.painter()
                .rect_stroke(square, 0.0, (2.0, Color32::WHITE), StrokeKind::Inside);
        }
        if let Some(patch) = image.hover_pos().map(patch_at) {
            image.on_hover_text(format!(
                "Row {}, column {}: {:.2} %",
                patch / grid + 1,
                patch % grid + 1,
                100.0 * view.heat[patch]
            ));
        }
        heat::legend(ui, &view.heat, style.colors, width * 0.6);
        let description = match (self.source, self.patch) {
            (Source::Relevance, _) => "Contribution of each patch to the selected word",
            (Source::Decoder(_), _) => "Attention of the decoder while it wrote the selected word",
            (Source::Rollout, _) if attention.maps.encoder.is_empty() => {
                "Attention rollout through the decoder from the selected word"
            }
            (_, Some(_)) => "Attention of the framed patch",
            _ if attention.maps.cls => "Attention of the CLS token",
            _ => "Mean attention of all patches. Click a patch for its own attention.",
        };
        ui.label(RichText::new(description).weak());
    }
}

/// Returns the number of patches along a side of the picture.
fn side(heat: &[f32]) -> usize {
    (heat.len() as f64).sqrt() as usize
}
