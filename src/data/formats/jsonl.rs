//! JSON Lines: `{"image": .., "caption": ..}` or `{"image": .., "captions": [..]}` on each line,
//! with an optional `concept`, or other words for them. `image` is a path, base64 or a data URL.

use std::path::Path;

use serde_json::{Value, json};

use super::super::error::{DataError, Problem};
use super::super::record::Record;
use super::entry::{Entries, is_entry};
use super::json_stream::keys;
use super::layout::Layout;
use super::{Definition, Input, Rows, picture_names, save};

pub const DEFINITION: Definition = Definition {
    name: "jsonl",
    description: "JSON Lines",
    detect,
    read,
    write: Some(write),
};

/// Returns the lines that are not blank with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    lines.filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// Recognizes the extension, or lines that are each an object, or a single line that is an entry.
fn detect(input: &Input) -> bool {
    if !input.is_text() || input.text().trim_ascii_start().starts_with(b"[") {
        return false;
    }
    if matches!(&input.extension[..], "jsonl" | "ndjson" | "jsonlines") {
        return true;
    }
    if !input.is_json() {
        return false;
    }
    const LOOKED_AT: usize = 20;
    let first: Vec<&[u8]> = lines(input.text())
        .take(LOOKED_AT)
        .map(|(_, line)| line.trim_ascii())
        .collect();
    match &first[..] {
        [] => false,
        [line] => line.starts_with(b"{") && is_entry(&keys(line)),
        // the last may be cut off
        lines => lines.iter().all(|line| line.starts_with(b"{")) && lines[0].ends_with(b"}"),
    }
}

fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let mut entries = Entries::new(input, layout);
    for (number, line) in lines(input.text()) {
        let id = format!("{} line {number}", input.name());
        match serde_json::from_slice::<Value>(line) {
            Ok(entry) => entries.add(&id, &entry),
            Err(error) => {
                // serde counts lines within this one
                let (text, column) = (error.to_string(), error.column());
                let reason = text.split(" at line ").next().unwrap_or(&text);
                entries.problem(Problem::new(
                    id,
                    format!("{reason} (column {column}); a line must be an object with `image` and `caption` or `captions`"),
                ));
            }
        }
    }
    entries.finish()
}

/// Returns the object that describes a picture.
pub fn entry(name: &str, record: &Record) -> Value {
    let mut entry = json!({"image": name});
    match record.others.is_empty() {
        true => entry["caption"] = record.caption.clone().into(),
        false => entry["captions"] = record.captions().collect(),
    }
    if let Some(concept) = &record.concept {
        entry["concept"] = concept.clone().into();
    }
    entry
}

fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let names = picture_names(path, records)?;
    let lines = names.iter().zip(records);
    let text: String = lines
        .map(|(name, record)| format!("{}\n", entry(name, record)))
        .collect();
    save(path, text.as_bytes())?;
    Ok(vec![])
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::super::super::Loaded;
    use super::super::super::testing::{lines, load, png, written};
    use crate::hint::Hint;

    #[test]
    fn reads_paths_base64_and_several_captions() {
        let (bare, url) = (
            STANDARD.encode(png(2)),
            format!("data:image/png;base64,{}", STANDARD.encode(png(3))),
        );
        let rows = [
            r#"{"image": "in/a.png", "caption": " one ", "concept": "number"}"#.to_owned(),
            String::new(),
            format!(r#"{{"captions": ["two", "", "2"], "image": "{bare}", "more": 1}}"#),
            format!(
                r#"{{"image": "{url}", "caption": "three", "captions": ["3"], "concept": ""}}"#
            ),
            r#"{"image": "ending", "caption": "four"}"#.to_owned(),
        ];
        let (dir, path) = written("lines.jsonl", rows.join("\r\n"));
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("in/a.png"), png(1)).unwrap();
        std::fs::write(dir.path().join("ending"), png(4)).unwrap();
        let Loaded {
            dataset, problems, ..
        } = load(&path, true).unwrap();
        assert!(problems.is_empty());
        let all: Vec<_> = dataset
            .samples
            .iter()
            .map(|s| {
                (
                    s.rgb[0],
                    &s.caption[..],
                    s.others.join("|"),
                    s.concept.as_deref(),
                )
            })
            .collect();
        let wanted = [
            (1, "one", "", Some("number")),
            (2, "two", "2", None),
            (3, "three", "3", None),
            (4, "four", "", None),
        ];
        assert_eq!(
            all,
            wanted.map(|(shade, caption, others, concept)| (
                shade,
                caption,
                others.to_owned(),
                concept
            ))
        );
        assert!(
            dataset.samples[1].id.ends_with("lines.jsonl line 3"),
            "{}",
            dataset.samples[1].id
        );
    }

    #[test]
    fn reports_bad_lines_by_number() {
        let good = format!(
            r#"{{"image": "{}", "caption": "fine"}}"#,
            STANDARD.encode(png(1))
        );
        let bad = [
            (
                r#"{"image": "a.png", "caption": }"#,
                "line 2: expected value (column 31); a line must be an object",
            ),
            (r#"["a.png", "b"]"#, "line 3: a line must be an object"),
            (r#"{"caption": "b"}"#, "line 4: missing field `image`"),
            (
                r#"{"image": "a.png"}"#,
                "line 5: it has no caption: add `caption` or `captions`",
            ),
            (
                r#"{"image": "a.png", "captions": []}"#,
                "line 6: it has no caption: add `caption` or `captions`",
            ),
            (
                r#"{"image": "a.png", "captions": [" "]}"#,
                "line 7: the caption is empty",
            ),
            (
                r#"{"image": "a.png", "caption": "b"}"#,
                "line 8: its picture ",
            ),
            (
                r#"{"image": "@@", "caption": "b"}"#,
                "line 9, `image`: `@@` is neither a picture's name nor base64",
            ),
            (
                r#"{"image": "", "caption": "b"}"#,
                "line 10: `image` is empty",
            ),
            (
                r#"{"image": "AAAA", "caption": "b"}"#,
                "line 11, `image`: it is not a picture",
            ),
            (
                r#"{"image": "3.png", "caption": "b"}"#,
                "line 12: its picture ",
            ),
        ];
        let rows: Vec<&str> = std::iter::once(&good[..])
            .chain(bad.iter().map(|(line, _)| *line))
            .collect();
        let (_dir, path) = written("lines.jsonl", rows.join("\n"));
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
        assert_eq!((dataset.samples.len(), problems.len()), (1, bad.len()));
        let text = lines(&problems);
        for (_, wanted) in bad {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert!(text.contains("a.png does not exist"), "{text}");
        let hints: Vec<_> = problems.iter().filter_map(|it| it.hint.clone()).collect();
        assert_eq!(hints, [Hint::ImagesFolder, Hint::ImagesFolder]);
    }

    #[test]
    fn reads_other_words_and_conversations() {
        let cases = [
            r#"{"file_name": "a.png", "text": "one"}"#,
            r#"{"FilePath": "in\\a.png", "Description": "one"}"#,
            r#"{"id": "a", "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "one"}]}"#,
            r#"{"images": ["a.png"], "messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "one"}]}"#,
            r#"{"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]}, {"role": "assistant", "content": [{"type": "text", "text": "one"}]}]}"#,
            r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}, {"role": "assistant", "content": "one"}]}"#,
            r#"{"image": {"path": "a.png", "bytes": null}, "sentences": [{"raw": "one"}]}"#,
            r#"{"query": "<image>What?", "response": "one", "images": ["a.png"]}"#,
            r#"{"image_id": "a", "caption_str": "one"}"#,
        ];
        for line in cases {
            let (dir, path) = written("lines.jsonl", line);
            std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
            let Loaded { dataset, .. } =
                load(&path, true).unwrap_or_else(|error| panic!("{line}: {error}"));
            let sample = &dataset.samples[0];
            assert_eq!((sample.rgb[0], &sample.caption[..]), (1, "one"), "{line}");
        }
        let several = r#"{"image": "a.png", "conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "<image>\n1"}, {"from": "gpt", "value": "one"}, {"from": "human", "value": "2"}, {"from": "gpt", "value": "two"}]}"#;
        let (dir, path) = written("lines.jsonl", several);
        std::fs::write(dir.path().join("a.png"), png(1)).unwrap();
        let Loaded { dataset, notes, .. } = load(&path, true).unwrap();
        assert_eq!(dataset.samples[0].caption, "one");
        assert!(notes[0].contains("several answers"), "{notes:?}");
        let turns = dataset.samples[0].turns.iter();
        let turns: Vec<_> = turns.map(|it| (&it.question[..], &it.answer[..])).collect();
        assert_eq!(turns, [("Be brief.\n1", "one"), ("2", "two")]);
        let bad = [
            (
                r#"{"images": ["a.png", "b.png"], "caption": "c"}"#,
                "it has 2 pictures",
            ),
            (
                r#"{"image": "https://example.org/a.png", "caption": "c"}"#,
                "web address",
            ),
            (r#"{"image": true, "caption": "c"}"#, "`image` is no text"),
        ];
        for (line, wanted) in bad {
            let (_dir, path) = written("lines.jsonl", line);
            let error = load(&path, false).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
