//! Writing captions to files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use seemore::data::{CaptionSink, Captioned, DataError, Existing, Format, Listing, PictureFile};
use seemore::progress::Progress;

use crate::format::count;
use crate::gallery::{TextFile, plain};
use crate::progress::Counter;

/// Captions to write.
pub struct Export {
    /// File or folder to write, unless the format is a text file beside each picture.
    pub path: PathBuf,
    /// Format to write.
    pub format: Format,
    /// Pictures that have a caption.
    pub rows: Vec<Row>,
    /// Number of pictures without a caption.
    pub without: usize,
    /// Version of the gallery, if all of its captions are written.
    pub version: Option<u64>,
    /// Counts the pictures that are written.
    pub progress: Counter,
}

/// A picture and its caption.
pub struct Row {
    /// Number of the entry.
    pub entry: usize,
    /// Path of the picture.
    pub picture: PathBuf,
    /// The caption, trimmed.
    pub caption: String,
    /// Content of the text file beside the picture when it was read.
    pub file: Option<TextFile>,
}

/// Result of an export.
pub enum Exported {
    /// The captions were written.
    Done(Done),
    /// Nothing was written, because files with other contents exist.
    Exists {
        export: Export,
        /// Number of such files.
        count: usize,
        /// First such file, in the order of the export.
        first: PathBuf,
        /// Number of files that would be written without replacing any.
        new: usize,
    },
}

/// Captions that were written.
pub struct Done {
    /// Where, as text.
    pub message: String,
    /// Text files beside entries.
    pub files: Vec<(usize, TextFile)>,
    /// Version of the gallery, if all of its captions were written.
    pub version: Option<u64>,
}

/// State of the text file beside a picture.
#[derive(PartialEq)]
enum Beside {
    /// It has the caption, or the user has not edited the text that it had.
    Current,
    /// It does not exist, or is blank.
    New,
    /// It has another text.
    Other,
}

impl Export {
    /// Writes the captions. Without a choice, files with other contents are not touched and nothing
    /// is written if there are some; `Existing::Skip` keeps them, `Existing::Replace` overwrites
    /// them.
    pub fn write(self, choice: Option<Existing>) -> Result<Exported, String> {
        match self.format {
            Format::Folder => self.write_beside(choice),
            _ => self.write_file(choice),
        }
    }

    fn write_file(self, choice: Option<Existing>) -> Result<Exported, String> {
        let captioned: Vec<Captioned> = self
            .rows
            .iter()
            .map(|row| Captioned {
                picture: row.picture.clone(),
                caption: row.caption.clone(),
            })
            .collect();
        // no picture is embedded, so none is written to this folder
        let pictures = self.path.with_extension("pictures");
        let overwrite = choice == Some(Existing::Replace);
        let converted = Listing::of(&captioned, &self.path).convert(
            &self.path,
            self.format,
            &pictures,
            overwrite,
            false,
            &self.progress,
        );
        let converted = match converted {
            Ok(converted) => converted,
            Err(DataError::Exists { path }) => {
                return Ok(Exported::Exists {
                    export: self,
                    count: 1,
                    first: path.into(),
                    new: 0,
                });
            }
            Err(error) => return Err(error.to_string()),
        };
        let left_out = converted.problems.first().map_or(String::new(), |first| {
            format!(
                " {} left out, such as {first}.",
                count(converted.problems.len(), "picture")
            )
        });
        let notes: String = converted
            .notes
            .iter()
            .map(|note| format!(" {note}."))
            .collect();
        Ok(Exported::Done(Done {
            message: format!(
                "Saved {} to {}.{}{left_out}{notes}",
                count(converted.captions, "caption"),
                self.path.display(),
                without(self.without)
            ),
            files: vec![],
            version: self.version.filter(|_| converted.problems.is_empty()),
        }))
    }

    fn write_beside(self, choice: Option<Existing>) -> Result<Exported, String> {
        let states: Vec<(PathBuf, Beside)> = self.rows.iter().map(beside).collect();
        let others = || states.iter().filter(|(_, state)| *state == Beside::Other);
        let new = states.iter().filter(|(_, state)| *state == Beside::New);
        if let (None, Some((first, _))) = (choice, others().next()) {
            return Ok(Exported::Exists {
                count: others().count(),
                first: first.clone(),
                new: new.count(),
                export: self,
            });
        }
        let mut sinks: HashMap<String, CaptionSink> = HashMap::new();
        let mut files = vec![];
        let (mut kept, mut current) = (0, 0);
        self.progress.set_total(self.rows.len() as u64);
        for (row, (path, state)) in self.rows.iter().zip(states) {
            self.progress.advance(1);
            match state {
                Beside::Current => {
                    current += 1;
                    continue;
                }
                Beside::Other if choice != Some(Existing::Replace) => {
                    kept += 1;
                    continue;
                }
                _ => {}
            }
            let ending = ending(&path);
            let sink = sinks
                .entry(ending.clone())
                .or_insert_with(|| CaptionSink::sidecars(&ending, None, Existing::Replace));
            let picture = PictureFile {
                path: row.picture.clone(),
                below: row.picture.file_name().unwrap_or_default().into(),
            };
            sink.add(&picture, &row.caption)
                .map_err(|error| match files.len() {
                    0 => error.to_string(),
                    written => format!("{} were saved, then: {error}", count(written, "caption")),
                })?;
            let text = row.caption.clone();
            files.push((row.entry, TextFile { path, text }));
        }
        let kept_text = match kept {
            0 => String::new(),
            kept => format!(" Kept {} with other contents.", count(kept, "text file")),
        };
        let current = match current {
            0 => String::new(),
            current => format!(" {} unchanged.", count(current, "text file")),
        };
        Ok(Exported::Done(Done {
            message: format!(
                "Saved {} as text files.{kept_text}{current}{}",
                count(files.len(), "caption"),
                without(self.without)
            ),
            files,
            version: self.version.filter(|_| kept == 0),
        }))
    }
}

fn without(pictures: usize) -> String {
    match pictures {
        0 => String::new(),
        pictures => format!(" {} without a caption.", count(pictures, "picture")),
    }
}

/// Returns the text file of a picture and its state.
fn beside(row: &Row) -> (PathBuf, Beside) {
    let ending = row
        .file
        .as_ref()
        .map_or("txt".into(), |file| ending(&file.path));
    let path = Captioned::sidecar_with(&row.picture, &ending);
    let text = std::fs::read_to_string(&path).map(|text| plain(&text));
    let loaded = row.file.as_ref().filter(|file| file.path == path);
    let unedited = loaded.is_some_and(|file| file.text == row.caption);
    let state = match text {
        Ok(text) if text == row.caption => Beside::Current,
        _ if unedited => Beside::Current,
        Ok(text) if text.is_empty() => Beside::New,
        Err(_) if !path.exists() => Beside::New,
        _ => Beside::Other,
    };
    (path, state)
}

fn ending(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().into_owned()
}
