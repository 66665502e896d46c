//! Prompts: a style of captions, or a free question.

use egui::{TextEdit, Ui};
use seemore::text::Style;
use serde::{Deserialize, Serialize};

use crate::generation::GenerationSettings;
use crate::theme;
use crate::worker::ModelInfo;

/// Prompt of models that answer questions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Asked {
    /// The model's own question, for which it was trained.
    #[default]
    Usual,
    /// A kind of caption.
    Style(Style),
    /// The user's question.
    Own,
}

/// Prompt of captions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Prompt {
    asked: Asked,
    /// Question of the user's.
    question: String,
    /// Text that captions start with, of models that answer no questions. It is not stored: a start
    /// that is forgotten would change all captions.
    #[serde(skip)]
    prefix: String,
}

impl Prompt {
    /// Returns what a model is given.
    pub fn of(&self, model: &ModelInfo) -> String {
        match (model.answers, self.asked) {
            (false, _) => self.prefix.clone(),
            (true, Asked::Usual) => model.question.clone(),
            (true, Asked::Style(style)) => style.prompt(&model.family).to_owned(),
            (true, Asked::Own) => self.question.trim().to_owned(),
        }
    }

    /// Draws the choice. Returns whether captions are to be written with it at once.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        answers: bool,
        generation: &mut GenerationSettings,
    ) -> bool {
        theme::title(ui, "Prompt");
        if !answers {
            let label = ui.label("Prefix");
            let field = TextEdit::singleline(&mut self.prefix)
                .desired_width(f32::INFINITY)
                .hint_text("a photo of");
            let field = ui.add(field).labelled_by(label.id);
            let field = field.on_hover_text("Text that captions on this page start with");
            return entered(ui, &field);
        }
        let mut chosen = false;
        ui.horizontal_wrapped(|ui| {
            let styles = Style::ALL.map(Asked::Style);
            for asked in [Asked::Usual].into_iter().chain(styles) {
                let button = ui.selectable_label(self.asked == asked, label_of(asked));
                if button.clicked() {
                    self.asked = asked;
                    if let Asked::Style(style) = asked {
                        generation.max_len = style.max_tokens();
                    }
                    chosen = true;
                }
            }
        });
        let field = TextEdit::singleline(&mut self.question)
            .desired_width(f32::INFINITY)
            .hint_text("or ask your own question");
        let field = ui.add(field);
        theme::name_field(&field, "Question");
        if entered(ui, &field) && !self.question.trim().is_empty() {
            self.asked = Asked::Own;
            chosen = true;
        }
        chosen
    }
}

/// Whether Enter was pressed in a field.
pub fn entered(ui: &Ui, field: &egui::Response) -> bool {
    field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter))
}

fn label_of(asked: Asked) -> &'static str {
    match asked {
        Asked::Usual => "Default",
        Asked::Style(Style::Short) => "Short",
        Asked::Style(Style::Detailed) => "Detailed",
        Asked::Style(Style::AltText) => "Alt text",
        Asked::Style(Style::Tags) => "Tags",
        Asked::Own => "Question",
    }
}
