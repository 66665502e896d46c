//! Panics of other crates' readers, turned into errors.
//!
//! A panic hook keeps their messages off the terminal and passes all other panics on to the hook
//! that was there before. It is set with the first file that needs it.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is caught, and needs no message.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; `None` if it panics.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    install();
    let before = CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    done.ok()
}

/// Puts the hook before the one that is there.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // threads that end have no flag any more
            if !CAUGHT.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_nothing() {
        assert_eq!(caught(|| 5), Some(5));
        assert_eq!(caught(|| -> u8 { panic!("as a reader does") }), None);
        assert_eq!(
            caught(|| caught(|| -> u8 { panic!("in both") })),
            Some(None)
        );
    }

    #[test]
    fn other_panics_stay_panics() {
        caught(|| ());
        let thread = std::thread::spawn(|| panic!("of a test, on purpose"));
        assert!(thread.join().is_err());
        assert!(!CAUGHT.get());
    }
}
