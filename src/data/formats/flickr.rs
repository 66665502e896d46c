//! `captions.txt` of Flickr8k (Hodosh et al. 2013): a header `image,caption`, then a file name and
//! a caption on each row, several rows a picture.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::captioned::Captioned;
use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record};
use super::csv::table;
use super::picture_files::{find, is_picture, parent};
use super::row_numbers::RowNumbers;
use super::{Definition, Input, Layout, Rows, picture_names, read_file, save, without_mark};

pub const DEFINITION: Definition = Definition {
    description: "captions.txt of Flickr8k",
    detect,
    read,
    write,
};

/// Name of the caption file in an unpacked Flickr8k folder.
const CAPTIONS: &str = "captions.txt";

fn detect(input: &Input) -> bool {
    match input.body {
        Some(body) => has_header(body) && (input.extension == "txt" || names_pictures(body)),
        None => folder_text(input).is_ok_and(|body| has_header(&body)),
    }
}

/// Reads the caption file in a folder.
fn folder_text(input: &Input) -> Result<Vec<u8>, DataError> {
    let path = input.path.join(CAPTIONS);
    without_mark(&path, read_file(&path)?)
}

/// Whether the first line is `image,caption`, in either case.
fn has_header(bytes: &[u8]) -> bool {
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

/// Whether the second line starts with the name of a picture file. Base64, as in other CSV files,
/// contains no dot.
fn names_pictures(bytes: &[u8]) -> bool {
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

/// Returns a record for each picture, in the order of first rows. Pictures lie in the folder of the
/// layout, or beside the file, or in `Images` or `images` beside it.
fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    match input.body {
        Some(body) => read_rows(input.path, body, layout),
        None => read_rows(&input.path.join(CAPTIONS), &folder_text(input)?, layout),
    }
}

fn read_rows(path: &Path, body: &[u8], layout: &Layout) -> Result<Rows, DataError> {
    let name = path.display().to_string();
    let folder = parent(path);
    let beside = [folder.join("Images"), folder.join("images"), folder];
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .has_headers(false)
        .from_reader(body);
    let mut numbers = RowNumbers::new(body);
    let (mut records, mut problems): (Vec<Record>, Vec<Problem>) = (vec![], vec![]);
    // index of each picture's record; none for a missing picture, which is reported once
    let mut known: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (index, record) in reader.byte_records().enumerate() {
        let record = record.map_err(|error| DataError::Read {
            path: name.clone(),
            reason: error.to_string(),
        })?;
        let (row, _) = numbers.next(&record);
        if index == 0 {
            continue;
        }
        let id = format!("{name} row {row}");
        let problem = |what: &str| Problem::new(&id, what);
        let Ok(fields) = record
            .iter()
            .map(std::str::from_utf8)
            .collect::<Result<Vec<_>, _>>()
        else {
            problems.push(problem("it is not UTF-8 text: save the file as UTF-8"));
            continue;
        };
        // the caption is the last column, so further commas belong to it
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
            Some(&Some(index)) => records[index].others.push(caption),
            Some(None) => {}
            None => match find(&id, &file, layout, &beside) {
                Ok(found) => {
                    known.insert(file, Some(records.len()));
                    records.push(Record {
                        place: id.clone(),
                        id,
                        image: Encoded::File(found),
                        caption,
                        others: vec![],
                        concept: None,
                    });
                }
                Err(problem) => {
                    problems.push(problem);
                    known.insert(file, None);
                }
            },
        }
    }
    Ok((records, problems))
}

fn write(path: &Path, rows: &[Captioned]) -> Result<(), DataError> {
    let names = picture_names(path, rows)?;
    let rows = names.into_iter().zip(rows);
    let bytes = table(
        ["image".into(), "caption".into()],
        rows.map(|(name, row)| Ok([name, row.caption.clone()])),
    )?;
    save(path, &bytes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::super::testing::{lines, load, png, written};
    use super::super::super::{Dataset, Loaded};
    use super::*;
    use crate::hint::{Hint, Hinted};
    use crate::progress::Silent;

    const ROWS: &str = "image,caption\na.png,A red square .\na.png,\"Red, only red .\"\nlost.png,Nothing .\na.png,Red , with commas\nlost.png,Still nothing .\nb.png,Another .\na.png,\n,Lonely .\n";

    #[test]
    fn merges_rows_of_one_picture() {
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
            let text = lines(&problems);
            for wanted in [
                "row 4: its picture",
                "lost.png does not exist",
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
    fn finds_pictures_in_the_folder_of_the_layout() {
        let (dir, path) = written("captions.txt", ROWS);
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("a.png"), png(9)).unwrap();
        let error = load(&path, false).unwrap_err();
        assert!(error.to_string().contains("captions.txt"), "{error}");
        assert_eq!(error.hint(), Some(Hint::ImagesFolder));
        let layout = |images: PathBuf| Layout {
            images: Some(images),
            ..Layout::default()
        };
        for path in [path, dir.path().to_owned()] {
            let read = |layout| Dataset::load(&path, 4, &layout, false, &Silent);
            assert_eq!(
                read(layout(elsewhere.path().to_owned()))
                    .unwrap()
                    .dataset
                    .samples
                    .len(),
                1
            );
            let error = read(layout("nowhere".into())).unwrap_err().to_string();
            assert!(error.contains("a.png is not in nowhere"), "{error}");
        }
    }
}
