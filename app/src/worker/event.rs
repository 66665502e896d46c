//! Events that the pages handle.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::{
    Attention, BatchEvent, CaptionEvent, Inspection, Masked, ModelInfo, Slot, TokenCount,
    TrainEvent,
};
use crate::pictures::OpenedPicture;

/// Something that happened outside of a page, passed to every page.
///
/// The worker sends most of them; opened pictures come from the window. Failures are texts that say
/// what went wrong and what to do.
#[derive(Debug, Clone)]
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
    /// A picture was opened.
    Opened(OpenedPicture),
    /// Picture files are to be opened on the Batch page, each with a caption for it if it has none;
    /// empty for no caption.
    OpenInBatch(Vec<(PathBuf, String)>),
    /// A caption job has made progress.
    Caption(CaptionEvent),
    /// Several pictures were captioned.
    Batch(BatchEvent),
    /// The tokens of a text were counted.
    TokensCounted(TokenCount),
    /// The attention for a caption was computed.
    Attention(Result<Arc<Attention>, String>),
    /// A picture with hidden patches was captioned.
    Masked(Result<Masked, String>),
    /// A program was run and listed.
    Inspected(Result<Arc<Inspection>, String>),
    /// A training has made progress.
    Train(TrainEvent),
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
}
