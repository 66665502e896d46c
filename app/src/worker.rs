//! The worker thread, which owns the device and the models.
//!
//! [`Command`]s go in and [`Event`]s come out over channels; neither side waits for the other. A
//! command is a type of its own with a `run` method, so the worker knows nothing about the pages
//! that define them.

mod command;
mod event;
mod model;
mod open;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use seemore::caption::Session;
use seemore::device::{Device, DeviceError};
use seemore::image::{Picture, PictureError};

pub use command::Command;
pub use event::{Event, EventSender};
pub use model::{
    ListCheckpoints, LoadModel, ModelInfo, Slot, Subject, UnloadModel, is_shipped, model_name,
};
pub use open::WorkerOptions;

use crate::hint;
use crate::pictures::PictureSource;

/// State of the worker thread, passed to every command.
pub struct Worker {
    device: Device,
    models: [Option<Session>; 2],
    commands: Receiver<Box<dyn Command>>,
    events: EventSender,
    /// The picture that was read last, since several commands in a row are about one.
    picture: Option<(Arc<PictureSource>, Arc<Picture>)>,
}

impl Worker {
    /// Opens the device and runs commands until the handle is dropped.
    fn serve(
        options: &WorkerOptions,
        commands: Receiver<Box<dyn Command>>,
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
    pub fn run(&mut self, command: Box<dyn Command>) -> Result<(), DeviceError> {
        command.run(self);
        self.device.check()
    }

    /// Receives the next command while another one runs, such as a training that captions between
    /// its steps.
    ///
    /// Waits for one if `wait` is set. The error [`TryRecvError::Disconnected`] means that the
    /// window has closed.
    pub fn receive(&self, wait: bool) -> Result<Box<dyn Command>, TryRecvError> {
        if wait {
            self.commands.recv().map_err(TryRecvError::from)
        } else {
            self.commands.try_recv()
        }
    }

    /// Returns the device, a cheap handle.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// Returns the sender of events.
    pub fn events(&self) -> &EventSender {
        &self.events
    }

    /// Returns the model in a slot.
    ///
    /// # Errors
    /// If no model is loaded there.
    pub fn model(&self, slot: Slot) -> anyhow::Result<&Session> {
        self.models[slot]
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no model is loaded; choose one under Model"))
    }

    /// Returns a picture at its own size.
    ///
    /// # Errors
    /// A file that is gone or is no picture.
    pub fn picture(&mut self, source: &Arc<PictureSource>) -> Result<Arc<Picture>, PictureError> {
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

    /// Puts a model into a slot, or empties it.
    fn set_model(&mut self, slot: Slot, model: Option<Session>) {
        self.models[slot] = model;
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
    commands: Sender<Box<dyn Command>>,
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
    pub fn scripted() -> (WorkerHandle, Receiver<Box<dyn Command>>, EventSender) {
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
    pub fn send(&self, command: impl Command) {
        let _ = self.commands.send(Box::new(command));
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
