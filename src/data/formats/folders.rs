//! Walks through folders.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Files below a folder.
#[derive(Debug, Default)]
pub struct Walk {
    /// Files, sorted by their paths.
    pub files: Vec<PathBuf>,
    /// Subfolders that hold files.
    pub folders: BTreeSet<PathBuf>,
    /// Files in subfolders beyond the depth, and the subfolders that hold them.
    pub deeper: usize,
    /// Subfolders that could not be read, and why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Whether systems and programs put a file or folder of this name beside the user's own: hidden
/// ones, resource forks of macOS (`._a.png`), thumbnails.
pub fn is_clutter(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "__macosx",
        "@eadir",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "#recycle",
        "lost+found",
    ];
    name.starts_with('.') || NAMES.contains(&&name.to_lowercase()[..])
}

/// Lists the files in a folder and `depth` levels of its subfolders, all without a depth; at most
/// `limit` files. Clutter is left out, and folders that lead back to themselves are entered once.
///
/// # Errors
/// The folder itself cannot be read.
pub fn walk(folder: &Path, depth: Option<usize>, limit: usize) -> io::Result<Walk> {
    let mut found = Walk::default();
    let mut entered = BTreeSet::from([folder.canonicalize()?]);
    // folders to read, with their levels
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((folder, level)) = open.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if level == 0 => return Err(error),
            Err(error) => {
                found.unreadable.push((folder, error));
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    found.unreadable.push((folder.clone(), error));
                    break;
                }
            };
            if is_clutter(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            // follows links
            if path.is_dir() {
                let new = path.canonicalize().is_ok_and(|real| entered.insert(real));
                if new {
                    open.push((path, level + 1));
                }
            } else if depth.is_some_and(|depth| level > depth) {
                found.deeper += 1;
                found.folders.insert(folder.clone());
            } else {
                if level > 0 {
                    found.folders.insert(folder.clone());
                }
                found.files.push(path);
            }
            if found.files.len() + found.deeper > limit {
                open.clear();
                break;
            }
        }
    }
    found.files.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_subfolders_to_a_depth_without_clutter() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b",
            "a/c",
            "a/d/e",
            "._b",
            "__MACOSX/f",
            ".git/g",
            "@eaDir/h",
            "Thumbs.db",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let names = |depth| {
            let walk = walk(dir.path(), depth, 100).unwrap();
            let name =
                |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
            (
                walk.files.iter().map(name).collect::<Vec<_>>(),
                walk.deeper,
                walk.folders.len(),
            )
        };
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(None), (list(&["a/c", "a/d/e", "b"]), 0, 2));
        assert_eq!(names(Some(1)), (list(&["a/c", "b"]), 1, 2));
        assert_eq!(names(Some(0)), (list(&["b"]), 2, 2));
        assert!(walk(&dir.path().join("absent"), None, 9).is_err());
    }
}
