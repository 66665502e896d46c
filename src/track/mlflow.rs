//! Tracking on an MLflow server through its REST API 2.0
//! (<https://mlflow.org/docs/latest/rest-api.html>).
//!
//! All data are first appended to a spool, `tracking/mlflow.jsonl` in the folder of the run, and
//! sent from there by a thread, so a slow or dead server does not delay training.
//! `tracking/mlflow.json` holds the position up to which the spool was sent. Data that are sent
//! twice, because the program ended in between, do no harm: the server keeps one metric for each
//! step, time and value.

mod client;
mod sender;
mod spool;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Begin, End, Metrics, Names, Notice, Track, TrackError};
use client::Failure;
use sender::{POSITION, Sender};
use spool::{Entry, Number, SPOOL, Values, now, values_after};

/// Folder of the spool, in the folder of a run.
const FOLDER: &str = "tracking";

/// What the sending thread reports.
#[derive(Default)]
struct Status {
    /// Reason why the last attempt failed; `None` after a success.
    down: Option<String>,
    /// Whether the whole spool was sent.
    done: bool,
    /// Reasons of the requests that the server refused.
    refused: Vec<String>,
}

/// Tracks a run on an MLflow server.
pub struct Mlflow {
    uri: String,
    names: Names,
    folder: PathBuf,
    name: String,
    resumed: bool,
    /// Values that an earlier part of the run has spooled for steps that are repeated now.
    known: Values,
    spool: Option<File>,
    status: Arc<Mutex<Status>>,
    activity: Arc<AtomicU64>,
    wake: Option<SyncSender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Mlflow {
    /// Creates a tracker of the run in folder `out`. A resumed run continues the same run of the
    /// server.
    pub fn new(uri: &str, names: &Names, out: &Path, resumed: bool) -> Mlflow {
        let name = out
            .file_name()
            .map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        Mlflow {
            uri: uri.to_owned(),
            names: names.clone(),
            folder: out.join(FOLDER),
            name,
            resumed,
            known: Values::new(),
            spool: None,
            status: Arc::default(),
            activity: Arc::default(),
            wake: None,
            thread: None,
        }
    }

    fn push(&mut self, entries: &[Entry]) -> Result<(), TrackError> {
        let Some(spool) = &mut self.spool else {
            return Ok(());
        };
        let mut text = vec![];
        for entry in entries {
            serde_json::to_writer(&mut text, entry).expect("entries are plain data");
            text.push(b'\n');
        }
        spool
            .write_all(&text)
            .map_err(TrackError::write(&self.folder.join(SPOOL)))?;
        if let Some(wake) = &self.wake {
            // a busy thread reads on by itself
            let _ = wake.try_send(false);
        }
        Ok(())
    }
}

/// Longest pause between two attempts to reach a server.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How long the end of training waits for a server that shows no activity.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the spool whenever `wake` announces new entries; `true` announces the last ones.
fn follow(mut sender: Sender, wake: Receiver<bool>, status: Arc<Mutex<Status>>) {
    let (mut pause, mut last) = (Duration::from_secs(1), false);
    loop {
        let result = sender.send_all();
        let mut shared = status.lock().unwrap_or_else(|e| e.into_inner());
        shared.refused.append(&mut sender.refused);
        shared.down = result.err();
        let down = shared.down.is_some();
        shared.done = !down && last;
        drop(shared);
        if last && !down {
            return;
        }
        pause = if down {
            (2 * pause).min(MAX_PAUSE)
        } else {
            Duration::from_secs(1)
        };
        if down {
            // new entries do not shorten the pause
            let until = Instant::now() + if last { Duration::from_secs(1) } else { pause };
            loop {
                match wake.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(true) => {
                        last = true;
                        break;
                    }
                    Ok(false) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        } else {
            match wake.recv() {
                Ok(end) => last |= end,
                Err(_) => return,
            }
        }
    }
}

impl Track for Mlflow {
    fn begin(&mut self, begin: &Begin) -> Result<(), TrackError> {
        let spool = self.folder.join(SPOOL);
        let write = || TrackError::write(&spool);
        std::fs::create_dir_all(&self.folder).map_err(write())?;
        let resumes = self.resumed && spool.exists();
        if !resumes {
            for file in [&spool, &self.folder.join(POSITION)] {
                if file.exists() {
                    std::fs::remove_file(file).map_err(write())?;
                }
            }
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spool)
            .map_err(write())?;
        if resumes {
            self.known = values_after(&spool, begin.step).map_err(TrackError::read(&spool))?;
            // ends a line that a crash left incomplete
            file.write_all(b"\n").map_err(write())?;
        }
        self.spool = Some(file);
        let entry = match resumes {
            true => Entry::Resume {
                step: begin.step,
                time: now(),
            },
            false => Entry::Begin {
                uri: self.uri.clone(),
                experiment: self
                    .names
                    .experiment
                    .clone()
                    .unwrap_or_else(|| "seemore".into()),
                run: self.names.run.clone().unwrap_or_else(|| self.name.clone()),
                time: now(),
                parameters: begin.parameters.clone(),
            },
        };
        self.push(&[entry])?;
        let mut sender = Sender::new(&self.folder)?;
        if resumes {
            // the server may have another address now
            sender.sent.uri.clone_from(&self.uri);
        }
        let (wake, woken) = sync_channel(1);
        let status = self.status.clone();
        self.activity = sender.activity().clone();
        self.wake = Some(wake);
        self.thread = Some(
            std::thread::Builder::new()
                .name("mlflow".into())
                .spawn(move || follow(sender, woken, status))
                .map_err(TrackError::Thread)?,
        );
        Ok(())
    }

    fn metrics(&mut self, step: u64, _seconds: f64, metrics: Metrics) -> Result<(), TrackError> {
        let mut values: Vec<_> = metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Number::from(*value)))
            .collect();
        // a step repeated after a crash is the same if its first value, the loss, is the same; it
        // is then sent once
        if let Some((name, value)) = values.first()
            && self.known.get(&(step, name.clone())) == Some(value)
        {
            values.retain(|(name, _)| !self.known.contains_key(&(step, name.clone())));
        }
        if values.is_empty() {
            Ok(())
        } else {
            self.push(&[Entry::Metrics {
                step,
                time: now(),
                values,
            }])
        }
    }

    fn end(&mut self, end: End, folder: &Path) -> Result<Option<Notice>, TrackError> {
        let names = [
            "config.json",
            "tokenizer.json",
            "training.json",
            "model.safetensors",
        ];
        let there = names
            .iter()
            .map(|name| (folder.join(name), *name))
            .filter(|(path, _)| path.is_file());
        // absolute, since it may be sent later from another working directory
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let mut entries: Vec<Entry> = there
            .map(|(path, name)| Entry::Artifact {
                path: absolute(path),
                name: name.to_owned(),
            })
            .collect();
        let status = match end {
            End::Finished => "FINISHED",
            End::Stopped => "KILLED",
            End::Failed => "FAILED",
        };
        entries.push(Entry::End {
            status: status.into(),
            time: now(),
        });
        self.push(&entries)?;
        let (Some(wake), Some(thread)) = (self.wake.take(), self.thread.take()) else {
            return Ok(None);
        };
        let (mut since, mut activity) = (Instant::now(), None);
        // the channel holds one message, which a busy thread may not have taken yet
        let mut announced = false;
        while !thread.is_finished() && since.elapsed() < END_TIMEOUT {
            announced = announced || wake.try_send(true).is_ok();
            let now = Some(self.activity.load(Ordering::Relaxed));
            if activity != now {
                (since, activity) = (Instant::now(), now);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.status.lock().unwrap_or_else(|e| e.into_inner());
        if !status.done {
            let reason = status
                .down
                .as_deref()
                .unwrap_or("it did not answer in time");
            return Ok(Some(Notice::Pending {
                address: self.uri.clone(),
                reason: reason.to_owned(),
                kept: self.folder.clone(),
                run: folder.to_owned(),
            }));
        }
        Ok(status.refused.first().map(|first| {
            Notice::Failed(TrackError::Refused {
                address: self.uri.clone(),
                count: status.refused.len(),
                first: first.clone(),
            })
        }))
    }
}

/// Sends the rest of a run's spool, to another address if one is given, and returns the address.
///
/// # Errors
/// A folder without a spool, or a server that does not accept the data.
pub fn send_rest(out: &Path, uri: Option<&str>) -> Result<String, TrackError> {
    let folder = out.join(FOLDER);
    let mut sender = Sender::new(&folder)?;
    if !sender.spool.is_file() {
        return Err(TrackError::NotTracked {
            run: out.to_owned(),
        });
    }
    let read = TrackError::read(&sender.spool);
    let first = File::open(&sender.spool)
        .and_then(|file| BufReader::new(file).lines().next().transpose())
        .map_err(read)?
        .unwrap_or_default();
    let begin: Entry = serde_json::from_str(&first).map_err(|reason| TrackError::Damaged {
        path: sender.spool.clone(),
        reason,
    })?;
    if let (Entry::Begin { uri, .. }, true) = (&begin, sender.sent.uri.is_empty()) {
        sender.sent.uri.clone_from(uri);
    }
    if let Some(uri) = uri {
        sender.sent.uri = uri.trim_end_matches('/').to_owned();
        if sender.sent.run.is_none()
            && let Entry::Begin {
                experiment,
                run,
                time,
                parameters,
                ..
            } = begin
        {
            let begun = sender.begin(&experiment, &run, time, &parameters);
            begun.map_err(|failure| {
                let (Failure::Retry(reason) | Failure::Refused(reason)) = failure;
                TrackError::Unreachable {
                    address: sender.sent.uri.clone(),
                    reason,
                }
            })?;
            sender.sent.bytes = first.len() as u64 + 1;
        }
    }
    let address = sender.sent.uri.clone();
    sender
        .send_all()
        .map_err(|reason| TrackError::Unreachable {
            address: address.clone(),
            reason,
        })?;
    match sender.refused.first() {
        Some(first) => Err(TrackError::Refused {
            address,
            count: sender.refused.len(),
            first: first.clone(),
        }),
        None => Ok(address),
    }
}
