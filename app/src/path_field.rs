//! A text field for a path, which proposes the files that it may mean.

use std::path::{Path, PathBuf};

use egui::{Key, Modifiers, Popup, PopupCloseBehavior, Response, TextEdit, Ui};

use crate::background::Background;
use crate::theme;

/// Maximum number of proposals.
const MAX_PROPOSALS: usize = 10;

/// A text field for a path.
#[derive(Default)]
pub struct PathField {
    /// The path as it is typed. A leading `~` stands for the home folder.
    pub text: String,
    /// The folder whose entries are known or asked for.
    folder: Option<PathBuf>,
    entries: Vec<Entry>,
    listed: Background<(PathBuf, Vec<Entry>)>,
    /// The highlighted proposal.
    highlighted: Option<usize>,
    /// Whether the pointer was on the proposals.
    hovered: bool,
    /// Whether the field gets the focus in the next frame.
    focus: bool,
}

#[derive(Clone)]
struct Entry {
    name: String,
    is_folder: bool,
}

impl PathField {
    /// Returns a field with a text, which gets the focus.
    pub fn focused(text: String) -> PathField {
        PathField {
            text,
            focus: true,
            ..PathField::default()
        }
    }

    /// Draws the field and returns the path when Enter is pressed in it.
    pub fn show(&mut self, ui: &mut Ui, label: &str, hint: &str, width: f32) -> Option<PathBuf> {
        while let Some((folder, entries)) = self.listed.poll() {
            if self.folder.as_ref() == Some(&folder) {
                self.entries = entries;
            }
        }
        let id = ui.make_persistent_id(label);
        let focused = ui.memory(|memory| memory.has_focus(id));
        let proposals = match focused || self.hovered {
            true => self.proposals(),
            false => vec![],
        };
        let mut completed = None;
        if focused && !proposals.is_empty() {
            let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
            let last = proposals.len() - 1;
            if pressed(Key::ArrowDown) {
                let next = self.highlighted.map_or(0, |at| (at + 1).min(last));
                self.highlighted = Some(next);
            }
            if pressed(Key::ArrowUp) {
                self.highlighted = self.highlighted.and_then(|at| at.checked_sub(1));
            }
            self.highlighted = self.highlighted.map(|at| at.min(last));
            if pressed(Key::Tab) {
                completed = Some(self.highlighted.unwrap_or(0));
            } else if self.highlighted.is_some() && pressed(Key::Enter) {
                completed = self.highlighted;
            }
        }
        if let Some(at) = completed {
            self.complete(&proposals[at]);
            let end = egui::text::CCursor::new(self.text.chars().count());
            let mut state = TextEdit::load_state(ui.ctx(), id).unwrap_or_default();
            let end = egui::text::CCursorRange::one(end);
            state.cursor.set_char_range(Some(end));
            state.store(ui.ctx(), id);
        }
        let field = TextEdit::singleline(&mut self.text)
            .id(id)
            .hint_text(hint)
            .desired_width(width)
            .lock_focus(!proposals.is_empty());
        let response = ui.add(field);
        theme::name_field(&response, label);
        if std::mem::take(&mut self.focus) {
            response.request_focus();
        }
        if response.changed() || response.gained_focus() || completed.is_some() {
            self.highlighted = None;
            self.list(ui);
        }
        self.show_proposals(ui, &response, &proposals);
        let entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        let path = entered
            .then(|| self.path())
            .filter(|_| !self.text.trim().is_empty());
        if path.is_some() {
            self.hovered = false;
        }
        path
    }

    /// Returns the path that the text means.
    pub fn path(&self) -> PathBuf {
        expand(self.text.trim())
    }

    fn show_proposals(&mut self, ui: &Ui, response: &Response, proposals: &[Entry]) {
        if proposals.is_empty() {
            self.hovered = false;
            return;
        }
        let mut chosen = None;
        let popup = Popup::from_response(response)
            .open(true)
            .close_behavior(PopupCloseBehavior::IgnoreClicks)
            .width(response.rect.width())
            .accessible_name("Files");
        let shown = popup.show(|ui| {
            for (at, entry) in proposals.iter().enumerate() {
                let name = match entry.is_folder {
                    true => format!("{}{}", entry.name, std::path::MAIN_SEPARATOR),
                    false => entry.name.clone(),
                };
                if ui
                    .selectable_label(self.highlighted == Some(at), name)
                    .clicked()
                {
                    chosen = Some(at);
                }
            }
        });
        self.hovered = shown.is_some_and(|shown| shown.response.contains_pointer());
        if let Some(at) = chosen {
            self.complete(&proposals[at]);
            self.list(ui);
            response.request_focus();
        }
    }

    /// Returns the entries whose names begin with what is typed last.
    fn proposals(&self) -> Vec<Entry> {
        let (folder, typed) = split(&self.text);
        if self.folder.as_ref() != Some(&folder) || self.text.is_empty() {
            return vec![];
        }
        let typed = typed.to_lowercase();
        let fits = |entry: &&Entry| {
            let name = entry.name.to_lowercase();
            let hidden = name.starts_with('.') && !typed.starts_with('.');
            name.starts_with(&typed) && name != typed && !hidden
        };
        let found = self.entries.iter().filter(fits);
        found.take(MAX_PROPOSALS).cloned().collect()
    }

    fn complete(&mut self, entry: &Entry) {
        let typed = split(&self.text).1.len();
        self.text.truncate(self.text.len() - typed);
        self.text.push_str(&entry.name);
        if entry.is_folder {
            self.text.push(std::path::MAIN_SEPARATOR);
        }
    }

    /// Lists the folder that the text lies in, on another thread.
    fn list(&mut self, ui: &Ui) {
        let folder = split(&self.text).0;
        if self.folder.as_ref() == Some(&folder) {
            return;
        }
        self.folder = Some(folder.clone());
        self.entries.clear();
        self.listed.run(ui.ctx(), move || {
            let read = std::fs::read_dir(match folder.as_os_str().is_empty() {
                true => Path::new("."),
                false => &folder,
            });
            let mut entries: Vec<Entry> = read
                .into_iter()
                .flatten()
                .filter_map(|entry| {
                    let entry = entry.ok()?;
                    Some(Entry {
                        name: entry.file_name().into_string().ok()?,
                        is_folder: entry.path().is_dir(),
                    })
                })
                .collect();
            entries.sort_by_key(|entry| (!entry.is_folder, entry.name.to_lowercase()));
            Some((folder, entries))
        });
    }
}

/// Returns the folder of a typed path, and what is typed behind it.
fn split(text: &str) -> (PathBuf, &str) {
    let behind = text.rfind(std::path::is_separator).map_or(0, |at| at + 1);
    (expand(&text[..behind]), &text[behind..])
}

/// Returns a path whose leading `~` is the home folder.
fn expand(text: &str) -> PathBuf {
    let home = || text.strip_prefix('~').zip(std::env::home_dir());
    match home() {
        Some((rest, home)) => home.join(rest.trim_start_matches(std::path::is_separator)),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_paths_are_split_behind_the_last_folder() {
        assert_eq!(split("a/b/pic"), (PathBuf::from("a/b/"), "pic"));
        assert_eq!(split("pic"), (PathBuf::new(), "pic"));
        assert_eq!(split("/"), (PathBuf::from("/"), ""));
        assert!(expand("~/x").ends_with("x") && expand("~/x").is_absolute());
    }
}
