//! Shards of WebDataset: tar archives in which the files of one name belong together, a picture and
//! its caption in `.txt`, `.caption` or `.json`. Also a tar archive of a folder of pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record, caption_text};
use super::columns;
use super::entry::{field, text_in};
use super::folders::is_clutter;
use super::layout::{Layout, Setting};
use super::picture_files::is_ending;
use super::{Binary, Definition, Input, Rows, contents, save};
use crate::file_kind::FileKind;

pub const DEFINITION: Definition = Definition {
    name: "webdataset",
    description: "tar shards of WebDataset",
    detect: |input| {
        input.binary().is_some()
            && (input.kind == Some(FileKind::Tar)
                || input.kind.is_none() && input.extension == "tar")
    },
    read,
    write: Some(write),
};

/// Endings of caption files; the first of a picture counts.
const TEXTS: [&str; 4] = ["txt", "caption", "text", "tags"];

/// Size of the blocks of an archive, in bytes.
const BLOCK: u64 = 512;

/// Longest caption file, in bytes.
const LONGEST_TEXT: u64 = 16 << 20;

/// The files of one name.
#[derive(Default)]
struct Group {
    /// Ending, name, position and length of each picture.
    pictures: Vec<(String, String, u64, u64)>,
    /// Texts by their endings.
    texts: BTreeMap<String, Vec<u8>>,
}

/// Splits the path of a member into the name of its sample and its ending in lower case.
fn split(path: &str) -> Option<(&str, String)> {
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[start..].rfind('.').filter(|dot| *dot > 0)? + start;
    Some((&path[..dot], path[dot + 1..].to_lowercase()))
}

fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let name = input.name();
    match input.binary().expect("detection found an archive") {
        Binary::File(path) => {
            let file = File::open(path).map_err(|error| DataError::Read {
                path: name,
                reason: error.to_string(),
            })?;
            members(input, std::io::BufReader::new(file), layout)
        }
        Binary::Memory(bytes) => members(input, Cursor::new(bytes), layout),
    }
}

fn members<R: Read + Seek>(
    input: &Input,
    mut archive: R,
    layout: &Layout,
) -> Result<Rows, DataError> {
    let name = input.name();
    let unreadable = |error: std::io::Error| DataError::Read {
        path: name.clone(),
        reason: error.to_string(),
    };
    let total = archive.seek(SeekFrom::End(0)).map_err(unreadable)?;
    archive.rewind().map_err(unreadable)?;
    let mut rows = Rows::default();
    // in the order of their first files
    let mut order: Vec<String> = vec![];
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    let mut count = 0usize;
    let damaged = |error: std::io::Error, count: usize| {
        let what = format!("the archive is damaged or cut off after {count} files: {error}");
        Problem::new(&name, what)
    };
    let texts: Vec<String> = match &layout.caption_column {
        Some(ending) => vec![ending.trim_start_matches('.').to_lowercase()],
        None => TEXTS.map(str::to_owned).to_vec(),
    };
    let image = layout.image_column.as_ref();
    let image = image.map(|ending| ending.trim_start_matches('.').to_lowercase());
    let entries = archive.entries_with_seek().map_err(unreadable)?;
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                rows.problems.push(damaged(error, count));
                break;
            }
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        count += 1;
        let path = String::from_utf8_lossy(&entry.path_bytes()).replace('\\', "/");
        if path
            .split('/')
            .any(|part| part != "." && part != ".." && is_clutter(part))
        {
            continue;
        }
        let Some((key, ending)) = split(&path) else {
            continue;
        };
        let is_text = texts.contains(&ending) || ending == "json";
        let is_image = image
            .as_ref()
            .map_or(is_ending(&ending), |image| *image == ending);
        if !is_text && !is_image {
            continue;
        }
        let group = groups.entry(key.to_owned()).or_insert_with(|| {
            order.push(key.to_owned());
            Group::default()
        });
        // contents are skipped, so that their end is not missed
        if entry.raw_file_position().saturating_add(entry.size()) > total {
            let end = std::io::ErrorKind::UnexpectedEof.into();
            rows.problems.push(damaged(end, count));
            break;
        }
        if is_image {
            group.pictures.push((
                ending,
                path.clone(),
                entry.raw_file_position(),
                entry.size(),
            ));
        } else if entry.size() > LONGEST_TEXT {
            let place = format!("{name} {path}");
            rows.problems
                .push(Problem::new(place, "the caption has more than 16 MiB"));
        } else {
            let mut bytes = vec![];
            match entry.read_to_end(&mut bytes) {
                Ok(length) if length as u64 == entry.size() => {
                    group.texts.insert(ending, bytes);
                }
                Ok(_) => {
                    let end = std::io::ErrorKind::UnexpectedEof.into();
                    rows.problems.push(damaged(end, count));
                    break;
                }
                Err(error) => {
                    rows.problems.push(damaged(error, count));
                    break;
                }
            }
        }
    }
    if rows.problems.is_empty() && !total.is_multiple_of(BLOCK) {
        rows.problems
            .push(damaged(std::io::ErrorKind::UnexpectedEof.into(), count));
    }
    // `a.png.txt` is for `a.png`
    let full: BTreeSet<String> = groups
        .values()
        .flat_map(|group| group.pictures.iter().map(|(_, path, ..)| path.clone()))
        .collect();
    let mut of_full: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (key, group) in &mut groups {
        if full.contains(key) && group.pictures.is_empty() {
            of_full.insert(key.clone(), std::mem::take(&mut group.texts));
        }
    }
    for key in order {
        let Some(Group {
            pictures,
            texts: of_stem,
        }) = groups.remove(&key)
        else {
            continue;
        };
        if pictures.is_empty() {
            if !full.contains(&key) {
                let place = format!("{name} {key}");
                rows.problems
                    .push(Problem::new(place, "there is no picture of this name"));
            }
            continue;
        }
        let several = pictures
            .iter()
            .filter(|(_, path, ..)| !of_full.contains_key(path))
            .count()
            > 1;
        for (_, path, at, length) in pictures {
            let place = format!("{name} {path}");
            let own = of_full.get(&path);
            if own.is_none() && several && !of_stem.is_empty() {
                rows.problems.push(Problem::new(
                    place,
                    "another picture has the same name before its ending, so the caption may be of either",
                ));
                continue;
            }
            let (captions, concept) = match captions(own.unwrap_or(&of_stem), &texts, layout) {
                Ok((captions, _)) if captions.is_empty() => {
                    rows.problems
                        .push(Problem::new(place, "the caption is empty"));
                    continue;
                }
                Ok(found) => found,
                Err(what) => {
                    rows.problems.push(Problem::new(place, what));
                    continue;
                }
            };
            let image = match input.binary() {
                Some(Binary::File(file)) => Encoded::Part {
                    path: file.to_owned(),
                    name: path,
                    at,
                    length,
                },
                Some(Binary::Memory(bytes)) => {
                    let end = at.saturating_add(length).min(bytes.len() as u64) as usize;
                    let start = (at as usize).min(end);
                    Encoded::Bytes {
                        name: path,
                        bytes: bytes[start..end].to_vec(),
                    }
                }
                None => continue,
            };
            rows.records.push(Record {
                concept,
                ..Record::new(place.clone(), place, image, captions)
            });
        }
    }
    rows.used
        .extend([Setting::ImageColumn, Setting::CaptionColumn]);
    Ok(rows)
}

/// The captions and the concept in the texts of a sample: those of a list in `.json`, else the
/// first text file, else the caption in `.json`.
fn captions(
    files: &BTreeMap<String, Vec<u8>>,
    endings: &[String],
    layout: &Layout,
) -> Result<(Vec<String>, Option<String>), String> {
    let object: Option<Map<String, Value>> = files
        .get("json")
        .and_then(|bytes| serde_json::from_slice(bytes).ok());
    let concept = object
        .as_ref()
        .and_then(|object| field(object, columns::CONCEPT)?.as_str())
        .and_then(caption_text);
    let in_json = |names: &[&str]| -> Vec<String> {
        let values = object
            .iter()
            .flat_map(|object| names.iter().filter_map(|name| field(object, name)));
        let texts = values.map(|value| match value {
            Value::Array(list) => list.iter().filter_map(text_in).collect(),
            other => text_in(other).into_iter().collect::<Vec<_>>(),
        });
        let texts = texts.map(|texts| {
            texts
                .iter()
                .filter_map(|text| caption_text(text))
                .collect::<Vec<_>>()
        });
        texts
            .into_iter()
            .find(|texts| !texts.is_empty())
            .unwrap_or_default()
    };
    if layout.caption_column.is_none() {
        let list = in_json(&["captions"]);
        if list.len() > 1 {
            return Ok((list, concept));
        }
    }
    if let Some(bytes) = endings.iter().find_map(|ending| files.get(ending)) {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| "the caption is not UTF-8 text: save the file as UTF-8".to_owned())?;
        return Ok((caption_text(text).into_iter().collect(), concept));
    }
    let found = match &layout.caption_column {
        Some(name) => in_json(&[name]),
        None => in_json(&columns::CAPTIONS),
    };
    match found.is_empty() {
        true => Err("it has no caption: add a .txt or .json file of the same name".into()),
        false => Ok((found, concept)),
    }
}

/// Writes each picture with its caption in `.txt`, and in `.json` what that cannot hold.
fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let mut archive = tar::Builder::new(vec![]);
    let mut known = BTreeSet::new();
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, bytes)
            .map_err(|reason| DataError::Write {
                path: path.display().to_string(),
                reason,
            })
    };
    for (number, record) in records.iter().enumerate() {
        let picture = contents(record)?;
        let name = record.file_name().unwrap_or_default();
        let (stem, ending) = match split(&name) {
            Some((stem, ending)) if is_ending(&ending) => (stem.to_owned(), ending),
            _ => (name, super::ending_of(&picture).to_owned()),
        };
        // readers of WebDataset end the name at the first dot
        let mut key = stem.replace('.', "_");
        if key.is_empty() || is_clutter(&key) || !known.insert(key.clone()) {
            key = format!("{number:06}{}{key}", if key.is_empty() { "" } else { "_" });
            known.insert(key.clone());
        }
        add(&format!("{key}.{ending}"), &picture)?;
        let several = !record.others.is_empty();
        add(&format!("{key}.txt"), record.caption.as_bytes())?;
        if several || record.concept.is_some() {
            let mut object = json!({"caption": record.caption});
            if several {
                object["captions"] = record.captions().collect();
            }
            if let Some(concept) = &record.concept {
                object["concept"] = concept.clone().into();
            }
            add(&format!("{key}.json"), object.to_string().as_bytes())?;
        }
    }
    let bytes = archive.into_inner().map_err(|reason| DataError::Write {
        path: path.display().to_string(),
        reason,
    })?;
    save(path, &bytes)?;
    Ok(vec![])
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{gzip, lines, load, png, written};
    use super::super::super::{Dataset, Layout, Loaded};
    use super::super::{Format, read};
    use crate::progress::Silent;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(vec![]);
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn reads_samples_with_texts_or_json() {
        let (one, two, three, four, five) = (png(1), png(2), png(3), png(4), png(5));
        let long = format!("{}/00000.png", "folder".repeat(30));
        let files: Vec<(&str, &[u8])> = vec![
            (&long, &one),
            ("b.txt", b"two"),
            ("b.json", br#"{"caption": "no", "concept": "number"}"#),
            ("b.PNG", &two),
            ("c.json", br#"{"url": "x", "captions": ["three", "3"]}"#),
            ("c.png", &three),
            ("d.png.caption", b"four"),
            ("d.png", &four),
            ("._b.png", b"resource fork"),
            ("e.png", &five),
            ("lost.txt", b"no picture"),
            ("f.png", b"no picture"),
            ("f.txt", b"six"),
            ("g.png", &one),
            ("g.gif", &one),
            ("g.txt", b"whose"),
        ];
        let text = long.replace(".png", ".txt");
        let files = [&files[..], &[(&text[..], &b"one\n"[..])]].concat();
        let bytes = archive(&files);
        for (name, bytes) in [
            ("00000.tar", bytes.clone()),
            ("00000.tar.gz", gzip(&bytes)),
            ("a.tgz", gzip(&bytes)),
        ] {
            let (_dir, path) = written(name, bytes);
            assert_eq!(
                read(&path, &Layout::default()).unwrap().0,
                Format::Webdataset
            );
            let Loaded {
                dataset, problems, ..
            } = load(&path, false).unwrap();
            let all: Vec<_> = dataset
                .samples
                .iter()
                .map(|it| {
                    (
                        it.rgb[0],
                        &it.caption[..],
                        it.others.len(),
                        it.concept.as_deref(),
                    )
                })
                .collect();
            let wanted = [
                (1, "one", 0, None),
                (2, "two", 0, Some("number")),
                (3, "three", 1, None),
                (4, "four", 0, None),
            ];
            assert_eq!(all, wanted, "{name}");
            let text = lines(&problems);
            for wanted in [
                "e.png: it has no caption",
                "lost: there is no picture",
                "f.png: it is not a picture",
                "g.png: another picture",
                "g.gif: another picture",
            ] {
                assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
            }
            assert_eq!(problems.len(), 5, "{text}");
            let layout = Layout {
                caption_column: Some("caption".into()),
                ..Layout::default()
            };
            let Loaded { dataset, .. } = Dataset::load(&path, 4, &layout, false, &Silent).unwrap();
            let captions: Vec<_> = dataset.samples.iter().map(|it| &it.caption[..]).collect();
            assert_eq!(captions, ["no", "four"]);
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_costs_its_end_alone() {
        let (one, two) = (png(1), png(2));
        let bytes = archive(&[
            ("a.png", &one),
            ("a.txt", b"one"),
            ("b.txt", b"two"),
            ("b.png", &two),
        ]);
        let (_dir, path) = written("cut.tar", &bytes[..4 * 512 + 100 + 512]);
        let Loaded {
            dataset, problems, ..
        } = load(&path, false).unwrap();
        assert_eq!(dataset.samples.len(), 1);
        assert!(lines(&problems).contains("cut off after"), "{problems:?}");
        for length in [0, 100, 512, 700] {
            let (_dir, path) = written("cut.tar", &bytes[..length]);
            assert!(load(&path, false).is_err());
        }
    }
}
