//! Reads and decodes pictures on background threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use seemore::data::{Dataset, Layout, Sample};
use seemore::image::{Picture, Preprocess};

/// Width and height of a thumbnail, in pixels.
pub const THUMBNAIL: usize = 64;

/// Width and height of the sample pictures, in pixels.
const SAMPLE: usize = 64;

/// Extensions of the files that can be opened.
pub const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// An opened picture, sent to the pages as an event.
pub struct OpenedPicture {
    /// Path or description.
    pub name: String,
    /// The picture at its own size.
    pub picture: Arc<Picture>,
    /// The picture at thumbnail size.
    pub thumbnail: Picture,
}

impl OpenedPicture {
    fn new(name: String, picture: Picture) -> OpenedPicture {
        let thumbnail = picture.resize(THUMBNAIL);
        OpenedPicture {
            name,
            picture: Arc::new(picture),
            thumbnail,
        }
    }
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
                    let picture = Picture::open(&file).map_err(|error| error.to_string())?;
                    Ok(OpenedPicture::new(file.display().to_string(), picture))
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
                        Ok(OpenedPicture::new(name, picture))
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
        let opened = OpenedPicture::new(name.to_owned(), picture);
        let _ = self.sender.send(Ok(opened));
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
