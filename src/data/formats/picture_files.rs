//! Where the pictures lie that a caption file names.

use std::path::{Path, PathBuf};

use super::super::error::Problem;
use crate::hint::Hint;

/// Facts about caption files that the files themselves do not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// CSV column with base64 pictures.
    pub image_column: String,
    /// CSV column with captions.
    pub caption_column: String,
    /// Folder of the pictures that a file names; `None` for the file's own folder.
    pub images: Option<PathBuf>,
}

impl Default for Layout {
    /// Returns the columns of `inputs.csv` in the original seemore, and no folder.
    fn default() -> Layout {
        Layout {
            image_column: "b64string_images".into(),
            caption_column: "caption".into(),
            images: None,
        }
    }
}

/// Extensions of files that are taken for pictures.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Whether a file has the extension of a picture, in either case.
pub fn is_picture(path: &Path) -> bool {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// Returns the folder that a file lies in.
pub fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Locates the picture that a file names: in the folder of the layout, else in one of `beside`.
///
/// # Errors
/// The picture is in none of these folders; `place` is where the file names it.
pub fn find(
    place: &str,
    name: &str,
    layout: &Layout,
    beside: &[PathBuf],
) -> Result<PathBuf, Problem> {
    let candidates: Vec<PathBuf> = match &layout.images {
        // also without the folders of the name: `val2017/1.jpg` in `val2017`
        Some(images) => [Some(name.as_ref()), Path::new(name).file_name()]
            .into_iter()
            .flatten()
            .map(|name| images.join(name))
            .collect(),
        None => beside.iter().map(|folder| folder.join(name)).collect(),
    };
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    let what = match (&layout.images, candidates.first()) {
        (Some(images), _) => format!("its picture {name} is not in {}", images.display()),
        (None, Some(first)) => format!("its picture {} does not exist", first.display()),
        (None, None) => format!("its picture {name} does not exist"),
    };
    Err(Problem {
        hint: Some(Hint::ImagesFolder),
        ..Problem::new(place, what)
    })
}
