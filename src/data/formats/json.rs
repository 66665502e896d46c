//! JSON lists of entries, lists inside an object, and objects that map names to captions. Entries
//! are those of JSON Lines: also conversations of LLaVA and messages of chat models.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::error::{DataError, Problem};
use super::super::record::Record;
use super::entry::{Entries, is_entry};
use super::jsonl::entry;
use super::layout::Layout;
use super::{Definition, Input, Rows, coco, json_stream, picture_names, save};

pub const DEFINITION: Definition = Definition {
    name: "json",
    description: "JSON lists, as of LLaVA",
    detect,
    read,
    write: Some(write),
};

/// Keys of lists of entries.
const LISTS: [&str; 7] = [
    "data",
    "annotations",
    "entries",
    "items",
    "rows",
    "samples",
    "records",
];

fn detect(input: &Input) -> bool {
    let list = input.text().trim_ascii_start().strip_prefix(b"[");
    let of_objects = || list.is_some_and(|list| list.trim_ascii_start().starts_with(b"{"));
    match input.is_json() {
        true => list.is_some() || !coco::has_images(input),
        false => input.is_text() && of_objects(),
    }
}

fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let (name, body) = (input.name(), input.text());
    let format_error = |what: String| DataError::Format {
        path: name.clone(),
        what,
    };
    if body.trim_ascii().is_empty() {
        return Err(format_error("is empty".into()));
    }
    let list = body.trim_ascii_start().starts_with(b"[");
    let keys = if list {
        vec![]
    } else {
        json_stream::keys(body)
    };
    let member = LISTS
        .iter()
        .find(|list| keys.iter().any(|key| key == *list));
    let (values, error) = match (list, member) {
        (true, _) => json_stream::elements(body),
        (false, Some(member)) => json_stream::elements_of(body, member),
        (false, None) => {
            let object: Map<String, Value> = serde_json::from_slice(body)
                .map_err(|error| format_error(format!("is not valid JSON: {error}")))?;
            if is_entry(&keys) {
                (vec![Value::Object(object)], None)
            } else if object.values().all(is_list_of_objects) {
                (object.into_iter().flat_map(of_split).collect(), None)
            } else {
                (object.into_iter().map(named).collect(), None)
            }
        }
    };
    if let (Some(error), true) = (&error, values.is_empty()) {
        return Err(format_error(format!("is not a list of entries: {error}")));
    }
    let mut entries = Entries::new(input, layout);
    for (value, number) in values.iter().zip(1..) {
        entries.add(&format!("{name} entry {number}"), value);
    }
    if let Some(error) = error {
        let place = format!("{name} line {}", error.line());
        let what = format!("{error}; nothing after it is read");
        entries.problem(Problem::new(place, what));
    }
    entries.finish()
}

fn is_list_of_objects(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|list| list.iter().all(Value::is_object))
}

/// The entries of a list under the name of their part of the data set.
fn of_split((split, list): (String, Value)) -> Vec<Value> {
    let Value::Array(mut list) = list else {
        return vec![];
    };
    for entry in list.iter_mut().filter_map(Value::as_object_mut) {
        entry.entry("split").or_insert_with(|| split.clone().into());
    }
    list
}

/// Makes an entry of a picture's name and its captions or its description.
fn named((name, value): (String, Value)) -> Value {
    match value {
        Value::Object(mut object) => {
            object.insert("image".into(), name.into());
            Value::Object(object)
        }
        captions => json!({"image": name, "captions": captions}),
    }
}

fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let names = picture_names(path, records)?;
    let list: Vec<Value> = names
        .iter()
        .zip(records)
        .map(|(name, record)| entry(name, record))
        .collect();
    let bytes = serde_json::to_vec_pretty(&list).expect("names and captions are plain data");
    save(path, &bytes)?;
    Ok(vec![])
}

#[cfg(test)]
mod tests {
    use super::super::super::Loaded;
    use super::super::super::testing::{lines, load, png, written};
    use super::super::{Format, Layout, read};

    #[test]
    fn reads_lists_members_and_maps() {
        let cases = [
            r#"[{"image": "a.png", "caption": "one"}, {"image": "b.png", "caption": "two"}]"#,
            r#"{"data": [{"image": "a.png", "caption": "one"}, {"image": "b.png", "caption": "two"}]}"#,
            r#"{"info": {}, "annotations": [{"image": "a.png", "caption": "one"}, {"image": "b.png", "caption": "two"}]}"#,
            r#"{"a.png": "one", "b.png": ["two"]}"#,
            r#"{"train": [{"image": "a.png", "caption": "one"}], "val": [{"image": "b.png", "caption": "two"}]}"#,
            r#"[{"image": "a.png", "caption": "one", "score": NaN, "text": "NaN"}, {"image": "b.png", "caption": "two", "x": -Infinity}]"#,
            r#"{"in/a": {"caption": "one"}, "b": {"caption": "two", "train_resolution": [1, 2]}}"#,
            "[{\"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"?\"}, {\"from\": \"gpt\", \"value\": \"one\"}]},\n {\"image\": \"b.png\", \"conversations\": [{\"role\": \"user\", \"content\": \"?\"}, {\"role\": \"assistant\", \"content\": \"two\"}]}]",
        ];
        for text in cases {
            for name in ["list.json", "list"] {
                let (dir, path) = written(name, text);
                std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
                std::fs::write(dir.path().join("b.png"), png(2)).unwrap();
                let format = read(&path, &Layout::default()).unwrap().0;
                assert_eq!(format, Format::Json, "{text}");
                let Loaded { dataset, .. } = load(&path, true).unwrap();
                let mut all: Vec<_> = dataset
                    .samples
                    .iter()
                    .map(|it| (it.rgb[0], &it.caption[..]))
                    .collect();
                all.sort();
                assert_eq!(all, [(1, "one"), (2, "two")], "{text}");
            }
        }
    }

    #[test]
    fn bad_entries_and_a_cut_off_end_cost_nothing_else() {
        let text = "[{\"image\": \"a.png\", \"caption\": \"one\"},\n 7, {\"image\": \"a.png\"},\n {\"image\": \"a.png\", \"caption\": \"three\"},\n {\"image\": \"a.p";
        let (dir, path) = written("list.json", text);
        std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
        assert_eq!(dataset.samples.len(), 2);
        let text = lines(&problems);
        for wanted in [
            "entry 2: an entry must be an object",
            "entry 3: it has no caption",
            "line 4: EOF while parsing",
        ] {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        for (text, wanted) in [
            ("", "is empty"),
            ("{\"a\": 1", "not valid JSON"),
            ("[", "not a list of entries"),
        ] {
            let (_dir, path) = written("list.json", text);
            let error = load(&path, false).unwrap_err().to_string();
            assert!(
                error.contains("list.json") && error.contains(wanted),
                "{error}"
            );
        }
    }
}
