//! ImageFolder of Hugging Face's `datasets`: folders of pictures with `metadata.csv`,
//! `metadata.jsonl` or `metadata.parquet`, whose `file_name` names the pictures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::error::DataError;
use super::super::record::{Encoded, Record};
use super::csv::encode;
use super::folders::Walk;
use super::layout::{Layout, PARTS, Setting, same_split};
use super::{Definition, Input, Rows, folder, picture_names, save};

pub const DEFINITION: Definition = Definition {
    name: "metadata",
    description: "folders with metadata.csv or metadata.jsonl (ImageFolder)",
    detect: |input| {
        input
            .walk()
            .is_some_and(|walk| files(walk).next().is_some())
    },
    read,
    write: Some(write),
};

/// Names of the files.
const NAMES: [&str; 4] = [
    "metadata.csv",
    "metadata.tsv",
    "metadata.jsonl",
    "metadata.parquet",
];

/// The metadata files of a folder and its subfolders.
fn files(walk: &Walk) -> impl Iterator<Item = &PathBuf> {
    walk.files.iter().filter(|file| {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        NAMES.contains(&&name[..])
    })
}

/// Reads the metadata files, and the captions beside the pictures that none of them names.
fn read(input: &Input, layout: &Layout) -> Result<Rows, DataError> {
    let walk = input.walk().expect("it is a folder");
    let mut rows = Rows::default();
    // a folder per part, or a column
    let below = |file: &Path| {
        file.strip_prefix(input.path)
            .map(Path::to_owned)
            .unwrap_or_default()
    };
    let folder_of = |file: &Path| {
        let below = below(file);
        let first = below.parent()?.components().next()?;
        Some(first.as_os_str().to_string_lossy().into_owned())
    };
    let wanted = |file: &Path, splits: &[String]| {
        folder_of(file).is_some_and(|folder| splits.iter().any(|split| same_split(split, &folder)))
    };
    let by_folder = files(walk).any(|file| wanted(file, &layout.splits));
    let inner = Layout {
        splits: match by_folder {
            true => vec![],
            false => layout.splits.clone(),
        },
        depth: None,
        ..layout.clone()
    };
    for file in files(walk) {
        if by_folder && !wanted(file, &layout.splits) {
            continue;
        }
        rows.extend(super::read(file, &inner)?.1);
        rows.notes.push(format!("captions of {}", file.display()));
    }
    rows.parts.extend(files(walk).filter_map(|file| {
        let known = |folder: &String| PARTS.iter().any(|part| same_split(part, folder));
        folder_of(file).filter(known)
    }));
    if by_folder {
        rows.used.insert(Setting::Splits);
    }
    let covered: BTreeSet<PathBuf> = rows
        .records
        .iter()
        .filter_map(|record| match &record.image {
            Encoded::File(file) => Some(file.clone()),
            _ => None,
        })
        .collect();
    rows.used.insert(Setting::Depth);
    // parts that are not wanted are not left out, but not looked at
    if layout.splits.is_empty() {
        folder::read(input.path, walk, &inner, &covered, &mut rows)?;
    }
    Ok(rows)
}

/// The file that is written for a path: itself, or `metadata.csv` in the folder that it names.
pub fn file_of(path: &Path) -> PathBuf {
    match &super::extension(path)[..] {
        "csv" | "tsv" | "jsonl" => path.to_owned(),
        _ => path.join(NAMES[0]),
    }
}

/// Writes `metadata.csv` into a folder, or the file that the path names.
fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let file = file_of(path);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|reason| DataError::Write {
            path: folder.display().to_string(),
            reason,
        })?;
    }
    let names = picture_names(&file, records)?;
    let mut rows = vec![];
    for (name, record) in names.iter().zip(records) {
        for caption in record.captions() {
            rows.push(vec![name.clone(), caption.to_owned()]);
        }
    }
    let bytes = match &super::extension(&file)[..] {
        "jsonl" => rows
            .iter()
            .map(|row| format!("{}\n", json!({"file_name": row[0], "text": row[1]})))
            .collect::<String>()
            .into_bytes(),
        ending => encode(
            if ending == "tsv" { b'\t' } else { b',' },
            &["file_name", "text"],
            &rows,
        ),
    };
    save(&file, &bytes)?;
    Ok(super::without_concepts(records))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{lines, load, png};
    use super::super::super::{Dataset, Layout, Loaded};
    use super::super::{Format, read};
    use crate::progress::Silent;

    #[test]
    fn reads_metadata_of_folders_and_parts() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        file("train/a.png", &png(1));
        file("train/in/b.png", &png(2));
        file("train/c.png", &png(3));
        file("train/c.txt", b"three");
        file("train/d.png", &png(4));
        file(
            "train/metadata.csv",
            b"file_name,extra,text\na.png,1,one\nin/b.png,2,\"two, 2\"\n",
        );
        file("test/e.png", &png(5));
        file(
            "test/METADATA.jsonl",
            br#"{"file_name": "e.png", "text": "five"}"#,
        );
        assert_eq!(
            read(dir.path(), &Layout::default()).unwrap().0,
            Format::Metadata
        );
        let Loaded {
            dataset, problems, ..
        } = load(dir.path(), false).unwrap();
        let mut all: Vec<_> = dataset
            .samples
            .iter()
            .map(|it| (it.rgb[0], &it.caption[..]))
            .collect();
        all.sort();
        assert_eq!(all, [(1, "one"), (2, "two, 2"), (3, "three"), (5, "five")]);
        assert!(
            problems.len() == 1 && lines(&problems).contains("d.png"),
            "{problems:?}"
        );
        let part = |name: &str| {
            let layout = Layout {
                splits: vec![name.into()],
                ..Layout::default()
            };
            Dataset::load(dir.path(), 4, &layout, true, &Silent)
        };
        assert_eq!(part("test").unwrap().dataset.samples[0].caption, "five");
        assert_eq!(part("train").unwrap().dataset.samples.len(), 2);
        assert!(part("val").is_err());
        // the file alone
        let Loaded { dataset, .. } = load(&dir.path().join("train/metadata.csv"), true).unwrap();
        assert_eq!(dataset.samples.len(), 2);
    }
}
