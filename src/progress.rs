//! Progress of long work, reported without knowing who shows it.

/// Receives the progress of one piece of work, possibly from several threads at once.
///
/// All methods do nothing by default, so [`Silent`] is an implementation without a body.
pub trait Progress: Sync {
    /// Sets the number of items, once it is known.
    fn set_total(&self, _items: u64) {}

    /// Counts items that were finished since the last call.
    fn advance(&self, _items: u64) {}
}

/// Discards all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
