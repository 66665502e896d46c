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
