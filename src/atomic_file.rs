//! Files that are either whole or not there.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Ends the name of a file that is being written.
const PART: &str = ".part";

/// Writes a file aside, flushes it to the disk and renames it into place, so that a file by that name is always whole, also after
/// the program was killed or the power failed.
///
/// # Errors
/// What the system says of it; a file that was there before is then still there, and nothing else.
pub fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(PART);
    let aside = PathBuf::from(aside);
    let written = write_aside(&aside, bytes).and_then(|()| std::fs::rename(&aside, path));
    if written.is_err() {
        // on a full disk its bytes are wanted
        let _ = std::fs::remove_file(&aside);
        return written;
    }
    flush_name(path)
}

fn write_aside(aside: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(aside)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Flushes the name of a new file to the disk: it is in the folder's data.
#[cfg(unix)]
fn flush_name(path: &Path) -> std::io::Result<()> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::File::open(dir)?.sync_all()
}

/// Elsewhere folders cannot be opened, and the file systems keep the order of renames.
#[cfg(not(unix))]
fn flush_name(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Removes what writes that never ended left in a folder.
pub fn remove_parts(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .ends_with(PART.as_bytes())
        {
            // one that stays is in nobody's way
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
