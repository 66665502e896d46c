//! Reads and decodes pictures on a background thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use seemore::data::{Dataset, Layout, Sample};
use seemore::image::{Filter, Picture, PictureError, Preprocess};

/// Width and height of a thumbnail, in pixels.
pub const THUMBNAIL: usize = 64;

/// Width and height of the sample pictures, in pixels.
const SAMPLE: usize = 64;

/// Extensions of the files that can be opened.
pub const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Longest side of a picture in memory, in pixels: no model takes in more.
const LONGEST: usize = 2048;

/// Share of equal neighbouring pixels below which a picture looks like a photograph.
const FLAT: f32 = 0.25;

/// Maximum number of rows whose pixels are compared.
const COMPARED: usize = 512;

/// A picture that can be read again, so that its pixels need not be kept.
#[derive(Debug)]
pub struct PictureSource {
    /// Path or description.
    pub name: String,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Memory(Picture),
}

impl PictureSource {
    /// Returns the source of a picture in a file.
    pub fn file(path: PathBuf) -> PictureSource {
        PictureSource {
            name: path.display().to_string(),
            origin: Origin::File(path),
        }
    }

    /// Returns the source of a picture that is in no file. Large ones are made smaller.
    pub fn memory(name: String, picture: Picture) -> PictureSource {
        PictureSource {
            name,
            origin: Origin::Memory(fitted(picture, LONGEST)),
        }
    }

    /// Returns the file of the picture, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File(path) => Some(path),
            Origin::Memory(_) => None,
        }
    }

    /// Reads the picture at its own size.
    ///
    /// # Errors
    /// A file that is gone or is no picture.
    pub fn read(&self) -> Result<Picture, PictureError> {
        match &self.origin {
            Origin::File(path) => Picture::open(path),
            Origin::Memory(picture) => Ok(picture.clone()),
        }
    }
}

/// Returns a picture with its longest side shortened to at most `longest` pixels.
pub fn fitted(picture: Picture, longest: usize) -> Picture {
    let side = picture.width.max(picture.height);
    if side <= longest {
        return picture;
    }
    let scaled = |length: usize| (length * longest).div_ceil(side).max(1);
    picture.resampled(
        scaled(picture.width),
        scaled(picture.height),
        Filter::Bilinear,
    )
}

/// An opened picture.
#[derive(Debug, Clone)]
pub struct OpenedPicture {
    /// Where the picture can be read again.
    pub source: Arc<PictureSource>,
    /// The picture at thumbnail size, stretched to a square.
    pub thumbnail: Picture,
    /// Width and height of the picture, in pixels.
    pub size: [usize; 2],
    /// Whether the picture looks like a photograph: few neighbouring pixels are equal.
    pub photograph: bool,
}

impl OpenedPicture {
    fn new(source: PictureSource, picture: &Picture) -> OpenedPicture {
        OpenedPicture {
            source: Arc::new(source),
            thumbnail: picture.resize(THUMBNAIL),
            size: [picture.width, picture.height],
            photograph: looks_like_photograph(picture),
        }
    }
}

fn looks_like_photograph(picture: &Picture) -> bool {
    let width = 3 * picture.width;
    let (mut equal, mut all) = (0usize, 0usize);
    let rows = picture.rgb.chunks_exact(width.max(1));
    for row in rows.step_by(picture.height.div_ceil(COMPARED).max(1)) {
        let pixels = row.as_chunks::<3>().0;
        all += pixels.len().saturating_sub(1);
        equal += pixels.windows(2).filter(|pair| pair[0] == pair[1]).count();
    }
    (equal as f32) < FLAT * all as f32
}

/// Pictures to open.
enum Order {
    /// Files in the given order, and all pictures of folders sorted by name.
    Files(Vec<PathBuf>),
    /// A number of evenly spaced pictures of a data set.
    Samples(PathBuf, usize),
    /// A picture that is already in memory.
    Memory(PictureSource),
}

/// Opens pictures on a thread of its own, one at a time, so that no number of them fills the
/// memory.
pub struct Reader {
    orders: Sender<Order>,
    opened: Receiver<Result<OpenedPicture, String>>,
}

impl Reader {
    /// Returns a reader that calls `wake` after every picture.
    pub fn new(wake: impl Fn() + Send + 'static) -> Reader {
        let (orders, incoming) = channel();
        let (sender, opened) = channel();
        std::thread::spawn(move || {
            // the window has closed if nothing can be sent
            let send = |opened: Result<OpenedPicture, String>| {
                let sent = sender.send(opened).is_ok();
                wake();
                sent.then_some(())
            };
            while let Ok(order) = incoming.recv() {
                if open(order, send).is_none() {
                    return;
                }
            }
        });
        Reader { orders, opened }
    }

    /// Reads files in the given order, and all pictures of folders sorted by name.
    pub fn open(&self, paths: Vec<PathBuf>) {
        self.order(Order::Files(paths));
    }

    /// Reads `count` evenly spaced pictures of a data set.
    pub fn open_samples(&self, file: PathBuf, count: usize) {
        self.order(Order::Samples(file, count));
    }

    /// Adds a picture that is already in memory.
    pub fn add(&self, name: &str, picture: Picture) {
        let source = PictureSource::memory(name.to_owned(), picture);
        self.order(Order::Memory(source));
    }

    fn order(&self, order: Order) {
        // fails only after a panic of the thread
        let _ = self.orders.send(order);
    }

    /// Returns the next picture or error, or `None` if no further one has arrived.
    pub fn poll(&self) -> Option<Result<OpenedPicture, String>> {
        self.opened.try_recv().ok()
    }
}

/// Opens pictures and passes them on; `None` if they are no longer wanted.
fn open(order: Order, send: impl Fn(Result<OpenedPicture, String>) -> Option<()>) -> Option<()> {
    let read = |source: PictureSource| {
        let picture = source.read().map_err(|error| error.to_string())?;
        Ok(OpenedPicture::new(source, &picture))
    };
    match order {
        Order::Memory(source) => send(read(source)),
        Order::Files(paths) => paths
            .iter()
            .flat_map(|path| files(path))
            .try_for_each(|file| send(file.and_then(|file| read(PictureSource::file(file))))),
        Order::Samples(file, count) => match samples(&file, count) {
            Err(message) => send(Err(message)),
            Ok(sources) => sources
                .into_iter()
                .try_for_each(|source| send(read(source))),
        },
    }
}

/// Returns `count` evenly spaced pictures of a data set.
fn samples(file: &Path, count: usize) -> Result<Vec<PictureSource>, String> {
    let preprocess = Preprocess {
        side: SAMPLE,
        crop: false,
    };
    let loaded = Dataset::load(
        file,
        preprocess,
        &Layout::default(),
        false,
        &seemore::progress::Silent,
    );
    let samples = loaded.map_err(|error| error.to_string())?.dataset.samples;
    let stride = (samples.len() / count).max(1);
    let source = |sample: Sample| {
        let picture = Picture {
            width: SAMPLE,
            height: SAMPLE,
            rgb: sample.rgb.to_vec(),
        };
        PictureSource::memory(format!("{} (sample)", sample.caption), picture)
    };
    let chosen = samples.into_iter().step_by(stride).take(count);
    Ok(chosen.map(source).collect())
}

/// Returns the path itself, or the pictures in it if it is a folder, which are recognized by their
/// extensions.
pub fn files(path: &Path) -> Vec<Result<PathBuf, String>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    let known = |path: &PathBuf| {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        EXTENSIONS.contains(&extension.as_str())
    };
    match std::fs::read_dir(path) {
        Err(error) => vec![Err(format!(
            "cannot read the folder {}: {error}",
            path.display()
        ))],
        Ok(entries) => {
            let mut files: Vec<PathBuf> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(known)
                .collect();
            files.sort();
            if files.is_empty() {
                return vec![Err(format!(
                    "{} contains no pictures ({})",
                    path.display(),
                    EXTENSIONS.join(", ")
                ))];
            }
            files.into_iter().map(Ok).collect()
        }
    }
}
