//! The journal of a folder: a hidden JSON lines file that every edit is appended to as soon as it
//! is made.
//!
//! A crash therefore loses no edits, and a later session can undo them. Training can read the file
//! as a data set.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use seemore::atomic_file;
use serde::{Deserialize, Serialize};

/// A caption that was set, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Path of the picture below the folder, with slashes.
    pub image: String,
    /// The caption.
    pub caption: String,
    /// When it was set.
    pub time: SystemTime,
    /// The caption before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Mean probability of the caption's tokens, if the model wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// The change that it is part of; `None` for a caption that is still being edited.
    #[serde(flatten)]
    pub action: Option<Action>,
}

/// Kind of a record, with the number of the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Made the change.
    Edit(u64),
    /// Undid it.
    Undo(u64),
    /// Made it again.
    Redo(u64),
}

impl Record {
    /// Returns a record of a caption that is set now.
    pub fn new(image: &str, caption: &str) -> Record {
        Record {
            image: image.to_owned(),
            caption: caption.to_owned(),
            time: SystemTime::now(),
            before: None,
            confidence: None,
            action: None,
        }
    }
}

/// Returns the path of a folder's journal.
pub fn file(folder: &Path) -> PathBuf {
    folder.join(".seemore-captions.jsonl")
}

/// A message to the thread that writes.
enum Message {
    Append(Vec<Record>),
    /// Replies once everything before it was tried.
    Flush(Sender<()>),
}

/// Appends records on a background thread, since writing to a disk can be slow.
pub struct Journal {
    messages: Sender<Message>,
    errors: Receiver<String>,
    failing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Reads the records of a folder and counts the lines that cannot be read. A missing journal is
    /// empty.
    pub fn read(folder: &Path) -> Result<(Vec<Record>, usize), String> {
        let path = file(folder);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((vec![], 0)),
            Err(error) => {
                return Err(format!(
                    "cannot read the edits in {}: {error}",
                    path.display()
                ));
            }
        };
        let mut unreadable = 0;
        let lines = bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty());
        let records = lines
            .filter_map(|line| {
                serde_json::from_slice(line)
                    .inspect_err(|_| unreadable += 1)
                    .ok()
            })
            .collect();
        Ok((records, unreadable))
    }

    /// Opens a folder's journal for appending; `compacted` replaces its contents first.
    pub fn new(folder: &Path, compacted: Option<Vec<Record>>) -> Journal {
        let (messages, incoming) = channel();
        let (outgoing, errors) = channel();
        let failing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path: file(folder),
            open: None,
            pending: vec![],
            failing: failing.clone(),
            errors: outgoing,
            reported: false,
        };
        let thread = std::thread::spawn(move || writer.serve(compacted, &incoming));
        Journal {
            messages,
            errors,
            failing,
            thread: Some(thread),
        }
    }

    /// Appends records.
    pub fn write(&self, records: Vec<Record>) {
        // the thread outlives this end of the channel
        let _ = self.messages.send(Message::Append(records));
    }

    /// Waits until all records were tried to be written; returns whether that failed for some.
    pub fn fails(&self) -> bool {
        let (done, wait) = channel();
        let _ = self.messages.send(Message::Flush(done));
        let _ = wait.recv();
        self.failing.load(Ordering::SeqCst)
    }

    /// Returns, once, why records cannot be written.
    pub fn error(&self) -> Option<String> {
        self.errors.try_recv().ok()
    }
}

impl Drop for Journal {
    /// Waits until all records are on the disk.
    fn drop(&mut self) {
        self.messages = channel().0;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The thread's side of a journal.
struct Writer {
    path: PathBuf,
    open: Option<File>,
    /// Records that are not on the disk. Those that failed are tried again with the next ones.
    pending: Vec<Record>,
    failing: Arc<AtomicBool>,
    errors: Sender<String>,
    reported: bool,
}

impl Writer {
    fn serve(mut self, compacted: Option<Vec<Record>>, incoming: &Receiver<Message>) {
        if let Some(records) = compacted {
            let written = atomic_file::write(&self.path, &bytes(&records));
            self.report(written);
        }
        while let Ok(message) = incoming.recv() {
            let mut replies = vec![];
            for message in std::iter::once(message).chain(incoming.try_iter()) {
                match message {
                    Message::Append(records) => self.pending.extend(records),
                    Message::Flush(reply) => replies.push(reply),
                }
            }
            if !self.pending.is_empty() {
                let written = self.append();
                self.report(written);
            }
            for reply in replies {
                // fails only if nobody waits any more
                let _ = reply.send(());
            }
        }
    }

    fn report(&mut self, written: std::io::Result<()>) {
        match written {
            Ok(()) => self.failing.store(false, Ordering::SeqCst),
            Err(error) => {
                self.failing.store(true, Ordering::SeqCst);
                // a part of a line may have been written, which opening the file again ends
                self.open = None;
                if !std::mem::replace(&mut self.reported, true) {
                    let message = format!(
                        "Edits are not saved automatically because {} cannot be written ({error}). Export the captions before you close the window.",
                        self.path.display()
                    );
                    // fails only after the window has closed
                    let _ = self.errors.send(message);
                }
            }
        }
    }

    fn append(&mut self) -> std::io::Result<()> {
        if self.open.is_none() {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(&self.path)?;
            // a crash may have left a torn line without its end
            let mut last = [b'\n'];
            if file.seek(SeekFrom::End(0))? > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
            self.open = Some(file);
        }
        let file = self.open.as_mut().expect("opened above");
        file.write_all(&bytes(&self.pending))?;
        file.sync_data()?;
        self.pending.clear();
        Ok(())
    }
}

fn bytes(records: &[Record]) -> Vec<u8> {
    let line = |record: &Record| serde_json::to_string(record).expect("a time after 1970") + "\n";
    records.iter().map(line).collect::<String>().into_bytes()
}
