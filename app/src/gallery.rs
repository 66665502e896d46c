//! Pictures and their captions, with undo, filters and a journal of edits.

mod filter;
mod history;
mod import;
mod journal;
mod reading;
mod search;
pub mod tags;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::format::count;
pub use filter::Filter;
use history::{Edit, History};
pub use import::Import;
use journal::{Action, Journal, Record};
use reading::Found;
pub use reading::{are_pictures, plain};
pub use search::Replacement;

/// A picture and its caption.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// Path of the picture.
    pub path: PathBuf,
    /// Path below the gallery's folder, with slashes.
    pub name: String,
    /// The caption; empty if there is none.
    pub caption: String,
    /// Whether the entry is selected.
    pub selected: bool,
    /// Why the picture has no caption: it could not be captioned, or its text file not be read.
    pub error: Option<String>,
    /// The text file beside the picture.
    pub file: Option<TextFile>,
    /// Hash of the caption that the model wrote, with its confidence.
    written: Option<(u64, f32)>,
}

/// A text file with a caption.
#[derive(Debug, Clone, PartialEq)]
pub struct TextFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text when it was read or written last.
    pub text: String,
}

impl Entry {
    /// Whether there is a caption.
    pub fn has_caption(&self) -> bool {
        !self.caption.trim().is_empty()
    }

    /// Returns the mean probability of the caption's tokens, if the model wrote the caption and
    /// nobody has changed it since.
    pub fn confidence(&self) -> Option<f32> {
        let (hash, confidence) = self.written?;
        (hash == hash_of(&self.caption)).then_some(confidence)
    }
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Source of the pictures of a gallery.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A folder and its subfolders.
    Folder(PathBuf),
    /// Some picture files.
    Files(Vec<PathBuf>),
}

/// Pictures and their captions. Every change is written to the folder's journal.
pub struct Gallery {
    folder: PathBuf,
    /// Whether the pictures are all of a folder.
    whole: bool,
    entries: Vec<Entry>,
    skipped: Option<String>,
    journal: Journal,
    history: History,
    version: u64,
    revision: u64,
    /// Version whose captions are all in files that the user has chosen.
    exported: Option<u64>,
}

impl Gallery {
    /// Opens pictures. Captions come from the journal or from the text file beside each picture,
    /// whichever is newer.
    ///
    /// Also returns a message if parts of the journal could not be read.
    ///
    /// # Errors
    /// A message, if a folder cannot be read or there are no pictures.
    pub fn open(source: &Source) -> Result<(Gallery, Option<String>), String> {
        let Found {
            folder,
            mut entries,
            times,
            skipped,
        } = match source {
            Source::Folder(folder) => reading::folder(folder)?,
            Source::Files(files) => reading::files(files)?,
        };
        let (records, unreadable) = Journal::read(&folder)?;
        let numbers: HashMap<String, usize> = entries
            .iter()
            .enumerate()
            .map(|(number, entry)| (entry.name.clone(), number))
            .collect();
        let (history, replayed) = History::replay(&records, &numbers);
        let newest: HashMap<&str, &Record> = records
            .iter()
            .map(|record| (record.image.as_str(), record))
            .collect();
        // captions that were changed without a record of it
        let mut outside = vec![];
        for number in 0..entries.len() {
            let entry = &mut entries[number];
            let Some(record) = newest.get(entry.name.as_str()) else {
                continue;
            };
            let newer = times[number].is_some_and(|time| time > record.time);
            if !newer {
                entry.caption.clone_from(&record.caption);
                // an edited caption replaces one that could not be read
                entry.error = entry.error.take().filter(|_| !entry.has_caption());
            }
            let before = match (replayed.get(&number), newer) {
                (Some(replayed), _) => Some(replayed),
                (None, true) => Some(&record.caption),
                // an edit that was never finished
                (None, false) => record.before.as_ref().filter(|_| record.action.is_none()),
            };
            if let Some(before) = before.filter(|before| **before != entry.caption) {
                outside.push(Edit {
                    entry: number,
                    before: before.clone(),
                    after: entry.caption.clone(),
                });
            }
        }
        for record in records.iter().filter(|record| record.confidence.is_some()) {
            if let Some(&number) = numbers.get(&record.image) {
                let confidence = record.confidence.unwrap_or_default();
                entries[number].written = Some((hash_of(&record.caption), confidence));
            }
        }
        // compact the journal once most of its records are outdated
        let kept = newest.len() + history.length();
        let compacted = (records.len() > 1000 + 4 * kept).then(|| {
            let mut compacted = history.records(|entry| entries[entry].name.clone());
            // in the order of the journal, for the same bytes every time
            let current = records.iter().enumerate().filter(|(_, record)| {
                newest
                    .get(record.image.as_str())
                    .is_some_and(|newest| std::ptr::eq(*newest, *record))
            });
            compacted.extend(current.map(|(_, record)| Record {
                before: None,
                action: None,
                ..record.clone()
            }));
            compacted
        });
        let mut gallery = Gallery {
            journal: Journal::new(&folder, compacted),
            folder,
            whole: matches!(source, Source::Folder(_)),
            entries,
            skipped,
            history,
            version: 0,
            revision: 0,
            exported: None,
        };
        gallery.record(outside, None);
        let message = (unreadable > 0).then(|| {
            format!(
                "{} of {} could not be read, probably after a crash. Those edits are lost.",
                count(unreadable, "line"),
                journal::file(&gallery.folder).display()
            )
        });
        Ok((gallery, message))
    }

    /// Returns the folder that holds all pictures.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the gallery was opened from a folder, not from some files.
    pub fn is_folder(&self) -> bool {
        self.whole
    }

    /// Returns all entries, in natural order of their names.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns what of the folder was left out, by count and reason.
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// Returns a number that changes with every change of a caption.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns a number that changes with every change of a caption, an error or the selection.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Selects or deselects an entry.
    pub fn select(&mut self, entry: usize, selected: bool) {
        self.entries[entry].selected = selected;
        self.revision += 1;
    }

    /// Sets or clears the reason why a picture has no caption.
    pub fn set_error(&mut self, entry: usize, error: Option<String>) {
        if self.entries[entry].error != error {
            self.entries[entry].error = error;
            self.revision += 1;
        }
    }

    /// Returns, once, why edits cannot be saved.
    pub fn journal_error(&self) -> Option<String> {
        self.journal.error()
    }

    /// Whether edits would be lost if the program ended now. Waits for the disk.
    pub fn is_unsaved(&self) -> bool {
        self.exported != Some(self.version) && self.journal.fails()
    }

    /// Notes that all captions of a version are in a file that the user has chosen.
    pub fn mark_exported(&mut self, version: u64) {
        self.exported = Some(version);
    }

    /// Notes the texts that were written beside the pictures.
    pub fn set_files(&mut self, files: Vec<(usize, TextFile)>) {
        for (entry, file) in files {
            self.entries[entry].file = Some(file);
        }
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

    /// Notes how sure the model was of a caption that is about to be set.
    pub fn set_confidence(&mut self, entry: usize, caption: &str, confidence: f32) {
        let entry = &mut self.entries[entry];
        entry.written = Some((hash_of(caption), confidence));
        self.revision += 1;
        // a caption that stays the same is no edit, which would record the confidence
        if entry.caption == caption {
            let record = Record {
                confidence: Some(confidence),
                ..Record::new(&entry.name, caption)
            };
            self.journal.write(vec![record]);
        }
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
    ///
    /// `before` is the caption before the edit, which undo restores if the edit is never finished.
    pub fn save_draft(&mut self, entry: usize, before: &str) {
        self.version += 1;
        self.revision += 1;
        let Entry { name, caption, .. } = &self.entries[entry];
        self.journal.write(vec![Record {
            before: Some(before.to_owned()),
            ..Record::new(name, caption)
        }]);
    }

    fn record(&mut self, mut edits: Vec<Edit>, run: Option<u64>) {
        edits.retain(|edit| edit.before != edit.after);
        if edits.is_empty() {
            return;
        }
        // the number is known only after the edits were added
        let kept = edits.clone();
        let number = self.history.add(edits, run);
        self.write(&kept, Action::Edit(number));
    }

    /// Writes edits to the journal that were made, undone or redone.
    fn write(&mut self, edits: &[Edit], action: Action) {
        self.version += 1;
        self.revision += 1;
        let record = |edit: &Edit| {
            let entry = &self.entries[edit.entry];
            let (caption, before) = match action {
                Action::Undo(_) => (&edit.before, None),
                Action::Redo(_) => (&edit.after, None),
                Action::Edit(_) => (&edit.after, Some(edit.before.clone())),
            };
            Record {
                before,
                confidence: entry.confidence(),
                action: Some(action),
                ..Record::new(&entry.name, caption)
            }
        };
        self.journal.write(edits.iter().map(record).collect());
    }

    /// Whether there is a change to undo.
    pub fn can_undo(&self) -> bool {
        self.history.can_undo()
    }

    /// Whether there is a change to redo.
    pub fn can_redo(&self) -> bool {
        self.history.can_redo()
    }

    /// Undoes the last change and returns the first entry that it changed.
    pub fn undo(&mut self) -> Option<usize> {
        let (change, action) = self.history.undo()?;
        let mut edits = change.edits.clone();
        edits.reverse();
        for edit in &edits {
            self.entries[edit.entry].caption.clone_from(&edit.before);
        }
        self.write(&edits, action);
        edits.last().map(|edit| edit.entry)
    }

    /// Redoes the change that was undone last and returns the first entry that it changed.
    pub fn redo(&mut self) -> Option<usize> {
        let (change, action) = self.history.redo()?;
        let edits = change.edits.clone();
        for edit in &edits {
            self.entries[edit.entry].caption.clone_from(&edit.after);
        }
        self.write(&edits, action);
        edits.first().map(|edit| edit.entry)
    }
}
