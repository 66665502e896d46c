//! The worker thread, which owns the device and the models.
//!
//! [`Command`]s go in and [`Event`]s come out over channels; neither side waits for the other. Each
//! file below defines one kind of command, its results, and how the worker runs it.

mod attention;
mod batch;
mod caption;
mod command;
mod event;
mod inspect;
mod mask;
mod model;
mod open;
mod tokens;
mod train;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use seemore::caption::Session;
use seemore::device::{Device, DeviceError};
use seemore::image::{Picture, PictureError};

pub use attention::{Attention, AttentionJob};
pub use batch::{BatchCaption, BatchEvent, BatchJob, WrittenCaption};
pub use caption::{CaptionEvent, CaptionJob, CaptionProgress};
pub use command::Command;
pub use event::{Event, EventSender};
pub use inspect::{Inspection, Parameter, Program};
pub(crate) use mask::GREY;
pub use mask::{MaskJob, Masked};
pub use model::{LoadModel, ModelInfo, Slot, Subject, is_shipped, model_name};
pub use open::WorkerOptions;
pub use tokens::TokenCount;
pub(crate) use train::{METRICS, StoredValidation};
pub use train::{
    Overrides, RunRequest, Sample, Step, TrainCommand, TrainEvent, TrainInfo, Validation,
};

use crate::hint;
use crate::pictures::PictureSource;

/// State of the worker thread.
struct Worker {
    device: Device,
    models: [Option<Session>; 2],
    commands: Receiver<Command>,
    events: EventSender,
    /// The picture that was read last, since several commands in a row are about one.
    picture: Option<(Arc<PictureSource>, Arc<Picture>)>,
}

impl Worker {
    /// Opens the device and runs commands until the handle is dropped.
    fn serve(
        options: &WorkerOptions,
        commands: Receiver<Command>,
        events: EventSender,
    ) -> Result<(), DeviceError> {
        let device = options.open()?;
        events.send(Event::Adapter(describe(&device)));
        let mut worker = Worker {
            device,
            models: [None, None],
            commands,
            events,
            picture: None,
        };
        while let Ok(command) = worker.commands.recv() {
            worker.run(command)?;
        }
        Ok(())
    }

    /// Runs a command.
    ///
    /// # Errors
    /// A lost device, on which no further command can succeed. Other failures are sent as events.
    fn run(&mut self, command: Command) -> Result<(), DeviceError> {
        match command {
            Command::ListCheckpoints => model::list(self),
            Command::LoadModel(model) => model.run(self),
            Command::UnloadModel(slot) => model::unload(self, slot),
            Command::Caption(job) => job.run(self),
            Command::Batch(job) => job.run(self),
            Command::CountTokens(text) => tokens::count(self, text),
            Command::Attention(job) => job.run(self),
            Command::Mask(job) => job.run(self),
            Command::Inspect(program) => inspect::run(self, program),
            Command::Train(command) => train::run(self, command),
        }
        self.device.check()
    }

    /// Receives the next command while another one runs, such as a training that captions between
    /// its steps.
    ///
    /// Waits for one if `wait` is set. The error [`TryRecvError::Disconnected`] means that the
    /// window has closed.
    fn receive(&self, wait: bool) -> Result<Command, TryRecvError> {
        if wait {
            self.commands.recv().map_err(TryRecvError::from)
        } else {
            self.commands.try_recv()
        }
    }

    /// Returns the model in a slot.
    ///
    /// # Errors
    /// If no model is loaded there.
    fn model(&self, slot: Slot) -> anyhow::Result<&Session> {
        self.models[slot]
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no model is loaded; choose one under Model"))
    }

    /// Returns a picture at its own size.
    ///
    /// # Errors
    /// A file that is gone or is no picture.
    fn picture(&mut self, source: &Arc<PictureSource>) -> Result<Arc<Picture>, PictureError> {
        match &self.picture {
            Some((known, picture)) if Arc::ptr_eq(known, source) => Ok(picture.clone()),
            _ => {
                // not two large pictures at once
                self.picture = None;
                let picture = Arc::new(source.read()?);
                self.picture = Some((source.clone(), picture.clone()));
                Ok(picture)
            }
        }
    }
}

/// Returns the device as the status bar shows it.
fn describe(device: &Device) -> String {
    if device.capabilities().software {
        format!("Running on the CPU: {}", device.adapter())
    } else {
        device.adapter()
    }
}

/// The window's end of the channels to the worker thread.
pub struct WorkerHandle {
    commands: Sender<Command>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    /// Starts the worker thread. `wake` is called after every event.
    pub fn start(options: WorkerOptions, wake: impl Fn() + Send + Sync + 'static) -> WorkerHandle {
        let (commands, incoming) = channel();
        let (sender, events) = EventSender::channel(wake);
        let thread = std::thread::spawn(move || {
            let served = catch_unwind(AssertUnwindSafe(|| {
                Worker::serve(&options, incoming, sender.clone())
            }));
            match served {
                Ok(Ok(())) => {}
                Ok(Err(error)) => sender.send(Event::Stopped(hint::explain(&error))),
                Err(panic) => {
                    let message = panic
                        .downcast_ref::<String>()
                        .map(String::as_str)
                        .or(panic.downcast_ref::<&str>().copied())
                        .unwrap_or("no message");
                    sender.send(Event::Stopped(format!("Internal error: {message}")));
                }
            }
        });
        WorkerHandle {
            commands,
            events,
            thread: Some(thread),
        }
    }

    /// Returns a handle without a thread, for tests that receive the commands and send the events
    /// themselves.
    pub fn scripted() -> (WorkerHandle, Receiver<Command>, EventSender) {
        let (commands, incoming) = channel();
        let (sender, events) = EventSender::channel(|| {});
        let handle = WorkerHandle {
            commands,
            events,
            thread: None,
        };
        (handle, incoming, sender)
    }

    /// Sends a command. It is dropped if the worker has stopped, which an event has reported.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Returns the next event, or `None` if no further one has arrived.
    pub fn poll(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Sends no more commands and waits until the worker has finished, which saves a training that
    /// runs.
    pub fn finish(&mut self) {
        self.commands = channel().0;
        // a panic was reported where it was caught
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
