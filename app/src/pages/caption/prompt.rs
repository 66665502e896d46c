//! What the models are asked for.

use egui::{TextEdit, Ui};
use seemore::text::Style;
use serde::{Deserialize, Serialize};

use crate::generation::GenerationSettings;
use crate::theme;
use crate::worker::ModelInfo;

/// Kind of caption to ask for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Prompt {
    /// Kind of caption, of models that answer questions; `None` for a question of the user's.
    pub style: Option<Style>,
    /// Question of the user's.
    pub question: String,
    /// Text that captions start with, of other models. It is not stored: a start that is forgotten
    /// would change all captions.
    #[serde(skip)]
    pub prefix: String,
}

impl Prompt {
    /// Returns a prompt for captions of the default style.
    pub fn new() -> Prompt {
        Prompt {
            style: Some(Style::default()),
            ..Prompt::default()
        }
    }

    /// Returns what a model is given.
    pub fn of(&self, model: &ModelInfo) -> String {
        match (model.answers, self.style) {
            (false, _) => self.prefix.clone(),
            (true, Some(style)) => style.prompt(&model.family).to_owned(),
            (true, None) => self.question.trim().to_owned(),
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
            for style in Style::ALL {
                let button = ui.selectable_label(self.style == Some(style), label_of(style));
                if button.clicked() {
                    self.style = Some(style);
                    generation.max_len = style.max_tokens();
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
            self.style = None;
            chosen = true;
        }
        chosen
    }
}

/// Whether Enter was pressed in a field.
pub fn entered(ui: &Ui, field: &egui::Response) -> bool {
    field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter))
}

fn label_of(style: Style) -> &'static str {
    match style {
        Style::Short => "Short",
        Style::Detailed => "Detailed",
        Style::AltText => "Alt text",
        Style::Tags => "Tags",
    }
}
