//! `captions.txt` of Flickr8k (Hodosh et al. 2013): a header `image,caption`, then a file name and
//! a caption on each row, several rows a picture.

use std::path::Path;

use super::super::error::DataError;
use super::super::record::Record;
use super::csv::encode;
use super::picture_files::is_picture;
use super::{Definition, Input, picture_names, save, table};

pub const DEFINITION: Definition = Definition {
    name: "csv",
    description: "captions.txt of Flickr8k",
    detect,
    // the caption is the last column, so further commas belong to it
    read: |input, layout| table::read(input, layout, true),
    write: Some(write),
};

fn detect(input: &Input) -> bool {
    input.is_text()
        && has_header(input.text())
        && (input.extension == "txt" || names_pictures(input.text()))
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

/// Names the pictures; a path that ends in `.tsv` has tabs.
fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let tabs = super::extension(path) == "tsv";
    let concepts = records.iter().any(|record| record.concept.is_some());
    let mut rows = vec![];
    for (name, record) in picture_names(path, records)?.into_iter().zip(records) {
        for caption in record.captions() {
            rows.push(match concepts {
                // captions stay the last column
                true => vec![
                    name.clone(),
                    record.concept.clone().unwrap_or_default(),
                    caption.to_owned(),
                ],
                false => vec![name.clone(), caption.to_owned()],
            });
        }
    }
    let header: &[&str] = match concepts {
        true => &["image", "concept", "caption"],
        false => &["image", "caption"],
    };
    save(
        path,
        &encode(if tabs { b'\t' } else { b',' }, header, &rows),
    )?;
    Ok(vec![])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::super::testing::{lines, load, png, written};
    use super::super::super::{Dataset, Layout, Loaded};
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
            let Loaded {
                dataset, problems, ..
            } = load(&path, false).unwrap();
            let [sample] = &dataset.samples[..] else {
                panic!("{dataset:?}")
            };
            assert!(sample.id.ends_with("captions.txt row 2") && sample.concept.is_none());
            assert_eq!(sample.caption, "A red square .");
            assert_eq!(sample.others, ["Red, only red .", "Red , with commas"]);
            let text = lines(&problems);
            for wanted in [
                "row 4, column image: its picture",
                "lost.png does not exist",
                "row 7, column image: ",
                "b.png: it is not a picture",
                "row 8, column caption: it is empty",
                "row 9, column image: it is empty",
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
