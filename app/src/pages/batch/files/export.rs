//! Writing captions to files.

use std::path::PathBuf;

use seemore::data::{Captioned, Format};

use crate::format::count;

/// Captions to write.
pub struct Export {
    /// File to write, unless the format is a text file beside each picture.
    pub path: PathBuf,
    /// Format of the file.
    pub format: Format,
    /// Pictures and their captions.
    pub captioned: Vec<Captioned>,
    /// Number of pictures without a caption.
    pub without: usize,
}

/// Result of an export.
pub enum Exported {
    /// The captions were written. The text says where.
    Done(String),
    /// Nothing was written, because files with other contents exist.
    Exists {
        export: Export,
        /// Number of such files.
        count: usize,
        /// First such file, in the order of the export.
        first: PathBuf,
    },
}

impl Export {
    /// Writes the captions, but does not replace files with other contents unless `overwrite` is
    /// set.
    pub fn write(self, overwrite: bool) -> Result<Exported, String> {
        let existing: Vec<PathBuf> = match self.format {
            _ if overwrite => vec![],
            Format::Folder => self.captioned.iter().filter_map(conflict).collect(),
            _ => Some(self.path.clone())
                .filter(|path| path.exists())
                .into_iter()
                .collect(),
        };
        if let Some(first) = existing.first().cloned() {
            return Ok(Exported::Exists {
                export: self,
                count: existing.len(),
                first,
            });
        }
        Captioned::write(&self.path, self.format, &self.captioned)
            .map_err(|error| error.to_string())?;
        let place = match self.format {
            Format::Folder => "as text files".into(),
            _ => format!("to {}", self.path.display()),
        };
        let rest = match self.without {
            0 => String::new(),
            without => format!(" {} without a caption.", count(without, "picture")),
        };
        let captions = count(self.captioned.len(), "caption");
        Ok(Exported::Done(format!("Saved {captions} {place}.{rest}")))
    }

    /// Drops the captions of pictures that have a text file.
    pub fn only_new(mut self) -> Export {
        self.captioned
            .retain(|captioned| !Captioned::sidecar(&captioned.picture).exists());
        self
    }
}

/// Returns the text file beside a picture if its contents differ from the caption.
fn conflict(captioned: &Captioned) -> Option<PathBuf> {
    let path = Captioned::sidecar(&captioned.picture);
    let same = || std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == captioned.caption);
    (path.exists() && !same()).then_some(path)
}
