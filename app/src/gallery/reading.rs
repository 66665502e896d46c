//! Reading the pictures of a folder, or some picture files, with the captions beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use seemore::data::{PictureFile, PictureFolder, is_picture};

use super::{Entry, TextFile};
use crate::format::count;

/// Entries as they are on the disk.
pub struct Found {
    /// Folder that holds all pictures.
    pub folder: PathBuf,
    /// The pictures, in natural order.
    pub entries: Vec<Entry>,
    /// When the text file of each entry was changed.
    pub times: Vec<Option<SystemTime>>,
    /// Numbers of files that were left out, by reason.
    pub skipped: Option<String>,
}

/// Reads a folder and its subfolders.
pub fn folder(folder: &Path) -> Result<Found, String> {
    if !folder.is_dir() {
        return Err(format!("the folder {} does not exist", folder.display()));
    }
    let found = PictureFolder::read(folder, None).map_err(|error| error.to_string())?;
    let skipped = skipped(&found);
    if found.pictures.is_empty() {
        let skipped = skipped.map_or(String::new(), |skipped| format!(". Skipped: {skipped}"));
        return Err(format!(
            "{} contains no pictures{skipped}",
            folder.display()
        ));
    }
    let (entries, times) = found
        .pictures
        .iter()
        .map(|picture| entry(&found, picture))
        .unzip();
    Ok(Found {
        folder: folder.to_owned(),
        entries,
        times,
        skipped,
    })
}

/// Reads some picture files, which may lie in several folders.
pub fn files(paths: &[PathBuf]) -> Result<Found, String> {
    let paths: Vec<PathBuf> = paths
        .iter()
        .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        .collect();
    let mut folders: BTreeMap<&Path, Vec<&PathBuf>> = BTreeMap::new();
    for path in &paths {
        let folder = path.parent().unwrap_or(Path::new(""));
        folders.entry(folder).or_default().push(path);
    }
    let common = folders
        .keys()
        .map(|folder| folder.to_path_buf())
        .reduce(|common, folder| {
            let above = common.ancestors().find(|above| folder.starts_with(above));
            above.unwrap_or(Path::new("")).to_owned()
        })
        .ok_or("no pictures were given")?;
    let (mut entries, mut times) = (vec![], vec![]);
    for (folder, wanted) in folders {
        let found = PictureFolder::read(folder, Some(0)).map_err(|error| error.to_string())?;
        for picture in &found.pictures {
            if wanted.contains(&&picture.path) {
                let below = picture.path.strip_prefix(&common);
                let below = below.unwrap_or(&picture.path).to_owned();
                let path = picture.path.clone();
                let (entry, time) = entry(&found, &PictureFile { path, below });
                entries.push(entry);
                times.push(time);
            }
        }
    }
    let left = paths.len() - entries.len();
    let skipped = (left > 0).then(|| format!("{} (no supported picture)", count(left, "file")));
    if entries.is_empty() {
        return Err("none of the files is a picture that can be decoded".into());
    }
    Ok(Found {
        folder: common,
        entries,
        times,
        skipped,
    })
}

/// Reads the caption beside a picture, and when it was changed.
fn entry(folder: &PictureFolder, picture: &PictureFile) -> (Entry, Option<SystemTime>) {
    let parts = picture.below.iter().map(|part| part.to_string_lossy());
    let mut entry = Entry {
        path: picture.path.clone(),
        name: parts.collect::<Vec<_>>().join("/"),
        ..Entry::default()
    };
    let mut time = None;
    match folder.caption_file(&picture.path) {
        Ok(None) => {}
        Ok(Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => {
                let metadata = path.metadata().and_then(|metadata| metadata.modified());
                time = Some(metadata.unwrap_or(SystemTime::UNIX_EPOCH));
                entry.caption = plain(&text);
                entry.file = Some(TextFile {
                    path: path.to_owned(),
                    text: entry.caption.clone(),
                });
            }
            Err(error) => entry.error = Some(unreadable(path, &error)),
        },
        Err(problem) => entry.error = Some(problem.what.clone()),
    }
    (entry, time)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match error.kind() {
        std::io::ErrorKind::InvalidData => {
            format!("{name} is not UTF-8 text: save it as UTF-8 and open the folder again")
        }
        _ => format!("{name} cannot be read: {error}"),
    }
}

/// Returns a text without a byte order mark and surrounding white space, with plain line ends.
pub fn plain(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').trim();
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Says what of a folder was left out, by count and reason.
fn skipped(found: &PictureFolder) -> Option<String> {
    let mut reasons = vec![];
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for picture in &found.undecoded {
        let extension = picture.path.extension().unwrap_or_default();
        *kinds
            .entry(extension.to_string_lossy().to_uppercase())
            .or_default() += 1;
    }
    for (kind, number) in kinds {
        let pictures = count(number, &format!("{kind} picture"));
        reasons.push(format!("{pictures} (format not supported)"));
    }
    if found.others > 0 {
        let files = count(found.others, "other file");
        reasons.push(format!("{files} (no picture, no caption)"));
    }
    if let Some((folder, reason)) = found.unreadable.first() {
        let folders = count(found.unreadable.len(), "folder");
        reasons.push(format!(
            "{folders} (cannot be read, such as {}: {reason})",
            folder.display()
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Whether files were given that are all pictures.
pub fn are_pictures(paths: &[PathBuf]) -> bool {
    !paths.is_empty() && paths.iter().all(|path| path.is_file() && is_picture(path))
}
