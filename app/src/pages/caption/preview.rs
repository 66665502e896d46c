//! The selected picture as large as the window shows it. Others are kept as thumbnails only.

use std::sync::Arc;

use egui::Context;
use seemore::image::{Picture, Preprocess};

use crate::background::Background;
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
        let seen = self.preprocess.shown(&picture);
        drop(picture);
        Some(match self.as_input {
            true => seen.resize(self.preprocess.side),
            false => fitted(&seen, LONGEST),
        })
    }
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Wanted) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && (self.preprocess, self.as_input) == (other.preprocess, other.as_input)
    }
}

/// Reads previews on another thread, one at a time, and keeps the latest one.
#[derive(Default)]
pub struct Preview {
    wanted: Option<Wanted>,
    /// Number of the wanted preview.
    number: u64,
    /// Number of the one that is being read.
    reading: Option<u64>,
    /// Number of the last one that was read, or could not be.
    read_last: u64,
    shown: Option<(u64, Picture)>,
    read: Background<Option<Picture>>,
}

impl Preview {
    /// Returns the preview and its number, unless it is still being read.
    pub fn get(&mut self, ctx: &Context, wanted: &Wanted) -> Option<(u64, &Picture)> {
        if self.wanted.as_ref() != Some(wanted) {
            self.wanted = Some(wanted.clone());
            self.number += 1;
        }
        while let Some(picture) = self.read.poll() {
            let Some(number) = self.reading.take() else {
                continue;
            };
            self.read_last = number;
            self.shown = picture.map(|picture| (number, picture));
        }
        // while the selection moves through large pictures, those passed by are not read
        if self.reading.is_none() && self.read_last != self.number {
            self.reading = Some(self.number);
            let wanted = wanted.clone();
            self.read.run(ctx, move || Some(wanted.read()));
        }
        let shown = self.shown.as_ref();
        let shown = shown.filter(|(number, _)| *number == self.number);
        shown.map(|(number, picture)| (*number, picture))
    }
}
