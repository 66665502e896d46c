//! Pictures on their way into the window: files are read and decoded aside.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use indicatif::ProgressBar;
use seemore::data::{Dataset, Layout, Sample};
use seemore::image::{Picture, Preprocess};

/// Side of a thumbnail in pixels.
pub const THUMBNAIL: usize = 64;

/// Side of the pictures of the data that come with seemore, in pixels.
const SAMPLE: usize = 64;

/// A picture that was read, or why it could not be.
pub struct Arrival {
    pub name: String,
    pub picture: Result<(Arc<Picture>, Picture), String>,
}

/// Reads pictures on threads of its own.
pub struct Reader {
    send: Sender<Arrival>,
    arrivals: Receiver<Arrival>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Reader {
    /// `wake` is called after every arrival.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Reader {
        let (send, arrivals) = channel();
        Reader {
            send,
            arrivals,
            wake,
        }
    }

    /// Reads files in their order, of folders all pictures in the order of their names.
    pub fn open(&self, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        let (send, wake) = (self.send.clone(), self.wake.clone());
        std::thread::spawn(move || {
            for (path, file) in paths
                .iter()
                .flat_map(|path| files(path).into_iter().map(move |file| (path, file)))
            {
                let name = file.as_ref().unwrap_or(path).display().to_string();
                let picture =
                    file.and_then(|file| Picture::open(&file).map_err(|error| error.to_string()));
                if send
                    .send(Arrival {
                        name,
                        picture: picture.map(with_thumbnail),
                    })
                    .is_err()
                {
                    return;
                }
                wake();
            }
        });
    }

    /// Reads `count` pictures, spread evenly, out of a file of pictures with captions.
    pub fn sample(&self, file: PathBuf, count: usize) {
        let (send, wake) = (self.send.clone(), self.wake.clone());
        std::thread::spawn(move || {
            let frame = Preprocess {
                side: SAMPLE,
                crop: false,
            };
            let arrivals = match Dataset::load(
                &file,
                frame,
                &Layout::default(),
                false,
                &ProgressBar::hidden(),
            ) {
                Err(error) => vec![Arrival {
                    name: file.display().to_string(),
                    picture: Err(error.to_string()),
                }],
                Ok(loaded) => {
                    let samples = loaded.dataset.samples;
                    let stride = (samples.len() / count).max(1);
                    let arrival = |sample: Sample| {
                        let picture = Picture {
                            width: SAMPLE,
                            height: SAMPLE,
                            rgb: sample.rgb.to_vec(),
                        };
                        Arrival {
                            name: format!("{} (sample)", sample.caption),
                            picture: Ok(with_thumbnail(picture)),
                        }
                    };
                    samples
                        .into_iter()
                        .step_by(stride)
                        .take(count)
                        .map(arrival)
                        .collect()
                }
            };
            arrivals
                .into_iter()
                .for_each(|arrival| drop(send.send(arrival)));
            wake();
        });
    }

    /// Takes in a picture that is in memory already.
    pub fn give(&self, name: &str, picture: Picture) {
        let _ = self.send.send(Arrival {
            name: name.to_owned(),
            picture: Ok(with_thumbnail(picture)),
        });
    }

    /// The next picture, if one has arrived.
    pub fn next(&self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }
}

fn with_thumbnail(picture: Picture) -> (Arc<Picture>, Picture) {
    let thumbnail = picture.resize(THUMBNAIL);
    (Arc::new(picture), thumbnail)
}

/// The picture itself, or those in a folder; what a folder holds beside pictures is passed over by its extension.
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
                    "{} holds no pictures ({})",
                    path.display(),
                    EXTENSIONS.join(", ")
                ))];
            }
            files.into_iter().map(Ok).collect()
        }
    }
}

/// Of the files that are opened.
pub const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];
