//! The selected picture and what the models write about it.

use egui::{Align, Button, Layout, Panel, RichText, ScrollArea, TextEdit, Ui, vec2};
use seemore::caption::NameRanking;
use seemore::image::Preprocess;

use super::preview::Wanted;
use super::prompt::entered;
use super::thread::{Status, Turn};
use super::{AS_INPUT, CaptionPage, Place, answers, words};
use crate::format::count;
use crate::heat::{self, Layers};
use crate::page::{PageContext, Request};
use crate::theme::{self, Action, Icon};
use crate::worker::{ModelInfo, Slot, Subject};

/// Height that is kept below the picture for the text, in points.
const TEXT: f32 = 210.0;

/// Smallest height of the picture, in points.
const LEAST: f32 = 160.0;

impl CaptionPage {
    /// Draws the selected picture with the texts of each model, side by side.
    pub(super) fn models(&mut self, ui: &mut Ui, context: &mut PageContext) {
        self.hovered = None;
        if answers(context) {
            Panel::bottom("question")
                .frame(egui::Frame::new())
                .show(ui, |ui| self.follow_up(ui, context));
        }
        match context.model(1) {
            None => self.model(ui, context, 0),
            Some(_) => ui.columns(2, |columns| {
                (0..2).for_each(|slot| self.model(&mut columns[slot], context, slot))
            }),
        }
    }

    fn model(&mut self, ui: &mut Ui, context: &mut PageContext, slot: Slot) {
        self.header(ui, context, slot);
        ui.add_space(theme::SPACE / 2.0);
        let model = context.model(slot).cloned();
        self.notes(ui, context, model.as_ref());
        let height = ui.available_height();
        let picture = (height - TEXT).max(LEAST);
        ScrollArea::vertical()
            .id_salt(("texts", slot))
            .auto_shrink(false)
            .show(ui, |ui| {
                self.picture(ui, context, slot, picture);
                self.texts(ui, context, slot);
            });
    }

    /// Draws the actions on the caption, at a place that does not depend on what is written.
    fn header(&mut self, ui: &mut Ui, context: &mut PageContext, slot: Slot) {
        let index = self.selected;
        let model = context.model(slot);
        let answers = model.is_some_and(|model| model.answers);
        let thread = &self.items[index].threads[slot];
        let (busy, text) = (thread.is_busy(), thread.text(!answers));
        let (mut regenerate, mut stop) = (false, false);
        ui.horizontal(|ui| {
            let button = Action::new(Icon::RefreshCw, "Regenerate").primary();
            regenerate = ui
                .add_enabled(model.is_some(), button)
                .on_hover_text("Write another caption (R). The seed moves on.")
                .clicked();
            stop = ui
                .add_enabled(busy, Action::new(Icon::Square, "Stop"))
                .on_hover_text("Stop writing (Esc)")
                .clicked();
            let copy = ui.add_enabled(!text.is_empty(), Action::new(Icon::Copy, "Copy"));
            if copy.on_hover_text("Copy the caption (C)").clicked() {
                ui.ctx().copy_text(text);
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if slot == 0 {
                    let button = Action::new(Icon::ScanEye, AS_INPUT).icon_only();
                    if ui.add(button.selected(self.as_input)).clicked() {
                        self.as_input = !self.as_input;
                    }
                }
                if let (Some(model), Some(_)) = (model, context.model(1)) {
                    let name = RichText::new(model.name()).strong();
                    ui.add(egui::Label::new(name).truncate());
                }
            });
        });
        if stop {
            self.items[index].threads[slot].cancel();
        }
        if regenerate {
            self.regenerate(index, slot, context);
        }
    }

    /// Says what speaks against the caption.
    fn notes(&self, ui: &mut Ui, context: &mut PageContext, model: Option<&ModelInfo>) {
        let item = &self.items[self.selected];
        let drawings = model.is_some_and(|model| model.subject == Subject::Drawings);
        if !drawings || !item.photograph {
            return;
        }
        let colors = theme::colors(ui);
        theme::card_frame(ui)
            .stroke((1.0, colors.warning))
            .inner_margin(8)
            .show(ui, |ui| {
                ui.horizontal_wrapped(|ui| {
                    ui.label(theme::icon(Icon::TriangleAlert).color(colors.warning));
                    ui.label(
                        RichText::new(
                            "This model knows drawings. What it says about a photograph is a guess.",
                        )
                        .color(colors.warning),
                    );
                    if ui.button("Get a model for photographs").clicked() {
                        context.requests.push(Request::ChooseModel(0));
                    }
                });
            });
    }

    fn picture(&mut self, ui: &mut Ui, context: &PageContext, slot: Slot, height: f32) {
        let item = &self.items[self.selected];
        let model = context.model(slot).or(context.model(0));
        let wanted = Wanted {
            source: item.source.clone(),
            preprocess: Preprocess {
                side: model.map_or(512, |model| model.image_size),
                crop: model.is_some_and(|model| model.crop),
            },
            as_input: self.as_input && model.is_some(),
        };
        let place = self.tokens[slot];
        let token = place.and_then(|place| {
            let turn = item.threads[slot].turns.get(place.turn)?;
            Some((turn.job, turn.tokens.get(place.token)?))
        });
        let heat = token.map_or(&[][..], |(_, token)| &token.heat);
        let heat_key = token.map_or(0, |(job, _)| {
            job << 16 ^ place.map_or(0, |place| place.token as u64)
        });
        let within = vec2(ui.available_width(), height);
        let preview = self.previews[slot].get(ui.ctx(), &wanted);
        let (picture, size) = match preview {
            Some((number, preview)) => ((2 * number, preview), [preview.width, preview.height]),
            // until the picture is read
            None => ((2 * self.selected as u64 + 1, &item.thumbnail), item.size),
        };
        let layers = Layers {
            picture,
            sharp: wanted.as_input,
            heat,
            heat_key,
        };
        let size = heat::fit(size, within);
        self.views[slot].show(ui, size, &layers, context.heat);
        // the space of the legend is kept, so that nothing moves when a word is selected
        ui.horizontal(|ui| {
            ui.set_min_height(theme::CONTROL);
            heat::legend(ui, heat, context.heat.colors, (size.x * 0.4).min(240.0));
        });
    }

    /// Draws the caption, the questions about it and their answers.
    fn texts(&mut self, ui: &mut Ui, context: &PageContext, slot: Slot) {
        let answers = context.model(slot).is_some_and(|model| model.answers);
        let thread = &self.items[self.selected].threads[slot];
        let mut chosen = None;
        for (turn, text) in thread.turns.iter().enumerate() {
            let size = if turn == 0 {
                theme::DISPLAY
            } else {
                theme::TITLE
            };
            if answers {
                if turn > 0 {
                    ui.add_space(theme::SPACE);
                }
                ui.horizontal_wrapped(|ui| {
                    ui.label(theme::icon(Icon::CircleQuestionMark).weak());
                    ui.label(RichText::new(&text.prompt).weak());
                });
            } else if !text.prompt.is_empty() {
                ui.label(RichText::new(&text.prompt).size(size).weak());
            }
            let selected = self.tokens[slot].filter(|place| place.turn == turn);
            let selected = selected.map(|place| place.token);
            let touched = words::show(ui, &text.tokens, selected, size);
            if let Some(token) = touched.clicked {
                let place = Place { turn, token };
                chosen = Some((self.tokens[slot] != Some(place)).then_some(place));
            }
            if let Some(token) = touched.hovered {
                self.hovered = Some((slot, Place { turn, token }));
            }
            status(ui, text);
            if let Some(others) = other_names(text) {
                ui.label(others);
            }
            for beam in &text.beams {
                let percent = 100.0 * beam.log_probability.exp();
                ui.label(format!("{}   {percent:.1} %", beam.text.trim()));
            }
        }
        if thread.turns.is_empty() {
            let text = match context.models[slot].info {
                Some(_) => "No caption yet",
                None if context.models[slot].loading => "Loading the model...",
                None => "No model loaded",
            };
            ui.label(RichText::new(text).weak());
        }
        if let Some(chosen) = chosen {
            self.tokens[slot] = chosen;
        }
    }

    fn follow_up(&mut self, ui: &mut Ui, context: &mut PageContext) {
        ui.add_space(theme::SPACE);
        ui.horizontal(|ui| {
            // beside it lies the button
            let width = (ui.available_width() - 80.0).max(120.0);
            let field = TextEdit::singleline(&mut self.question)
                .desired_width(width)
                .hint_text("Ask about this picture");
            let field = ui.add(field);
            theme::name_field(&field, "Follow-up question");
            if std::mem::take(&mut self.focus_question) {
                field.request_focus();
            }
            let ready = !self.question.trim().is_empty();
            let ask = ui.add_enabled(ready, Button::new("Ask")).clicked();
            if ready && (ask || entered(ui, &field)) {
                self.ask(context);
                field.request_focus();
            }
        });
    }
}

/// Explains the confidence of a caption that follows a name.
fn named(ranking: &NameRanking) -> String {
    let names = ranking.names.iter();
    let list = names.map(|name| format!("\n{:.0} %   {}", 100.0 * name.probability, name.text));
    format!(
        "Probability of the name that the caption follows, by how often such names were right in training about pictures held out, times that of the average word. The names that fit best:{}",
        list.collect::<String>()
    )
}

/// Returns the other names of a picture whose name is more probably wrong than right.
fn other_names(turn: &Turn) -> Option<String> {
    let ranking = turn.names.as_ref()?;
    if turn.status.is_busy() || !ranking.is_unsure() {
        return None;
    }
    let others: Vec<&str> = ranking
        .names
        .iter()
        .skip(1)
        .map(|name| name.text.as_str())
        .collect();
    (!others.is_empty()).then(|| format!("It may also be: {}", others.join("; ")))
}

/// Draws the line below a text: how it was written, and how sure the model is.
fn status(ui: &mut Ui, turn: &Turn) {
    ui.horizontal_wrapped(|ui| {
        ui.set_min_height(theme::CONTROL);
        let text = match turn.status {
            Status::Idle => "Not written".into(),
            Status::Queued | Status::Sent => "Waiting".into(),
            Status::Writing => "Writing...".into(),
            Status::Done {
                seconds,
                cancelled: true,
            } => format!("Stopped after {seconds:.2} s"),
            Status::Done { seconds, .. } => {
                let tokens = count(turn.tokens.len(), "token");
                format!("{tokens} in {seconds:.2} s. Click a word to see what influenced it.")
            }
        };
        if turn.status.is_busy() {
            ui.spinner();
        }
        if let (Some(mean), false) = (turn.confidence(), turn.status.is_busy()) {
            let (name, color) = match turn.is_uncertain() {
                true => ("Low confidence", theme::colors(ui).warning),
                // not the colour of success: sure words may be wrong
                false => ("Confidence", ui.visuals().text_color()),
            };
            let text = format!("{name}: {:.0} %", 100.0 * mean);
            let hint = match &turn.names {
                Some(ranking) => named(ranking),
                None => "Probability of the average word. A model can be sure of its words and wrong about the picture.".into(),
            };
            ui.label(RichText::new(text).color(color).strong())
                .on_hover_text(hint);
        }
        if turn.settings.temperature > 0.0 {
            let text = format!("sampled at temperature {:.1}", turn.settings.temperature);
            ui.label(RichText::new(text).weak());
        }
        ui.label(RichText::new(text).weak());
    });
}
