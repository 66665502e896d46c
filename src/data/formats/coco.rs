//! COCO captions (Chen et al. 2015, arXiv:1504.00325):
//! `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

use serde_json::json;

use super::super::captioned::Captioned;
use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record};
use super::picture_files::{find, parent};
use super::{Definition, Input, Layout, Rows, picture_names, save};

pub const DEFINITION: Definition = Definition {
    description: "COCO captions",
    detect: |input| input.is_json(),
    read,
    write,
};

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

/// Identifier of an image: a number in COCO itself, text in files of some other tools.
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

/// Returns a record for each image that has captions, in the order of `images`. `file_name` is
/// relative to the folder of the layout, or of the JSON file.
fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let (name, body) = (input.name(), input.text());
    let format_error = |what: String| DataError::Format {
        path: name.clone(),
        what,
    };
    if body.trim_ascii_start().starts_with(b"[") {
        let what = "is a JSON list, not an object with `images` and `annotations` (COCO captions): write its objects into a .jsonl file, one per line";
        return Err(format_error(what.into()));
    }
    let Captions {
        images,
        annotations,
    } = serde_json::from_slice(body).map_err(|error| {
        format_error(format!(
            "is not an object with `images` and `annotations` (COCO captions): {error}"
        ))
    })?;
    if !annotations.is_empty()
        && annotations
            .iter()
            .all(|annotation| annotation.caption.is_none())
    {
        return Err(format_error(
            "has annotations without captions: use one of COCO's captions_*.json files".into(),
        ));
    }
    let mut problems = vec![];
    let mut captions: BTreeMap<&Id, Vec<String>> =
        images.iter().map(|image| (&image.id, vec![])).collect();
    for (index, Annotation { image_id, caption }) in annotations.into_iter().enumerate() {
        let mut problem = |what: String| {
            problems.push(Problem::new(
                format!("{name} annotation {}", index + 1),
                what,
            ))
        };
        let caption = caption.as_deref().unwrap_or_default().trim();
        match captions.get_mut(&image_id) {
            None => problem(format!(
                "it refers to image {image_id}, which is not among the `images`"
            )),
            Some(_) if caption.is_empty() => {
                problem(format!("the caption of image {image_id} is empty"))
            }
            Some(captions) => captions.push(caption.to_owned()),
        }
    }
    let beside = [parent(input.path)];
    let mut records = vec![];
    for Image { id, file_name } in &images {
        let place = format!("{name} image {id}");
        let mut captions = match captions.remove(id) {
            Some(captions) => captions.into_iter(),
            None => {
                problems.push(Problem::new(place, "an earlier image has the same id"));
                continue;
            }
        };
        let Some(caption) = captions.next() else {
            problems.push(Problem::new(
                place,
                "it has no caption among the `annotations`",
            ));
            continue;
        };
        match find(&place, file_name, layout, &beside) {
            Ok(file) => {
                let others = captions.collect();
                records.push(Record {
                    id: place.clone(),
                    place,
                    image: Encoded::File(file),
                    caption,
                    others,
                    concept: None,
                });
            }
            Err(problem) => problems.push(problem),
        }
    }
    Ok((records, problems))
}

fn write(path: &Path, rows: &[Captioned]) -> Result<(), DataError> {
    let names = picture_names(path, rows)?;
    let image = |(index, (name, row)): (usize, (&String, &Captioned))| {
        let mut image = json!({"id": index + 1, "file_name": name});
        if let Ok((width, height)) = image::image_dimensions(&row.picture) {
            (image["width"], image["height"]) = (width.into(), height.into());
        }
        image
    };
    let annotation = |(index, row): (usize, &Captioned)| json!({"id": index + 1, "image_id": index + 1, "caption": row.caption});
    let images: Vec<_> = names.iter().zip(rows).enumerate().map(image).collect();
    let annotations: Vec<_> = rows.iter().enumerate().map(annotation).collect();
    let body = json!({"images": images, "annotations": annotations});
    let bytes = serde_json::to_vec_pretty(&body).expect("names and captions are plain data");
    save(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{lines, load, png, written};
    use super::super::super::{Dataset, Loaded};
    use super::*;
    use crate::hint::{Hint, Hinted};
    use crate::progress::Silent;

    const CAPTIONS: &str = r#"{"info": {"year": 2017}, "licenses": [],
        "images": [{"id": 9, "file_name": "val/b.png", "height": 4}, {"id": 3, "file_name": "a.png"}, {"id": 5, "file_name": "lost.png"},
            {"id": "x", "file_name": "a.png"}, {"id": 3, "file_name": "a.png"}],
        "annotations": [{"image_id": 3, "id": 1, "caption": "one\n"}, {"image_id": 9, "id": 2, "caption": "two"},
            {"image_id": 3, "id": 3, "caption": "1"}, {"image_id": 77, "id": 4, "caption": "of nothing"},
            {"image_id": 9, "id": 5, "caption": " "}, {"image_id": 5, "id": 6, "caption": "lost"}]}"#;

    #[test]
    fn joins_captions_with_images() {
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
        let text = lines(&problems);
        for wanted in [
            "annotation 4: it refers to image 77, which is not among the `images`",
            "annotation 5: the caption of image 9 is empty",
            "image 5: its picture",
            "image x: it has no caption among the `annotations`",
            "image 3: an earlier image has the same id",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert_eq!(problems.len(), 5, "{text}");
        assert!(load(&path, true).is_err());

        // a folder of pictures, without the folders of the names
        let layout = Layout {
            images: Some(dir.path().join("val")),
            ..Layout::default()
        };
        let Loaded { dataset, .. } = Dataset::load(&path, 4, &layout, false, &Silent).unwrap();
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
    fn rejects_other_json() {
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
                "lost.png does not exist",
            ),
        ];
        for (text, wanted) in cases {
            let (_dir, path) = written("captions.json", text);
            let error = load(&path, false).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("captions.json") && message.contains(wanted),
                "{message}"
            );
            let lost = text.contains("lost.png");
            assert_eq!(error.hint(), lost.then_some(Hint::ImagesFolder));
        }
    }
}
