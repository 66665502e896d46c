//! Find and replace, with a preview.

use egui::{Label, RichText, ScrollArea, TextEdit, TextStyle, Ui, vec2};

use super::BatchPage;
use crate::format::count;
use crate::gallery::{Gallery, Replacement};
use crate::theme::{self, Action, Icon};

/// Width of the column of labels, in points.
const LABEL: f32 = 80.0;

/// The fields and the preview.
#[derive(Default)]
pub struct Replace {
    replacement: Replacement,
    preview: Option<Preview>,
    /// Whether the first field gets the focus in the next frame.
    pub focus: bool,
}

/// Captions that a replacement would change.
struct Preview {
    replacement: Replacement,
    /// Version of the gallery.
    version: u64,
    entries: Vec<usize>,
    changes: Result<Vec<(usize, String)>, String>,
}

impl Replace {
    /// Updates the preview if the replacement, the gallery or the entries have changed.
    fn update(&mut self, gallery: &Gallery, entries: &[usize]) {
        let version = gallery.version();
        let current = self.preview.as_ref().is_some_and(|preview| {
            preview.replacement == self.replacement
                && preview.version == version
                && preview.entries == entries
        });
        if !current {
            self.preview = Some(Preview {
                replacement: self.replacement.clone(),
                version,
                entries: entries.to_vec(),
                changes: gallery.replaced(entries, &self.replacement),
            });
        }
    }

    fn fields(&mut self, ui: &mut Ui) {
        let Replacement {
            text,
            with,
            match_case,
            regex,
        } = &mut self.replacement;
        for (name, text) in [("Find", text), ("Replace with", with)] {
            ui.horizontal(|ui| {
                let label = ui.label(name);
                ui.add_space((LABEL - label.rect.width()).max(0.0));
                let field = ui.add(TextEdit::singleline(text).desired_width(f32::INFINITY));
                if std::mem::take(&mut self.focus) {
                    field.request_focus();
                }
                field.labelled_by(label.id)
            });
        }
        ui.horizontal(|ui| {
            ui.checkbox(match_case, "Match case");
            ui.checkbox(regex, "Regular expression")
                .on_hover_text("In the replacement, $1 stands for the first group");
        });
    }
}

impl BatchPage {
    /// Draws the fields and the preview of the entries shown.
    pub(super) fn replacing(&mut self, ui: &mut Ui) {
        self.replace.fields(ui);
        self.replacements(ui);
    }

    fn replacements(&mut self, ui: &mut Ui) {
        let Some(gallery) = &self.gallery else { return };
        self.replace.update(gallery, &self.shown);
        let Some(Preview { changes, .. }) = &self.replace.preview else {
            return;
        };
        let changes = match changes {
            Err(message) => {
                ui.colored_label(ui.visuals().error_fg_color, message);
                return;
            }
            Ok(changes) => changes,
        };
        if self.replace.replacement.text.is_empty() {
            let text = "Replaces in the filtered captions. Changes are previewed here.";
            ui.label(RichText::new(text).weak());
            return;
        }
        ui.add_space(theme::SPACE / 2.0);
        let label = format!("Replace in {}", count(changes.len(), "caption"));
        let button = Action::new(Icon::Replace, &label).primary();
        let replace = ui
            .add_enabled(!changes.is_empty() && self.run.is_none(), button)
            .clicked();
        ui.add_space(theme::SPACE / 2.0);
        let height = ui.text_style_height(&TextStyle::Body) * 2.0;
        ScrollArea::vertical()
            .id_salt("changes")
            .auto_shrink(false)
            .show_rows(ui, height, changes.len(), |ui, rows| {
                for (entry, after) in &changes[rows] {
                    ui.allocate_ui(vec2(ui.available_width(), height), |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        let before = &gallery.entries()[*entry].caption;
                        let before = RichText::new(before).strikethrough().weak();
                        ui.add(Label::new(before).truncate());
                        ui.add(Label::new(after).truncate());
                    });
                }
            });
        if replace {
            self.replace_previewed();
        }
    }

    /// Makes the changes that the preview shows.
    pub(super) fn replace_previewed(&mut self) {
        let Some(Preview { changes, .. }) = &self.replace.preview else {
            return;
        };
        if let (Ok(changes), None) = (changes, &self.run) {
            self.change(changes.clone());
        }
    }
}
