//! Picture files with their captions, without the pictures: read and written in every [`Format`].

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::dataset::{DataError, Problem};
use super::formats::{self, Encoded, Format, Layout};
use crate::atomic_file;

/// A picture file with its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captioned {
    pub picture: PathBuf,
    pub caption: String,
}

impl Captioned {
    /// Reads which captions a file gives to which picture files, of several to one the first; pictures themselves are not opened. What
    /// cannot be used is listed, as are pictures that are in the file itself.
    pub fn read(path: &Path, layout: &Layout) -> Result<(Vec<Captioned>, Vec<Problem>), DataError> {
        Ok(Captioned::of(formats::read(path, layout)?.1))
    }

    /// The same of the bytes of a file; `path` tells its ending, what to name in messages and where pictures lie.
    pub fn parse(
        path: &Path,
        bytes: Vec<u8>,
        layout: &Layout,
    ) -> Result<(Vec<Captioned>, Vec<Problem>), DataError> {
        Ok(Captioned::of(formats::parse(path, bytes, layout)?.1))
    }

    fn of((raws, mut problems): formats::Rows) -> (Vec<Captioned>, Vec<Problem>) {
        let mut captioned = vec![];
        for raw in raws {
            match raw.image {
                Encoded::File(picture) => captioned.push(Captioned {
                    picture,
                    caption: raw.caption,
                }),
                Encoded::Base64(_) => {
                    let what = "the picture is in this file itself, so that no picture file is known to have this caption";
                    problems.push(Problem {
                        place: raw.place,
                        what: what.into(),
                    });
                }
            }
        }
        (captioned, problems)
    }

    /// The file with the caption of a picture alone: beside it, by the same name, ending in `.txt`.
    pub fn sidecar(picture: &Path) -> PathBuf {
        picture.with_extension("txt")
    }

    /// Writes captions such that [`Dataset::load`](super::Dataset::load) reads them again, and replaces what is there. Pictures are
    /// named as seen from the file's folder where they lie in it, else by their whole path. [`Format::Csv`] takes the pictures in;
    /// [`Format::Folder`] writes [`Captioned::sidecar`]s and no file `path`.
    ///
    /// # Errors
    /// A file that cannot be read or written, or a name that is not UTF-8; the message names it.
    pub fn write(path: &Path, format: Format, captioned: &[Captioned]) -> std::io::Result<()> {
        let named = |path: &Path, error: Error| {
            Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        if format == Format::Folder {
            return captioned
                .iter()
                .try_for_each(|Captioned { picture, caption }| {
                    let sidecar = Captioned::sidecar(picture);
                    atomic_file::write(&sidecar, format!("{caption}\n").as_bytes())
                        .map_err(|error| named(&sidecar, error))
                });
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = |picture: &Path| match picture.strip_prefix(folder).unwrap_or(picture).to_str() {
            // names in files have slashes on every system
            Some(name) => Ok(name.replace(std::path::MAIN_SEPARATOR, "/")),
            None => Err(Error::new(
                ErrorKind::InvalidData,
                format!(
                    "{}: its name is not UTF-8; give it another",
                    picture.display()
                ),
            )),
        };
        let names = captioned
            .iter()
            .map(|captioned| name(&captioned.picture))
            .collect::<Result<Vec<String>, Error>>()?;
        let rows = names.iter().zip(captioned);
        let bytes = match format {
            Format::Csv => {
                let inside = |(_, Captioned { picture, caption }): (&String, &Captioned)| {
                    let bytes = std::fs::read(picture).map_err(|error| named(picture, error))?;
                    Ok([STANDARD.encode(bytes), caption.clone()])
                };
                let Layout {
                    image_column,
                    caption_column,
                    ..
                } = Layout::default();
                table([image_column, caption_column], rows.map(inside))?
            }
            Format::Flickr => table(
                ["image".into(), "caption".into()],
                rows.map(|(name, row)| Ok([name.clone(), row.caption.clone()])),
            )?,
            Format::Jsonl => {
                let line = |(name, row): (&String, &Captioned)| {
                    format!("{}\n", json!({"image": name, "caption": row.caption}))
                };
                rows.map(line).collect::<String>().into_bytes()
            }
            Format::Coco => {
                let image = |(id, (name, row)): (usize, (&String, &Captioned))| {
                    let mut image = json!({"id": id + 1, "file_name": name});
                    if let Ok((width, height)) = image::image_dimensions(&row.picture) {
                        (image["width"], image["height"]) = (width.into(), height.into());
                    }
                    image
                };
                let annotation = |(id, row): (usize, &Captioned)| json!({"id": id + 1, "image_id": id + 1, "caption": row.caption});
                let images: Vec<_> = rows.enumerate().map(image).collect();
                let annotations: Vec<_> = captioned.iter().enumerate().map(annotation).collect();
                serde_json::to_vec_pretty(&json!({"images": images, "annotations": annotations}))?
            }
            Format::Folder => unreachable!("written above"),
        };
        atomic_file::write(path, &bytes).map_err(|error| named(path, error))
    }
}

/// A table of two columns as CSV.
fn table(
    header: [String; 2],
    rows: impl Iterator<Item = std::io::Result<[String; 2]>>,
) -> std::io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(vec![]);
    csv.write_record(header)?;
    for row in rows {
        csv.write_record(row?)?;
    }
    csv.into_inner().map_err(|error| error.into_error())
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressBar;

    use super::super::dataset::Dataset;
    use super::super::formats::tests::png;
    use super::*;

    const CAPTIONS: [&str; 3] = ["a red one", "a \"darker\" one, with a comma", "zwölf Rote"];

    /// A folder with three pictures, one of them in a folder of its own.
    fn pictures() -> (tempfile::TempDir, Vec<Captioned>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        let row = |(name, caption): (&str, &str)| {
            let picture = dir.path().join(name);
            std::fs::write(&picture, png(name.len() as u8)).unwrap();
            Captioned {
                picture,
                caption: caption.into(),
            }
        };
        let rows = ["a.png", "be.PNG", "in/see.png"]
            .into_iter()
            .zip(CAPTIONS)
            .map(row)
            .collect();
        (dir, rows)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (dir, rows) = pictures();
        for (name, format) in [
            ("all.jsonl", Format::Jsonl),
            ("all.json", Format::Coco),
            ("all.csv", Format::Flickr),
            ("inside.csv", Format::Csv),
        ] {
            let path = dir.path().join(name);
            Captioned::write(&path, format, &rows).unwrap();
            let (read, problems) = Captioned::read(&path, &Layout::default()).unwrap();
            if format == Format::Csv {
                assert!(
                    read.is_empty()
                        && problems.len() == 3
                        && problems[2].to_string().contains("row 4"),
                    "{problems:?}"
                );
            } else {
                assert_eq!((read, problems), (rows.clone(), vec![]), "{name}");
            }
            let loaded =
                Dataset::load(&path, 4, &Layout::default(), true, &ProgressBar::hidden()).unwrap();
            let captions: Vec<&str> = loaded
                .dataset
                .samples
                .iter()
                .map(|sample| sample.caption.as_str())
                .collect();
            assert_eq!(captions, CAPTIONS, "{name}");
        }
        let text = std::fs::read_to_string(dir.path().join("all.json")).unwrap();
        assert!(
            text.contains("\"width\": 6") && text.contains("\"height\": 4"),
            "{text}"
        );
    }

    #[test]
    fn pictures_elsewhere_are_named_by_their_paths() {
        let (_dir, rows) = pictures();
        let other = tempfile::tempdir().unwrap();
        let path = other.path().join("all.jsonl");
        Captioned::write(&path, Format::Jsonl, &rows).unwrap();
        assert_eq!(Captioned::read(&path, &Layout::default()).unwrap().0, rows);
    }

    #[test]
    fn sidecars_lie_beside_the_pictures() {
        let (dir, rows) = pictures();
        Captioned::write(dir.path(), Format::Folder, &rows).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("in/see.txt")).unwrap(),
            "zwölf Rote\n"
        );
        assert_eq!(
            Captioned::read(dir.path(), &Layout::default()).unwrap().0,
            rows[..2]
        );
    }

    #[test]
    fn what_cannot_be_written_is_named_and_what_was_there_stays() {
        let (dir, mut rows) = pictures();
        let path = dir.path().join("all.csv");
        std::fs::write(&path, "before").unwrap();
        rows[1].picture = dir.path().join("gone.png");
        let error = Captioned::write(&path, Format::Csv, &rows)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("gone.png") && std::fs::read_to_string(&path).unwrap() == "before",
            "{error}"
        );
        let error = Captioned::write(&dir.path().join("no/where.csv"), Format::Flickr, &rows)
            .unwrap_err()
            .to_string();
        assert!(error.contains("where.csv"), "{error}");
    }
}
