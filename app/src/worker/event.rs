//! Events from the worker thread.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{ModelInfo, Slot};

/// Something that happened in the worker, passed to every page.
pub enum Event {
    /// The device was opened; the text describes its adapter.
    Adapter(String),
    /// Checkpoint folders that can be chosen as models.
    Checkpoints(Vec<PathBuf>),
    /// A model was loaded.
    ModelLoaded {
        /// Where it was put.
        slot: Slot,
        /// What the window shows about it.
        model: ModelInfo,
    },
    /// A model could not be loaded; the one before stays.
    ModelFailed {
        /// Where it was to be put.
        slot: Slot,
        /// What went wrong and what to do.
        message: String,
    },
    /// A slot was emptied.
    ModelUnloaded(Slot),
    /// The worker has stopped and sends no more events. The text says why.
    Stopped(String),
    /// An event of a page, until that page takes it.
    Page(Option<Box<dyn Any + Send>>),
}

impl Event {
    /// Returns the event of a page.
    pub fn page<T: Any + Send>(event: T) -> Event {
        Event::Page(Some(Box::new(event)))
    }

    /// Takes the event of a page out, if it is a `T`.
    pub fn take<T: Any>(&mut self) -> Option<T> {
        let Event::Page(event) = self else {
            return None;
        };
        match event.take()?.downcast() {
            Ok(taken) => Some(*taken),
            Err(other) => {
                *event = Some(other);
                None
            }
        }
    }
}

/// Sends events to the window and wakes it.
#[derive(Clone)]
pub struct EventSender {
    sender: Sender<Event>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl EventSender {
    /// Returns a sender, which calls `wake` after every event, and its receiver.
    pub fn channel(wake: impl Fn() + Send + Sync + 'static) -> (EventSender, Receiver<Event>) {
        let (sender, receiver) = channel();
        let wake = Arc::new(wake);
        (EventSender { sender, wake }, receiver)
    }

    /// Sends an event.
    pub fn send(&self, event: Event) {
        // fails only after the window has closed
        let _ = self.sender.send(event);
        (self.wake)();
    }

    /// Sends the event of a page.
    pub fn page<T: Any + Send>(&self, event: T) {
        self.send(Event::page(event));
    }
}
