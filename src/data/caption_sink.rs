//! Captions that are written one after the other while a model makes them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::captioned::Captioned;
use super::error::DataError;
use super::formats::{self, Format, Layout, PictureFile};
use super::record::{Encoded, Record, caption_text};
use crate::atomic_file;

/// Treatment of pictures that have a caption already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// They keep it and are not captioned.
    #[default]
    Skip,
    /// The new caption takes its place.
    Replace,
    /// The new caption follows it.
    Append,
}

/// Where new captions are written.
///
/// Nothing is lost when the process ends: text files are written one by one, and captions for one
/// file first go into a journal beside it, which the next sink for that file takes up.
#[derive(Debug)]
pub struct CaptionSink {
    target: Target,
    existing: Existing,
}

#[derive(Debug)]
enum Target {
    /// A text file for each picture.
    Sidecars {
        ending: String,
        /// Folder of the text files; `None` for beside the pictures.
        out: Option<PathBuf>,
    },
    /// One file for all.
    File(Box<Table>),
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    format: Format,
    /// Contents of the file so far.
    before: Vec<Record>,
    /// Index of each picture in `before`.
    known: BTreeMap<PathBuf, usize>,
    /// New captions in order.
    new: Vec<(PathBuf, String)>,
    /// Pictures in `new`, by the path that tells them apart.
    done: BTreeMap<PathBuf, usize>,
    journal: PathBuf,
    /// Opened with the first caption.
    open: Option<File>,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
struct Line {
    image: PathBuf,
    caption: String,
}

/// Returns the path that tells a picture from others, however it is given.
fn identity(picture: &Path) -> PathBuf {
    picture
        .canonicalize()
        .or_else(|_| std::path::absolute(picture))
        .unwrap_or_else(|_| picture.to_owned())
}

impl CaptionSink {
    /// Writes a text file with an ending such as `txt` for each picture: beside it, or in the folder
    /// `out` under the picture's place in its own folder.
    pub fn sidecars(ending: &str, out: Option<PathBuf>, existing: Existing) -> CaptionSink {
        let ending = ending.to_owned();
        CaptionSink {
            target: Target::Sidecars { ending, out },
            existing,
        }
    }

    /// Writes all captions to one file, together with those that it has. Takes up the journal of a
    /// sink that did not [`finish`](Self::finish).
    ///
    /// # Errors
    /// A file that cannot be read, or that has rows which could not be written again.
    pub fn file(path: &Path, format: Format, existing: Existing) -> Result<CaptionSink, DataError> {
        let mut table = Table {
            path: path.to_owned(),
            format,
            before: vec![],
            known: BTreeMap::new(),
            new: vec![],
            done: BTreeMap::new(),
            journal: journal(path),
            open: None,
        };
        if path.exists() {
            let (_, rows) = formats::read(path, &Layout::default())?;
            if let Some(problem) = rows.problems.first() {
                return Err(DataError::Format {
                    path: path.display().to_string(),
                    what: format!(
                        "has {} rows that would be lost when it is written again, the first: {problem}",
                        rows.problems.len()
                    ),
                });
            }
            table.before = rows.records;
        }
        for (index, record) in table.before.iter().enumerate() {
            if let Encoded::File(picture) = &record.image {
                table.known.insert(identity(picture), index);
            }
        }
        table.take_up()?;
        Ok(CaptionSink {
            target: Target::File(table.into()),
            existing,
        })
    }

    /// Number of captions that an earlier sink left in its journal.
    pub fn resumed(&self) -> usize {
        match &self.target {
            Target::Sidecars { .. } => 0,
            Target::File(table) => table.new.len(),
        }
    }

    /// Whether a picture has a caption that it keeps.
    pub fn keeps(&self, picture: &PictureFile) -> bool {
        match &self.target {
            Target::Sidecars { .. } => {
                self.existing == Existing::Skip && self.text_before(picture).is_some()
            }
            Target::File(table) => {
                let identity = identity(&picture.path);
                table.done.contains_key(&identity)
                    || self.existing == Existing::Skip && table.known.contains_key(&identity)
            }
        }
    }

    /// The text file of a picture.
    fn sidecar(&self, picture: &PictureFile) -> PathBuf {
        let Target::Sidecars { ending, out } = &self.target else {
            return picture.path.clone();
        };
        let beside = Captioned::sidecar_with(&picture.path, ending);
        match out {
            Some(out) => {
                let name = beside.file_name().unwrap_or_default();
                out.join(&picture.below).with_file_name(name)
            }
            None => beside,
        }
    }

    /// The text that the text file of a picture has.
    fn text_before(&self, picture: &PictureFile) -> Option<String> {
        let text = std::fs::read_to_string(self.sidecar(picture)).ok()?;
        caption_text(&text)
    }

    /// Writes the caption of a picture.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, picture: &PictureFile, caption: &str) -> Result<(), DataError> {
        if let Target::File(table) = &mut self.target {
            return table.add(&picture.path, caption);
        }
        let path = self.sidecar(picture);
        let failed = |reason: io::Error| DataError::Write {
            path: path.display().to_string(),
            reason,
        };
        let text = match self.existing {
            Existing::Append => match self.text_before(picture) {
                // written by a run that was stopped
                Some(before) if before == caption || before.ends_with(&format!("\n{caption}")) => {
                    return Ok(());
                }
                // tags are a list
                Some(before) if path.extension().is_some_and(|ending| ending == "tags") => {
                    format!("{before}, {caption}\n")
                }
                Some(before) => format!("{before}\n{caption}\n"),
                None => format!("{caption}\n"),
            },
            _ => format!("{caption}\n"),
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        atomic_file::write(&path, text.as_bytes()).map_err(failed)
    }

    /// Ends the captions: writes the one file and removes its journal. Returns the file.
    ///
    /// # Errors
    /// A file that cannot be written; the journal stays.
    pub fn finish(self) -> Result<Option<PathBuf>, DataError> {
        match self.target {
            Target::Sidecars { out, .. } => Ok(out),
            Target::File(table) => table.finish(self.existing).map(Some),
        }
    }
}

/// The journal of a file.
fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial.jsonl");
    name.into()
}

impl Table {
    /// Reads the journal; a last line that was not written whole counts as not written.
    fn take_up(&mut self) -> Result<(), DataError> {
        let bytes = match std::fs::read(&self.journal) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(DataError::Read {
                    path: self.journal.display().to_string(),
                    reason: error.to_string(),
                });
            }
        };
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        for line in bytes[..whole].split(|&byte| byte == b'\n') {
            if let Ok(Line { image, caption }) = serde_json::from_slice(line) {
                self.remember(&image, caption);
            }
        }
        if whole < bytes.len() {
            let file = OpenOptions::new().write(true).open(&self.journal);
            file.and_then(|file| file.set_len(whole as u64))
                .map_err(|reason| self.unwritten(reason))?;
        }
        Ok(())
    }

    fn unwritten(&self, reason: io::Error) -> DataError {
        DataError::Write {
            path: self.journal.display().to_string(),
            reason,
        }
    }

    fn remember(&mut self, picture: &Path, caption: String) {
        let next = self.new.len();
        match *self.done.entry(identity(picture)).or_insert(next) {
            index if index < next => self.new[index].1 = caption,
            _ => self.new.push((picture.to_owned(), caption)),
        }
    }

    fn add(&mut self, picture: &Path, caption: &str) -> Result<(), DataError> {
        // a path that holds from any folder
        let image = std::path::absolute(picture).unwrap_or_else(|_| picture.to_owned());
        let line = Line {
            image,
            caption: caption.to_owned(),
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|_| DataError::NotUtf8 {
            path: picture.display().to_string(),
        })?;
        bytes.push(b'\n');
        let write = |table: &mut Table| {
            if table.open.is_none() {
                if let Some(folder) = table
                    .journal
                    .parent()
                    .filter(|dir| !dir.as_os_str().is_empty())
                {
                    std::fs::create_dir_all(folder)?;
                }
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&table.journal);
                table.open = Some(file?);
            }
            let file = table.open.as_mut().expect("opened above");
            file.write_all(&bytes)?;
            file.flush()
        };
        write(self).map_err(|reason| self.unwritten(reason))?;
        self.remember(picture, caption.to_owned());
        Ok(())
    }

    fn finish(mut self, existing: Existing) -> Result<PathBuf, DataError> {
        if self.new.is_empty() {
            return Ok(self.path);
        }
        let mut records = std::mem::take(&mut self.before);
        for (picture, caption) in std::mem::take(&mut self.new) {
            match self.known.get(&identity(&picture)) {
                Some(&index) if existing == Existing::Append => records[index].others.push(caption),
                Some(&index) => {
                    records[index].caption = caption;
                    records[index].others.clear();
                }
                None => records.push(Record::of_file(picture, vec![caption])),
            }
        }
        if let Some(folder) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|reason| self.unwritten(reason))?;
        }
        formats::write(&self.path, self.format, &records)?;
        drop(self.open);
        // a journal that stays would be taken up again, with the same captions
        let _ = std::fs::remove_file(&self.journal);
        Ok(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::png;
    use super::*;

    fn pictures() -> (tempfile::TempDir, Vec<PictureFile>) {
        let dir = tempfile::tempdir().unwrap();
        let picture = |name: &str| {
            let path = dir.path().join("in").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, png(1)).unwrap();
            PictureFile {
                path,
                below: name.into(),
            }
        };
        let all = ["a.png", "b.png", "deep/c.png"].map(picture);
        (dir, all.into())
    }

    #[test]
    fn text_files_are_kept_replaced_or_extended() {
        let (dir, all) = pictures();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join("in/a.txt"), "mine\n").unwrap();
        std::fs::write(dir.path().join("in/b.txt"), " \n").unwrap();
        let mut sink = CaptionSink::sidecars("txt", None, Existing::Skip);
        // a blank file is no caption
        assert_eq!(
            [0, 1, 2].map(|index| sink.keeps(&all[index])),
            [true, false, false]
        );
        sink.add(&all[1], "new").unwrap();
        assert_eq!(
            (read("in/a.txt"), read("in/b.txt")),
            ("mine\n".into(), "new\n".into())
        );
        let mut sink = CaptionSink::sidecars("txt", None, Existing::Append);
        assert!(!sink.keeps(&all[0]));
        sink.add(&all[0], "more").unwrap();
        assert_eq!(read("in/a.txt"), "mine\nmore\n");
        let mut sink = CaptionSink::sidecars("txt", None, Existing::Replace);
        sink.add(&all[0], "other").unwrap();
        assert_eq!(read("in/a.txt"), "other\n");
        let mut sink =
            CaptionSink::sidecars("caption", Some(dir.path().join("out")), Existing::Skip);
        sink.add(&all[2], "deep").unwrap();
        assert_eq!(read("out/deep/c.caption"), "deep\n");
    }

    #[test]
    fn files_are_taken_up_after_a_kill() {
        let formats = [
            (Format::Jsonl, "all.jsonl"),
            (Format::Coco, "all.json"),
            (Format::Flickr, "all.csv"),
            (Format::Metadata, "metadata.csv"),
        ];
        for (format, name) in formats {
            let (dir, all) = pictures();
            let path = dir.path().join("in").join(name);
            let open = |existing| CaptionSink::file(&path, format, existing).unwrap();
            let mut sink = open(Existing::Skip);
            sink.add(&all[0], "one, \"1\"").unwrap();
            sink.add(&all[1], "two").unwrap();
            // as if killed in the middle of a line
            drop(sink);
            let journal = journal(&path);
            let bytes = std::fs::read(&journal).unwrap();
            std::fs::write(&journal, &bytes[..bytes.len() - 3]).unwrap();
            let mut sink = open(Existing::Skip);
            assert_eq!(sink.resumed(), 1);
            assert_eq!([0, 1].map(|index| sink.keeps(&all[index])), [true, false]);
            sink.add(&all[1], "two").unwrap();
            assert_eq!(sink.finish().unwrap(), Some(path.clone()));
            assert!(!journal.exists());
            let captions = || {
                let (rows, problems) = Captioned::read(&path, &Layout::default()).unwrap();
                assert_eq!(problems, []);
                rows.into_iter().map(|row| row.caption).collect::<Vec<_>>()
            };
            assert_eq!(captions(), ["one, \"1\"", "two"], "{name}");

            let mut sink = open(Existing::Skip);
            assert_eq!(
                [0, 1, 2].map(|index| sink.keeps(&all[index])),
                [true, true, false]
            );
            sink.add(&all[2], "three").unwrap();
            sink.finish().unwrap();
            let mut sink = open(Existing::Replace);
            assert!(!sink.keeps(&all[0]));
            sink.add(&all[0], "1").unwrap();
            sink.finish().unwrap();
            assert_eq!(captions(), ["1", "two", "three"], "{name}");
            let mut sink = open(Existing::Append);
            sink.add(&all[0], "uno").unwrap();
            sink.finish().unwrap();
            let (_, rows) = formats::read(&path, &Layout::default()).unwrap();
            assert_eq!(rows.records[0].others, ["uno"], "{name}");
        }
    }

    #[test]
    fn rows_that_would_be_lost_keep_the_file_as_it_is() {
        let (dir, _) = pictures();
        let path = dir.path().join("in/all.jsonl");
        std::fs::write(&path, "{\"image\": \"lost.png\", \"caption\": \"mine\"}\n").unwrap();
        let error = CaptionSink::file(&path, Format::Jsonl, Existing::Skip).unwrap_err();
        assert!(error.to_string().contains("would be lost"), "{error}");
    }
}
