//! Opens the device as the command line does.

use std::path::PathBuf;
use std::sync::Arc;

use seemore::device::{Device, DeviceError, Tuner};
use seemore::ops;

/// How the worker opens its device.
#[derive(Debug, Clone, Default)]
pub struct WorkerOptions {
    /// Device to run on, as [`Device::open`] reads it. `None` takes the best one.
    pub device: Option<String>,
    /// Whether kernel variants are chosen by measuring them on the adapter, as the command line
    /// does.
    pub autotune: bool,
}

impl WorkerOptions {
    /// Opens the device.
    ///
    /// With `autotune`, variants are measured when a program is first recorded, on the thread that
    /// records it, and remembered in the cache folder that the command line uses.
    pub(super) fn open(&self) -> Result<Device, DeviceError> {
        let device = Device::open(self.device.as_deref())?;
        if !self.autotune {
            return Ok(device);
        }
        let tuner = Tuner::new(&device, cache_folder(), &ops::tuned_sources());
        Ok(device.choosing(Arc::new(tuner)))
    }
}

/// Returns the folder for measurements of kernels: `SEEMORE_CACHE`, else `seemore` in the user's
/// cache folder.
fn cache_folder() -> Option<PathBuf> {
    let named = std::env::var_os("SEEMORE_CACHE").filter(|folder| !folder.is_empty());
    named
        .map(PathBuf::from)
        .or_else(|| Some(dirs::cache_dir()?.join("seemore")))
}
