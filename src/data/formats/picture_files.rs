//! Where the pictures lie that a caption file names.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::super::error::Problem;
use super::super::record::Encoded;
use super::folders::{Walk, is_clutter, walk};
use super::layout::{Layout, Setting, Used};
use crate::hint::Hint;

/// Extensions of pictures that are decoded.
const DECODED: [&str; 13] = [
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "jif", "webp", "gif", "bmp", "dib", "tif", "tiff",
];

/// Extensions of pictures that are not, so that they are refused by name instead of overlooked.
const REFUSED: [&str; 17] = [
    "heic", "heif", "hif", "avif", "jxl", "jp2", "svg", "tga", "psd", "ico", "dng", "cr2", "cr3",
    "nef", "arw", "orf", "rw2",
];

/// Longest text that is taken for a name; no system has longer paths.
const LONGEST_NAME: usize = 1024;

/// Number of files below a caption file's folder among which its pictures are searched.
const SEARCHED: usize = 500_000;

/// Whether a file has the extension of a picture, in either case.
pub fn is_picture(path: &Path) -> bool {
    extension(path).is_some_and(|extension| is_ending(&extension))
}

/// Whether a file has the extension of a picture that can be decoded, in either case.
pub fn is_decoded(path: &Path) -> bool {
    extension(path).is_some_and(|extension| DECODED.contains(&&extension[..]))
}

/// Whether this is the extension of pictures, in lower case.
pub fn is_ending(extension: &str) -> bool {
    DECODED.contains(&extension) || REFUSED.contains(&extension)
}

/// Returns the extension of a file in lower case.
pub fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_string_lossy().to_lowercase())
}

/// Returns the endings of pictures in both cases.
pub fn endings() -> impl Iterator<Item = String> {
    let all = DECODED.iter().chain(&REFUSED);
    all.flat_map(|ending| [ending.to_string(), ending.to_uppercase()])
}

/// Returns the folder that a file lies in.
pub fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Returns a name in the form in which names are compared: composed, in lower case.
fn comparable(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).collect()
}

/// Finds the pictures that a caption file names.
///
/// Names may have been written on another system or machine: with backslashes, with absolute paths
/// of which only the end exists here, with accents composed otherwise, in the other case. They are
/// searched in the folder of the layout, else beside the file and below its folder.
pub struct Pictures<'a> {
    layout: &'a Layout,
    /// Folder of the caption file.
    folder: PathBuf,
    /// Pictures below the root by their comparable names; made on the first miss.
    index: Option<HashMap<String, Vec<PathBuf>>>,
    /// Pictures below the root by their comparable names without ending.
    stems: HashMap<String, Vec<PathBuf>>,
    /// Folders beside that of the caption file; listed on the first miss.
    beside: Option<Vec<PathBuf>>,
    /// Whether a name was searched.
    searched: bool,
    /// Number of pictures that were found elsewhere than where their names say, by folder.
    elsewhere: BTreeMap<PathBuf, usize>,
}

impl<'a> Pictures<'a> {
    /// Finds pictures for the caption file at `path`.
    pub fn new(path: &Path, layout: &'a Layout) -> Pictures<'a> {
        Pictures {
            layout,
            folder: parent(path),
            index: None,
            stems: HashMap::new(),
            beside: None,
            searched: false,
            elsewhere: BTreeMap::new(),
        }
    }

    fn root(&self) -> &Path {
        self.layout.images.as_deref().unwrap_or(&self.folder)
    }

    /// Ends the search: marks the folder of the layout as used.
    pub fn finish(self, used: &mut Used, notes: &mut Vec<String>) {
        if self.searched {
            used.insert(Setting::Images);
        }
        for (folder, count) in self.elsewhere {
            notes.push(format!("{count} pictures found in {}", folder.display()));
        }
    }

    /// Interprets the text that stands for a picture at `place`: a path, base64 or a data URL.
    ///
    /// # Errors
    /// A path that leads to no file, or a web address.
    pub fn interpret(&mut self, place: &str, text: &str) -> Result<Encoded, Problem> {
        let text = text.trim();
        if text.starts_with("data:") {
            return Ok(Encoded::Base64(text.to_owned()));
        }
        if ["http://", "https://", "s3://", "gs://"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            let shown: String = text.chars().take(120).collect();
            return Err(Problem::new(
                place,
                format!(
                    "its picture is the web address {shown}: download the pictures first, for example with img2dataset"
                ),
            ));
        }
        if text.len() > LONGEST_NAME || is_encoded(text) {
            return Ok(Encoded::Base64(text.to_owned()));
        }
        if is_picture(Path::new(text)) || text.starts_with("file://") {
            return self.find(place, text).map(Encoded::File);
        }
        // base64, or a file without an extension
        match self.find(place, text) {
            Ok(file) => Ok(Encoded::File(file)),
            Err(problem) if names_a_file(text) => Err(problem),
            Err(_) => Ok(Encoded::Base64(text.to_owned())),
        }
    }

    /// Locates the picture that a file names at `place`.
    ///
    /// # Errors
    /// There is no such picture, or there are several.
    pub fn find(&mut self, place: &str, name: &str) -> Result<PathBuf, Problem> {
        self.searched = true;
        if let Some(found) = self.exact(name) {
            return Ok(found);
        }
        let parts = parts(name);
        // from the whole name to its last part, so that an absolute path of another machine, or
        // `val2017/1.jpg` in `val2017`, is found
        for start in 0..parts.len() {
            let below: PathBuf = parts[start..].iter().collect();
            let found = self.root().join(below);
            if found.is_file() {
                return Ok(found);
            }
        }
        if let Some(found) = self.with_ending(name) {
            return Ok(found);
        }
        let indexed = match self.indexed(&parts) {
            Ok(None) => Ok(self.beside_annotations(&parts)),
            other => other,
        };
        match indexed {
            Ok(Some(found)) => {
                *self.elsewhere.entry(parent(&found)).or_default() += 1;
                return Ok(found);
            }
            Ok(None) => {}
            Err(several) => {
                let list: Vec<String> = several
                    .iter()
                    .take(3)
                    .map(|path| path.display().to_string())
                    .collect();
                return Err(Problem::new(
                    place,
                    format!("its picture {name} may be any of {}", list.join(", ")),
                ));
            }
        }
        let what = match &self.layout.images {
            Some(images) => format!("its picture {name} is not in {}", images.display()),
            None => format!(
                "its picture {} does not exist",
                self.folder.join(name).display()
            ),
        };
        Err(Problem {
            hint: Some(Hint::ImagesFolder),
            ..Problem::new(place, what)
        })
    }

    /// The file that a name leads to as it is.
    fn exact(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name.strip_prefix("file://").unwrap_or(name));
        if name.is_empty() || name.contains('\0') {
            return None;
        }
        let joined = self.root().join(path);
        if joined.is_file() {
            return Some(joined);
        }
        // the same file seen from the folder that the program runs in
        let named = || self.layout.images.is_none() && path.is_file();
        (path.is_relative() && path.components().count() > 1 && named()).then(|| path.to_owned())
    }

    /// The only file that a name without its ending leads to.
    fn with_ending(&self, name: &str) -> Option<PathBuf> {
        let path = self.root().join(name.replace('\\', "/"));
        if name.is_empty() || name.len() > 255 || name.contains('\0') || is_picture(&path) {
            return None;
        }
        let with = |ending: String| {
            let mut path = path.as_os_str().to_owned();
            path.push(".");
            path.push(ending);
            PathBuf::from(path)
        };
        let mut found = endings().map(with).filter(|path| path.is_file());
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The only picture of a name in the folders beside the caption file's own, or in their
    /// subfolders, if that is one for captions alone, as in `annotations/captions_val2017.json` and
    /// `val2017/1.jpg` or `images/val2017/1.jpg` of COCO.
    fn beside_annotations(&mut self, parts: &[String]) -> Option<PathBuf> {
        const NAMES: [&str; 4] = ["annotations", "annotation", "captions", "labels"];
        let own = self.folder.file_name()?.to_string_lossy().to_lowercase();
        if self.layout.images.is_some() || !NAMES.contains(&&own[..]) {
            return None;
        }
        let above = parent(&self.folder);
        let folders = self.beside.get_or_insert_with(|| {
            let inside = |folder: &Path| -> Vec<PathBuf> {
                let root = match folder.as_os_str().is_empty() {
                    true => Path::new("."),
                    false => folder,
                };
                let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
                // the file system tells folders without a look at every picture
                let is_folder = |entry: &std::fs::DirEntry| {
                    entry.file_type().is_ok_and(|kind| {
                        kind.is_dir() || kind.is_symlink() && entry.path().is_dir()
                    })
                };
                let names = entries.filter(is_folder).map(|entry| entry.file_name());
                let plain = names.filter(|name| !is_clutter(&name.to_string_lossy()));
                plain.map(|name| folder.join(name)).collect()
            };
            let mut folders = inside(&above);
            let below: Vec<PathBuf> = folders.iter().flat_map(|folder| inside(folder)).collect();
            folders.extend(below);
            folders.push(above.clone());
            folders
        });
        let last = parts.last()?;
        let mut found = folders
            .iter()
            .map(|folder| folder.join(last))
            .filter(|path| path.is_file());
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Searches all pictures below the root for the one whose path ends most like the name.
    ///
    /// # Errors
    /// All pictures that end alike, if there are several.
    fn indexed(&mut self, parts: &[String]) -> Result<Option<PathBuf>, Vec<PathBuf>> {
        let Some(last) = parts.last() else {
            return Ok(None);
        };
        if self.index.is_none() {
            self.make_index();
        }
        let wanted: Vec<String> = parts.iter().map(|part| comparable(part)).collect();
        let last = comparable(last);
        let files = match self.index.as_ref().and_then(|index| index.get(&last)) {
            Some(files) => files,
            // a name without ending
            None if !is_picture(Path::new(&last)) => match self.stems.get(&last) {
                Some(files) => files,
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        let alike = |path: &PathBuf| {
            let have: Vec<String> = path
                .components()
                .map(|part| comparable(&part.as_os_str().to_string_lossy()))
                .collect();
            // the last part is known to agree
            let (have, wanted) = (have.iter().rev().skip(1), wanted.iter().rev().skip(1));
            have.zip(wanted).take_while(|(a, b)| a == b).count()
        };
        let most = files.iter().map(alike).max().unwrap_or(0);
        let best: Vec<PathBuf> = files
            .iter()
            .filter(|path| alike(path) == most)
            .cloned()
            .collect();
        match &best[..] {
            [one] => Ok(Some(one.clone())),
            _ => Err(best),
        }
    }

    fn make_index(&mut self) {
        let mut index: HashMap<String, Vec<PathBuf>> = HashMap::new();
        let root = match self.root() {
            empty if empty.as_os_str().is_empty() => Path::new("."),
            root => root,
        };
        // files that cannot be listed are not found
        let Walk { files, .. } = walk(root, None, SEARCHED).unwrap_or_default();
        for file in files.into_iter().filter(|file| is_picture(file)) {
            let file = file.strip_prefix(".").map(Path::to_owned).unwrap_or(file);
            let name = |part: Option<&std::ffi::OsStr>| {
                comparable(&part.unwrap_or_default().to_string_lossy())
            };
            let stem = name(file.file_stem());
            self.stems.entry(stem).or_default().push(file.clone());
            index.entry(name(file.file_name())).or_default().push(file);
        }
        self.index = Some(index);
    }
}

/// Splits a path of any system into its parts, without what makes it absolute or leads upwards.
/// Escapes of web addresses are resolved.
fn parts(name: &str) -> Vec<String> {
    let name = name.strip_prefix("file://").unwrap_or(name);
    let name = match name.contains('%') {
        true => unescaped(name),
        false => name.to_owned(),
    };
    let parts = name.split(['/', '\\']);
    let drive = |part: &str| part.len() == 2 && part.ends_with(':');
    parts
        .filter(|part| !part.is_empty() && *part != "." && *part != ".." && !drive(part))
        .filter(|part| !part.contains('\0'))
        .map(str::to_owned)
        .collect()
}

/// Resolves `%20` and the like.
fn unescaped(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Whether a text begins as the base64 of a picture does: PNG, JPEG, GIF, WebP, BMP or TIFF.
fn is_encoded(text: &str) -> bool {
    const STARTS: [&str; 7] = [
        "iVBORw0KGgo",
        "/9j/",
        "R0lGOD",
        "UklGR",
        "Qk",
        "SUkqA",
        "TU0AK",
    ];
    // a shorter text is no picture
    text.len() > 100 && STARTS.iter().any(|start| text.starts_with(start))
}

/// Whether a text can only be meant as a path: base64 has no backslash, dot or space, and rarely as
/// few characters as a name.
fn names_a_file(text: &str) -> bool {
    text.contains(['\\', ' ', '.'])
        || Path::new(text).components().next() == Some(Component::RootDir) && text.len() < 100
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::png;
    use super::*;

    #[test]
    fn finds_names_written_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, png(1)).unwrap();
            path
        };
        let (deep, umlaut) = (file("pictures/in/a.png"), file("pictures/f\u{fc}r.JPG"));
        let (one, two) = (file("pictures/x/same.png"), file("pictures/y/same.png"));
        file("pictures/._a.png");
        let caption_file = dir.path().join("captions.csv");
        let layout = Layout::default();
        let mut pictures = Pictures::new(&caption_file, &layout);
        for name in [
            "pictures/in/a.png",
            "pictures\\in\\a.png",
            ".\\pictures\\in\\a.png",
            "C:\\Users\\me\\set\\pictures\\in\\a.png",
            "/home/me/pictures/in/a.png",
            "file:///home/me/pictures/in/a.png",
            "a.png",
            "in/A.PNG",
            "a",
            "http%3A/pictures%2Fin%2Fa.png",
        ] {
            assert_eq!(pictures.find("here", name).unwrap(), deep, "{name}");
        }
        for name in ["fu\u{308}r.jpg", "F\u{dc}R.jpg", "f\u{fc}r.JPG"] {
            assert_eq!(pictures.find("here", name).unwrap(), umlaut, "{name}");
        }
        assert_eq!(pictures.find("here", "elsewhere/x/same.png").unwrap(), one);
        assert_eq!(pictures.find("here", "y\\same.png").unwrap(), two);
        let problem = pictures.find("here", "same.png").unwrap_err().to_string();
        assert!(
            problem.contains("may be any of") && problem.contains("same.png"),
            "{problem}"
        );
        for name in ["lost.png", "", "..", "/", "\0.png"] {
            assert!(pictures.find("here", name).is_err(), "{name:?}");
        }
        let (mut used, mut notes) = (Used::new(), vec![]);
        pictures.finish(&mut used, &mut notes);
        assert!(used.contains(&Setting::Images));
        assert!(notes[0].contains("pictures found in"), "{notes:?}");
    }

    #[test]
    fn pictures_lie_beside_a_folder_of_annotations() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["annotations", "val2017", "train2017", "images/test2017"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, png(1)).unwrap();
            path
        };
        let one = file("val2017/1.png");
        file("val2017/2.png");
        file("train2017/2.png");
        let three = file("images/test2017/3.png");
        let layout = Layout::default();
        let find = |captions: &str, name: &str| {
            let path = dir.path().join(captions);
            Pictures::new(&path, &layout).find("here", name).ok()
        };
        assert_eq!(find("annotations/all.json", "1.png"), Some(one));
        assert_eq!(find("annotations/all.json", "3.png"), Some(three));
        // which of the two is not known
        assert_eq!(find("annotations/all.json", "2.png"), None);
        assert_eq!(find("train2017/all.json", "1.png"), None);
    }

    #[test]
    fn tells_base64_from_names() {
        let layout = Layout::default();
        let mut pictures = Pictures::new(Path::new("nowhere/a.csv"), &layout);
        let mut base64 =
            |text: &str| matches!(pictures.interpret("here", text), Ok(Encoded::Base64(_)));
        assert!(base64("iVBORw0KGgo=") && base64("data:image/png;base64,AAAA") && base64("@@@"));
        assert!(!base64("a.png") && !base64("in\\a") && !base64("https://example.org/a.png"));
    }
}
