//! JSON Lines: `{"image": .., "caption": ..}` or `{"image": .., "captions": [..]}` on each line,
//! with an optional `concept`. `image` is a path, base64 or a data URL.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::super::captioned::Captioned;
use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record};
use super::picture_files::{find, is_picture, parent};
use super::{Definition, Input, Layout, Rows, picture_names, save};

pub const DEFINITION: Definition = Definition {
    description: "JSON Lines",
    detect,
    read,
    write,
};

/// Recognizes the extension, or JSON whose first line is an object with `image`: the object of COCO
/// captions has no such field.
fn detect(input: &Input) -> bool {
    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only the presence of the field counts")]
    struct HasImage {
        image: serde::de::IgnoredAny,
    }
    let first = input
        .text()
        .trim_ascii_start()
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let by_extension = matches!(&input.extension[..], "jsonl" | "ndjson");
    // serde also reads the fields of a struct from a list
    let by_content =
        || first.starts_with(b"{") && serde_json::from_slice::<HasImage>(first).is_ok();
    input.body.is_some() && (by_extension || input.is_json() && by_content())
}

#[derive(Deserialize)]
struct Line {
    /// Path relative to the file's folder, base64, or a data URL.
    image: String,
    caption: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
    concept: Option<String>,
}

fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let beside = [parent(input.path)];
    let (mut records, mut problems) = (vec![], vec![]);
    for (number, line) in input
        .text()
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        let id = format!("{} line {}", input.name(), number + 1);
        match record(line, &id, layout, &beside) {
            Ok(record) => records.push(record),
            Err(problem) => problems.push(problem),
        }
    }
    Ok((records, problems))
}

fn write(path: &Path, rows: &[Captioned]) -> Result<(), DataError> {
    let names = picture_names(path, rows)?;
    let line = |(name, row): (String, &Captioned)| {
        format!("{}\n", json!({"image": name, "caption": row.caption}))
    };
    let text: String = names.into_iter().zip(rows).map(line).collect();
    save(path, text.as_bytes())
}

/// Parses a line.
fn record(line: &[u8], id: &str, layout: &Layout, beside: &[PathBuf]) -> Result<Record, Problem> {
    let problem = |what: &str| Problem::new(id, what);
    const WANTED: &str = "a line must be an object with `image` and `caption` or `captions`";
    // serde also reads the fields of a struct from a list
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(problem(WANTED));
    }
    let Line {
        image,
        caption,
        captions,
        concept,
    } = serde_json::from_slice(line).map_err(|error| {
        // serde counts lines within this one
        let (text, column) = (error.to_string(), error.column());
        let reason = text.split(" at line ").next().unwrap_or(&text);
        problem(&format!("{reason} (column {column}); {WANTED}"))
    })?;
    let given = caption.is_some() || !captions.is_empty();
    let mut captions = caption
        .into_iter()
        .chain(captions)
        .map(|caption| caption.trim().to_owned())
        .filter(|caption| !caption.is_empty());
    let caption = captions.next().ok_or_else(|| {
        problem(if given {
            "the caption is empty"
        } else {
            "it has no caption: add `caption` or `captions`"
        })
    })?;
    let image = image.trim();
    if image.is_empty() {
        return Err(problem("`image` is empty"));
    }
    let image = if image.starts_with("data:") {
        Encoded::Base64(image.to_owned())
    } else if is_picture(Path::new(image)) {
        Encoded::File(find(id, image, layout, beside)?)
    } else {
        // base64, or a file without an extension; no system has names as long as pictures
        let name = &image[..image.floor_char_boundary(1024)];
        match find(id, name, layout, beside) {
            Ok(file) if image.len() <= 1024 => Encoded::File(file),
            _ => Encoded::Base64(image.to_owned()),
        }
    };
    let concept = concept
        .map(|concept| concept.trim().to_owned())
        .filter(|concept| !concept.is_empty());
    Ok(Record {
        id: id.to_owned(),
        place: format!("{id}, `image`"),
        image,
        caption,
        others: captions.collect(),
        concept,
    })
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
        let Loaded { dataset, problems } = load(&path, true).unwrap();
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
                "line 9, `image`: it is not base64",
            ),
            (
                r#"{"image": "", "caption": "b"}"#,
                "line 10: `image` is empty",
            ),
            (
                r#"{"image": "AAAA", "caption": "b"}"#,
                "line 11, `image`: it is not a picture",
            ),
            (r#"{"image": 3, "caption": "b"}"#, "line 12: invalid type"),
        ];
        let rows: Vec<&str> = std::iter::once(&good[..])
            .chain(bad.iter().map(|(line, _)| *line))
            .collect();
        let (_dir, path) = written("lines.jsonl", rows.join("\n"));
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        assert_eq!((dataset.samples.len(), problems.len()), (1, bad.len()));
        let text = lines(&problems);
        for (_, wanted) in bad {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert!(text.contains("a.png does not exist"), "{text}");
        let hints: Vec<_> = problems.iter().filter_map(|it| it.hint.clone()).collect();
        assert_eq!(hints, [Hint::ImagesFolder]);
    }
}
