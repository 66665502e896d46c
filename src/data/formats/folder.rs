//! A folder of pictures and its subfolders, each picture with its caption in a text file beside it:
//! `a.txt`, `a.caption` or `a.tags`, or `a.png.txt` and the like.
//!
//! Extensions count in either case.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::super::captioned::Captioned;
use super::super::error::{DataError, Problem};
use super::super::record::{Encoded, Record, caption_text};
use super::folders::Walk;
use super::layout::{Layout, PARTS, Setting, Splits, same_split};
use super::picture_files::{extension, is_picture, parent};
use super::{Definition, Rows, save};

pub const DEFINITION: Definition = Definition {
    name: "folder",
    description: "folders of pictures with .txt, .caption or .tags files beside them",
    detect: |input| input.walk().is_some(),
    read: |input, layout| {
        let mut rows = Rows::default();
        let walk = input.walk().expect("it is a folder");
        read(input.path, walk, layout, &BTreeSet::new(), &mut rows)?;
        Ok(rows)
    },
    write: Some(write),
};

/// Endings of caption files; the first of a picture counts.
pub const ENDINGS: [&str; 4] = ["txt", "caption", "tags", "text"];

/// Extensions of files that may hold the captions of a folder.
const TABLES: [&str; 6] = ["csv", "tsv", "json", "jsonl", "ndjson", "parquet"];

/// Returns a name as names of files are compared: with composed accents.
fn composed(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().nfc().collect()
}

/// Caption files by their folder and the name that they are for.
#[derive(Debug)]
pub struct Sidecars {
    /// Endings in the order in which they count.
    endings: Vec<String>,
    files: BTreeMap<(PathBuf, String), Vec<PathBuf>>,
    /// Pictures that no caption file names in full, by folder and stem.
    stems: BTreeMap<(PathBuf, String), Vec<PathBuf>>,
    used: BTreeSet<PathBuf>,
    /// Number of pictures that have several.
    several: usize,
}

/// Caption files that may belong to a picture.
struct Beside<'a> {
    /// The files, the first of which counts.
    files: &'a [PathBuf],
    /// Pictures that share their stem with this one, itself included, where no file names the
    /// picture in full.
    alike: &'a [PathBuf],
}

impl Beside<'_> {
    /// Whether several pictures claim the files.
    fn is_shared(&self) -> bool {
        self.alike.len() > 1
    }

    /// Returns why a picture does not get the caption that several pictures claim, if so.
    fn conflict(&self, picture: &Path) -> Option<String> {
        let file = self.files.first().filter(|_| self.is_shared())?;
        let others: Vec<String> = self
            .alike
            .iter()
            .filter(|other| *other != picture)
            .map(|other| name_of(other))
            .collect();
        Some(format!(
            "{} may be its caption or that of {}: name the caption of this picture {}.txt",
            name_of(file),
            others.join(", "),
            name_of(picture)
        ))
    }
}

impl Sidecars {
    /// Finds the caption files and pictures among the files of a folder and its subfolders.
    pub fn new(files: &[PathBuf], layout: &Layout) -> Sidecars {
        let endings: Vec<String> = match &layout.caption_column {
            Some(given) => vec![given.trim_start_matches('.').to_lowercase()],
            None => ENDINGS.map(str::to_owned).to_vec(),
        };
        let mut all: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
        for file in files {
            let known = extension(file).is_some_and(|ending| endings.contains(&ending));
            if let Some(stem) = file.file_stem().filter(|_| known) {
                all.entry((parent(file), composed(stem)))
                    .or_default()
                    .push(file.clone());
            }
        }
        let place = |file: &PathBuf| {
            endings
                .iter()
                .position(|ending| Some(ending) == extension(file).as_ref())
        };
        all.values_mut().for_each(|files| files.sort_by_key(place));
        let mut stems: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
        for picture in files.iter().filter(|file| is_picture(file)) {
            let name = composed(picture.file_name().unwrap_or_default());
            if !all.contains_key(&(parent(picture), name)) {
                let stem = composed(picture.file_stem().unwrap_or_default());
                stems
                    .entry((parent(picture), stem))
                    .or_default()
                    .push(picture.clone());
            }
        }
        Sidecars {
            endings,
            files: all,
            stems,
            used: BTreeSet::new(),
            several: 0,
        }
    }

    /// Returns the caption files of a picture.
    fn beside(&self, picture: &Path) -> Beside<'_> {
        let folder = parent(picture);
        let named = self.of(&folder, picture.file_name().unwrap_or_default());
        if !named.is_empty() {
            return Beside {
                files: named,
                alike: &[],
            };
        }
        let stem = picture.file_stem().unwrap_or_default();
        let alike = self.stems.get(&(folder.clone(), composed(stem)));
        Beside {
            files: self.of(&folder, stem),
            alike: alike.map_or(&[], Vec::as_slice),
        }
    }

    /// Returns the caption file of a picture, if it has one.
    ///
    /// # Errors
    /// Several pictures claim the file.
    pub fn find(&self, picture: &Path) -> Result<Option<&Path>, Problem> {
        let beside = self.beside(picture);
        match beside.conflict(picture) {
            Some(what) => Err(Problem::new(picture.display().to_string(), what)),
            None => Ok(beside.files.first().map(PathBuf::as_path)),
        }
    }

    /// The caption files for a name in a folder.
    fn of(&self, folder: &Path, name: &std::ffi::OsStr) -> &[PathBuf] {
        let key = (folder.to_owned(), composed(name));
        self.files.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Takes the first of several caption files.
    fn take(&mut self, files: Vec<PathBuf>) -> Option<PathBuf> {
        self.several += (files.len() > 1) as usize;
        self.used.extend(files.iter().cloned());
        files.into_iter().next()
    }

    /// The caption file `a.png.txt` that is read in place of `a.txt`.
    fn replaced(&self, text: &Path) -> Option<&PathBuf> {
        let stem = text.file_stem()?.to_string_lossy().into_owned();
        let of_same = |file: &&PathBuf| {
            let named = Path::new(file.file_stem().unwrap_or_default());
            parent(file) == parent(text)
                && is_picture(named)
                && named.file_stem().is_some_and(|name| *name == *stem)
        };
        self.used.iter().find(of_same)
    }

    /// Caption files of no picture.
    fn rest(&self) -> impl Iterator<Item = &PathBuf> {
        self.files
            .values()
            .flatten()
            .filter(|file| !self.used.contains(*file))
    }
}

/// Number of times that a folder's name, such as `10_red square` of kohya's scripts, asks for its
/// pictures in an epoch. Names that cameras give, such as `100_PANA`, and years ask for nothing.
fn repeats(folder: &Path) -> Option<usize> {
    let name = folder.file_name()?.to_str()?;
    let (digits, rest) = name.split_once('_')?;
    let of_camera = digits.len() == 3
        && rest.len() == 4
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let number: usize = digits.parse().ok().filter(|_| digits.len() <= 3)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    (plain && !rest.is_empty() && !of_camera && number > 1).then_some(number)
}

/// The part of the data set that a path below the folder belongs to.
fn split_of(below: &Path) -> Option<String> {
    let first = below.components().next()?.as_os_str().to_str()?;
    let is_folder = below.components().nth(1).is_some();
    (is_folder && PARTS.iter().any(|known| same_split(known, first))).then(|| first.to_owned())
}

/// Reads the pictures of a folder with the captions beside them, except those in `covered`, which
/// have captions from elsewhere.
pub fn read(
    folder: &Path,
    walk: &Walk,
    layout: &Layout,
    covered: &BTreeSet<PathBuf>,
    rows: &mut Rows,
) -> Result<(), DataError> {
    let before = rows.records.len();
    let mut sidecars = Sidecars::new(&walk.files, layout);
    let pictures: Vec<&PathBuf> = walk.files.iter().filter(|file| is_picture(file)).collect();
    let mut splits = Splits::new(layout);
    let mut repeated: BTreeMap<PathBuf, (usize, usize)> = BTreeMap::new();
    for &picture in &pictures {
        let folder_of = parent(picture);
        let below = picture.strip_prefix(folder).unwrap_or(picture);
        let beside = sidecars.beside(picture);
        let (files, shared) = (beside.files.to_vec(), beside.is_shared());
        let conflict = beside.conflict(picture);
        if covered.contains(picture) {
            sidecars.used.extend(files);
            continue;
        }
        if !splits.take(split_of(below).as_deref()) {
            sidecars.used.extend(files);
            continue;
        }
        let mut problem = |place: &Path, what: String| {
            rows.problems
                .push(Problem::new(place.display().to_string(), what))
        };
        if let Some(what) = conflict {
            problem(picture, what);
            sidecars.used.extend(files);
            continue;
        }
        let Some(sidecar) = sidecars.take(files) else {
            let written = Captioned::sidecar_among(picture, shared, &sidecars.endings[0]);
            let mut what = format!(
                "it has no caption: write one into {} beside it",
                name_of(&written)
            );
            if let Some(table) = table_beside(walk, folder) {
                what += &format!(
                    ", or give the file {} if it holds the captions",
                    table.display()
                );
            }
            problem(picture, what);
            continue;
        };
        match std::fs::read_to_string(&sidecar).map(|text| caption_text(&text)) {
            Ok(Some(caption)) => {
                let mut record = Record::of_file(picture.clone(), vec![caption]);
                if let Some(times) = repeats(&folder_of) {
                    record.repeats = times;
                    repeated.entry(folder_of).or_insert((times, 0)).1 += 1;
                }
                rows.records.push(record);
            }
            Ok(None) => problem(&sidecar, "the caption is empty".into()),
            Err(error) => problem(
                &sidecar,
                match error.kind() {
                    std::io::ErrorKind::InvalidData => {
                        "the caption is not UTF-8 text: save the file as UTF-8".into()
                    }
                    _ => format!("the caption cannot be read: {error}"),
                },
            ),
        }
    }
    for text in sidecars.rest() {
        let what = match sidecars.replaced(text) {
            Some(other) => format!("its picture has the caption {} already", name_of(other)),
            None => "there is no picture beside it".into(),
        };
        rows.problems
            .push(Problem::new(text.display().to_string(), what));
    }
    for (folder, error) in &walk.unreadable {
        rows.problems.push(Problem::new(
            folder.display().to_string(),
            format!("the folder cannot be read: {error}"),
        ));
    }
    let count = rows.records.len() - before;
    let below: Vec<PathBuf> = rows.records[before..]
        .iter()
        .filter_map(|record| match &record.image {
            Encoded::File(file) => Some(parent(file)),
            _ => None,
        })
        .filter(|of| of != folder)
        .collect();
    if !below.is_empty() {
        let folders = below.iter().collect::<BTreeSet<_>>().len();
        let plural = if folders == 1 { "" } else { "s" };
        let all = match below.len() == count {
            true => String::new(),
            false => format!(", {} of them", below.len()),
        };
        rows.notes.push(format!(
            "{count} pictures{all} in {folders} subfolder{plural}"
        ));
    }
    if walk.deeper > 0 {
        rows.notes.push(format!(
            "{} files in deeper subfolders are not read",
            walk.deeper
        ));
    }
    for (folder, (times, count)) in repeated {
        let pictures = if count == 1 { "picture" } else { "pictures" };
        rows.notes.push(format!(
            "{}: an epoch of training shows its {count} {pictures} {times} times, as its name says",
            folder.display()
        ));
    }
    if sidecars.several > 0 {
        rows.notes.push(format!(
            "{} pictures have several caption files, of which the first of .{} is read",
            sidecars.several,
            sidecars.endings.join(", .")
        ));
    }
    rows.used.extend([Setting::Depth, Setting::CaptionColumn]);
    splits.finish(&folder.display().to_string(), rows)
}

/// The only file that may hold captions of a folder's pictures: in it, or in `annotations`, where
/// COCO keeps captions beside boxes and outlines.
fn table_beside(walk: &Walk, folder: &Path) -> Option<PathBuf> {
    let of_captions = |file: &Path| {
        let place = parent(file);
        let name = name_of(file).to_lowercase();
        place == folder
            || place == folder.join("annotations")
                && !["instances", "person_keypoints", "image_info"]
                    .iter()
                    .any(|other| name.starts_with(other))
    };
    let mut tables = walk.files.iter().filter(|file| {
        of_captions(file) && extension(file).is_some_and(|ending| TABLES.contains(&&ending[..]))
    });
    let first = tables.next()?;
    tables.next().is_none().then(|| first.clone())
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The ending of caption files that a path asks for.
pub fn ending(path: &Path) -> &'static str {
    let given = extension(path);
    let known = ENDINGS
        .iter()
        .find(|ending| given.as_deref() == Some(ending));
    known.unwrap_or(&ENDINGS[0])
}

/// Writes a text file beside each picture; one whose path ends in `.caption` or `.tags` gives that
/// ending to all of them.
fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let ending = ending(path);
    let mut several = 0;
    for record in records {
        let Encoded::File(picture) = &record.image else {
            return Err(super::embedded(record));
        };
        let captions: Vec<&str> = record.captions().collect();
        several += (captions.len() > 1) as usize;
        let text = format!("{}\n", captions.join("\n"));
        save(&Captioned::sidecar_with(picture, ending), text.as_bytes())?;
    }
    let mut notes = super::without_concepts(records);
    if several > 0 {
        notes.push(format!(
            "{several} pictures have several captions, which are the lines of one text now"
        ));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{lines, load, png};
    use super::super::super::{Captioned, Dataset, Format, Layout, Loaded};
    use crate::hint::{Hint, Hinted};
    use crate::progress::Silent;

    #[test]
    fn reads_captions_from_beside_the_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        file("b.png", &png(2));
        file("b.txt", b" second \n");
        file("a.PNG", &png(1));
        file("a.TXT", b"first");
        file("c.png", &png(3));
        file("d.jpg", b"no picture");
        file("d.txt", b"broken");
        file("notes.md", b"not a picture");
        file("lost.txt", b"a caption of nothing");
        let Loaded {
            dataset, problems, ..
        } = load(dir.path(), false).unwrap();
        let captions: Vec<_> = dataset
            .samples
            .iter()
            .map(|sample| sample.caption.as_str())
            .collect();
        assert_eq!(captions, ["first", "second"]);
        let text = lines(&problems);
        assert!(
            problems.len() == 3 && text.contains("c.txt") && text.contains("d.jpg"),
            "{text}"
        );
        assert!(
            text.contains("lost.txt: there is no picture beside it"),
            "{text}"
        );
    }

    #[test]
    fn reads_every_kind_of_sidecar() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        for (number, name) in ["a.png", "b.PNG", "c.jfif", "d.png", "fu\u{308}r.png"]
            .iter()
            .enumerate()
        {
            file(name, &png(number as u8 + 1));
        }
        file("a.png.caption", b"one");
        file("b.Caption", "\u{feff}two\n\nparagraphs\n".as_bytes());
        file("c.tags", b"three, tags");
        file("d.txt", b"four");
        file("d.caption", b"not this");
        file("f\u{fc}r.txt", b"five");
        file("._a.png", b"resource fork");
        file("._a.txt", b"\xff\xfe");
        file(".DS_Store", b"\0");
        file("Thumbs.db", b"\0");
        let Loaded {
            dataset,
            problems,
            notes,
        } = load(dir.path(), true).unwrap();
        let captions: Vec<_> = dataset.samples.iter().map(|it| &it.caption[..]).collect();
        assert_eq!(
            captions,
            ["one", "two\n\nparagraphs", "three, tags", "four", "five"]
        );
        assert!(
            problems.is_empty() && notes[0].contains("several caption files"),
            "{notes:?}"
        );
        let layout = Layout {
            caption_column: Some(".caption".into()),
            ..Layout::default()
        };
        let Loaded { dataset, .. } = Dataset::load(dir.path(), 4, &layout, false, &Silent).unwrap();
        let captions: Vec<_> = dataset.samples.iter().map(|it| &it.caption[..]).collect();
        assert_eq!(captions, ["one", "two\n\nparagraphs", "not this"]);
    }

    #[test]
    fn reads_subfolders_their_parts_and_repeats() {
        let dir = tempfile::tempdir().unwrap();
        let pair = |name: &str, shade: u8| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path.with_extension("png"), png(shade)).unwrap();
            std::fs::write(path.with_extension("txt"), name).unwrap();
        };
        for (shade, name) in (1..).zip([
            "train/10_red/a",
            "train/2023_trip/a",
            "train/100_PANA/a",
            "val/b",
            "c",
        ]) {
            pair(name, shade);
        }
        let read = |layout: Layout| Dataset::load(dir.path(), 4, &layout, true, &Silent);
        let Loaded { dataset, notes, .. } = read(Layout::default()).unwrap();
        let repeats: Vec<_> = dataset
            .samples
            .iter()
            .map(|it| (&it.caption[..], it.repeats))
            .collect();
        assert_eq!(
            repeats,
            [
                ("c", 1),
                ("train/100_PANA/a", 1),
                ("train/10_red/a", 10),
                ("train/2023_trip/a", 1),
                ("val/b", 1)
            ]
        );
        let notes = notes.join("\n");
        for wanted in [
            "5 pictures, 4 of them in 4 subfolders",
            "10_red: an epoch of training shows its 1 picture 10 times",
            "parts: train 3, val 1; all are read",
        ] {
            assert!(notes.contains(wanted), "no `{wanted}` in\n{notes}");
        }
        let count = |layout: Layout| read(layout).unwrap().dataset.samples.len();
        assert_eq!(
            count(Layout {
                splits: vec!["validation".into()],
                ..Layout::default()
            }),
            1
        );
        assert_eq!(
            count(Layout {
                depth: Some(0),
                ..Layout::default()
            }),
            1
        );
        assert_eq!(
            count(Layout {
                depth: Some(1),
                ..Layout::default()
            }),
            2
        );
        let error = read(Layout {
            image_column: Some("x".into()),
            ..Layout::default()
        })
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("column of the pictures does not apply"),
            "{error}"
        );
        assert_eq!(error.hint(), Some(Hint::LeaveOut("data.image_column")));
    }

    #[test]
    fn pictures_of_one_stem_share_no_caption() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        file("a.png", &png(1));
        file("a.gif", &png(2));
        file("a.txt", b"whose?");
        file("b.png", &png(3));
        file("b.jpg", &png(4));
        file("b.txt", b"the png's");
        file("b.jpg.txt", b"the jpg's");
        let Loaded {
            dataset, problems, ..
        } = load(dir.path(), false).unwrap();
        let captions: Vec<_> = dataset
            .samples
            .iter()
            .map(|it| (it.rgb[0], &it.caption[..]))
            .collect();
        assert_eq!(captions, [(4, "the jpg's"), (3, "the png's")]);
        let text = lines(&problems);
        assert_eq!(problems.len(), 2, "{text}");
        assert!(text.contains("a.txt may be its caption or that of a.gif: name the caption of this picture a.png.txt"), "{text}");
        // what is written is read again
        let rows: Vec<Captioned> = ["a.gif", "a.png"]
            .iter()
            .map(|name| Captioned {
                picture: dir.path().join(name),
                caption: name.to_string(),
            })
            .collect();
        Captioned::write(dir.path(), Format::Folder, &rows).unwrap();
        std::fs::remove_file(dir.path().join("a.txt")).unwrap();
        let Loaded { dataset, .. } = load(dir.path(), true).unwrap();
        assert_eq!(dataset.samples[0].caption, "a.gif");
        assert_eq!(dataset.samples[1].caption, "a.png");
    }
}
