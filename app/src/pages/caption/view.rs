//! The input and caption of one model.

use egui::{Button, RichText, Ui};
use seemore::caption::CaptionToken;

use super::{CaptionPage, Status};
use crate::format::count;
use crate::heat;
use crate::page::PageContext;
use crate::worker::Slot;

/// Maximum width and height of the picture, in points.
const SIDE: f32 = 360.0;

impl CaptionPage {
    /// Draws the selected picture and its caption by one model.
    pub(super) fn model(&mut self, ui: &mut Ui, context: &PageContext, slot: Slot) {
        let i = self.selected;
        let item = &self.items[i];
        let caption = &item.captions[slot];
        let model = context.model(slot);
        if let (Some(model), Some(_)) = (model, context.model(1)) {
            ui.vertical_centered(|ui| ui.strong(model.name()));
        }
        let token = self.tokens[slot].filter(|&token| token < caption.tokens.len());
        let heat = token.map_or(&[][..], |token| &caption.tokens[token].heat);
        let picture = caption.input.as_ref().unwrap_or(&item.thumbnail);
        let key = (i as u64) << 48
            ^ caption.job << 24
            ^ (caption.input.is_some() as u64) << 20
            ^ token.map_or(0, |token| token as u64 + 1) << 12
            ^ (context.heat.colors as u64) << 8
            ^ (context.heat.opacity * 100.0) as u64;
        let side = SIDE.min(ui.available_width() - 8.0);
        ui.add_space(6.0);
        ui.vertical_centered(|ui| {
            self.views[slot].show(ui, side, picture, heat, context.heat, key)
        });
        if !heat.is_empty() {
            ui.horizontal(|ui| {
                ui.add_space((ui.available_width() - side * 0.5 - 120.0).max(0.0) / 2.0);
                heat::legend(ui, heat, context.heat.colors, side * 0.5);
            });
        }
        ui.add_space(6.0);
        let mut chosen = None;
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            if !caption.prefix.is_empty() {
                ui.label(RichText::new(&caption.prefix).size(22.0).weak());
            }
            for (n, written) in caption.tokens.iter().enumerate() {
                let text = RichText::new(written.text.trim()).size(22.0);
                let word = ui.selectable_label(token == Some(n), text);
                if word.on_hover_ui(|ui| alternatives(ui, written)).clicked() {
                    chosen = Some((token != Some(n)).then_some(n));
                }
            }
            if caption.status.is_busy() {
                ui.spinner();
            }
        });
        let status = match caption.status {
            Status::Idle if model.is_some() => "No caption yet".into(),
            Status::Idle => "No model loaded".into(),
            Status::Queued => "Waiting".into(),
            Status::Writing => "Writing...".into(),
            Status::Done {
                seconds,
                cancelled: true,
            } => format!("Stopped after {seconds:.2} s"),
            Status::Done { seconds, .. } => format!(
                "{} in {seconds:.2} s. Click a word to see what influenced it.",
                count(caption.tokens.len(), "token")
            ),
        };
        ui.label(RichText::new(status).weak());
        for beam in &caption.beams {
            ui.label(format!(
                "{}   {:.1} %",
                beam.text.trim(),
                100.0 * beam.log_probability.exp()
            ));
        }
        ui.add_space(4.0);
        let (busy, text, job) = (caption.status.is_busy(), caption.text(), caption.job);
        let (mut regenerate, mut stop) = (false, false);
        ui.horizontal(|ui| {
            regenerate = ui
                .add_enabled(model.is_some(), Button::new("Regenerate"))
                .on_hover_text("Caption this picture again (R)")
                .clicked();
            stop = ui
                .add_enabled(busy, Button::new("Stop"))
                .on_hover_text("Stop writing (Esc)")
                .clicked();
            if ui
                .add_enabled(!text.is_empty(), Button::new("Copy"))
                .on_hover_text("Copy the caption")
                .clicked()
            {
                ui.ctx().copy_text(text);
            }
        });
        if let Some(chosen) = chosen {
            self.tokens[slot] = chosen;
        }
        if stop {
            self.cancel(job);
        }
        if regenerate {
            self.caption(i, slot, context);
        }
    }
}

/// Draws the probabilities of a token and of its alternatives.
fn alternatives(ui: &mut Ui, written: &CaptionToken) {
    ui.strong(format!(
        "{}  {:.1} %",
        written.text.trim(),
        100.0 * written.choice.probability
    ));
    for (text, probability) in &written.others {
        ui.label(format!("{}  {:.1} %", text.trim(), 100.0 * probability));
    }
}
