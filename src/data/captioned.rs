//! Picture files with their captions, without the pixels.

use std::path::{Path, PathBuf};

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
    /// with the same stem and the extension `.txt`.
    pub fn sidecar(picture: &Path) -> PathBuf {
        picture.with_extension("txt")
    }
}
