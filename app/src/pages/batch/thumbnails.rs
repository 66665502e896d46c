//! Thumbnails, decoded off the UI thread and cached as textures.
//!
//! Only pictures that are visible in the current frame are requested, so scrolling cancels the
//! rest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use egui::{Context, TextureHandle};
use seemore::image::Picture;

use crate::heat;
use crate::loader::Loader;
use crate::pictures::{THUMBNAIL, fitted};

/// Maximum number of cached textures.
const CAPACITY: usize = 400;

/// Number of pictures that are decoded at once.
const AT_ONCE: usize = 2;

/// Maximum number of textures created per frame, which keeps frames short.
const PER_FRAME: usize = 8;

/// A thumbnail, or why the picture could not be read.
pub type Thumbnail = Result<TextureHandle, String>;

/// A picture to decode.
#[derive(Clone, PartialEq)]
struct Request {
    /// Number of the folder.
    folder: u64,
    /// Number of the entry.
    entry: usize,
    path: PathBuf,
}

/// Thumbnails by the number of the entry.
pub struct Thumbnails {
    loader: Loader<Request, Result<Picture, String>>,
    /// Thumbnails with the last frame that showed each.
    cache: HashMap<usize, (u64, Thumbnail)>,
    /// Visible pictures that are not in the cache.
    missing: Vec<Request>,
    frame: u64,
    /// Number of the folder, to discard thumbnails of the one before.
    folder: u64,
}

impl Thumbnails {
    /// Returns an empty cache.
    pub fn new(ctx: &Context) -> Thumbnails {
        Thumbnails {
            loader: Loader::new(ctx, AT_ONCE, |request: &Request| {
                Picture::open(&request.path)
                    .map(|picture| fitted(picture, THUMBNAIL))
                    .map_err(|error| error.to_string())
            }),
            cache: HashMap::new(),
            missing: vec![],
            frame: 0,
            folder: 0,
        }
    }

    /// Empties the cache for another folder.
    pub fn clear(&mut self) {
        self.folder += 1;
        self.cache.clear();
        self.missing.clear();
    }

    /// Returns the thumbnail of a picture, or `None` and requests it if it is not in the cache.
    pub fn get(&mut self, entry: usize, path: &Path) -> Option<&Thumbnail> {
        match self.cache.get_mut(&entry) {
            Some((used, _)) => *used = self.frame,
            None => self.missing.push(Request {
                folder: self.folder,
                entry,
                path: path.to_owned(),
            }),
        }
        self.cache.get(&entry).map(|(_, thumbnail)| thumbnail)
    }

    /// Adds the thumbnails decoded since the last frame, and requests those that this one misses.
    pub fn update(&mut self, ctx: &Context) {
        self.frame += 1;
        self.loader.request(self.missing.drain(..));
        for taken in 1..=PER_FRAME {
            let Some((request, thumbnail)) = self.loader.poll() else {
                break;
            };
            if request.folder == self.folder {
                let thumbnail = thumbnail.map(|small| heat::texture(ctx, "thumbnail", &small));
                self.cache.insert(request.entry, (self.frame, thumbnail));
            }
            if taken == PER_FRAME {
                ctx.request_repaint();
            }
        }
        if self.cache.len() > CAPACITY {
            let mut used: Vec<u64> = self.cache.values().map(|(used, _)| *used).collect();
            // evicts half of them at once, so that this does not happen every frame
            let middle = used.len() / 2;
            let (_, &mut median, _) = used.select_nth_unstable(middle);
            let now = self.frame;
            self.cache
                .retain(|_, (used, _)| *used > median || *used + 1 >= now);
        }
    }
}
