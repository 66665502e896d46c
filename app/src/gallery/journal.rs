//! The journal of a folder: a hidden JSON lines file that every edit is appended to as soon as it
//! is made.
//!
//! A crash therefore loses no edits. Training can read the file as a data set.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use seemore::atomic_file;

/// A recorded edit: the caption of a picture and when it was set.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// Name of the file in the folder.
    pub image: String,
    /// The caption.
    pub caption: String,
    /// When it was set.
    pub time: SystemTime,
}

impl Record {
    /// Returns a record of a caption that is set now.
    pub fn new(image: &str, caption: &str) -> Record {
        Record {
            image: image.to_owned(),
            caption: caption.to_owned(),
            time: SystemTime::now(),
        }
    }
}

/// Returns the path of a folder's journal.
pub fn file(folder: &Path) -> PathBuf {
    folder.join(".seemore-captions.jsonl")
}

/// Appends records on a background thread, since writing to a disk can be slow.
pub struct Journal {
    records: Sender<Vec<Record>>,
    errors: Receiver<String>,
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
        let (records, incoming) = channel::<Vec<Record>>();
        let (outgoing, errors) = channel();
        let path = file(folder);
        let thread = std::thread::spawn(move || {
            let mut reported = false;
            let mut report = |error: std::io::Error| {
                if !std::mem::replace(&mut reported, true) {
                    let message = format!(
                        "Edits are not saved automatically because {} cannot be written ({error}). Save the captions before you close the window.",
                        path.display()
                    );
                    // fails only after the window has closed
                    let _ = outgoing.send(message);
                }
            };
            if let Some(records) = compacted {
                atomic_file::write(&path, &bytes(&records)).unwrap_or_else(&mut report);
            }
            let mut open = None;
            while let Ok(mut records) = incoming.recv() {
                records.extend(incoming.try_iter().flatten());
                append(&mut open, &path, &records).unwrap_or_else(&mut report);
            }
        });
        Journal {
            records,
            errors,
            thread: Some(thread),
        }
    }

    /// Appends records.
    pub fn write(&self, records: Vec<Record>) {
        // the thread outlives this end of the channel
        let _ = self.records.send(records);
    }

    /// Returns, once, why records cannot be written.
    pub fn error(&self) -> Option<String> {
        self.errors.try_recv().ok()
    }
}

impl Drop for Journal {
    /// Waits until all records are on the disk.
    fn drop(&mut self) {
        self.records = channel().0;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn bytes(records: &[Record]) -> Vec<u8> {
    let line = |record: &Record| serde_json::to_string(record).expect("a time after 1970") + "\n";
    records.iter().map(line).collect::<String>().into_bytes()
}

fn append(open: &mut Option<File>, path: &Path, records: &[Record]) -> std::io::Result<()> {
    if open.is_none() {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        // a crash may have left a torn line without its end
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        *open = Some(file);
    }
    let file = open.as_mut().expect("opened above");
    file.write_all(&bytes(records))?;
    file.sync_data()
}
