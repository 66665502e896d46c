//! Karpathy's splits of Flickr8k, Flickr30k and COCO (Karpathy & Fei-Fei 2015, arXiv:1412.2306):
//! `{"images": [{"filename", "split", "sentences": [{"raw"}]}]}`.

use std::path::Path;

use serde_json::{Value, json};

use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record, caption_text};
use super::coco::identifier;
use super::columns;
use super::entry::text_in;
use super::json_stream;
use super::layout::{Layout, Setting, Splits};
use super::picture_files::Pictures;
use super::{Definition, Input, Rows, picture_names, save};

pub const DEFINITION: Definition = Definition {
    name: "karpathy",
    description: "Karpathy's splits",
    detect: |input| {
        input.is_json()
            && holds(input.text(), b"\"sentences\"")
            && holds(input.text(), b"\"images\"")
    },
    read,
    write: Some(write),
};

/// Number of bytes that tell the format.
const LOOKED_AT: usize = 1 << 20;

/// Whether a text contains a word near its start.
fn holds(text: &[u8], word: &[u8]) -> bool {
    let start = &text[..text.len().min(LOOKED_AT)];
    start.windows(word.len()).any(|part| part == word)
}

/// Returns a record for each image, with all its sentences.
fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let name = input.name();
    let given = layout.image_column.clone();
    let image = given.unwrap_or_else(|| "filename".to_owned());
    let caption = layout.caption_column.clone();
    let sentences = caption.clone().unwrap_or_else(|| "sentences".to_owned());
    let fields = [
        "filepath",
        &image,
        columns::SPLIT,
        &sentences,
        "cocoid",
        "imgid",
        "file_name",
    ];
    let fields = fields.map(str::to_owned);
    let mut found = [("images", &fields[..], None)];
    let format_error = |what: String| DataError::Format {
        path: name.clone(),
        what,
    };
    json_stream::lists(input.text(), &mut found)
        .map_err(|error| format_error(format!("is not an object with `images`: {error}")))?;
    let [(_, _, images)] = found;
    let images = images.ok_or_else(|| format_error("has no `images`".into()))?;
    let mut rows = Rows::default();
    let (mut pictures, mut splits) = (Pictures::new(input.path, layout), Splits::new(layout));
    for (image, number) in images.into_iter().zip(1..) {
        let place = format!("{name} image entry {number}");
        let mut problem = |what: &str| rows.problems.push(Problem::new(&place, what));
        let Some(image) = image else {
            problem("it is no object");
            continue;
        };
        if !splits.take(image[2].as_ref().and_then(Value::as_str)) {
            continue;
        }
        let text = |field: usize| image[field].as_ref().and_then(Value::as_str);
        let Some(file) = text(1).or(text(6)) else {
            problem("it has no `filename`");
            continue;
        };
        let sentences: Vec<String> = match &image[3] {
            Some(Value::Array(list)) => list.iter().filter_map(text_in).collect(),
            Some(other) => text_in(other).into_iter().collect(),
            None => vec![],
        };
        let captions: Vec<String> = sentences
            .iter()
            .filter_map(|text| caption_text(text))
            .collect();
        if captions.is_empty() {
            problem("it has no sentences");
            continue;
        }
        if captions.len() < sentences.len() {
            problem("one of its sentences is empty");
        }
        // the folder is that of COCO, which others may lack
        let below = text(0).filter(|folder| !folder.is_empty());
        let file = below.map_or(file.to_owned(), |folder| format!("{folder}/{file}"));
        match pictures.find(&place, &file) {
            Ok(found) => rows.records.push(Record {
                image_id: [4, 5]
                    .iter()
                    .find_map(|&field| identifier(image[field].as_ref()?)),
                ..Record::new(place.clone(), place, Encoded::File(found), captions)
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

/// Writes one part, `train`.
fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let names = picture_names(path, records)?;
    let mut sentence = 0;
    let image = |(number, (name, record)): (usize, (&String, &Record))| {
        let sentences: Vec<Value> = record
            .captions()
            .map(|caption| {
                sentence += 1;
                let tokens: Vec<&str> = caption.split_whitespace().collect();
                json!({"raw": caption, "tokens": tokens, "imgid": number, "sentid": sentence - 1})
            })
            .collect();
        let ids: Vec<&Value> = sentences
            .iter()
            .map(|sentence| &sentence["sentid"])
            .collect();
        json!({"filename": name, "imgid": number, "split": "train", "sentids": ids, "sentences": sentences})
    };
    let images: Vec<Value> = names.iter().zip(records).enumerate().map(image).collect();
    let body = json!({"images": images, "dataset": "seemore"});
    let bytes = serde_json::to_vec_pretty(&body).expect("names and captions are plain data");
    save(path, &bytes)?;
    Ok(super::without_concepts(records))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{lines, png, written};
    use super::super::super::{Dataset, Layout, Loaded};
    use crate::progress::Silent;

    #[test]
    fn reads_all_parts_or_those_that_are_named() {
        let text = r#"{"images": [
            {"filename": "a.png", "filepath": "val2014", "imgid": 0, "cocoid": 42, "split": "train", "sentences": [{"raw": "one", "tokens": ["one"]}, {"tokens": ["1", "2"]}]},
            {"filename": "b.png", "imgid": 1, "split": "restval", "sentences": [{"raw": "two"}, {"raw": " "}]},
            {"filename": "a.png", "imgid": 2, "split": "test", "sentences": []}, 5,
            {"filename": "lost.png", "imgid": 3, "split": "val", "sentences": [{"raw": "x"}]}], "dataset": "x"}"#;
        let (dir, path) = written("dataset_flickr8k.json", text);
        std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
        std::fs::write(dir.path().join("b.png"), png(2)).unwrap();
        let read = |splits: &[&str]| {
            let layout = Layout {
                splits: splits.iter().map(|split| split.to_string()).collect(),
                ..Layout::default()
            };
            Dataset::load(&path, 4, &layout, false, &Silent)
        };
        let Loaded {
            dataset,
            problems,
            notes,
        } = read(&[]).unwrap();
        assert_eq!(dataset.samples.len(), 2);
        assert_eq!(dataset.samples[0].others, ["1 2"]);
        assert_eq!(dataset.samples[0].image_id.as_deref(), Some("42"));
        let text = lines(&problems);
        for wanted in [
            "entry 2: one of its sentences is empty",
            "entry 3: it has no sentences",
            "entry 4: it is no object",
            "lost.png does not exist",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert!(
            notes.iter().any(
                |note| note.ends_with("parts: restval 1, test 1, train 1, val 1; all are read")
            ),
            "{notes:?}"
        );
        let parts = read(&["train", "restval"]).unwrap();
        assert_eq!((parts.dataset.samples.len(), parts.problems.len()), (2, 2));
        assert_eq!(
            read(&["restval"]).unwrap().dataset.samples[0].caption,
            "two"
        );
        assert!(read(&["dev"]).is_err());
        let error = read(&["minival"]).unwrap_err().to_string();
        assert!(error.contains("no part `minival`"), "{error}");
    }
}
