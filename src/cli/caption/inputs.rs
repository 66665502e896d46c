//! The pictures that arguments name: files, folders and patterns.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::output::errln;
use crate::data::{PictureFile, pictures_in};

/// Pictures to caption.
pub struct Inputs {
    pub pictures: Vec<PictureFile>,
    /// Whether a folder or a pattern was given, so that captions need names.
    pub searched: bool,
    /// The only folder, if one was given and nothing else.
    pub folder: Option<PathBuf>,
}

/// Whether a text is a pattern of file names.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Finds the pictures: files in the order of the arguments, then those of folders, each once.
pub fn find(arguments: &[PathBuf], depth: Option<usize>) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs {
        pictures: vec![],
        searched: false,
        folder: None,
    };
    let mut known = BTreeSet::new();
    // a file that is named is captioned as often as it is named
    let mut add = |inputs: &mut Inputs, picture: PictureFile, found: bool| {
        let identity = picture
            .path
            .canonicalize()
            .unwrap_or_else(|_| picture.path.clone());
        if known.insert(identity) || !found {
            inputs.pictures.push(picture);
        }
    };
    let mut folders = vec![];
    for argument in arguments {
        let text = argument.to_string_lossy();
        if argument.is_dir() {
            folders.push(argument.clone());
        } else if argument.exists() || text == "-" || !is_pattern(&text) {
            add(&mut inputs, single(argument), false);
        } else {
            inputs.searched = true;
            let mut matched = 0;
            // hidden files only if the pattern names them so
            let options = glob::MatchOptions {
                require_literal_leading_dot: true,
                ..glob::MatchOptions::new()
            };
            let found = glob::glob_with(&text, options);
            for path in found.with_context(|| format!("{text} is no pattern"))? {
                let path = path.with_context(|| text.to_string())?;
                matched += 1;
                if path.is_dir() {
                    folders.push(path);
                } else {
                    add(&mut inputs, single(&path), true);
                }
            }
            if matched == 0 {
                bail!("no file matches {text}");
            }
        }
    }
    if depth.is_some() && folders.is_empty() {
        bail!("--depth is for folders, and none is given");
    }
    for folder in &folders {
        inputs.searched = true;
        let (pictures, deeper) = pictures_in(folder, depth)?;
        if pictures.is_empty() {
            bail!("there are no pictures in {}", folder.display());
        }
        if deeper > 0 {
            errln!(
                "note: {deeper} files in deeper subfolders of {} are left out",
                folder.display()
            );
        }
        pictures
            .into_iter()
            .for_each(|picture| add(&mut inputs, picture, true));
    }
    if let ([folder], 1) = (&folders[..], arguments.len()) {
        inputs.folder = Some(folder.clone());
    }
    Ok(inputs)
}

fn single(path: &Path) -> PictureFile {
    PictureFile {
        path: path.to_owned(),
        below: path.file_name().unwrap_or_default().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_files_and_patterns_give_each_picture_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a.png",
            "b.JPG",
            "in/c.webp",
            "in/deep/d.gif",
            "notes.txt",
            "._a.png",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names = |arguments: &[&str], depth| {
            let arguments: Vec<PathBuf> =
                arguments.iter().map(|name| dir.path().join(name)).collect();
            let inputs = find(&arguments, depth)?;
            let below = |picture: &PictureFile| picture.below.display().to_string();
            anyhow::Ok((
                inputs.pictures.iter().map(below).collect::<Vec<_>>(),
                inputs.searched,
            ))
        };
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&[""], None).unwrap(),
            (
                list(&["a.png", "b.JPG", "in/c.webp", "in/deep/d.gif"]),
                true
            )
        );
        assert_eq!(
            names(&["", "a.png"], Some(0)).unwrap().0,
            list(&["a.png", "b.JPG"])
        );
        assert_eq!(names(&["b.JPG"], None).unwrap(), (list(&["b.JPG"]), false));
        assert_eq!(names(&["*.png"], None).unwrap(), (list(&["a.png"]), true));
        assert_eq!(
            names(&["i*/*.webp", "in"], Some(0)).unwrap().0,
            list(&["c.webp"])
        );
        for (arguments, depth, wanted) in [
            (&["*.bmp"], None, "no file matches"),
            (&["a.png"], Some(1), "--depth"),
            (&["[x"], None, "no pattern"),
        ] {
            let error = format!("{:#}", names(arguments, depth).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(
            names(&["empty"], None)
                .unwrap_err()
                .to_string()
                .contains("no pictures")
        );
    }
}
