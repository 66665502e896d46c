//! Encoded rows of the pictures seen last.

use std::sync::{Arc, Mutex, PoisonError};

use crate::image::TiledPicture;

/// Number of pictures whose rows are kept.
const KEPT: usize = 8;

/// Encoded rows by picture, the most recently used first: asking again about a picture does not
/// encode it again.
#[derive(Default)]
pub(super) struct Recent(Mutex<Vec<(Arc<TiledPicture>, Vec<f32>)>>);

impl Recent {
    /// Returns the rows of a picture, if they are kept.
    pub(super) fn get(&self, tiled: &Arc<TiledPicture>) -> Option<Vec<f32>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &Arc<TiledPicture>| Arc::ptr_eq(other, tiled) || other == tiled;
        let at = kept.iter().position(|(other, _)| same(other))?;
        let found = kept.remove(at);
        let rows = found.1.clone();
        kept.insert(0, found);
        Some(rows)
    }

    /// Keeps the rows of a picture.
    pub(super) fn put(&self, tiled: Arc<TiledPicture>, rows: Vec<f32>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, (tiled, rows));
        kept.truncate(KEPT);
    }
}
