//! Thumbnails of the pictures that are in sight, decoded aside; those not seen for longest are forgotten.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use egui::{Context, TextureHandle};
use seemore::image::Picture;

use crate::heat;
use crate::pictures::THUMBNAIL;

/// Textures that are kept.
const MOST: usize = 400;

/// Threads that decode.
const THREADS: usize = 2;

/// Textures made in one frame, so that it stays short.
const A_FRAME: usize = 8;

/// A thumbnail, or why there is none.
pub type Thumbnail = Result<TextureHandle, String>;

pub struct Thumbnails {
    queue: Arc<Queue>,
    arrivals: Receiver<(u64, usize, Result<Picture, String>)>,
    /// With the frame that showed it last.
    known: HashMap<usize, (u64, Thumbnail)>,
    /// In sight, and not there yet.
    wanted: Vec<(usize, PathBuf)>,
    frame: u64,
    /// Thumbnails of a folder before are of no use.
    folder: u64,
}

#[derive(Default)]
struct Queue {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    wanted: Vec<(usize, PathBuf)>,
    begun: HashSet<usize>,
    folder: u64,
    closed: bool,
}

impl Thumbnails {
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
            known: HashMap::new(),
            wanted: vec![],
            frame: 0,
            folder: 0,
        }
    }

    /// Forgets everything: there is another folder.
    pub fn forget(&mut self) {
        self.folder += 1;
        self.known.clear();
        let mut work = self.queue.work.lock().expect("no thread panics with it");
        *work = Work {
            folder: self.folder,
            ..Work::default()
        };
    }

    /// A picture's thumbnail, if it is there; else it is wanted.
    pub fn get(&mut self, picture: usize, path: &Path) -> Option<&Thumbnail> {
        match self.known.get_mut(&picture) {
            Some((seen, _)) => *seen = self.frame,
            None => self.wanted.push((picture, path.to_owned())),
        }
        self.known.get(&picture).map(|(_, thumbnail)| thumbnail)
    }

    /// Takes in what was decoded since the last frame, and asks for what this one wanted.
    pub fn update(&mut self, ctx: &Context) {
        self.frame += 1;
        let arrivals: Vec<_> = self.arrivals.try_iter().take(A_FRAME).collect();
        if arrivals.len() == A_FRAME {
            ctx.request_repaint();
        }
        for (folder, picture, thumbnail) in arrivals {
            if folder == self.folder {
                let thumbnail = thumbnail.map(|small| heat::texture(ctx, "thumbnail", &small));
                self.known.insert(picture, (self.frame, thumbnail));
            }
        }
        if self.known.len() > MOST {
            let mut seen: Vec<u64> = self.known.values().map(|(seen, _)| *seen).collect();
            // half of them at once, so that this is not done every frame
            let middle = seen.len() / 2;
            let (_, &mut oldest, _) = seen.select_nth_unstable(middle);
            let now = self.frame;
            self.known
                .retain(|_, (seen, _)| *seen > oldest || *seen + 1 >= now);
        }
        let mut work = self.queue.work.lock().expect("no thread panics with it");
        // the first in sight is taken first, from the end
        self.wanted.reverse();
        work.begun
            .retain(|picture| !self.known.contains_key(picture));
        work.wanted = std::mem::take(&mut self.wanted);
        if !work.wanted.is_empty() {
            self.queue.changed.notify_all();
        }
    }
}

impl Drop for Thumbnails {
    fn drop(&mut self) {
        self.queue
            .work
            .lock()
            .expect("no thread panics with it")
            .closed = true;
        self.queue.changed.notify_all();
    }
}

fn decode(queue: &Queue, send: &Sender<(u64, usize, Result<Picture, String>)>, ctx: &Context) {
    loop {
        let mut work = queue.work.lock().expect("no thread panics with it");
        let (picture, path) = loop {
            if work.closed {
                return;
            }
            match work.wanted.pop() {
                Some((picture, _)) if work.begun.contains(&picture) => {}
                Some(next) => break next,
                None => work = queue.changed.wait(work).expect("no thread panics with it"),
            }
        };
        work.begun.insert(picture);
        let folder = work.folder;
        drop(work);
        let thumbnail = Picture::open(&path)
            .map(|picture| picture.resize(THUMBNAIL))
            .map_err(|error| error.to_string());
        if send.send((folder, picture, thumbnail)).is_err() {
            return;
        }
        ctx.request_repaint();
    }
}
