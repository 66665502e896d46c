//! Progress bars on the terminal.

use indicatif::ProgressBar;

use crate::progress::Progress;

impl Progress for ProgressBar {
    fn set_total(&self, items: u64) {
        self.set_length(items);
    }

    fn advance(&self, items: u64) {
        self.inc(items);
    }
}

/// A bar that disappears when reading is done.
pub struct Reading(pub ProgressBar);

impl Progress for Reading {
    fn set_total(&self, items: u64) {
        self.0.set_total(items);
    }

    fn advance(&self, items: u64) {
        self.0.advance(items);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
