//! The changes of captions that can be undone and redone, also in a later session.

use std::collections::HashMap;

use super::journal::{Action, Record};

/// Number of changes that a compacted journal keeps.
const KEPT: usize = 200;

/// Number of edits that a compacted journal keeps.
const KEPT_EDITS: usize = 50_000;

/// Changes that can be undone or redone.
#[derive(Debug, Default)]
pub struct History {
    /// Changes that were made, the newest last.
    undo: Vec<Change>,
    /// Changes that were undone, the next one to redo last.
    redo: Vec<Change>,
    /// Number of the next change.
    next: u64,
}

/// Edits that are undone together.
#[derive(Debug)]
pub struct Change {
    /// Number in the journal.
    number: u64,
    /// Run of the model that made them. Successive edits of a run are one change.
    run: Option<u64>,
    /// The edits, in the order in which they were made.
    pub edits: Vec<Edit>,
}

/// A change of one caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Number of the entry.
    pub entry: usize,
    /// The caption before.
    pub before: String,
    /// The caption after.
    pub after: String,
}

impl History {
    /// Rebuilds the changes that the records of a journal tell. `entries` maps the names of pictures
    /// to their numbers; edits of other pictures are left out.
    ///
    /// Also returns the captions that the entries have after these changes.
    pub fn replay(
        records: &[Record],
        entries: &HashMap<String, usize>,
    ) -> (History, HashMap<usize, String>) {
        let mut history = History::default();
        let mut captions = HashMap::new();
        for record in records {
            let Some(action) = record.action else {
                continue;
            };
            let (Action::Edit(number) | Action::Undo(number) | Action::Redo(number)) = action;
            history.next = history.next.max(number + 1);
            let entry = entries.get(&record.image);
            if let Some(&entry) = entry {
                captions.insert(entry, record.caption.clone());
            }
            match action {
                Action::Edit(number) => {
                    let Some(&entry) = entry else { continue };
                    let edit = Edit {
                        entry,
                        before: record.before.clone().unwrap_or_default(),
                        after: record.caption.clone(),
                    };
                    history.redo.clear();
                    match history.undo.last_mut() {
                        Some(change) if change.number == number => change.edits.push(edit),
                        _ => history.undo.push(Change {
                            number,
                            run: None,
                            edits: vec![edit],
                        }),
                    }
                }
                // a change of several edits has several records
                Action::Undo(number) => {
                    if let Some(change) = history.undo.pop_if(|change| change.number == number) {
                        history.redo.push(change);
                    }
                }
                Action::Redo(number) => {
                    if let Some(change) = history.redo.pop_if(|change| change.number == number) {
                        history.undo.push(change);
                    }
                }
            }
        }
        (history, captions)
    }

    /// Adds edits as a change, or to the last change if the same run made that. Returns the number
    /// of the change.
    pub fn add(&mut self, edits: Vec<Edit>, run: Option<u64>) -> u64 {
        self.redo.clear();
        match self.undo.last_mut() {
            Some(change) if run.is_some() && change.run == run => {
                change.edits.extend(edits);
                change.number
            }
            _ => {
                let number = self.next;
                self.next += 1;
                self.undo.push(Change { number, run, edits });
                number
            }
        }
    }

    /// Whether there is a change to undo.
    pub fn can_undo(&self) -> bool {
        !self.undo.is_empty()
    }

    /// Whether there is a change to redo.
    pub fn can_redo(&self) -> bool {
        !self.redo.is_empty()
    }

    /// Moves the last change to those that can be redone. Returns it with its action.
    pub fn undo(&mut self) -> Option<(&Change, Action)> {
        let change = self.undo.pop()?;
        let action = Action::Undo(change.number);
        self.redo.push(change);
        Some((self.redo.last()?, action))
    }

    /// Moves the change that was undone last back. Returns it with its action.
    pub fn redo(&mut self) -> Option<(&Change, Action)> {
        let change = self.redo.pop()?;
        let action = Action::Redo(change.number);
        self.undo.push(change);
        Some((self.undo.last()?, action))
    }

    /// Returns the number of records that [`records`](History::records) returns.
    pub fn length(&self) -> usize {
        self.kept().map(|change| change.edits.len()).sum()
    }

    /// The newest changes that can be undone, the newest first.
    fn kept(&self) -> impl Iterator<Item = &Change> {
        let mut edits = 0;
        let within = move |change: &&Change| {
            edits += change.edits.len();
            edits <= KEPT_EDITS
        };
        self.undo.iter().rev().take(KEPT).take_while(within)
    }

    /// Returns records from which [`replay`](History::replay) rebuilds the newest changes. Changes
    /// that were undone are left out. `name` returns the name of an entry.
    pub fn records(&self, name: impl Fn(usize) -> String) -> Vec<Record> {
        let mut changes: Vec<&Change> = self.kept().collect();
        changes.reverse();
        let record = |change: &Change, edit: &Edit| Record {
            before: Some(edit.before.clone()),
            action: Some(Action::Edit(change.number)),
            ..Record::new(&name(edit.entry), &edit.after)
        };
        let of = |change: &&Change| -> Vec<Record> {
            let edits = change.edits.iter();
            edits.map(|edit| record(change, edit)).collect()
        };
        changes.iter().flat_map(of).collect()
    }
}
