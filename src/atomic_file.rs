//! Atomic file writes: a file is either complete or absent.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Suffix of a file that is being written.
const PART: &str = ".part";

/// Writes a file atomically: writes a temporary file beside it, flushes that to disk and renames it
/// into place. A file of this name is therefore always complete, even after a crash or a power
/// failure.
///
/// # Errors
/// An error of the system. A previous file is then unchanged, and the temporary file is removed.
pub fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Writes a file atomically, as [`write()`] does, where other processes may write it at the same
/// time: each has a temporary file of its own, which a kill leaves behind.
///
/// # Errors
/// As [`write()`].
pub fn write_shared(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // seeded at random in every process
    let number = RandomState::new().hash_one(std::process::id());
    let temporary = with_suffix(path, &format!(".{number:016x}{PART}"));
    write_through(path, &temporary, |file| file.write_all(bytes))
}

/// Writes a file atomically, as [`write()`] does, with the contents that `contents` writes.
///
/// # Errors
/// An error of the system or of `contents`. A previous file is then unchanged, and the temporary
/// file is removed.
pub fn write_with<E: From<std::io::Error>>(
    path: &Path,
    contents: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    // a device or a pipe is written, not replaced
    if std::fs::metadata(path).is_ok_and(|known| !known.is_file() && !known.is_dir()) {
        let mut file = BufWriter::new(File::options().write(true).open(path)?);
        contents(&mut file)?;
        return Ok(file
            .into_inner()
            .map(drop)
            .map_err(|error| error.into_error())?);
    }
    write_through(path, &with_suffix(path, PART), contents)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_through<E: From<std::io::Error>>(
    path: &Path,
    temporary: &Path,
    contents: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let written =
        write_synced(temporary, contents).and_then(|()| Ok(std::fs::rename(temporary, path)?));
    if written.is_err() {
        // frees its space on a full disk
        let _ = std::fs::remove_file(temporary);
        return written;
    }
    Ok(flush_name(path)?)
}

fn write_synced<E: From<std::io::Error>>(
    path: &Path,
    contents: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = BufWriter::new(File::create(path)?);
    contents(&mut file)?;
    let file = file.into_inner().map_err(|error| error.into_error())?;
    Ok(file.sync_all()?)
}

/// Flushes the name of a new file, which is part of the folder's data, to disk.
#[cfg(unix)]
fn flush_name(path: &Path) -> std::io::Result<()> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Does nothing: other systems cannot open folders, and their file systems keep the order of
/// renames.
#[cfg(not(unix))]
fn flush_name(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Removes the temporary files that interrupted writes left in a folder.
pub fn remove_parts(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .ends_with(PART.as_bytes())
        {
            // a file that cannot be removed does no harm
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
