//! The thread that owns the device and the models: orders go in, reports come out, and neither side waits for the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use seemore::caption::Captioner;
use seemore::device::{Device, DeviceError};
use seemore::models::checkpoint;

use crate::work::{attention, batching, captioning, inspection, training};

/// Of the two models that the worker holds: the chosen one is 0, the one it is compared with 1.
pub type Slot = usize;

#[derive(Debug)]
pub enum Order {
    /// Look for checkpoint folders.
    Look,
    /// Load the checkpoint in a folder.
    Load {
        slot: Slot,
        folder: PathBuf,
    },
    /// Forget the model that was compared with.
    Unload,
    Caption(captioning::Job),
    Batch(batching::Job),
    Attention(attention::Look),
    Inspect(inspection::Program),
    Train(training::Command),
}

#[derive(Debug)]
pub enum Report {
    /// The adapter, in words.
    Adapter(String),
    /// Checkpoint folders that were found.
    Folders(Vec<PathBuf>),
    Loaded {
        slot: Slot,
        loaded: Loaded,
    },
    Caption {
        job: u64,
        progress: captioning::Progress,
    },
    Batch {
        run: u64,
        captions: Vec<batching::Captioned>,
    },
    Looked(Box<attention::Looked>),
    Inspected(Box<inspection::Inspection>),
    Train(training::Progress),
    /// What could not be done, and what to do about it.
    Failed {
        order: Failed,
        message: String,
    },
    /// The thread has ended; nothing more comes.
    Died(String),
}

/// The order that could not be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    Load { slot: Slot },
    Caption { job: u64 },
    Batch { run: u64 },
    Attention,
    Inspect,
}

/// A loaded model, in words for the window.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub folder: PathBuf,
    pub parameters: usize,
    /// Side of the pictures it sees, in pixels.
    pub side: usize,
    /// Patches along a side.
    pub grid: usize,
    /// Tokens it knows.
    pub tokens: usize,
}

impl Loaded {
    /// What the model is called.
    pub fn name(&self) -> String {
        name(&self.folder)
    }
}

/// What the model in a folder is called.
pub fn name(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or(folder.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The window's end of the channel.
pub struct Worker {
    orders: Sender<Order>,
    reports: Receiver<Report>,
    /// Jobs up to this number stop as soon as they can.
    stopped: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread. `wake` is called after every report.
    pub fn start(adapter: Option<String>, wake: impl Fn() + Send + 'static) -> Worker {
        let (orders, incoming) = channel();
        let (outgoing, reports) = channel();
        let stopped = Arc::new(AtomicU64::new(0));
        let stop = stopped.clone();
        let thread = std::thread::spawn(move || {
            let report = |report| {
                // a closed window needs no reports
                let _ = outgoing.send(report);
                wake();
            };
            match catch_unwind(AssertUnwindSafe(|| {
                work(adapter.as_deref(), &incoming, &stop, &report)
            })) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => report(Report::Died(error.to_string())),
                Err(panic) => {
                    let said = panic
                        .downcast_ref::<String>()
                        .map(String::as_str)
                        .or(panic.downcast_ref::<&str>().copied());
                    report(Report::Died(format!(
                        "a defect of this program: {}",
                        said.unwrap_or("no message")
                    )));
                }
            }
        });
        Worker {
            orders,
            reports,
            stopped,
            thread: Some(thread),
        }
    }

    /// Without a thread: somebody else takes the orders and reports.
    pub fn scripted() -> (Worker, Receiver<Order>, Sender<Report>) {
        let (orders, incoming) = channel();
        let (outgoing, reports) = channel();
        (
            Worker {
                orders,
                reports,
                stopped: Arc::default(),
                thread: None,
            },
            incoming,
            outgoing,
        )
    }

    /// Gives an order; one to a thread that has died is dropped, as its report says.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Ends the caption jobs up to a number.
    pub fn stop(&self, job: u64) {
        self.stopped.fetch_max(job, Ordering::Relaxed);
    }

    /// Takes no more orders, and waits until the thread has saved what it trains.
    pub fn finish(&mut self) {
        self.orders = channel().0;
        // a panic was reported where it was caught
        let _ = self.thread.take().map(JoinHandle::join);
    }

    /// The next report, if there is one.
    pub fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }
}

/// What the thread works with.
pub struct Bench<'a> {
    pub device: Device,
    pub captioners: [Option<Captioner>; 2],
    pub orders: &'a Receiver<Order>,
    pub stopped: &'a AtomicU64,
    pub report: &'a dyn Fn(Report),
}

/// Follows orders until the window is closed.
fn work(
    adapter: Option<&str>,
    orders: &Receiver<Order>,
    stopped: &AtomicU64,
    report: &dyn Fn(Report),
) -> Result<(), DeviceError> {
    let device = Device::open(adapter)?;
    report(Report::Adapter(device.describe()));
    let mut bench = Bench {
        device,
        captioners: [None, None],
        orders,
        stopped,
        report,
    };
    while let Ok(order) = orders.recv() {
        bench.follow(order)?;
    }
    Ok(())
}

impl Bench<'_> {
    /// Follows one order, and reports what came of it.
    ///
    /// # Errors
    /// A lost device, which does nothing for anyone any more.
    pub fn follow(&mut self, order: Order) -> Result<(), DeviceError> {
        let report = self.report;
        let failed = |order| {
            move |error: anyhow::Error| {
                report(Report::Failed {
                    order,
                    message: format!("{error:#}"),
                })
            }
        };
        match order {
            Order::Look => report(Report::Folders(checkpoints())),
            Order::Load { slot, folder } => match self.load(&folder) {
                Ok((loaded, captioner)) => {
                    self.captioners[slot] = Some(captioner);
                    report(Report::Loaded { slot, loaded });
                }
                Err(error) => failed(Failed::Load { slot })(error),
            },
            Order::Unload => self.captioners[1] = None,
            Order::Caption(job) => {
                let failed = failed(Failed::Caption { job: job.number });
                captioning::caption(self, job).unwrap_or_else(failed);
            }
            Order::Batch(job) => match batching::caption(self.captioners[0].as_mut(), &job) {
                Ok(captions) => report(Report::Batch {
                    run: job.run,
                    captions,
                }),
                Err(error) => failed(Failed::Batch { run: job.run })(error),
            },
            Order::Attention(look) => match attention::look(self, look) {
                Ok(looked) => report(Report::Looked(Box::new(looked))),
                Err(error) => failed(Failed::Attention)(error),
            },
            Order::Inspect(program) => match inspection::inspect(self, program) {
                Ok(inspection) => report(Report::Inspected(Box::new(inspection))),
                Err(error) => failed(Failed::Inspect)(error),
            },
            Order::Train(command) => training::follow(self, command),
        }
        self.device.check()
    }

    fn load(&self, folder: &Path) -> anyhow::Result<(Loaded, Captioner)> {
        let captioner = Captioner::load(&self.device, folder)?;
        let config = captioner.config();
        let loaded = Loaded {
            folder: folder.to_owned(),
            parameters: captioner.parameter_count(),
            side: config.image_size,
            grid: config.image_size / config.patch_size,
            tokens: captioner.tokenizer().vocab_size(),
        };
        Ok((loaded, captioner))
    }
}

/// The folders with checkpoints that come with seemore, and those that runs have left in `runs/`, by their names.
fn checkpoints() -> Vec<PathBuf> {
    let shipped = checkpoint::shipped().and_then(|folder| Some(folder.parent()?.to_owned()));
    let within = |folder: PathBuf| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let mut found: Vec<PathBuf> = shipped
        .into_iter()
        .chain(["runs".into()])
        .flat_map(within)
        .collect();
    found.retain(|folder| folder.join("model.safetensors").is_file());
    found.sort();
    found
}
