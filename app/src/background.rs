//! Slow calls, such as system dialogs and file access, run off the UI thread.

use std::sync::mpsc::{Receiver, Sender, channel};

use egui::Context;

/// Runs closures on threads of their own and collects their results.
pub struct Background<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

impl<T> Default for Background<T> {
    fn default() -> Background<T> {
        let (sender, receiver) = channel();
        Background { sender, receiver }
    }
}

impl<T: Send + 'static> Background<T> {
    /// Runs `task` on a new thread and repaints the window when it returns a result.
    ///
    /// `None` means that there is no result, for example because a dialog was cancelled.
    pub fn run(&self, ctx: &Context, task: impl FnOnce() -> Option<T> + Send + 'static) {
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        std::thread::spawn(move || {
            if let Some(result) = task() {
                // fails only after the window has closed
                let _ = sender.send(result);
                ctx.request_repaint();
            }
        });
    }

    /// Returns the next result, or `None` if no further one has arrived.
    pub fn poll(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}
