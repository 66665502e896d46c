//! The tools in tabs: captioning, tags, find and replace, import and export.

use std::time::Duration;

use egui::{ComboBox, DragValue, RichText, ScrollArea, TextEdit, Ui};
use seemore::data::Existing;

use super::BatchPage;
use crate::format::count;
use crate::gallery::{Entry, Gallery};
use crate::generation::GenerationSettings;
use crate::page::PageContext;
use crate::theme::{self, Action, Icon};

/// A tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tab {
    #[default]
    Caption,
    Tags,
    Replace,
    Files,
}

/// Pictures to caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// Pictures without a caption.
    #[default]
    Missing,
    /// Selected pictures.
    Selected,
    /// Pictures whose caption the model wrote with little confidence.
    Unsure,
    /// Pictures that match the filter.
    Shown,
    /// All pictures.
    All,
}

/// Settings of the Caption tab.
pub struct Captioning {
    which: Which,
    existing: Existing,
    /// Confidence below which the model counts as unsure.
    threshold: f32,
    /// Prefix, length and beams. They are not those of the Caption page, where they are not visible
    /// from here.
    settings: GenerationSettings,
    tally: Option<Tally>,
}

impl Default for Captioning {
    fn default() -> Captioning {
        Captioning {
            which: Which::Missing,
            existing: Existing::Skip,
            threshold: 0.5,
            settings: GenerationSettings::default(),
            tally: None,
        }
    }
}

/// Seconds between two counts of very many pictures, which a run changes in every frame.
const COUNT_EVERY: f64 = 0.5;

/// Number of pictures from which on counting them takes a part of a frame.
const MANY: usize = 10_000;

/// Numbers of pictures, which are counted again only after a change.
struct Tally {
    revision: u64,
    threshold: f32,
    /// When they were counted, in egui's seconds.
    at: f64,
    missing: usize,
    selected: usize,
    unsure: usize,
}

impl Captioning {
    /// Counts the entries if the gallery has changed.
    fn tally(&mut self, ui: &Ui, gallery: &Gallery) -> &Tally {
        let (revision, threshold) = (gallery.revision(), self.threshold);
        let at = ui.input(|input| input.time);
        let many = gallery.entries().len() > MANY;
        let current = self.tally.take().filter(|tally| {
            let recent = many && at - tally.at < COUNT_EVERY;
            tally.threshold == threshold && (tally.revision == revision || recent)
        });
        if current
            .as_ref()
            .is_some_and(|tally| tally.revision != revision)
        {
            let later = Duration::from_secs_f64(COUNT_EVERY);
            ui.ctx().request_repaint_after(later);
        }
        self.tally.insert(current.unwrap_or_else(|| {
            let mut tally = Tally {
                revision,
                threshold,
                at,
                missing: 0,
                selected: 0,
                unsure: 0,
            };
            for entry in gallery.entries() {
                tally.missing += usize::from(!entry.has_caption());
                tally.selected += usize::from(entry.selected);
                tally.unsure += usize::from(is_unsure(entry, threshold));
            }
            tally
        }))
    }

    /// Returns the entries to caption.
    fn entries(&self, gallery: &Gallery, shown: &[usize]) -> Vec<usize> {
        let entries = gallery.entries();
        let all = || 0..entries.len();
        let chosen: Vec<usize> = match self.which {
            Which::Missing => all().filter(|&i| !entries[i].has_caption()).collect(),
            Which::Selected => all().filter(|&i| entries[i].selected).collect(),
            // these captions are the model's own, which it may replace
            Which::Unsure => {
                return all()
                    .filter(|&i| is_unsure(&entries[i], self.threshold))
                    .collect();
            }
            Which::Shown => shown.to_vec(),
            Which::All => all().collect(),
        };
        match self.existing {
            Existing::Skip => chosen
                .into_iter()
                .filter(|&entry| !entries[entry].has_caption())
                .collect(),
            _ => chosen,
        }
    }

    /// Returns what happens to captions that are there.
    fn existing(&self) -> Existing {
        match self.which {
            Which::Unsure => Existing::Replace,
            _ => self.existing,
        }
    }
}

fn is_unsure(entry: &Entry, threshold: f32) -> bool {
    entry
        .confidence()
        .is_some_and(|confidence| confidence < threshold)
}

impl BatchPage {
    /// Draws the tabs and the chosen one.
    pub(super) fn tools(&mut self, ui: &mut Ui, context: &mut PageContext) {
        ui.horizontal(|ui| {
            for (tab, name) in [
                (Tab::Caption, "Caption"),
                (Tab::Tags, "Tags"),
                (Tab::Replace, "Replace"),
                (Tab::Files, "Export"),
            ] {
                ui.selectable_value(&mut self.tab, tab, name);
            }
        });
        ui.separator();
        ScrollArea::vertical()
            .id_salt(self.tab as u8)
            .auto_shrink(false)
            .show(ui, |ui| match self.tab {
                Tab::Caption => self.captioning(ui, context),
                Tab::Tags => self.tagging(ui),
                Tab::Replace => self.replacing(ui),
                Tab::Files => {
                    if let Some(gallery) = &mut self.gallery {
                        self.files.ui(ui, gallery, &self.shown);
                    }
                }
            });
    }

    /// Draws the settings of a run and the button that starts it.
    fn captioning(&mut self, ui: &mut Ui, context: &PageContext) {
        let Some(gallery) = &self.gallery else { return };
        let all = gallery.entries().len();
        let tally = self.captioning.tally(ui, gallery);
        let (missing, selected, unsure) = (tally.missing, tally.selected, tally.unsure);
        ui.label(format!("{} of {all} pictures captioned", all - missing));
        ui.add_space(8.0);
        theme::title(ui, "Pictures");
        let captioning = &mut self.captioning;
        for (which, name, number, hover) in [
            (Which::Missing, "Missing", missing, "Without a caption"),
            (Which::Selected, "Selected", selected, "Checked in the list"),
            (
                Which::Unsure,
                "Low confidence",
                unsure,
                "Captions of the model that nobody has edited, below this confidence",
            ),
            (
                Which::Shown,
                "Filtered",
                self.shown.len(),
                "Pictures that match the filter",
            ),
            (Which::All, "All", all, "Every picture"),
        ] {
            ui.horizontal(|ui| {
                ui.radio_value(&mut captioning.which, which, format!("{name} ({number})"))
                    .on_hover_text(hover);
                if which == Which::Unsure {
                    let field = DragValue::new(&mut captioning.threshold)
                        .speed(0.01)
                        .range(0.0..=1.0)
                        .prefix("below ");
                    ui.add(field)
                        .on_hover_text("Geometric mean of the probabilities of a caption's tokens");
                }
            });
        }
        ui.horizontal(|ui| {
            if ui
                .button("Select filtered")
                .on_hover_text("Select the pictures that match the filter (Ctrl+A)")
                .clicked()
            {
                self.select_shown(true);
            }
            if ui.button("Select none").clicked() {
                self.select_shown(false);
            }
        });
        ui.add_space(8.0);
        self.settings(ui);
        ui.add_space(8.0);
        let Some(gallery) = &self.gallery else { return };
        let captioning = &self.captioning;
        // counting is cheap but for the choices that look at every entry
        let number = match (captioning.which, captioning.existing) {
            (Which::Missing, _) => missing,
            (Which::Unsure, _) => unsure,
            (Which::Selected, Existing::Append | Existing::Replace) => selected,
            (Which::Shown, Existing::Append | Existing::Replace) => self.shown.len(),
            (Which::All, Existing::Append | Existing::Replace) => all,
            (Which::All, Existing::Skip) => missing,
            _ => captioning.entries(gallery, &self.shown).len(),
        };
        let ready = context.model(0).is_some() && self.run.is_none() && number > 0;
        let label = format!("Caption {}", count(number, "picture"));
        let start = ui
            .add_enabled(ready, Action::new(Icon::Sparkles, &label).primary())
            .on_hover_text("Undo restores the captions before");
        let note = match (context.model(0), number) {
            (None, _) => "No model loaded",
            (_, 0) => "All of these pictures have a caption, and it is kept.",
            _ => "",
        };
        ui.label(RichText::new(note).weak());
        if start.clicked() {
            self.start_chosen(context);
        }
    }

    /// Starts a run over the chosen pictures, if there are some.
    pub(super) fn start_chosen(&mut self, context: &PageContext) {
        let Some(gallery) = &self.gallery else { return };
        let captioning = &self.captioning;
        let entries = captioning.entries(gallery, &self.shown);
        let (settings, existing) = (captioning.settings.clone(), captioning.existing());
        if !entries.is_empty() {
            self.start(entries, settings, existing, context);
        }
    }

    fn settings(&mut self, ui: &mut Ui) {
        let Captioning {
            which,
            existing,
            settings,
            ..
        } = &mut self.captioning;
        let choices = [
            (
                Existing::Skip,
                "Keep",
                "Pictures with a caption are left out",
            ),
            (
                Existing::Append,
                "Append",
                "The new caption follows the one that is there",
            ),
            (
                Existing::Replace,
                "Replace",
                "The new caption takes the place of the one that is there",
            ),
        ];
        ui.horizontal(|ui| {
            let label = ui.label("Existing captions");
            ui.add_enabled_ui(*which != Which::Unsure, |ui| {
                let chosen = choices.iter().find(|choice| choice.0 == *existing);
                ComboBox::from_id_salt("existing")
                    .selected_text(chosen.map_or("", |choice| choice.1))
                    .show_ui(ui, |ui| {
                        for (value, name, hover) in choices {
                            ui.selectable_value(existing, value, name)
                                .on_hover_text(hover);
                        }
                    })
                    .response
                    .labelled_by(label.id);
            });
        });
        ui.horizontal(|ui| {
            let label = ui.label("Prompt");
            ui.add(
                TextEdit::singleline(&mut settings.prefix)
                    .desired_width(ui.available_width() - 8.0)
                    .hint_text("Start of every caption, or question"),
            )
            .labelled_by(label.id)
            .on_hover_text(
                "Text that every caption starts with; for pretrained models the question",
            );
        });
        ui.horizontal(|ui| {
            let label = ui.label("Max tokens");
            ui.add(DragValue::new(&mut settings.max_len).range(1..=4096))
                .labelled_by(label.id);
            let label = ui.label("Beams");
            ui.add(DragValue::new(&mut settings.beams).range(1..=16))
                .labelled_by(label.id)
                .on_hover_text("Hypotheses of the beam search; 1 takes the likeliest token");
        });
    }
}
