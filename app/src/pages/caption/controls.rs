//! The panel beside the picture: prompt, next-word probabilities, generation and heat map.

use egui::{DragValue, Id, Rect, ScrollArea, Sense, Slider, Ui, pos2, vec2};
use seemore::caption::{ALTERNATIVES, CaptionToken};

use super::{CaptionPage, answers};
use crate::generation::GenerationSettings;
use crate::page::PageContext;
use crate::theme;

/// Height of a bar, in points.
const BAR: f32 = 20.0;

impl CaptionPage {
    /// Draws the panel.
    pub(super) fn controls(&mut self, ui: &mut Ui, context: &mut PageContext) {
        let mut sliders = vec![];
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            // numbers of equal width, so that the labels behind them are aligned
            ui.spacing_mut().interact_size.x = 44.0;
            ui.spacing_mut().slider_width = 96.0;
            let answers = answers(context);
            let write = theme::card(ui, |ui| {
                ui.set_width(ui.available_width());
                self.prompt.show(ui, answers, &mut context.generation)
            });
            if write.inner {
                self.write_again(context);
            }
            ui.add_space(theme::SPACE);
            theme::card(ui, |ui| {
                ui.set_width(ui.available_width());
                theme::title(ui, "Next word");
                let settings = &mut context.generation;
                let slider = Slider::new(&mut settings.temperature, 0.0..=2.0)
                    .step_by(0.05)
                    .fixed_decimals(2)
                    .text("Temperature");
                let slider = ui.add(slider);
                sliders.push(slider.id);
                slider
                    .on_hover_text("0 always takes the most likely token; higher values vary more");
                let token = self.shown_token();
                bars(ui, token, settings);
            });
            ui.add_space(theme::SPACE);
            theme::card(ui, |ui| {
                ui.set_width(ui.available_width());
                sliders.extend(generation(ui, &mut context.generation));
            });
            ui.add_space(theme::SPACE);
            theme::card(ui, |ui| {
                ui.set_width(ui.available_width());
                theme::title(ui, "Heat map");
                let opacity = &mut context.heat.opacity;
                sliders.push(
                    ui.add(
                        Slider::new(opacity, 0.0..=1.0)
                            .step_by(0.05)
                            .fixed_decimals(2)
                            .text("Opacity"),
                    )
                    .id,
                );
                theme::note(
                    ui,
                    "Click a word to see how much each part of the picture contributed to it. \
                     This is an indication, not an explanation.",
                );
            });
        });
        self.sliders = sliders;
    }
}

/// Draws the probabilities of a token and of its alternatives at the chosen temperature. Those that
/// sampling leaves out are faded. The space is the same for any token.
fn bars(ui: &mut Ui, token: Option<&CaptionToken>, settings: &GenerationSettings) {
    let rows = ALTERNATIVES + 1;
    let size = vec2(ui.available_width(), rows as f32 * (BAR + 2.0));
    let (rect, space) = ui.allocate_exact_size(size, Sense::hover());
    let colors = theme::colors(ui);
    let font = egui::FontId::proportional(theme::TEXT);
    let Some(token) = token else {
        let text = "The most likely words appear here while the model writes.";
        let galley = ui
            .painter()
            .layout(text.into(), font, colors.weak, rect.width());
        ui.painter().galley(rect.min, galley, colors.weak);
        return;
    };
    let mut names = vec![(token.text.trim(), token.choice.probability, true)];
    names.extend(
        token
            .others
            .iter()
            .map(|(text, p)| (text.trim(), *p, false)),
    );
    names.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top: Vec<f32> = names.iter().map(|name| name.1).collect();
    let shares = token.tail.at_temperature(&top, settings.temperature);
    let mut sum = 0.0;
    for (row, ((name, _, chosen), share)) in names.into_iter().zip(shares).enumerate() {
        let left_out = settings.top_k > 0 && row >= settings.top_k || sum >= settings.top_p;
        sum += share;
        let line = Rect::from_min_size(
            rect.min + vec2(0.0, row as f32 * (BAR + 2.0)),
            vec2(rect.width(), BAR),
        );
        let bar = Rect::from_min_max(
            line.min,
            pos2(line.left() + share * line.width(), line.bottom()),
        );
        let (fill, text) = match (chosen, left_out) {
            (_, true) => (colors.button, colors.weak),
            (true, false) => (colors.selected, colors.text),
            (false, false) => (colors.hovered, colors.text),
        };
        ui.painter().rect_filled(line, 3.0, colors.field);
        ui.painter().rect_filled(bar, 3.0, fill);
        let label = format!("{name}  {:.1} %", 100.0 * share);
        let id = space.id.with(row);
        let response = ui.interact(line, id, Sense::hover());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &label));
        let short = name.chars().take(22).collect::<String>();
        let galley = ui.painter().layout_no_wrap(short, font.clone(), text);
        let at = pos2(line.left() + 6.0, line.center().y - galley.size().y / 2.0);
        ui.painter().galley(at, galley, text);
        let percent = format!("{:.1} %", 100.0 * share);
        let galley = ui.painter().layout_no_wrap(percent, font.clone(), text);
        let at = line.right_center() - vec2(galley.size().x + 6.0, galley.size().y / 2.0);
        ui.painter().galley(at, galley, text);
        if left_out {
            response.on_hover_text("Left out by Top k or Top p");
        }
    }
}

/// Draws the settings and returns the sliders, which take arrow keys.
fn generation(ui: &mut Ui, settings: &mut GenerationSettings) -> Vec<Id> {
    ui.horizontal(|ui| {
        theme::title(ui, "Generation");
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let reset = ui.button("Reset");
            let reset = reset.on_hover_text("Restore the defaults of these settings");
            if reset.clicked() {
                *settings = GenerationSettings::default();
            }
        });
    });
    let sampled = settings.temperature > 0.0;
    let mut sliders = vec![];
    let mut add = |ui: &mut Ui, enabled, slider: Slider, tip: &str| {
        let slider = ui.add_enabled(enabled, slider);
        sliders.push(slider.id);
        slider.on_hover_text(tip);
    };
    let top_k = Slider::new(&mut settings.top_k, 0..=100).text("Top k");
    let tip = "Sample from this many most likely tokens; 0 samples from all";
    add(ui, sampled, top_k, tip);
    let top_p = Slider::new(&mut settings.top_p, 0.05..=1.0)
        .step_by(0.05)
        .fixed_decimals(2)
        .text("Top p");
    let tip = "Sample from the most likely tokens that together reach this probability";
    add(ui, sampled, top_p, tip);
    let max_len = Slider::new(&mut settings.max_len, 1..=256).text("Max tokens");
    add(ui, true, max_len, "Maximum length of a text");
    let beams = Slider::new(&mut settings.beams, 1..=16).text("Beams");
    let tip = "Above 1, a beam search lists the most likely captions";
    add(ui, true, beams, tip);
    ui.add_enabled_ui(sampled, |ui| {
        ui.horizontal(|ui| {
            let label = ui.label("Seed");
            ui.add(DragValue::new(&mut settings.seed))
                .labelled_by(label.id);
        });
    });
    sliders
}
