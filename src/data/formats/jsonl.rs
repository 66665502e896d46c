//! JSON lines: `{"image": .., "caption": ..}` or `{"image": .., "captions": [..]}`, and perhaps a `concept`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::dataset::{DataError, Problem};
use super::{Encoded, Layout, Raw, Rows, find, is_picture, parent};

#[derive(Deserialize)]
struct Line {
    /// A path from the file's folder, base64, or a data URL.
    image: String,
    caption: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
    concept: Option<String>,
}

pub fn read(path: &Path, body: &[u8], layout: &Layout) -> Result<Rows, DataError> {
    let beside = [parent(path)];
    let (mut raws, mut problems) = (vec![], vec![]);
    for (number, line) in body
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        let id = format!("{} line {}", path.display(), number + 1);
        match raw(line, &id, layout, &beside) {
            Ok(raw) => raws.push(raw),
            Err(what) => problems.push(Problem { place: id, what }),
        }
    }
    Ok((raws, problems))
}

/// What a line holds, or what is wrong with it.
fn raw(line: &[u8], id: &str, layout: &Layout, beside: &[PathBuf]) -> Result<Raw, String> {
    const WANTED: &str = "a line must be an object with `image` and `caption` or `captions`";
    // the fields would be read from a list, too
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(WANTED.into());
    }
    let Line {
        image,
        caption,
        captions,
        concept,
    } = serde_json::from_slice(line).map_err(|error| {
        // the line that it counts is the only one that it has seen
        let (text, column) = (error.to_string(), error.column());
        format!(
            "{} (column {column}); {WANTED}",
            text.split(" at line ").next().unwrap_or(&text)
        )
    })?;
    let given = caption.is_some() || !captions.is_empty();
    let mut captions = caption
        .into_iter()
        .chain(captions)
        .map(|caption| caption.trim().to_owned())
        .filter(|caption| !caption.is_empty());
    let caption = captions.next().ok_or(if given {
        "the caption is empty"
    } else {
        "it has no caption: give `caption` or `captions`"
    })?;
    let image = image.trim();
    if image.is_empty() {
        return Err("`image` is empty".into());
    }
    let image = if image.starts_with("data:") {
        Encoded::Base64(image.to_owned())
    } else if is_picture(Path::new(image)) {
        Encoded::File(find(image, layout, beside)?)
    } else {
        // base64 has no ending, and a file may have none; no system has names as long as pictures
        match find(&image[..image.floor_char_boundary(1024)], layout, beside) {
            Ok(file) if image.len() <= 1024 => Encoded::File(file),
            _ => Encoded::Base64(image.to_owned()),
        }
    };
    let concept = concept
        .map(|concept| concept.trim().to_owned())
        .filter(|concept| !concept.is_empty());
    Ok(Raw {
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

    use super::super::super::dataset::Loaded;
    use super::super::tests::{load, png, written};
    use super::*;

    #[test]
    fn pictures_are_paths_or_base64_and_captions_one_or_several() {
        let (bare, url) = (
            STANDARD.encode(png(2)),
            format!("data:image/png;base64,{}", STANDARD.encode(png(3))),
        );
        let lines = [
            r#"{"image": "in/a.png", "caption": " one ", "concept": "number"}"#.to_owned(),
            String::new(),
            format!(r#"{{"captions": ["two", "", "2"], "image": "{bare}", "more": 1}}"#),
            format!(
                r#"{{"image": "{url}", "caption": "three", "captions": ["3"], "concept": ""}}"#
            ),
            r#"{"image": "ending", "caption": "four"}"#.to_owned(),
        ];
        let (dir, path) = written("lines.jsonl", lines.join("\r\n"));
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
    fn bad_lines_are_named() {
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
                "line 5: it has no caption: give `caption` or `captions`",
            ),
            (
                r#"{"image": "a.png", "captions": []}"#,
                "line 6: it has no caption: give `caption` or `captions`",
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
        let lines: Vec<&str> = std::iter::once(&good[..])
            .chain(bad.iter().map(|(line, _)| *line))
            .collect();
        let (_dir, path) = written("lines.jsonl", lines.join("\n"));
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        assert_eq!((dataset.samples.len(), problems.len()), (1, bad.len()));
        let text = problems
            .iter()
            .map(Problem::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        for (_, wanted) in bad {
            assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
        }
        assert!(
            text.contains("a.png is not there: give the folder of the pictures with --images"),
            "{text}"
        );
    }
}
