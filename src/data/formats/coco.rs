//! COCO captions (Chen et al. 2015, arXiv:1504.00325):
//! `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record, caption_text};
use super::columns;
use super::entry::text_in;
use super::json_stream::{self, Fields};
use super::layout::{Layout, Setting, Splits};
use super::picture_files::Pictures;
use super::{Definition, Input, Rows, picture_names, save};

pub const DEFINITION: Definition = Definition {
    name: "coco",
    description: "COCO captions",
    detect: |input| input.is_json(),
    read,
    write: Some(write),
};

/// Whether an object has `images`.
pub fn has_images(input: &Input) -> bool {
    json_stream::keys(input.text())
        .iter()
        .any(|key| key == "images")
}

/// Returns the identifier of an image in the one form in which identifiers are compared: numbers
/// and texts of the same digits are equal, with or without leading zeros.
pub fn identifier(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.to_string(),
            // tables of Python turn whole numbers into these
            (None, Some(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
                (number as i64).to_string()
            }
            _ => number.to_string(),
        },
        _ => return None,
    };
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    let digits = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    Some(match digits {
        true => match whole.trim_start_matches('0') {
            "" => "0".to_owned(),
            rest => rest.to_owned(),
        },
        false => text,
    })
    .filter(|text| !text.is_empty())
}

/// Returns the names of fields to read: the given one, else the usual ones.
fn names(given: &Option<String>, usual: &[&str]) -> Vec<String> {
    match given {
        Some(given) => vec![given.clone()],
        None => usual.iter().map(|name| name.to_string()).collect(),
    }
}

/// Returns a record for each image that has captions, in the order of `images`. Annotations of
/// other kinds, such as boxes, are passed over.
fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let (name, body) = (input.name(), input.text());
    let format_error = |what: String| DataError::Format {
        path: name.clone(),
        what,
    };
    let mut image_fields = vec!["id".to_owned(), columns::SPLIT.to_owned()];
    let usual = columns::IMAGES.iter().filter(|name| **name != "image_id");
    let usual: Vec<&str> = usual.copied().collect();
    // the name of COCO's own files comes first
    image_fields.extend(names(
        &layout.image_column,
        &[&["file_name"], &usual[..]].concat(),
    ));
    let mut annotation_fields = vec!["image_id".to_owned()];
    annotation_fields.extend(names(&layout.caption_column, &columns::CAPTIONS));
    let mut found = [
        ("images", &image_fields[..], None),
        ("annotations", &annotation_fields[..], None),
    ];
    let wanted = "is not an object with `images` and `annotations` (COCO captions)";
    json_stream::lists(body, &mut found)
        .map_err(|error| format_error(format!("{wanted}: {error}")))?;
    let [(_, _, images), (_, _, annotations)] = found;
    let missing = |field: &str| format_error(format!("{wanted}: missing field `{field}`"));
    let images: Vec<Fields> = images.ok_or_else(|| missing("images"))?;
    let annotations: Vec<Fields> = annotations.ok_or_else(|| missing("annotations"))?;

    let mut rows = Rows::default();
    // captions of each image by its identifier; those of unknown images are found out at once
    let mut captions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for image in images.iter().flatten() {
        if let Some(id) = image[0].as_ref().and_then(identifier) {
            captions.insert(id, vec![]);
        }
    }
    let (all, mut others) = (annotations.len(), 0);
    for (annotation, number) in annotations.into_iter().zip(1..) {
        let place = format!("{name} annotation {number}");
        let mut problem = |what: String| rows.problems.push(Problem::new(&place, what));
        let Some(annotation) = annotation else {
            problem("it is no object".into());
            continue;
        };
        let values = annotation[1..].iter().flatten();
        let Some(value) = values.into_iter().find(|value| !value.is_null()) else {
            // a box or an outline
            match annotation[1..].iter().any(Option::is_some) {
                true => problem("its caption is empty".into()),
                false => others += 1,
            }
            continue;
        };
        let Some(image) = annotation[0].as_ref().and_then(identifier) else {
            problem("it has no `image_id`".into());
            continue;
        };
        let Some(text) = text_in(value) else {
            problem(format!("the caption of image {image} is no text"));
            continue;
        };
        match (captions.get_mut(&image), caption_text(&text)) {
            (None, _) => problem(format!(
                "it refers to image {image}, which is not among the `images`"
            )),
            (Some(_), None) => problem(format!("the caption of image {image} is empty")),
            (Some(captions), Some(caption)) => captions.push(caption),
        }
    }
    if all > 0 && others == all {
        let what = match &layout.caption_column {
            Some(column) => format!("has no annotation with the field `{column}`"),
            None => {
                "has annotations without captions: use one of COCO's captions_*.json files".into()
            }
        };
        return Err(format_error(what));
    }
    if others > 0 {
        rows.notes.push(format!(
            "{others} annotations without a caption are passed over"
        ));
    }

    let mut pictures = Pictures::new(input.path, layout);
    let mut splits = Splits::new(layout);
    for (image, number) in images.into_iter().zip(1..) {
        let entry = format!("{name} image entry {number}");
        let mut problem = |place: &str, what: &str| rows.problems.push(Problem::new(place, what));
        let Some(image) = image else {
            problem(&entry, "it is no object");
            continue;
        };
        let Some(id) = image[0].as_ref().and_then(identifier) else {
            problem(&entry, "it has no `id`");
            continue;
        };
        let place = format!("{name} image {id}");
        let Some(captions) = captions.remove(&id) else {
            problem(&place, "an earlier image has the same id");
            continue;
        };
        if !splits.take(image[1].as_ref().and_then(Value::as_str)) {
            continue;
        }
        if captions.is_empty() {
            problem(&place, "it has no caption among the `annotations`");
            continue;
        }
        let mut values = image[2..].iter().flatten();
        let Some(file) = values.find_map(Value::as_str) else {
            problem(&place, "it has no `file_name`");
            continue;
        };
        match pictures.find(&place, file) {
            Ok(file) => rows.records.push(Record {
                image_id: Some(id),
                ..Record::new(place.clone(), place, Encoded::File(file), captions)
            }),
            Err(found) => rows.problems.push(found),
        }
    }
    pictures.finish(&mut rows.used, &mut rows.notes);
    rows.used
        .extend([Setting::ImageColumn, Setting::CaptionColumn]);
    splits.finish(&name, &mut rows)?;
    Ok(rows)
}

fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let names = picture_names(path, records)?;
    let (mut images, mut annotations) = (vec![], vec![]);
    for (name, record) in names.iter().zip(records) {
        let id = images.len() + 1;
        let mut image = json!({"id": id, "file_name": name});
        if let Encoded::File(file) = &record.image
            && let Ok((width, height)) = image::image_dimensions(file)
        {
            (image["width"], image["height"]) = (width.into(), height.into());
        }
        images.push(image);
        for caption in record.captions() {
            let number = annotations.len() + 1;
            annotations.push(json!({"id": number, "image_id": id, "caption": caption}));
        }
    }
    let body = json!({"images": images, "annotations": annotations});
    let bytes = serde_json::to_vec_pretty(&body).expect("names and captions are plain data");
    save(path, &bytes)?;
    Ok(super::without_concepts(records))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{lines, load, png, written};
    use super::super::super::{Dataset, Layout, Loaded};
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
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
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

    #[test]
    fn identifiers_match_as_numbers_or_texts() {
        let text = r#"{"images": [{"id": 1, "file_name": "a.png"}, {"id": "0002", "filename": "in\\b.png"}, {"id": 3.0, "file_name": "c.png"}, 7, {"file_name": "d.png"}, {"id": 5}],
            "annotations": [{"image_id": "1", "caption": "one"}, {"image_id": 2, "caption": "two"}, {"image_id": "3", "caption": "three"},
                {"image_id": 1, "bbox": [1, 2, 3, 4], "segmentation": [[1.5]]}, "x", {"caption": "none"}, {"image_id": 2, "caption": 7}, {"image_id": 5, "caption": "five"}]}"#;
        let (dir, path) = written("mixed.json", text);
        for (name, shade) in [("a.png", 1), ("b.png", 2), ("c.png", 3)] {
            std::fs::write(dir.path().join(name), png(shade)).unwrap();
        }
        let Loaded {
            dataset,
            problems,
            notes,
        } = load(&path, false).unwrap();
        let all: Vec<_> = dataset
            .samples
            .iter()
            .map(|sample| {
                (
                    sample.rgb[0],
                    &sample.caption[..],
                    sample.image_id.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            all,
            [
                (1, "one", Some("1")),
                (2, "two", Some("2")),
                (3, "three", Some("3"))
            ]
        );
        let text = lines(&problems);
        for wanted in [
            "annotation 5: it is no object",
            "annotation 6: it has no `image_id`",
            "annotation 7: the caption of image 2 is no text",
            "image entry 4: it is no object",
            "image entry 5: it has no `id`",
            "image 5: it has no `file_name`",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert_eq!(problems.len(), 6, "{text}");
        assert!(
            notes[0].ends_with("1 annotations without a caption are passed over"),
            "{notes:?}"
        );
    }

    #[test]
    fn fields_can_be_named() {
        let text = r#"{"images": [{"id": 1, "file_name": "lost.png", "local": "a.png"}], "annotations": [{"image_id": 1, "caption": "no", "de": "ja"}]}"#;
        let (dir, path) = written("mixed.json", text);
        std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
        let layout = |caption: &str| Layout {
            image_column: Some("local".into()),
            caption_column: Some(caption.into()),
            ..Layout::default()
        };
        let read = |caption: &str| Dataset::load(&path, 4, &layout(caption), true, &Silent);
        assert_eq!(read("de").unwrap().dataset.samples[0].caption, "ja");
        let error = read("fr").unwrap_err().to_string();
        assert!(
            error.contains("no annotation with the field `fr`"),
            "{error}"
        );
    }
}
