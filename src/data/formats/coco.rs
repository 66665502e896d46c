//! The captions of the COCO data set: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::super::dataset::{DataError, Problem};
use super::{Encoded, Layout, Raw, Rows, find, parent};

#[derive(Deserialize)]
struct Captions {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: Id,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: Id,
    caption: Option<String>,
}

/// A number in COCO itself; tools that write its form also take names.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Name(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Id::Number(number) => number.fmt(f),
            Id::Name(name) => name.fmt(f),
        }
    }
}

/// One sample an image that has captions, in the order of `images`. Their files lie beside the JSON file, or in its folders
/// as `file_name` says, or where the layout says.
pub fn read(path: &Path, body: &[u8], layout: &Layout) -> Result<Rows, DataError> {
    let name = path.display().to_string();
    let format_error = |what: String| DataError::Format {
        path: name.clone(),
        what,
    };
    if body.trim_ascii_start().starts_with(b"[") {
        let what = "is a JSON list, not an object with `images` and `annotations` (COCO captions): write its objects into a .jsonl file, one a line";
        return Err(format_error(what.into()));
    }
    let Captions {
        images,
        annotations,
    } = serde_json::from_slice(body).map_err(|error| {
        format_error(format!(
            "is not JSON with `images` and `annotations` as COCO's captions have them: {error}"
        ))
    })?;
    if !annotations.is_empty()
        && annotations
            .iter()
            .all(|annotation| annotation.caption.is_none())
    {
        return Err(format_error(
            "has annotations without captions: of COCO's files, take captions_*.json".into(),
        ));
    }
    let mut problems = vec![];
    let mut captions: BTreeMap<&Id, Vec<String>> =
        images.iter().map(|image| (&image.id, vec![])).collect();
    for (index, Annotation { image_id, caption }) in annotations.into_iter().enumerate() {
        let mut problem = |what: String| {
            problems.push(Problem {
                place: format!("{name} annotation {}", index + 1),
                what,
            })
        };
        let caption = caption.as_deref().unwrap_or_default().trim();
        match captions.get_mut(&image_id) {
            None => problem(format!(
                "it is of image {image_id}, which is not among the `images`"
            )),
            Some(_) if caption.is_empty() => {
                problem(format!("the caption of image {image_id} is empty"))
            }
            Some(captions) => captions.push(caption.to_owned()),
        }
    }
    let beside = [parent(path)];
    let mut raws = vec![];
    for Image { id, file_name } in &images {
        let place = format!("{name} image {id}");
        let mut captions = match captions.remove(id) {
            Some(captions) => captions.into_iter(),
            None => {
                problems.push(Problem {
                    place,
                    what: "an image before it has the same id".into(),
                });
                continue;
            }
        };
        let Some(caption) = captions.next() else {
            problems.push(Problem {
                place,
                what: "it has no caption among the `annotations`".into(),
            });
            continue;
        };
        match find(file_name, layout, &beside) {
            Ok(file) => {
                let others = captions.collect();
                raws.push(Raw {
                    id: place.clone(),
                    place,
                    image: Encoded::File(file),
                    caption,
                    others,
                    concept: None,
                });
            }
            Err(what) => problems.push(Problem { place, what }),
        }
    }
    Ok((raws, problems))
}

#[cfg(test)]
mod tests {
    use super::super::super::dataset::{Dataset, Loaded};
    use super::super::tests::{load, png, written};
    use super::*;

    const CAPTIONS: &str = r#"{"info": {"year": 2017}, "licenses": [],
        "images": [{"id": 9, "file_name": "val/b.png", "height": 4}, {"id": 3, "file_name": "a.png"}, {"id": 5, "file_name": "lost.png"},
            {"id": "x", "file_name": "a.png"}, {"id": 3, "file_name": "a.png"}],
        "annotations": [{"image_id": 3, "id": 1, "caption": "one\n"}, {"image_id": 9, "id": 2, "caption": "two"},
            {"image_id": 3, "id": 3, "caption": "1"}, {"image_id": 77, "id": 4, "caption": "of nothing"},
            {"image_id": 9, "id": 5, "caption": " "}, {"image_id": 5, "id": 6, "caption": "lost"}]}"#;

    #[test]
    fn captions_come_to_their_images() {
        let (dir, path) = written("captions.json", CAPTIONS);
        std::fs::create_dir(dir.path().join("val")).unwrap();
        std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
        std::fs::write(dir.path().join("val/b.png"), png(2)).unwrap();
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        let all: Vec<_> = dataset
            .samples
            .iter()
            .map(|sample| (sample.rgb[0], &sample.caption[..], sample.others.join("|")))
            .collect();
        assert_eq!(all, [(2, "two", String::new()), (1, "one", "1".into())]);
        assert!(
            dataset.samples[0].id.ends_with("captions.json image 9"),
            "{}",
            dataset.samples[0].id
        );
        let text = problems
            .iter()
            .map(Problem::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        for wanted in [
            "annotation 4: it is of image 77, which is not among the `images`",
            "annotation 5: the caption of image 9 is empty",
            "image 5: its picture",
            "image x: it has no caption among the `annotations`",
            "image 3: an image before it has the same id",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert_eq!(problems.len(), 5, "{text}");
        assert!(load(&path, true).is_err());

        // the images' folder by itself, without that which the names have
        let layout = Layout {
            images: Some(dir.path().join("val")),
            ..Layout::default()
        };
        let Loaded { dataset, .. } =
            Dataset::load(&path, 4, &layout, false, &indicatif::ProgressBar::hidden()).unwrap();
        assert_eq!(
            dataset
                .samples
                .iter()
                .map(|sample| &sample.caption[..])
                .collect::<Vec<_>>(),
            ["two"]
        );
    }

    #[test]
    fn other_json_says_what_is_wanted() {
        let cases = [
            ("{\n\"images\": [],\n}", "line 3"),
            ("[{\"image\": \"a.png\"}]", "a .jsonl file"),
            ("{\"images\": []}", "missing field `annotations`"),
            (
                r#"{"images": [], "annotations": [{"image_id": 1, "bbox": []}]}"#,
                "captions_*.json",
            ),
            (
                r#"{"images": [{"id": 1, "file_name": "lost.png"}], "annotations": [{"image_id": 1, "caption": "a"}]}"#,
                "lost.png is not there: give the folder",
            ),
        ];
        for (text, wanted) in cases {
            let (_dir, path) = written("captions.json", text);
            let error = load(&path, false).unwrap_err().to_string();
            assert!(
                error.contains("captions.json") && error.contains(wanted),
                "{error}"
            );
        }
    }
}
