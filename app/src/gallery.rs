//! A folder of pictures with a caption each: what undo takes back, what is looked for, and what is replaced by what.

mod journal;

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use regex::{NoExpand, Regex, RegexBuilder};
use seemore::data::Captioned;

use crate::pictures;
use journal::{Journal, Line};

/// A picture with its caption.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    pub path: PathBuf,
    /// Of the file, without its folder.
    pub name: String,
    pub caption: String,
    pub selected: bool,
    /// Why the model could not caption it.
    pub trouble: Option<String>,
}

/// Everything about a folder; every change of a caption goes into its journal.
pub struct Gallery {
    folder: PathBuf,
    entries: Vec<Entry>,
    journal: Journal,
    done: Vec<Change>,
    undone: Vec<Change>,
    version: u64,
}

/// What undo takes back at once.
struct Change {
    /// Edits that come one after another from the same run of the model are one change.
    run: Option<u64>,
    edits: Vec<Edit>,
}

struct Edit {
    entry: usize,
    before: String,
    after: String,
}

/// What is looked for in captions, and what takes its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Find {
    pub text: String,
    pub with: String,
    /// Whether small and capital letters are different.
    pub case: bool,
    /// Whether `text` is a regular expression, and `with` may name its groups.
    pub pattern: bool,
}

/// What captions from elsewhere would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    /// Captions of pictures without one.
    pub new: Vec<(usize, String)>,
    /// Other captions of pictures that have one.
    pub other: Vec<(usize, String)>,
    /// Captions of pictures that are not here.
    pub unknown: usize,
}

impl Gallery {
    /// Lists the pictures of a folder, with the captions of its journal and of the text files beside the pictures, whichever are newer; and
    /// says what of the journal was lost.
    ///
    /// # Errors
    /// A folder that cannot be read, or holds no pictures; in words.
    pub fn open(folder: &Path) -> Result<(Gallery, Option<String>), String> {
        if !folder.is_dir() {
            return Err(format!("there is no folder {}", folder.display()));
        }
        let files: Vec<PathBuf> = pictures::files(folder)
            .into_iter()
            .collect::<Result<_, _>>()?;
        let (lines, lost) = Journal::read(folder)?;
        let count = lines.len();
        let mut newest: HashMap<String, Line> = lines
            .into_iter()
            .map(|line| (line.image.clone(), line))
            .collect();
        let mut entries = vec![];
        let mut kept = vec![];
        for path in files {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let sidecar = sidecar(&path);
            let caption = match (sidecar, newest.remove(&name)) {
                (Some((text, time)), Some(line)) if time > line.time => text,
                (_, Some(line)) => {
                    let caption = line.caption.clone();
                    kept.push(line);
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
        // most lines tell what was before others
        let journal = Journal::new(folder, (count > 1000 + 4 * kept.len()).then_some(kept));
        let gallery = Gallery {
            folder: folder.to_owned(),
            entries,
            journal,
            done: vec![],
            undone: vec![],
            version: 0,
        };
        let lost = (lost > 0).then(|| {
            format!(
                "{}: {lost} lines cannot be read, as after a crash in the middle of one; those edits are lost.",
                journal::file(folder).display()
            )
        });
        Ok((gallery, lost))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Another number after every change of a caption.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn select(&mut self, entry: usize, selected: bool) {
        self.entries[entry].selected = selected;
    }

    /// The model could not caption a picture, or now can.
    pub fn trouble(&mut self, entry: usize, trouble: Option<String>) {
        self.entries[entry].trouble = trouble;
    }

    /// Why edits are not saved, once.
    pub fn lost(&self) -> Option<String> {
        self.journal.trouble()
    }

    /// Gives captions; undo takes them back together, with those that the same run of the model gave just before.
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

    /// The caption as it is typed; [`Gallery::typed`] ends it.
    pub fn typing(&mut self, entry: usize) -> &mut String {
        &mut self.entries[entry].caption
    }

    /// A caption was typed, which was `before`.
    pub fn typed(&mut self, entry: usize, before: String) {
        let after = self.entries[entry].caption.clone();
        self.record(
            vec![Edit {
                entry,
                before,
                after,
            }],
            None,
        );
    }

    /// Saves a caption that is still being typed.
    pub fn save(&self, entry: usize) {
        let Entry { name, caption, .. } = &self.entries[entry];
        self.journal.write(vec![Line::new(name, caption)]);
    }

    fn record(&mut self, mut edits: Vec<Edit>, run: Option<u64>) {
        edits.retain(|edit| edit.before != edit.after);
        if edits.is_empty() {
            return;
        }
        self.write(edits.iter().map(|edit| edit.entry));
        self.undone.clear();
        match self.done.last_mut() {
            Some(change) if run.is_some() && change.run == run => change.edits.extend(edits),
            _ => self.done.push(Change { run, edits }),
        }
    }

    fn write(&mut self, entries: impl Iterator<Item = usize>) {
        self.version += 1;
        let line =
            |entry: usize| Line::new(&self.entries[entry].name, &self.entries[entry].caption);
        self.journal.write(entries.map(line).collect());
    }

    pub fn can_undo(&self) -> bool {
        !self.done.is_empty()
    }

    pub fn can_redo(&self) -> bool {
        !self.undone.is_empty()
    }

    /// Takes the last change back, and says which entry it began with.
    pub fn undo(&mut self) -> Option<usize> {
        let change = self.done.pop()?;
        for edit in change.edits.iter().rev() {
            self.entries[edit.entry].caption.clone_from(&edit.before);
        }
        self.write(change.edits.iter().map(|edit| edit.entry));
        let first = change.edits[0].entry;
        self.undone.push(change);
        Some(first)
    }

    /// Makes the last change that was taken back again.
    pub fn redo(&mut self) -> Option<usize> {
        let change = self.undone.pop()?;
        for edit in &change.edits {
            self.entries[edit.entry].caption.clone_from(&edit.after);
        }
        self.write(change.edits.iter().map(|edit| edit.entry));
        let first = change.edits[0].entry;
        self.done.push(change);
        Some(first)
    }

    /// The entries whose name or caption holds a text, in any letters; perhaps only those without a caption.
    pub fn matching(&self, text: &str, missing: bool) -> Vec<usize> {
        let text = text.trim().to_lowercase();
        let holds = |entry: &Entry| {
            text.is_empty()
                || entry.caption.to_lowercase().contains(&text)
                || entry.name.to_lowercase().contains(&text)
        };
        let wanted = |entry: &Entry| (!missing || entry.caption.trim().is_empty()) && holds(entry);
        (0..self.entries.len())
            .filter(|&i| wanted(&self.entries[i]))
            .collect()
    }

    /// What replacing would make of the captions of some entries; those that stay as they are left out.
    ///
    /// # Errors
    /// A regular expression that is none, in words.
    pub fn replaced(&self, within: &[usize], find: &Find) -> Result<Vec<(usize, String)>, String> {
        if find.text.is_empty() {
            return Ok(vec![]);
        }
        let pattern = if find.pattern {
            find.text.clone()
        } else {
            regex::escape(&find.text)
        };
        let pattern: Regex = RegexBuilder::new(&pattern)
            .case_insensitive(!find.case)
            .build()
            .map_err(|error| {
                // the last line says what is wrong, those before where
                format!(
                    "this is no pattern: {}",
                    error
                        .to_string()
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim_start_matches("error: ")
                )
            })?;
        let after = |caption: &str| match find.pattern {
            true => pattern.replace_all(caption, &find.with).into_owned(),
            false => pattern
                .replace_all(caption, NoExpand(&find.with))
                .into_owned(),
        };
        let changed = |&entry: &usize| {
            Some((entry, after(&self.entries[entry].caption)))
                .filter(|(_, after)| *after != self.entries[entry].caption)
        };
        Ok(within.iter().filter_map(changed).collect())
    }

    /// Finds the pictures that captions are of: by their paths, else by their names.
    pub fn import(&self, captioned: Vec<Captioned>) -> Import {
        let named: HashMap<&str, usize> = self
            .entries
            .iter()
            .enumerate()
            .map(|(i, entry)| (entry.name.as_str(), i))
            .collect();
        let mut import = Import::default();
        for Captioned { picture, caption } in captioned {
            let known = picture
                .file_name()
                .and_then(|name| named.get(&*name.to_string_lossy()))
                .copied();
            match known.map(|entry| (entry, &self.entries[entry])) {
                None => import.unknown += 1,
                Some((
                    entry,
                    Entry {
                        caption: before, ..
                    },
                )) if before.trim().is_empty() => import.new.push((entry, caption)),
                Some((
                    _,
                    Entry {
                        caption: before, ..
                    },
                )) if *before == caption => {}
                Some((entry, _)) => import.other.push((entry, caption)),
            }
        }
        import
    }

    /// Everything that has a caption.
    pub fn captioned(&self) -> Vec<Captioned> {
        let with = |entry: &&Entry| !entry.caption.trim().is_empty();
        let captioned = |entry: &Entry| Captioned {
            picture: entry.path.clone(),
            caption: entry.caption.trim().to_owned(),
        };
        self.entries.iter().filter(with).map(captioned).collect()
    }
}

/// The caption in the text file beside a picture, and when it was written.
fn sidecar(picture: &Path) -> Option<(String, SystemTime)> {
    let path = Captioned::sidecar(picture);
    let text = std::fs::read_to_string(&path).ok()?;
    let time = path
        .metadata()
        .and_then(|metadata: Metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH);
    Some((
        text.trim_start_matches('\u{feff}')
            .trim()
            .replace(['\r', '\n'], " "),
        time,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with so many empty files named as pictures, open.
    fn gallery(count: usize) -> (tempfile::TempDir, Gallery) {
        let dir = tempfile::tempdir().unwrap();
        (0..count).for_each(|i| std::fs::write(dir.path().join(format!("{i}.png")), "").unwrap());
        let (gallery, lost) = Gallery::open(dir.path()).unwrap();
        assert_eq!(lost, None);
        (dir, gallery)
    }

    fn captions(gallery: &Gallery) -> Vec<&str> {
        gallery
            .entries()
            .iter()
            .map(|entry| entry.caption.as_str())
            .collect()
    }

    fn set(gallery: &mut Gallery, captions: &[(usize, &str)], run: Option<u64>) {
        gallery.set(
            captions
                .iter()
                .map(|&(entry, caption)| (entry, caption.to_owned()))
                .collect(),
            run,
        );
    }

    #[test]
    fn changes_are_taken_back_and_made_again() {
        let (_dir, mut gallery) = gallery(3);
        set(&mut gallery, &[(0, "a"), (1, "b")], Some(1));
        set(&mut gallery, &[(2, "c")], Some(1));
        set(&mut gallery, &[(2, "d")], Some(2));
        let before = std::mem::replace(gallery.typing(0), "typed".into());
        gallery.typed(0, before);
        // nothing was changed, so there is nothing to take back
        gallery.typed(0, "typed".into());
        set(&mut gallery, &[(1, "b")], None);
        assert_eq!(
            (gallery.undo(), captions(&gallery)),
            (Some(0), vec!["a", "b", "d"])
        );
        assert_eq!(
            (gallery.undo(), captions(&gallery)),
            (Some(2), vec!["a", "b", "c"])
        );
        // all that a run wrote goes at once
        assert_eq!((gallery.undo(), captions(&gallery)), (Some(0), vec![""; 3]));
        assert_eq!((gallery.undo(), gallery.can_undo()), (None, false));
        assert_eq!(
            (gallery.redo(), captions(&gallery)),
            (Some(0), vec!["a", "b", "c"])
        );
        set(&mut gallery, &[(1, "new")], None);
        assert_eq!((gallery.redo(), gallery.can_redo()), (None, false));
    }

    #[test]
    fn every_change_is_there_when_the_folder_is_opened_again() {
        let (dir, mut gallery) = gallery(3);
        set(&mut gallery, &[(0, "a"), (1, "b")], None);
        set(&mut gallery, &[(0, "aa \"quoted\"")], None);
        set(&mut gallery, &[(1, "gone"), (2, "c")], None);
        gallery.undo();
        *gallery.typing(2) = "half a capt".into();
        gallery.save(2);
        drop(gallery);
        let (gallery, _) = Gallery::open(dir.path()).unwrap();
        assert_eq!(captions(&gallery), ["aa \"quoted\"", "b", "half a capt"]);
    }

    #[test]
    fn the_newer_of_journal_and_text_file_counts() {
        let (dir, mut gallery) = gallery(3);
        let text = |i: usize| dir.path().join(format!("{i}.txt"));
        std::fs::write(text(0), "older\n").unwrap();
        std::fs::write(text(2), "\u{feff}alone\r\n").unwrap();
        // file systems keep time less finely than the clock
        let modified = |i: usize, time: SystemTime| {
            std::fs::File::options()
                .write(true)
                .open(text(i))
                .unwrap()
                .set_modified(time)
                .unwrap()
        };
        let minute = std::time::Duration::from_secs(60);
        modified(0, SystemTime::now() - minute);
        set(&mut gallery, &[(0, "journal"), (1, "journal")], None);
        drop(gallery);
        std::fs::write(text(1), "newer").unwrap();
        modified(1, SystemTime::now() + minute);
        let (gallery, _) = Gallery::open(dir.path()).unwrap();
        assert_eq!(captions(&gallery), ["journal", "newer", "alone"]);
    }

    #[test]
    fn a_torn_line_is_told_and_the_others_are_kept() {
        let (dir, mut gallery) = gallery(2);
        set(&mut gallery, &[(0, "first")], None);
        drop(gallery);
        let path = journal::file(dir.path());
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"image\": \"1.png\", \"capt")).unwrap();
        let (mut gallery, lost) = Gallery::open(dir.path()).unwrap();
        assert!(lost.unwrap().contains("1 lines cannot be read"));
        // what comes next does not hang on the torn line
        set(&mut gallery, &[(1, "second")], None);
        drop(gallery);
        assert_eq!(
            captions(&Gallery::open(dir.path()).unwrap().0),
            ["first", "second"]
        );
    }

    #[test]
    fn a_long_journal_is_written_anew() {
        let (dir, mut gallery) = gallery(2);
        (0..1200).for_each(|i| set(&mut gallery, &[(0, &format!("caption {i}"))], None));
        drop(gallery);
        let length = || {
            std::fs::read_to_string(journal::file(dir.path()))
                .unwrap()
                .lines()
                .count()
        };
        assert_eq!(length(), 1200);
        drop(Gallery::open(dir.path()).unwrap());
        assert_eq!(length(), 1);
        assert_eq!(
            captions(&Gallery::open(dir.path()).unwrap().0),
            ["caption 1199", ""]
        );
    }

    #[test]
    fn captions_and_names_are_searched() {
        let (_dir, mut gallery) = gallery(12);
        set(&mut gallery, &[(3, "A Red House"), (5, "a bird")], None);
        assert_eq!(gallery.matching("red h", false), [3]);
        // 1.png, 10.png and 11.png
        assert_eq!(gallery.matching("1", false), [1, 2, 3]);
        assert_eq!(gallery.matching("", false).len(), 12);
        assert_eq!(gallery.matching(" ", true).len(), 10);
        assert_eq!(gallery.matching("bird", true), [0usize; 0]);
    }

    #[test]
    fn texts_and_patterns_are_replaced() {
        let (_dir, mut gallery) = gallery(3);
        set(
            &mut gallery,
            &[(0, "a Cat (cat)"), (1, "a dog"), (2, "cat $1")],
            None,
        );
        let all = [0, 1, 2];
        let find = |text: &str, with: &str, case, pattern| Find {
            text: text.into(),
            with: with.into(),
            case,
            pattern,
        };
        let replaced = |find: &Find| gallery.replaced(&all, find);
        assert_eq!(
            replaced(&find("cat", "$1", false, false)),
            Ok(vec![(0, "a $1 ($1)".into()), (2, "$1 $1".into())])
        );
        assert_eq!(
            replaced(&find("cat", "dog", true, false)),
            Ok(vec![(0, "a Cat (dog)".into()), (2, "dog $1".into())])
        );
        assert_eq!(
            replaced(&find("(cat)", "x", false, false)),
            Ok(vec![(0, "a Cat x".into())])
        );
        assert_eq!(
            replaced(&find("a (\\w+)$", "the $1", false, true)),
            Ok(vec![(1, "the dog".into())])
        );
        assert_eq!(replaced(&find("", "x", false, true)), Ok(vec![]));
        assert!(
            replaced(&find("(", "x", false, true))
                .unwrap_err()
                .contains("unclosed group")
        );
        assert_eq!(
            gallery.replaced(&[2], &find("cat", "x", false, false)),
            Ok(vec![(2, "x $1".into())])
        );
    }

    #[test]
    fn captions_from_elsewhere_find_their_pictures() {
        let (dir, mut gallery) = gallery(3);
        set(&mut gallery, &[(0, "same"), (1, "before")], None);
        let captioned = |(name, caption): (&str, &str)| Captioned {
            picture: dir.path().join(name),
            caption: caption.into(),
        };
        let captions = [
            ("0.png", "same"),
            ("1.png", "other"),
            ("2.png", "new"),
            ("3.png", "lost"),
        ];
        let import = gallery.import(captions.into_iter().map(captioned).collect());
        assert_eq!(
            import,
            Import {
                new: vec![(2, "new".into())],
                other: vec![(1, "other".into())],
                unknown: 1
            }
        );
    }

    #[test]
    fn a_folder_without_pictures_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let message = |path: &Path| Gallery::open(path).map(|_| ()).unwrap_err();
        assert!(message(dir.path()).contains("holds no pictures"));
        let gone = dir.path().join("gone");
        assert!(message(&gone).contains("gone"), "{}", message(&gone));
    }
}
