//! `captions.txt` of Flickr8k: a header `image,caption`, then names of picture files with captions, several rows a picture.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::dataset::{DataError, Problem};
use super::csv::Places;
use super::{Encoded, Layout, Raw, Rows, find, is_picture, parent};

/// Whether the first line is `image,caption`.
pub fn has_header(bytes: &[u8]) -> bool {
    let line = bytes
        .trim_ascii_start()
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    let header: Vec<u8> = line
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(u8::to_ascii_lowercase)
        .collect();
    header == b"image,caption"
}

/// Whether the second line starts with the name of a picture file: base64, as another CSV file has it, contains no dot.
pub fn names_pictures(bytes: &[u8]) -> bool {
    let mut lines = bytes
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .filter(|line| !line.trim_ascii().is_empty());
    let name = lines
        .nth(1)
        .and_then(|line| line.split(|&byte| byte == b',').next())
        .unwrap_or_default();
    is_picture(Path::new(
        String::from_utf8_lossy(name).trim_matches([' ', '"']),
    ))
}

/// One sample a picture, in the order of first rows, whose captions are the first; pictures lie beside the file, or in
/// `Images` or `images` there, or where the layout says.
pub fn read(path: &Path, body: &[u8], layout: &Layout) -> Result<Rows, DataError> {
    let name = path.display().to_string();
    let folder = parent(path);
    let beside = [folder.join("Images"), folder.join("images"), folder];
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .has_headers(false)
        .from_reader(body);
    let mut places = Places::new(body);
    let (mut raws, mut problems): (Vec<Raw>, Vec<Problem>) = (vec![], vec![]);
    // of pictures that are not there, so that each is told once
    let mut known: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (index, record) in reader.byte_records().enumerate() {
        let record = record.map_err(|error| DataError::Read {
            path: name.clone(),
            reason: error.to_string(),
        })?;
        let (row, _) = places.next(&record);
        if index == 0 {
            continue;
        }
        let id = format!("{name} row {row}");
        let problem = |what: &str| Problem {
            place: id.clone(),
            what: what.into(),
        };
        let Ok(fields) = record
            .iter()
            .map(std::str::from_utf8)
            .collect::<Result<Vec<_>, _>>()
        else {
            problems.push(problem("it is not UTF-8 text: save the file as UTF-8"));
            continue;
        };
        // the caption is the last column, so what stands behind more commas is a part of it
        let (file, caption) = (
            fields[0].trim().to_owned(),
            fields[1..].join(",").trim().to_owned(),
        );
        if file.is_empty() || caption.is_empty() {
            problems.push(problem(if file.is_empty() {
                "it names no picture"
            } else {
                "the caption is empty"
            }));
            continue;
        }
        match known.get(&file) {
            Some(&Some(index)) => raws[index].others.push(caption),
            Some(None) => {}
            None => match find(&file, layout, &beside) {
                Ok(found) => {
                    known.insert(file, Some(raws.len()));
                    raws.push(Raw {
                        place: id.clone(),
                        id,
                        image: Encoded::File(found),
                        caption,
                        others: vec![],
                        concept: None,
                    });
                }
                Err(what) => {
                    problems.push(problem(&what));
                    known.insert(file, None);
                }
            },
        }
    }
    Ok((raws, problems))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::super::dataset::{Dataset, Loaded};
    use super::super::tests::{load, png, written};
    use super::*;

    const ROWS: &str = "image,caption\na.png,A red square .\na.png,\"Red, only red .\"\nlost.png,Nothing .\na.png,Red , with commas\nlost.png,Still nothing .\nb.png,Another .\na.png,\n,Lonely .\n";

    #[test]
    fn rows_of_one_picture_are_one_sample() {
        for folder in ["", "Images", "images"] {
            let (dir, path) = written("captions.txt", ROWS);
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("a.png"), png(9)).unwrap();
            std::fs::write(dir.path().join(folder).join("b.png"), b"no picture").unwrap();
            let Loaded { dataset, problems } = load(&path, false).unwrap();
            let [sample] = &dataset.samples[..] else {
                panic!("{dataset:?}")
            };
            assert!(sample.id.ends_with("captions.txt row 2") && sample.concept.is_none());
            assert_eq!(sample.caption, "A red square .");
            assert_eq!(sample.others, ["Red, only red .", "Red , with commas"]);
            let text = problems
                .iter()
                .map(Problem::to_string)
                .collect::<Vec<_>>()
                .join("\n");
            for wanted in [
                "row 4: its picture",
                "lost.png is not there: give the folder of the pictures with --images",
                "row 7: ",
                "b.png: it is not a picture",
                "row 8: the caption is empty",
                "row 9: it names no picture",
            ] {
                assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
            }
            assert_eq!(problems.len(), 4);
        }
    }

    #[test]
    fn pictures_may_lie_in_another_folder_and_the_folder_may_be_given() {
        let (dir, path) = written("captions.txt", ROWS);
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("a.png"), png(9)).unwrap();
        let error = load(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("captions.txt") && error.contains("--images"),
            "{error}"
        );
        let layout = |images: PathBuf| Layout {
            images: Some(images),
            ..Layout::default()
        };
        for path in [path, dir.path().to_owned()] {
            let read =
                |layout| Dataset::load(&path, 4, &layout, false, &indicatif::ProgressBar::hidden());
            assert_eq!(
                read(layout(elsewhere.path().to_owned()))
                    .unwrap()
                    .dataset
                    .samples
                    .len(),
                1
            );
            let error = read(layout("nowhere".into())).unwrap_err().to_string();
            assert!(
                error.contains("a.png is not in nowhere, the folder that --images names"),
                "{error}"
            );
        }
    }
}
