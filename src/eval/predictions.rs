//! Captions made elsewhere, and captions of an evaluation for programs elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{ScoredCaption, references};
use crate::data::{Captioned, Layout, Sample};

/// Captions of a file by what they say of their pictures.
#[derive(Debug, Default)]
pub struct Predictions {
    /// Caption by identifier, path or file name; those that several captions share are left out.
    captions: BTreeMap<String, Option<String>>,
    /// Number of captions.
    count: usize,
}

/// Reason why captions of a file cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum PredictionError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Path of the file.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
    /// The content is not a list of captions.
    #[error(
        "{path} {what}: it must be JSON Lines or a JSON list of objects with `image_id`, `image` or `id`, and `caption`, or name pictures as a data set does"
    )]
    Format {
        /// Path of the file.
        path: String,
        /// Predicate that completes a sentence starting with the path.
        what: String,
    },
    /// Pictures have no caption.
    #[error("{path} has no caption for {missing} of {all} pictures, the first: {first}")]
    Missing {
        /// Path of the file.
        path: String,
        /// Number of pictures without a caption.
        missing: usize,
        /// Number of pictures.
        all: usize,
        /// Origin of the first of them.
        first: String,
    },
}

/// Names of the fields that tell the picture.
const KEYS: [&str; 7] = [
    "id",
    "image_id",
    "image",
    "file_name",
    "filename",
    "image_path",
    "path",
];
/// Names of the field with the caption.
const TEXTS: [&str; 5] = ["caption", "prediction", "text", "pred", "response"];

/// Returns identifiers in one form: numbers and texts of digits alike, paths with slashes.
fn plain(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().replace('\\', "/"),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(match digits {
        true => match text.trim_start_matches('0') {
            "" => "0".to_owned(),
            rest => rest.to_owned(),
        },
        false => text,
    })
    .filter(|text| !text.is_empty())
}

/// The last part of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A file name without its ending.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

impl Predictions {
    /// Reads JSON Lines, or a JSON list such as the results of COCO:
    /// `[{"image_id": .., "caption": ..}]`; also a file or folder in a
    /// [`Format`](crate::data::Format) of data sets, all of whose rows name pictures that exist.
    ///
    /// # Errors
    /// A file that cannot be read or holds no captions.
    pub fn read(path: &Path) -> Result<Predictions, PredictionError> {
        Predictions::of_json(path).or_else(|error| {
            let found = Captioned::read(path, &Layout::default());
            match found {
                Ok((captioned, problems)) if problems.is_empty() && !captioned.is_empty() => {
                    Ok(Predictions::of_pictures(&captioned))
                }
                _ => Err(error),
            }
        })
    }

    /// Takes captions by the paths of their pictures.
    fn of_pictures(captioned: &[Captioned]) -> Predictions {
        let mut predictions = Predictions::default();
        for Captioned { picture, caption } in captioned {
            let mut row = Map::new();
            row.insert("image".into(), picture.to_string_lossy().into());
            predictions.add(&row, caption);
        }
        predictions
    }

    fn of_json(path: &Path) -> Result<Predictions, PredictionError> {
        let name = || path.display().to_string();
        let bytes = std::fs::read(path).map_err(|reason| PredictionError::Read {
            path: name(),
            reason,
        })?;
        let format_error = |what: String| PredictionError::Format { path: name(), what };
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let list = bytes.trim_ascii_start().starts_with(b"[");
        let rows: Vec<(String, Value)> = if list {
            let values: Vec<Value> = serde_json::from_slice(bytes)
                .map_err(|error| format_error(format!("is no JSON list ({error})")))?;
            (1..)
                .map(|number| format!("entry {number}"))
                .zip(values)
                .collect()
        } else {
            let mut rows = vec![];
            for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
                if !line.trim_ascii().is_empty() {
                    let value = serde_json::from_slice(line).map_err(|error| {
                        format_error(format!("line {number} is no JSON ({error})"))
                    })?;
                    rows.push((format!("line {number}"), value));
                }
            }
            rows
        };
        let mut predictions = Predictions::default();
        for (place, row) in rows {
            let Value::Object(row) = &row else {
                return Err(format_error(format!("{place} is no object")));
            };
            let caption = TEXTS.iter().find_map(|name| row.get(*name)?.as_str());
            let Some(caption) = caption else {
                return Err(format_error(format!("{place} has no caption")));
            };
            if !predictions.add(row, caption) {
                return Err(format_error(format!("{place} names no picture")));
            }
        }
        match predictions.count {
            0 => Err(format_error("is empty".into())),
            _ => Ok(predictions),
        }
    }

    /// Adds the caption of a row; returns whether it names a picture.
    fn add(&mut self, row: &Map<String, Value>, caption: &str) -> bool {
        let mut names: Vec<String> = KEYS
            .iter()
            .filter_map(|name| plain(row.get(*name)?))
            .collect();
        if names.is_empty() {
            return false;
        }
        let shorter: Vec<String> = names.iter().map(|name| last(name).to_owned()).collect();
        names.extend(shorter);
        names.sort();
        names.dedup();
        self.count += 1;
        for name in names {
            self.captions
                .entry(name)
                .and_modify(|known| *known = None)
                .or_insert(Some(caption.to_owned()));
        }
        true
    }

    /// Number of captions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no captions.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The caption of a sample: by its origin, its identifier, the path or the name of its picture.
    fn of(&self, sample: &Sample) -> Option<&str> {
        let picture = sample
            .picture
            .as_ref()
            .map(|path| path.to_string_lossy().replace('\\', "/"));
        let name = picture.as_deref().map(last);
        let names = [
            Some(sample.id.as_str()),
            sample.image_id.as_deref(),
            picture.as_deref(),
            name,
            name.map(stem),
        ];
        names.into_iter().flatten().find_map(|name| {
            let key = plain(&Value::from(name))?;
            self.captions.get(&key)?.as_deref()
        })
    }

    /// Returns the captions of samples in their order. `path` is the file, for errors.
    ///
    /// # Errors
    /// A sample without a caption.
    pub fn captions(
        &self,
        samples: &[Sample],
        path: &Path,
    ) -> Result<Vec<String>, PredictionError> {
        let found: Vec<Option<&str>> = samples.iter().map(|sample| self.of(sample)).collect();
        let missing = found.iter().filter(|caption| caption.is_none()).count();
        if let Some(first) = found.iter().position(Option::is_none) {
            return Err(PredictionError::Missing {
                path: path.display().to_string(),
                missing,
                all: samples.len(),
                first: samples[first].id.clone(),
            });
        }
        Ok(found.into_iter().flatten().map(str::to_owned).collect())
    }
}

/// Returns captions as JSON Lines: `id`, `image` and `image_id` where they are known, `caption`,
/// `references`, and how good the caption is.
pub fn json_lines(samples: &[Sample], captions: &[ScoredCaption]) -> String {
    let line = |(sample, scored): (&Sample, &ScoredCaption)| {
        let mut row = json!({
            "id": sample.id,
            "caption": scored.caption,
            "references": references(sample).collect::<Vec<_>>(),
            "exact": scored.exact,
            "word_f1": scored.word_f1,
        });
        if let Some(picture) = &sample.picture {
            row["image"] = picture.to_string_lossy().into();
        }
        if let Some(id) = &sample.image_id {
            row["image_id"] = identifier(id);
        }
        if scored.probability.is_finite() {
            row["probability"] = scored.probability.into();
        }
        format!("{row}\n")
    };
    samples.iter().zip(captions).map(line).collect()
}

/// Returns captions as the results of COCO. A picture without an identifier is named by its file,
/// or by its origin.
pub fn coco_results(samples: &[Sample], captions: &[ScoredCaption]) -> String {
    let row = |(sample, scored): (&Sample, &ScoredCaption)| {
        let name = sample.picture.as_ref().and_then(|path| path.file_name());
        let id = match (&sample.image_id, name) {
            (Some(id), _) => identifier(id),
            (None, Some(name)) => name.to_string_lossy().into(),
            (None, None) => sample.id.clone().into(),
        };
        json!({"image_id": id, "caption": scored.caption})
    };
    let rows: Vec<Value> = samples.iter().zip(captions).map(row).collect();
    format!("{}\n", Value::Array(rows))
}

/// A number as a number.
fn identifier(id: &str) -> Value {
    id.parse::<u64>().map_or_else(|_| id.into(), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Format;

    fn samples() -> Vec<Sample> {
        let sample = |number: usize| Sample {
            picture: Some(format!("in/{number}.png").into()),
            image_id: (number < 2).then(|| number.to_string()),
            ..Sample::new(
                format!("all.json image {number}"),
                vec![],
                format!("truth {number}"),
            )
        };
        (1..4).map(sample).collect()
    }

    fn scored() -> Vec<ScoredCaption> {
        let caption = |number: usize| ScoredCaption {
            caption: format!("written {number}"),
            probability: if number == 1 { f64::NAN } else { 0.5 },
            exact: false,
            word_f1: 0.5,
        };
        (1..4).map(caption).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        let (samples, scored) = (samples(), scored());
        for text in [
            json_lines(&samples, &scored),
            coco_results(&samples, &scored),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = Predictions::read(&path).unwrap();
            let captions = read.captions(&samples, &path).unwrap();
            assert_eq!(captions, ["written 1", "written 2", "written 3"]);
        }
        let results: Value = serde_json::from_str(&coco_results(&samples, &scored)).unwrap();
        assert_eq!(results[0]["image_id"], 1);
        assert_eq!(results[1]["image_id"], "2.png");
    }

    #[test]
    fn captions_in_forms_of_data_sets_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        let captioned: Vec<Captioned> = (1..4)
            .map(|number| Captioned {
                picture: dir.path().join(format!("in/{number}.png")),
                caption: format!("written {number}"),
            })
            .collect();
        for row in &captioned {
            std::fs::write(&row.picture, b"x").unwrap();
        }
        let samples = samples();
        for (format, name) in [
            (Format::Flickr, "a.csv"),
            (Format::Coco, "coco.json"),
            (Format::Metadata, "metadata.csv"),
            (Format::Folder, "in"),
        ] {
            let path = dir.path().join(name);
            Captioned::write(&path, format, &captioned).unwrap();
            let read = Predictions::read(&path).unwrap();
            let captions = read.captions(&samples, &path).unwrap();
            assert_eq!(captions, ["written 1", "written 2", "written 3"], "{name}");
        }
        std::fs::remove_file(&captioned[1].picture).unwrap();
        let error = Predictions::read(&dir.path().join("a.csv")).unwrap_err();
        assert!(error.to_string().contains("a.csv line 1"), "{error}");
    }

    #[test]
    fn captions_made_elsewhere_are_matched_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let read = Predictions::read(&path).map_err(|error| error.to_string())?;
            read.captions(&samples(), &path)
                .map_err(|error| error.to_string())
        };
        let whole = r#"[{"image_id": "0001", "caption": "a"}, {"image": "C:\\x\\2.png", "prediction": "b"}, {"image_id": 3, "text": "c"}]"#;
        assert_eq!(read(whole).unwrap(), ["a", "b", "c"]);
        let bad = [
            (
                r#"[{"image_id": 1, "caption": "a"}]"#,
                "no caption for 2 of 3 pictures, the first: all.json image 2",
            ),
            (r#"[{"caption": "a"}]"#, "entry 1 names no picture"),
            (
                "{\"id\": 1, \"caption\": \"a\"}\n{\"id\": 2}\n",
                "line 2 has no caption",
            ),
            ("[7]", "entry 1 is no object"),
            ("", "is empty"),
            ("text", "line 1 is no JSON"),
        ];
        for (text, wanted) in bad {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(wanted) && error.contains("p.json"),
                "{error}"
            );
        }
    }
}
