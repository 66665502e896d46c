//! The selected picture as large as the window shows it. Others are kept as thumbnails only.

use std::sync::Arc;

use egui::Context;
use seemore::image::{Picture, Preprocess};

use crate::loader::Loader;
use crate::pictures::{PictureSource, fitted};

/// Longest side of a preview, in pixels.
const LONGEST: usize = 1600;

/// The part of a picture to show, and its form.
#[derive(Clone)]
pub struct Wanted {
    pub source: Arc<PictureSource>,
    /// Preprocessing of the model; the part of the picture that it sees is shown.
    pub preprocess: Preprocess,
    /// Whether the picture is shown with as many pixels as the model takes in.
    pub as_input: bool,
}

impl Wanted {
    /// Reads the picture; `None` if it cannot be read.
    fn read(&self) -> Option<Picture> {
        // the job that captions the picture reports what is wrong with it
        let picture = self.source.read().ok()?;
        if self.as_input {
            return Some(picture.framed(self.preprocess));
        }
        // the square around a drawing can be larger than the picture
        let picture = fitted(picture, 2 * LONGEST);
        Some(fitted(
            self.preprocess.shown(&picture).into_owned(),
            LONGEST,
        ))
    }
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Wanted) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && (self.preprocess, self.as_input) == (other.preprocess, other.as_input)
    }
}

/// Reads previews one at a time, and keeps the latest one. While the selection moves through large
/// pictures, those passed by are not read.
#[derive(Default)]
pub struct Preview {
    loader: Option<Loader<Wanted, Option<Picture>>>,
    /// The last picture that was read, or could not be.
    read: Option<(Wanted, Option<Picture>)>,
    /// Number of pictures that were read.
    number: u64,
}

impl Preview {
    /// Returns the preview and its number, unless it is still being read.
    pub fn get(&mut self, ctx: &Context, wanted: &Wanted) -> Option<(u64, &Picture)> {
        let loader = self
            .loader
            .get_or_insert_with(|| Loader::new(ctx, 1, Wanted::read));
        while let Some(read) = loader.poll() {
            self.number += 1;
            self.read = Some(read);
        }
        match &self.read {
            Some((known, picture)) if known == wanted => Some((self.number, picture.as_ref()?)),
            _ => {
                loader.request(std::iter::once(wanted.clone()));
                None
            }
        }
    }
}
