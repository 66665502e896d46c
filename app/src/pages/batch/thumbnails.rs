//! Thumbnails of the visible pictures, decoded on background threads and kept in a
//! least-recently-used cache.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use egui::{Context, TextureHandle};
use seemore::image::{Filter, Picture};

use crate::heat;
use crate::pictures::THUMBNAIL;

/// Maximum number of cached textures.
const CAPACITY: usize = 400;

/// Number of decoding threads.
const THREADS: usize = 2;

/// Maximum number of textures created per frame, which keeps frames short.
const PER_FRAME: usize = 8;

/// A thumbnail, or why the picture could not be read.
pub type Thumbnail = Result<TextureHandle, String>;

/// Thumbnails by the number of the entry.
pub struct Thumbnails {
    queue: Arc<Queue>,
    arrivals: Receiver<(u64, usize, Result<Picture, String>)>,
    /// Thumbnails with the last frame that showed each.
    cache: HashMap<usize, (u64, Thumbnail)>,
    /// Visible pictures that are not in the cache.
    missing: Vec<(usize, PathBuf)>,
    frame: u64,
    /// Number of the folder, to discard thumbnails of the one before.
    folder: u64,
}

#[derive(Default)]
struct Queue {
    requests: Mutex<Requests>,
    changed: Condvar,
}

#[derive(Default)]
struct Requests {
    /// Pictures to decode, the most urgent last.
    pending: Vec<(usize, PathBuf)>,
    started: HashSet<usize>,
    folder: u64,
    closed: bool,
}

impl Thumbnails {
    /// Starts the decoding threads.
    pub fn new(ctx: &Context) -> Thumbnails {
        let queue = Arc::new(Queue::default());
        let (send, arrivals) = channel();
        for _ in 0..THREADS {
            let (queue, send, ctx) = (queue.clone(), send.clone(), ctx.clone());
            std::thread::spawn(move || decode(&queue, &send, &ctx));
        }
        Thumbnails {
            queue,
            arrivals,
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
        let mut requests = self
            .queue
            .requests
            .lock()
            .expect("no thread panics while it holds the lock");
        *requests = Requests {
            folder: self.folder,
            ..Requests::default()
        };
    }

    /// Returns the thumbnail of a picture, or `None` and requests it if it is not in the cache.
    pub fn get(&mut self, picture: usize, path: &Path) -> Option<&Thumbnail> {
        match self.cache.get_mut(&picture) {
            Some((used, _)) => *used = self.frame,
            None => self.missing.push((picture, path.to_owned())),
        }
        self.cache.get(&picture).map(|(_, thumbnail)| thumbnail)
    }

    /// Adds the thumbnails decoded since the last frame, and requests those that this one misses.
    pub fn update(&mut self, ctx: &Context) {
        self.frame += 1;
        let arrivals: Vec<_> = self.arrivals.try_iter().take(PER_FRAME).collect();
        if arrivals.len() == PER_FRAME {
            ctx.request_repaint();
        }
        for (folder, picture, thumbnail) in arrivals {
            if folder == self.folder {
                let thumbnail = thumbnail.map(|small| heat::texture(ctx, "thumbnail", &small));
                self.cache.insert(picture, (self.frame, thumbnail));
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
        let mut requests = self
            .queue
            .requests
            .lock()
            .expect("no thread panics while it holds the lock");
        // threads take the last one first, which is the topmost
        self.missing.reverse();
        requests
            .started
            .retain(|picture| !self.cache.contains_key(picture));
        requests.pending = std::mem::take(&mut self.missing);
        if !requests.pending.is_empty() {
            self.queue.changed.notify_all();
        }
    }
}

impl Drop for Thumbnails {
    fn drop(&mut self) {
        self.queue
            .requests
            .lock()
            .expect("no thread panics while it holds the lock")
            .closed = true;
        self.queue.changed.notify_all();
    }
}

/// Decodes requested pictures until the queue is closed.
fn decode(queue: &Queue, send: &Sender<(u64, usize, Result<Picture, String>)>, ctx: &Context) {
    loop {
        let mut requests = queue
            .requests
            .lock()
            .expect("no thread panics while it holds the lock");
        let (picture, path) = loop {
            if requests.closed {
                return;
            }
            match requests.pending.pop() {
                Some((picture, _)) if requests.started.contains(&picture) => {}
                Some(next) => break next,
                None => {
                    requests = queue
                        .changed
                        .wait(requests)
                        .expect("no thread panics while it holds the lock");
                }
            }
        };
        requests.started.insert(picture);
        let folder = requests.folder;
        drop(requests);
        let thumbnail = Picture::open(&path)
            .map(|picture| shrunk(picture, THUMBNAIL))
            .map_err(|error| error.to_string());
        if send.send((folder, picture, thumbnail)).is_err() {
            return;
        }
        ctx.request_repaint();
    }
}

/// Returns a picture whose longer edge has at most `longest` pixels.
pub fn shrunk(picture: Picture, longest: usize) -> Picture {
    let edge = picture.width.max(picture.height);
    if edge <= longest {
        return picture;
    }
    let scaled = |side: usize| (side * longest / edge).max(1);
    let (width, height) = (scaled(picture.width), scaled(picture.height));
    picture.resampled(width, height, Filter::Bilinear)
}
