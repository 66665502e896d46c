//! Tags of the current picture and of all pictures that match the filter.

use egui::{Button, RichText, ScrollArea, TextEdit, TextStyle, Ui};

use super::BatchPage;
use crate::format::count;
use crate::gallery::{Gallery, tags};
use crate::theme;

/// Number of completions that are offered.
const COMPLETIONS: usize = 4;

/// The fields of the Tags tab.
#[derive(Default)]
pub struct Tagging {
    /// Tag to add to the current picture.
    own: String,
    /// Tag to add to or remove from many pictures.
    shared: String,
    prefix: String,
    suffix: String,
    counts: Option<Counts>,
}

/// Tags of the filtered pictures, counted again only after a change.
struct Counts {
    version: u64,
    entries: Vec<usize>,
    tags: Vec<(String, usize)>,
}

impl Tagging {
    fn counts(&mut self, gallery: &Gallery, entries: &[usize]) {
        let version = gallery.version();
        let current = self
            .counts
            .as_ref()
            .is_some_and(|counts| counts.version == version && counts.entries == entries);
        if !current {
            self.counts = Some(Counts {
                version,
                entries: entries.to_vec(),
                tags: gallery.tag_counts(entries),
            });
        }
    }

    /// Returns the most frequent tags that start with a text.
    fn completions(&self, start: &str) -> Vec<String> {
        let start = start.trim().to_lowercase();
        let counts = self.counts.as_ref().map_or(&[][..], |counts| &counts.tags);
        counts
            .iter()
            .map(|(tag, _)| tag)
            .filter(|tag| {
                let tag = tag.to_lowercase();
                !start.is_empty() && tag.starts_with(&start) && tag != start
            })
            .take(COMPLETIONS)
            .cloned()
            .collect()
    }
}

/// A change of tags that the user asked for.
enum Action {
    /// Set the caption of the current picture.
    Own(String),
    /// Change the filtered captions.
    All(Vec<(usize, String)>),
    /// Filter by a tag.
    Filter(String),
}

impl BatchPage {
    /// Draws the Tags tab.
    pub(super) fn tagging(&mut self, ui: &mut Ui) {
        let Some(gallery) = &self.gallery else { return };
        self.tagging.counts(gallery, &self.shown);
        let idle = self.run.is_none();
        let mut action = None;
        if let Some(current) = self.current {
            let caption = &gallery.entries()[current].caption;
            theme::title(ui, "This picture");
            own(ui, &mut self.tagging, caption, &mut action);
            ui.add_space(8.0);
        }
        theme::title(ui, &count(self.shown.len(), "filtered picture"));
        ui.add_enabled_ui(idle, |ui| {
            shared(ui, &mut self.tagging, gallery, &self.shown, &mut action)
        });
        ui.add_space(8.0);
        let tags = self.tagging.counts.as_ref().map_or(&[][..], |it| &it.tags);
        theme::title(ui, &format!("Frequency of {}", count(tags.len(), "tag")));
        let height = ui.text_style_height(&TextStyle::Body) + 4.0;
        ScrollArea::vertical()
            .id_salt("frequencies")
            .max_height(320.0)
            .show_rows(ui, height, tags.len(), |ui, rows| {
                for (tag, number) in &tags[rows] {
                    let button = Button::new(format!("{number:>4}  {tag}"))
                        .truncate()
                        .frame(false);
                    if ui.add(button).on_hover_text("Filter by this tag").clicked() {
                        action = Some(Action::Filter(tag.clone()));
                    }
                }
            });
        if tags.is_empty() {
            ui.label(RichText::new("Tags are the parts of captions between commas.").weak());
        }
        match action {
            Some(Action::Own(caption)) => {
                if let Some(current) = self.current {
                    self.change(vec![(current, caption)]);
                }
            }
            Some(Action::All(changes)) => self.change(changes),
            Some(Action::Filter(tag)) => {
                self.filter = format!("tag:\"{tag}\"");
                self.finish_edit();
                self.apply_filter();
            }
            None => {}
        }
    }
}

/// Draws a field for a tag with its completions, for which space is reserved. Returns whether Enter
/// was pressed.
fn field(ui: &mut Ui, name: &str, text: &mut String, completions: Vec<String>) -> bool {
    let field = ui.horizontal(|ui| {
        let label = ui.label(name);
        ui.add(TextEdit::singleline(text).desired_width(ui.available_width() - 8.0))
            .labelled_by(label.id)
    });
    ui.horizontal(|ui| {
        ui.set_min_height(ui.spacing().interact_size.y);
        for completion in completions {
            if ui.small_button(&completion).clicked() {
                *text = completion;
                field.inner.request_focus();
            }
        }
    });
    field.inner.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter))
}

fn own(ui: &mut Ui, tagging: &mut Tagging, caption: &str, action: &mut Option<Action>) {
    let all = tags::of(caption);
    ui.horizontal_wrapped(|ui| {
        ui.set_min_height(ui.spacing().interact_size.y);
        for (place, tag) in all.iter().enumerate() {
            let moved = |to| Some(Action::Own(tags::moved(caption, place, to)));
            ui.menu_button(*tag, |ui| {
                if place > 0 && ui.button("Move to front").clicked() {
                    *action = moved(0);
                }
                if place > 0 && ui.button("Move left").clicked() {
                    *action = moved(place - 1);
                }
                if place + 1 < all.len() && ui.button("Move right").clicked() {
                    *action = moved(place + 1);
                }
                if ui.button("Remove").clicked() {
                    *action = Some(Action::Own(tags::without(caption, tag)));
                }
            });
        }
    });
    let completions = tagging.completions(&tagging.own);
    if field(ui, "Add tag", &mut tagging.own, completions) {
        *action = Some(Action::Own(tags::with(caption, &tagging.own, false)));
        tagging.own.clear();
    }
}

fn shared(
    ui: &mut Ui,
    tagging: &mut Tagging,
    gallery: &Gallery,
    shown: &[usize],
    action: &mut Option<Action>,
) {
    let completions = tagging.completions(&tagging.shared);
    field(ui, "Tag", &mut tagging.shared, completions);
    let tag = tagging.shared.clone();
    ui.horizontal(|ui| {
        for (name, hover, change) in [
            ("Add first", "Put the tag before the captions", 0),
            ("Add last", "Put the tag after the captions", 1),
            ("Remove", "Remove the tag from the captions", 2),
        ] {
            let button = ui.add_enabled(!tag.trim().is_empty(), Button::new(name));
            if button.on_hover_text(hover).clicked() {
                let changed = gallery.changed(shown, |caption| match change {
                    0 | 1 => tags::with(caption, &tag, change == 0),
                    _ => tags::without(caption, &tag),
                });
                *action = Some(Action::All(changed));
            }
        }
    });
    ui.add_space(4.0);
    for (name, text) in [
        ("Prefix", &mut tagging.prefix),
        ("Suffix", &mut tagging.suffix),
    ] {
        ui.horizontal(|ui| {
            let label = ui.label(name);
            ui.add(TextEdit::singleline(text).desired_width(ui.available_width() - 8.0))
                .labelled_by(label.id);
        });
    }
    let (prefix, suffix) = (&tagging.prefix, &tagging.suffix);
    let some = !prefix.is_empty() || !suffix.is_empty();
    if ui
        .add_enabled(some, Button::new("Add to captions"))
        .on_hover_text("Put these texts around every filtered caption, exactly as written")
        .clicked()
    {
        let changed = gallery.changed(shown, |caption| match caption.trim().is_empty() {
            true => caption.to_owned(),
            false => format!("{prefix}{caption}{suffix}"),
        });
        *action = Some(Action::All(changed));
    }
}
