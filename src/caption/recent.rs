//! Encodings of the pictures used last.

use std::sync::{Arc, Mutex, PoisonError};

use super::passes::Encoded;
use crate::image::TiledPicture;

/// Number of pictures whose encodings are kept.
const KEPT: usize = 8;

/// Encodings by picture, the most recently used first: asking again about a picture does not
/// encode it again.
#[derive(Default)]
pub(super) struct Recent(Mutex<Vec<(Arc<TiledPicture>, Arc<Encoded>)>>);

impl Recent {
    /// Returns the encoding of a picture, if it is kept.
    pub(super) fn get(&self, tiled: &Arc<TiledPicture>) -> Option<Arc<Encoded>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &Arc<TiledPicture>| Arc::ptr_eq(other, tiled) || other == tiled;
        let at = kept.iter().position(|(other, _)| same(other))?;
        let found = kept.remove(at);
        let encoded = found.1.clone();
        kept.insert(0, found);
        Some(encoded)
    }

    /// Keeps the encoding of a picture.
    pub(super) fn put(&self, tiled: Arc<TiledPicture>, encoded: Arc<Encoded>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, (tiled, encoded));
        kept.truncate(KEPT);
    }
}
