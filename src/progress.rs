//! Progress of long operations, reported without knowing who shows it.

/// Receives the progress of one operation, possibly from several threads at once.
///
/// All methods do nothing by default, so [`Silent`] is an implementation without a body.
pub trait Progress: Sync {
    /// Sets the total number of items. May be called again when more items are found.
    fn set_total(&self, _items: u64) {}

    /// Reports the number of items finished since the last call.
    fn advance(&self, _items: u64) {}
}

/// Discards all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
