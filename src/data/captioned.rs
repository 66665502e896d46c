//! Picture files with their captions, without the pixels.

use std::path::{Path, PathBuf};

use super::formats;

/// A picture file and its caption.
///
/// [`read`](Self::read) and [`write`](Self::write) handle every [`Format`](super::Format).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captioned {
    /// Path of the picture.
    pub picture: PathBuf,
    /// Caption, without surrounding white space.
    pub caption: String,
}

impl Captioned {
    /// Returns the path of the text file that holds the caption of a single picture: beside it,
    /// with the same stem and the extension `.txt`; or with its whole name before that if another
    /// picture has the same stem, such as `a.png` and `a.jpg`, or if there is such a file.
    pub fn sidecar(picture: &Path) -> PathBuf {
        Captioned::sidecar_with(picture, "txt")
    }

    /// Like [`sidecar`](Self::sidecar), with another extension.
    pub fn sidecar_with(picture: &Path, ending: &str) -> PathBuf {
        // a file that names the picture in full counts before one that has its stem
        let named = Captioned::sidecar_among(picture, true, ending);
        if named.is_file() {
            return named;
        }
        let other = |ending: String| {
            let other = picture.with_extension(ending);
            other.file_name() != picture.file_name()
                && other.is_file()
                && !same_file(&other, picture)
        };
        let shared = formats::endings().any(other);
        Captioned::sidecar_among(picture, shared, ending)
    }

    /// Returns the caption file of a picture that shares its stem with others, or does not.
    pub(super) fn sidecar_among(picture: &Path, shared: bool, ending: &str) -> PathBuf {
        if !shared {
            return picture.with_extension(ending);
        }
        let mut name = picture.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

/// Whether two paths lead to one file, as `a.png` and `a.PNG` do on some systems.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
