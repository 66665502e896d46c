//! Questions that take their time, such as the system's dialogs: asked on a thread of their own, answered when somebody looks.

use std::sync::mpsc::{Receiver, Sender, channel};

use egui::Context;

/// The answers to questions of one kind.
pub struct Asked<T>(Sender<T>, Receiver<T>);

impl<T> Default for Asked<T> {
    fn default() -> Asked<T> {
        let (send, receive) = channel();
        Asked(send, receive)
    }
}

impl<T: Send + 'static> Asked<T> {
    /// Asks; without an answer, as when a dialog is closed, nothing comes.
    pub fn ask(&self, ctx: &Context, question: impl FnOnce() -> Option<T> + Send + 'static) {
        let (send, ctx) = (self.0.clone(), ctx.clone());
        std::thread::spawn(move || {
            if let Some(answer) = question() {
                // a closed window needs no answers
                let _ = send.send(answer);
                ctx.request_repaint();
            }
        });
    }

    /// The next answer, if one has come.
    pub fn answer(&self) -> Option<T> {
        self.1.try_recv().ok()
    }
}
