//! Files that are either whole or not there.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a file aside, flushes it to the disk and renames it into place, so that a file by that name is always whole.
///
/// # Errors
/// What the system says of it; a file that was there before is then still there.
pub fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&aside, path)
}
