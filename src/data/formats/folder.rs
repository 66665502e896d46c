//! A folder of pictures, each with its caption in a `.txt` file of the same stem.
//!
//! Subfolders are ignored. Extensions count in either case.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::captioned::Captioned;
use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record};
use super::picture_files::is_picture;
use super::{Definition, Input, Layout, Rows, save};

pub const DEFINITION: Definition = Definition {
    description: "a folder of pictures with .txt captions beside them",
    detect: |input| input.body.is_none(),
    read,
    write,
};

fn read(input: &Input, _layout: &Layout) -> Result<Rows, DataError> {
    let read_error = |error: std::io::Error| DataError::Read {
        path: input.name(),
        reason: error.to_string(),
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(input.path)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        })
        .map_err(read_error)?;
    files.sort();
    let (mut records, mut problems) = (vec![], vec![]);
    let is_text = |path: &&PathBuf| {
        path.extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("txt"))
    };
    let texts: BTreeMap<OsString, PathBuf> = files
        .iter()
        .filter(is_text)
        .filter_map(|text| Some((text.file_stem()?.to_owned(), text.clone())))
        .collect();
    let stems: BTreeSet<OsString> = files
        .iter()
        .filter(|file| is_picture(file))
        .filter_map(|file| Some(file.file_stem()?.to_owned()))
        .collect();
    for (_, text) in texts.iter().filter(|(stem, _)| !stems.contains(*stem)) {
        problems.push(Problem::new(
            text.display().to_string(),
            "there is no picture beside it",
        ));
    }
    for picture in files.into_iter().filter(|file| is_picture(file)) {
        let known = picture.file_stem().and_then(|stem| texts.get(stem));
        let sidecar = known
            .cloned()
            .unwrap_or_else(|| picture.with_extension("txt"));
        let (place, what) = match std::fs::read_to_string(&sidecar) {
            Ok(caption) if !caption.trim().is_empty() => {
                let caption = caption.trim_start_matches('\u{feff}').trim().to_owned();
                let id = picture.display().to_string();
                records.push(Record {
                    place: id.clone(),
                    id,
                    image: Encoded::File(picture),
                    caption,
                    others: vec![],
                    concept: None,
                });
                continue;
            }
            Ok(_) => (sidecar, "the caption is empty".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let name = sidecar
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                (
                    picture,
                    format!("it has no caption: write one into {name} beside it"),
                )
            }
            Err(error) => (sidecar, format!("the caption cannot be read: {error}")),
        };
        problems.push(Problem::new(place.display().to_string(), what));
    }
    Ok((records, problems))
}

fn write(_path: &Path, rows: &[Captioned]) -> Result<(), DataError> {
    rows.iter().try_for_each(|Captioned { picture, caption }| {
        save(
            &Captioned::sidecar(picture),
            format!("{caption}\n").as_bytes(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Loaded;
    use super::super::super::testing::{lines, load, png};

    #[test]
    fn reads_captions_from_beside_the_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        file("b.png", &png(2));
        file("b.txt", b" second \n");
        file("a.PNG", &png(1));
        file("a.TXT", b"first");
        file("c.png", &png(3));
        file("d.jpg", b"no picture");
        file("d.txt", b"broken");
        file("notes.md", b"not a picture");
        file("lost.txt", b"a caption of nothing");
        let Loaded { dataset, problems } = load(dir.path(), false).unwrap();
        let captions: Vec<_> = dataset
            .samples
            .iter()
            .map(|sample| sample.caption.as_str())
            .collect();
        assert_eq!(captions, ["first", "second"]);
        let text = lines(&problems);
        assert!(
            problems.len() == 3 && text.contains("c.txt") && text.contains("d.jpg"),
            "{text}"
        );
        assert!(
            text.contains("lost.txt: there is no picture beside it"),
            "{text}"
        );
    }
}
