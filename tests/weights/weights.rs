//! The folder of real weights, and the devices that compute with them.

use std::path::{Path, PathBuf};

use seemore::device::Device;
use sha2::{Digest, Sha256};

/// Variable that names the folder.
const VARIABLE: &str = "SEEMORE_WEIGHTS";

/// Returns a file or folder of the real weights.
#[track_caller]
pub fn path(name: &str) -> PathBuf {
    let Some(folder) = std::env::var_os(VARIABLE) else {
        panic!("{VARIABLE} names no folder of real weights: run `make test-weights`")
    };
    let path = Path::new(&folder).join(name);
    assert!(
        path.exists(),
        "{VARIABLE}: there is no {}; remove the folder and run `make test-weights`",
        path.display()
    );
    path
}

/// Returns the SHA-256 of a file in hexadecimal digits.
#[track_caller]
pub fn sha256(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    hexadecimal(&Sha256::digest(bytes))
}

/// Formats bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a device: `cpu`, or `0` for the first graphics adapter.
#[track_caller]
pub fn device(name: &str) -> Device {
    Device::open(Some(name)).unwrap_or_else(|error| panic!("{error}"))
}
