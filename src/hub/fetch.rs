//! Downloads of all files of a model.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use super::{HubError, RemoteFile, Repository};
use crate::models::{ConfigError, ModelConfig};
use crate::progress::Progress;

/// Receives the progress of [`Repository::fetch`] and can stop it.
pub trait FetchObserver: Sync {
    /// A file's download begins.
    fn begin(&self, _file: &RemoteFile) {}

    /// Bytes have arrived.
    fn advance(&self, bytes: u64);

    /// A file is complete.
    fn end(&self, _file: &RemoteFile) {}

    /// Whether the download is to stop. What has arrived is kept, and a later download continues
    /// there.
    fn stopped(&self) -> bool {
        false
    }
}

/// Payload of the unwinding that leaves the client's download, whose progress callback returns
/// nothing.
struct Stopped;

/// Passes bytes on, and unwinds when the download is to stop.
struct Stoppable<'a>(&'a dyn FetchObserver);

impl Progress for Stoppable<'_> {
    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
        if self.0.stopped() {
            resume_unwind(Box::new(Stopped));
        }
    }
}

impl Repository {
    /// Downloads files, continues what was begun before, and makes the revision the current one.
    /// Returns the folder of the files.
    ///
    /// # Errors
    /// Too little disk space, a model that this library does not know, [`HubError::Stopped`], and
    /// the errors of [`download`](Self::download).
    pub fn fetch(
        &self,
        files: &[RemoteFile],
        observer: &dyn FetchObserver,
    ) -> Result<PathBuf, HubError> {
        self.check_space(files)?;
        for file in files {
            observer.begin(file);
            if observer.stopped() {
                return Err(HubError::Stopped);
            }
            let download = || self.download(file, &Stoppable(observer));
            let path = match catch_unwind(AssertUnwindSafe(download)) {
                Ok(path) => path?,
                Err(payload) if payload.is::<Stopped>() => return Err(HubError::Stopped),
                Err(panic) => resume_unwind(panic),
            };
            observer.end(file);
            if file.name == "config.json" {
                check_architecture(&path)?;
            }
        }
        self.finish()?;
        Ok(self.snapshot())
    }

    /// Checks that the disk has room for what is missing.
    fn check_space(&self, files: &[RemoteFile]) -> Result<(), HubError> {
        let missing = files.iter().filter(|file| !self.has(file));
        let wanted: u64 = missing.map(|file| file.bytes).sum();
        let folder = self.snapshot();
        let Some(existing) = folder.ancestors().find(|folder| folder.exists()) else {
            return Ok(());
        };
        // a disk that cannot tell is found full when it is
        match fs4::available_space(existing) {
            Ok(free) if free < wanted => Err(HubError::NoSpace {
                wanted: wanted.div_ceil(1_000_000),
                folder: existing.display().to_string(),
                free: free / 1_000_000,
            }),
            _ => Ok(()),
        }
    }
}

/// Refuses a model that this library does not know before its weights are downloaded.
fn check_architecture(config: &Path) -> Result<(), HubError> {
    let Err(ConfigError::File { error, .. }) = ModelConfig::load(config) else {
        return Ok(());
    };
    match *error {
        // image encoders are read apart
        ConfigError::Architecture { model_type } if model_type.starts_with("clip") => Ok(()),
        error @ ConfigError::Architecture { .. } => Err(HubError::Architecture {
            path: config.display().to_string(),
            error: Box::new(error),
        }),
        // loading says more about it
        _ => Ok(()),
    }
}
