//! A folder of pictures and their captions, with undo, search and a journal of edits.

mod import;
mod journal;
mod search;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use seemore::data::Captioned;

use crate::format::count;
use crate::pictures;
pub use import::Import;
use journal::{Journal, Record};
pub use search::Replacement;

/// A picture and its caption.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// Path of the picture.
    pub path: PathBuf,
    /// Name of the file without its folder.
    pub name: String,
    /// The caption; empty if there is none.
    pub caption: String,
    /// Whether the entry is selected.
    pub selected: bool,
    /// Why the model could not caption the picture.
    pub error: Option<String>,
}

/// The pictures of a folder and their captions. Every change is written to the folder's journal.
pub struct Gallery {
    folder: PathBuf,
    entries: Vec<Entry>,
    journal: Journal,
    undo: Vec<Change>,
    redo: Vec<Change>,
    version: u64,
}

/// Edits that are undone together.
struct Change {
    /// Run of the model that made them. Successive edits of a run are one change.
    run: Option<u64>,
    edits: Vec<Edit>,
}

/// A change of one caption.
struct Edit {
    entry: usize,
    before: String,
    after: String,
}

impl Gallery {
    /// Opens a folder. Captions come from the journal or from the text file beside each picture,
    /// whichever is newer.
    ///
    /// Also returns a message if parts of the journal could not be read.
    ///
    /// # Errors
    /// A message, if the folder cannot be read or contains no pictures.
    pub fn open(folder: &Path) -> Result<(Gallery, Option<String>), String> {
        if !folder.is_dir() {
            return Err(format!("the folder {} does not exist", folder.display()));
        }
        let files: Vec<PathBuf> = pictures::files(folder)
            .into_iter()
            .collect::<Result<_, _>>()?;
        let (records, unreadable) = Journal::read(folder)?;
        let length = records.len();
        let mut newest: HashMap<String, Record> = records
            .into_iter()
            .map(|record| (record.image.clone(), record))
            .collect();
        let mut entries = vec![];
        let mut current = vec![];
        for path in files {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let caption = match (sidecar(&path), newest.remove(&name)) {
                (Some((text, time)), Some(record)) if time > record.time => text,
                (_, Some(record)) => {
                    let caption = record.caption.clone();
                    current.push(record);
                    caption
                }
                (Some((text, _)), None) => text,
                (None, None) => String::new(),
            };
            entries.push(Entry {
                path,
                name,
                caption,
                ..Entry::default()
            });
        }
        // compact the journal once most of its records are outdated
        let compacted = (length > 1000 + 4 * current.len()).then_some(current);
        let gallery = Gallery {
            folder: folder.to_owned(),
            entries,
            journal: Journal::new(folder, compacted),
            undo: vec![],
            redo: vec![],
            version: 0,
        };
        let message = (unreadable > 0).then(|| {
            format!(
                "{} of {} could not be read, probably after a crash. Those edits are lost.",
                count(unreadable, "line"),
                journal::file(folder).display()
            )
        });
        Ok((gallery, message))
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns all entries, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns a number that changes with every change of a caption.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Selects or deselects an entry.
    pub fn select(&mut self, entry: usize, selected: bool) {
        self.entries[entry].selected = selected;
    }

    /// Sets or clears the reason why the model could not caption a picture.
    pub fn set_error(&mut self, entry: usize, error: Option<String>) {
        self.entries[entry].error = error;
    }

    /// Returns, once, why edits cannot be saved.
    pub fn journal_error(&self) -> Option<String> {
        self.journal.error()
    }

    /// Sets captions. They are undone together, along with the ones that the same run set just
    /// before.
    pub fn set(&mut self, captions: Vec<(usize, String)>, run: Option<u64>) {
        let edit = |(entry, after): (usize, String)| {
            let before = std::mem::replace(&mut self.entries[entry].caption, after.clone());
            Edit {
                entry,
                before,
                after,
            }
        };
        let edits = captions.into_iter().map(edit).collect();
        self.record(edits, run);
    }

    /// Returns a caption for editing in place; [`Gallery::finish_edit`] records the edit.
    pub fn caption_mut(&mut self, entry: usize) -> &mut String {
        &mut self.entries[entry].caption
    }

    /// Records an edit that was made in place; `before` is the caption before it.
    pub fn finish_edit(&mut self, entry: usize, before: String) {
        let after = self.entries[entry].caption.clone();
        let edit = Edit {
            entry,
            before,
            after,
        };
        self.record(vec![edit], None);
    }

    /// Writes a caption to the journal while it is still being edited.
    pub fn save_draft(&self, entry: usize) {
        let Entry { name, caption, .. } = &self.entries[entry];
        self.journal.write(vec![Record::new(name, caption)]);
    }

    fn record(&mut self, mut edits: Vec<Edit>, run: Option<u64>) {
        edits.retain(|edit| edit.before != edit.after);
        if edits.is_empty() {
            return;
        }
        self.write(edits.iter().map(|edit| edit.entry));
        self.redo.clear();
        match self.undo.last_mut() {
            Some(change) if run.is_some() && change.run == run => change.edits.extend(edits),
            _ => self.undo.push(Change { run, edits }),
        }
    }

    fn write(&mut self, entries: impl Iterator<Item = usize>) {
        self.version += 1;
        let record =
            |entry: usize| Record::new(&self.entries[entry].name, &self.entries[entry].caption);
        self.journal.write(entries.map(record).collect());
    }

    /// Whether there is a change to undo.
    pub fn can_undo(&self) -> bool {
        !self.undo.is_empty()
    }

    /// Whether there is a change to redo.
    pub fn can_redo(&self) -> bool {
        !self.redo.is_empty()
    }

    /// Undoes the last change and returns the first entry that it changed.
    pub fn undo(&mut self) -> Option<usize> {
        let change = self.undo.pop()?;
        for edit in change.edits.iter().rev() {
            self.entries[edit.entry].caption.clone_from(&edit.before);
        }
        self.write(change.edits.iter().map(|edit| edit.entry));
        let first = change.edits[0].entry;
        self.redo.push(change);
        Some(first)
    }

    /// Redoes the change that was undone last and returns the first entry that it changed.
    pub fn redo(&mut self) -> Option<usize> {
        let change = self.redo.pop()?;
        for edit in &change.edits {
            self.entries[edit.entry].caption.clone_from(&edit.after);
        }
        self.write(change.edits.iter().map(|edit| edit.entry));
        let first = change.edits[0].entry;
        self.undo.push(change);
        Some(first)
    }

    /// Returns every picture that has a caption, with its caption trimmed.
    pub fn captioned(&self) -> Vec<Captioned> {
        let has_caption = |entry: &&Entry| !entry.caption.trim().is_empty();
        let captioned = |entry: &Entry| Captioned {
            picture: entry.path.clone(),
            caption: entry.caption.trim().to_owned(),
        };
        self.entries
            .iter()
            .filter(has_caption)
            .map(captioned)
            .collect()
    }
}

/// Returns the text in the file beside a picture, on one line, and when the file was modified.
fn sidecar(picture: &Path) -> Option<(String, SystemTime)> {
    let path = Captioned::sidecar(picture);
    let text = std::fs::read_to_string(&path).ok()?;
    let time = path
        .metadata()
        .and_then(|metadata: Metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let text = text.trim_start_matches('\u{feff}').trim();
    Some((text.replace(['\r', '\n'], " "), time))
}
