//! Panics of decoders and readers of other crates, turned into errors.
//!
//! A panic hook keeps their messages off the terminal and passes all other panics on to the hook
//! that was there before. It is set with the first file that needs it. A program that sets a hook
//! of its own does so before: a later one would replace this one, and wait forever for a thread
//! that [`contained`] has stopped.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Stack of a thread that work runs on, in bytes.
const STACK: usize = 8 << 20;

/// What the hook does about a panic of a thread.
enum Reaction {
    /// Lets it unwind.
    Unwind,
    /// Reports it and stops the thread where it is.
    Stop(Box<dyn Fn()>),
}

thread_local! {
    /// Reaction to a panic of this thread; `None` for that of the hook before.
    static REACTION: RefCell<Option<Reaction>> = const { RefCell::new(None) };
}

/// Runs `work`; `None` if it panics.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    install();
    let before = REACTION.replace(Some(Reaction::Unwind));
    let done = catch_unwind(AssertUnwindSafe(work));
    REACTION.set(before);
    done.ok()
}

/// Runs `work`, whose panics cannot unwind, on a thread of its own; `None` if it panics, or the
/// system has no further thread.
///
/// A panic in an `extern "C"` function aborts the process as soon as it unwinds, so it must not get
/// there: the thread reports it and sleeps forever, with the memory that it has.
#[cfg_attr(not(feature = "avif"), allow(dead_code))]
pub fn contained<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    install();
    let (sender, receiver) = channel();
    let thread = move || {
        let failed: Sender<Option<T>> = sender.clone();
        let report = move || drop(failed.send(None));
        REACTION.set(Some(Reaction::Stop(Box::new(report))));
        let done = work();
        REACTION.set(None);
        // the receiver waits for it
        let _ = sender.send(Some(done));
    };
    let builder = thread::Builder::new().name("contained".into());
    builder.stack_size(STACK).spawn(thread).ok()?;
    receiver.recv().ok()?
}

/// Puts the hook before the one that is there.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // threads that end have no reaction any more
            let reaction = REACTION.try_with(|reaction| reaction.take());
            match reaction.ok().flatten() {
                Some(Reaction::Unwind) => {}
                Some(Reaction::Stop(report)) => {
                    report();
                    loop {
                        thread::park();
                    }
                }
                None => before(info),
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics where nothing can unwind.
    extern "C" fn panics() {
        panic!("as a decoder does");
    }

    #[test]
    fn panics_become_nothing() {
        assert_eq!(caught(|| 5), Some(5));
        assert_eq!(caught(|| -> u8 { panic!("as a reader does") }), None);
        assert_eq!(contained(|| 5), Some(5));
        assert_eq!(contained(|| panics()), None);
        assert_eq!(
            contained(|| caught(|| -> u8 { panic!("in both") })),
            Some(None)
        );
        assert_eq!(contained(|| 6), Some(6));
    }

    #[test]
    fn other_panics_stay_panics() {
        caught(|| ());
        let thread = thread::spawn(|| panic!("of a test, on purpose"));
        assert!(thread.join().is_err());
        assert!(REACTION.with_borrow(|reaction| reaction.is_none()));
    }
}
