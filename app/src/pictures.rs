//! Reads and decodes pictures on background threads.

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
            origin: Origin::Memory(fitted(&picture, LONGEST)),
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
pub fn fitted(picture: &Picture, longest: usize) -> Picture {
    let side = picture.width.max(picture.height);
    if side <= longest {
        return picture.clone();
    }
    let scaled = |length: usize| (length * longest).div_ceil(side).max(1);
    picture.resampled(
        scaled(picture.width),
        scaled(picture.height),
        Filter::Bilinear,
    )
}

/// An opened picture, sent to the pages as an event.
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
    for row in picture.rgb.chunks_exact(width.max(1)) {
        let pixels = row.as_chunks::<3>().0;
        all += pixels.len().saturating_sub(1);
        equal += pixels.windows(2).filter(|pair| pair[0] == pair[1]).count();
    }
    (equal as f32) < FLAT * all as f32
}

/// Opens pictures on background threads.
pub struct Reader {
    sender: Sender<Result<OpenedPicture, String>>,
    receiver: Receiver<Result<OpenedPicture, String>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Reader {
    /// Returns a reader that calls `wake` after every picture.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Reader {
        let (sender, receiver) = channel();
        Reader {
            sender,
            receiver,
            wake,
        }
    }

    /// Reads files in the given order, and all pictures of folders sorted by name.
    pub fn open(&self, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        let (sender, wake) = (self.sender.clone(), self.wake.clone());
        std::thread::spawn(move || {
            for file in paths.iter().flat_map(|path| files(path)) {
                let opened = file.and_then(|file| {
                    let source = PictureSource::file(file);
                    let picture = source.read().map_err(|error| error.to_string())?;
                    Ok(OpenedPicture::new(source, &picture))
                });
                if sender.send(opened).is_err() {
                    return;
                }
                wake();
            }
        });
    }

    /// Reads `count` evenly spaced pictures of a data set.
    pub fn open_samples(&self, file: PathBuf, count: usize) {
        let (sender, wake) = (self.sender.clone(), self.wake.clone());
        std::thread::spawn(move || {
            let preprocess = Preprocess {
                side: SAMPLE,
                crop: false,
            };
            let loaded = Dataset::load(
                &file,
                preprocess,
                &Layout::default(),
                false,
                &seemore::progress::Silent,
            );
            let opened = match loaded {
                Err(error) => vec![Err(error.to_string())],
                Ok(loaded) => {
                    let samples = loaded.dataset.samples;
                    let stride = (samples.len() / count).max(1);
                    let open = |sample: Sample| {
                        let picture = Picture {
                            width: SAMPLE,
                            height: SAMPLE,
                            rgb: sample.rgb.to_vec(),
                        };
                        let name = format!("{} (sample)", sample.caption);
                        let source = PictureSource::memory(name, picture);
                        let picture = source.read().map_err(|error| error.to_string())?;
                        Ok(OpenedPicture::new(source, &picture))
                    };
                    samples
                        .into_iter()
                        .step_by(stride)
                        .take(count)
                        .map(open)
                        .collect()
                }
            };
            opened
                .into_iter()
                .for_each(|opened| drop(sender.send(opened)));
            wake();
        });
    }

    /// Adds a picture that is already in memory.
    pub fn add(&self, name: &str, picture: Picture) {
        let source = PictureSource::memory(name.to_owned(), picture);
        let opened = source.read().map_err(|error| error.to_string());
        let opened = opened.map(|picture| OpenedPicture::new(source, &picture));
        let _ = self.sender.send(opened);
    }

    /// Returns the next picture or error, or `None` if no further one has arrived.
    pub fn poll(&self) -> Option<Result<OpenedPicture, String>> {
        self.receiver.try_recv().ok()
    }
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
