//! Locks of run folders: one training writes a folder at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::train::TrainError;

/// Name of the lock file in a run folder.
const NAME: &str = ".lock";

/// How often a lock is asked for before the folder counts as in use, and the time between.
const LOOKS: u32 = 4;
const LOOK: Duration = Duration::from_millis(10);

/// Exclusive use of a run folder, until it is dropped or the process ends.
///
/// The system holds the lock on behalf of the process, so that one of a process that died is free.
/// The file says who holds it.
#[derive(Debug)]
pub struct FolderLock {
    #[cfg_attr(not(unix), allow(dead_code, reason = "the file stays"))]
    path: PathBuf,
    // closing it releases the lock
    file: File,
}

impl FolderLock {
    /// Locks a folder that exists. `Ok(None)` is a file system without locks.
    ///
    /// # Errors
    /// Another process or training uses the folder, or the lock file cannot be written.
    pub fn acquire(dir: &Path) -> Result<Option<FolderLock>, TrainError> {
        let path = dir.join(NAME);
        let failed = |reason| TrainError::Folder {
            dir: path.clone(),
            reason,
        };
        let mut tries = 0;
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                // one that only looks holds it for a moment
                Err(TryLockError::WouldBlock) if tries < LOOKS => {
                    tries += 1;
                    std::thread::sleep(LOOK);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(TrainError::InUse {
                        dir: dir.to_owned(),
                        holder: holder(&mut file),
                    });
                }
                Err(TryLockError::Error(error)) => {
                    tracing::warn!(
                        "{} cannot be locked ({error}): let no other training write it",
                        dir.display()
                    );
                    return Ok(None);
                }
            }
            // the holder before may have removed the file in between
            if !is_at(&file, &path) {
                continue;
            }
            let note = format!("process {}", std::process::id());
            let write = |file: &mut File| {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(note.as_bytes())
            };
            write(&mut file).map_err(failed)?;
            return Ok(Some(FolderLock { path, file }));
        }
    }

    /// Fails if a folder is in use, without locking it.
    ///
    /// # Errors
    /// Another process or training uses the folder.
    pub fn probe(dir: &Path) -> Result<(), TrainError> {
        let Ok(mut file) = File::open(dir.join(NAME)) else {
            return Ok(());
        };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(TrainError::InUse {
                dir: dir.to_owned(),
                holder: holder(&mut file),
            }),
            _ => Ok(()),
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // a file that is left does no harm; other systems do not remove files that are open
        #[cfg(unix)]
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Says who holds a lock and since when, as far as its file tells.
fn holder(file: &mut File) -> String {
    let mut note = String::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_string(&mut note));
    let who = match read {
        Ok(_) if !note.trim().is_empty() => note.trim().to_owned(),
        _ => "another process".to_owned(),
    };
    let written = file.metadata().and_then(|found| found.modified()).ok();
    let since = written.and_then(|then| SystemTime::now().duration_since(then).ok());
    match since {
        Some(since) => format!("{who}, for {}", rounded(since)),
        None => who,
    }
}

fn rounded(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3600),
    }
}

/// Whether an open file is the one at a path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

/// Whether an open file is the one at a path; other systems do not remove files that are open.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::{Hint, Hinted};

    #[test]
    fn a_folder_is_locked_once_and_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        FolderLock::probe(dir.path()).unwrap();
        let lock = FolderLock::acquire(dir.path()).unwrap().unwrap();
        let error = FolderLock::acquire(dir.path()).unwrap_err();
        let process = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        assert_eq!(error.hint(), Some(Hint::Setting("checkpoint.out")));
        assert!(FolderLock::probe(dir.path()).is_err());
        drop(lock);
        FolderLock::probe(dir.path()).unwrap();
        #[cfg(unix)]
        assert!(!dir.path().join(NAME).exists());
        // the lock file of a process that died
        std::fs::write(dir.path().join(NAME), "process 1").unwrap();
        FolderLock::probe(dir.path()).unwrap();
        drop(FolderLock::acquire(dir.path()).unwrap());
    }

    #[test]
    fn of_many_that_ask_at_once_one_gets_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            let held = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if let Ok(Some(lock)) = FolderLock::acquire(dir.path()) {
                            let before = held.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert_eq!(before, 0, "two hold the lock");
                            held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(lock);
                        }
                    });
                }
            });
        }
    }
}
