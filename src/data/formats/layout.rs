//! Facts about caption files that the files themselves do not tell.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::super::error::DataError;
use super::Rows;

/// Facts about caption files that the files themselves do not tell. The default leaves all of them
/// to the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Column or field with the pictures; `None` for the first of the usual names that a file has.
    pub image_column: Option<String>,
    /// Column or field with the captions, or the ending of caption files; `None` for the usual
    /// names.
    pub caption_column: Option<String>,
    /// Folder of the pictures that a file names; `None` for the file's own folder.
    pub images: Option<PathBuf>,
    /// Parts of the data set to read, such as `train`; empty for all.
    pub splits: Vec<String>,
    /// Levels of subfolders to read: 0 for the folder alone, `None` for all.
    pub depth: Option<usize>,
    /// Whether color profiles of pictures have no effect.
    pub ignore_icc: bool,
}

/// A setting of a [`Layout`] that only some formats know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// [`Layout::image_column`].
    ImageColumn,
    /// [`Layout::caption_column`].
    CaptionColumn,
    /// [`Layout::images`].
    Images,
    /// [`Layout::splits`].
    Splits,
    /// [`Layout::depth`].
    Depth,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Setting::ImageColumn => "column of the pictures",
            Setting::CaptionColumn => "column of the captions",
            Setting::Images => "folder of the pictures",
            Setting::Splits => "part of the data set",
            Setting::Depth => "depth of subfolders",
        })
    }
}

impl Setting {
    /// Dotted path of the setting in a [`RunConfig`](crate::train::RunConfig).
    pub fn field(self) -> &'static str {
        match self {
            Setting::ImageColumn => "data.image_column",
            Setting::CaptionColumn => "data.caption_column",
            Setting::Images => "data.images",
            Setting::Splits => "data.splits",
            Setting::Depth => "data.depth",
        }
    }

    /// Returns why a file has no use for the setting.
    fn reason(self) -> &'static str {
        match self {
            Setting::ImageColumn => "has no columns or fields with pictures",
            Setting::CaptionColumn => "has no columns or fields with captions",
            Setting::Images => "names no pictures in other files",
            Setting::Splits => "is not divided into parts",
            Setting::Depth => "is not a folder",
        }
    }
}

/// Settings that a reader has made use of.
pub(in crate::data) type Used = BTreeSet<Setting>;

impl Layout {
    /// The settings that are given.
    fn given(&self) -> Used {
        let all = [
            (Setting::ImageColumn, self.image_column.is_some()),
            (Setting::CaptionColumn, self.caption_column.is_some()),
            (Setting::Images, self.images.is_some()),
            (Setting::Splits, !self.splits.is_empty()),
            (Setting::Depth, self.depth.is_some()),
        ];
        let given = all.into_iter().filter(|(_, given)| *given);
        given.map(|(setting, _)| setting).collect()
    }

    /// Fails if a setting is given that none of the files at `paths` has made use of.
    pub(in crate::data) fn check_used(
        &self,
        used: &Used,
        paths: &[PathBuf],
    ) -> Result<(), DataError> {
        let Some(&setting) = self.given().difference(used).next() else {
            return Ok(());
        };
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Err(DataError::Unused {
            path: names.join(", "),
            setting,
            reason: setting.reason(),
        })
    }

    /// Whether a picture of this part of the data set is wanted; those of no part are not if parts
    /// are given.
    pub(super) fn wants(&self, split: Option<&str>) -> bool {
        self.splits.is_empty()
            || split.is_some_and(|split| self.splits.iter().any(|wanted| same_split(wanted, split)))
    }
}

/// Parts by whose names folders and shards are recognized.
pub(super) const PARTS: [&str; 3] = ["train", "val", "test"];

/// Whether two names mean the same part: in either case, `val`, `valid` and `validation` alike.
pub(super) fn same_split(a: &str, b: &str) -> bool {
    let plain = |name: &str| match &name.trim().to_lowercase()[..] {
        "valid" | "validation" | "dev" => "val".to_owned(),
        "testing" => "test".to_owned(),
        "training" => "train".to_owned(),
        other => other.to_owned(),
    };
    plain(a) == plain(b)
}

/// Counts the pictures of each part and drops the parts that are not wanted.
pub(super) struct Splits<'a> {
    layout: &'a Layout,
    /// Number of pictures by the name of their part.
    counts: std::collections::BTreeMap<String, usize>,
}

impl<'a> Splits<'a> {
    pub fn new(layout: &'a Layout) -> Splits<'a> {
        Splits {
            layout,
            counts: Default::default(),
        }
    }

    /// Counts a picture; returns whether it is wanted.
    pub fn take(&mut self, split: Option<&str>) -> bool {
        if let Some(split) = split {
            *self.counts.entry(split.to_owned()).or_default() += 1;
        }
        self.layout.wants(split)
    }

    /// Ends the count of the file `name`: marks the setting as used in its rows, and says which
    /// parts there are.
    ///
    /// # Errors
    /// A part is wanted that the file does not have.
    pub fn finish(self, name: &str, rows: &mut Rows) -> Result<(), DataError> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let absent = |wanted: &&String| !self.counts.keys().any(|split| same_split(wanted, split));
        if let Some(wanted) = self.layout.splits.iter().find(absent) {
            let have: Vec<String> = self
                .counts
                .keys()
                .map(|split| format!("`{split}`"))
                .collect();
            return Err(DataError::NoSplit {
                path: name.to_owned(),
                split: wanted.clone(),
                have: have.join(", "),
            });
        }
        rows.used.insert(Setting::Splits);
        if self.counts.len() > 1 || !self.layout.splits.is_empty() {
            let list = |(split, count): (&String, &usize)| format!("{split} {count}");
            let list: Vec<String> = self.counts.iter().map(list).collect();
            let read = match self.layout.splits.is_empty() {
                true => "all are read".to_owned(),
                false => format!("read: {}", self.layout.splits.join(", ")),
            };
            rows.notes
                .push(format!("parts: {}; {read}", list.join(", ")));
        }
        rows.parts.extend(self.counts.into_keys());
        Ok(())
    }
}
