//! Counters of long work that is done on other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seemore::progress::Progress;

/// Counts finished items. Clones share the count, so that one thread counts while another one shows
/// it.
#[derive(Debug, Clone, Default)]
pub struct Counter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    total: AtomicU64,
    done: AtomicU64,
}

impl Counter {
    /// Returns the number of finished items and of all items, or `None` before the latter is known.
    pub fn get(&self) -> Option<(u64, u64)> {
        let total = self.shared.total.load(Ordering::Relaxed);
        let done = self.shared.done.load(Ordering::Relaxed);
        (total > 0).then_some((done.min(total), total))
    }
}

impl Progress for Counter {
    fn set_total(&self, items: u64) {
        self.shared.total.store(items, Ordering::Relaxed);
    }

    fn advance(&self, items: u64) {
        self.shared.done.fetch_add(items, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_count() {
        let counter = Counter::default();
        let other = counter.clone();
        assert_eq!(counter.get(), None);
        other.set_total(5);
        other.advance(2);
        other.advance(1);
        assert_eq!(counter.get(), Some((3, 5)));
    }
}
