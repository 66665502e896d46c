//! Every edit of a caption as a line in a hidden file of the pictures' folder, as soon as it is made. Whoever loses the program loses no edit; the
//! file has the form of JSON lines that training reads, too.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use seemore::atomic_file;

/// A caption that was given.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// The file's name in the folder.
    pub image: String,
    pub caption: String,
    pub time: SystemTime,
}

impl Line {
    pub fn new(image: &str, caption: &str) -> Line {
        Line {
            image: image.to_owned(),
            caption: caption.to_owned(),
            time: SystemTime::now(),
        }
    }
}

/// The journal of a folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join(".seemore-captions.jsonl")
}

/// Writes on a thread of its own: disks take their time.
pub struct Journal {
    lines: Sender<Vec<Line>>,
    troubles: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// What was written so far, and how many lines cannot be read; nothing where there is no journal.
    pub fn read(folder: &Path) -> Result<(Vec<Line>, usize), String> {
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
        let mut lost = 0;
        let lines = bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty());
        let lines = lines
            .filter_map(|line| serde_json::from_slice(line).inspect_err(|_| lost += 1).ok())
            .collect();
        Ok((lines, lost))
    }

    /// Goes on with a folder's journal, or with one of the given lines in its place.
    pub fn new(folder: &Path, anew: Option<Vec<Line>>) -> Journal {
        let (lines, incoming) = channel::<Vec<Line>>();
        let (outgoing, troubles) = channel();
        let path = file(folder);
        let thread = std::thread::spawn(move || {
            let mut told = false;
            let mut tell = |error: std::io::Error| {
                if !std::mem::replace(&mut told, true) {
                    let message = format!(
                        "Edits are not saved as you go, since {} cannot be written ({error}): export them before you close.",
                        path.display()
                    );
                    // a closed window needs no message
                    let _ = outgoing.send(message);
                }
            };
            if let Some(lines) = anew {
                atomic_file::write(&path, &bytes(&lines)).unwrap_or_else(&mut tell);
            }
            let mut open = None;
            while let Ok(mut lines) = incoming.recv() {
                lines.extend(incoming.try_iter().flatten());
                append(&mut open, &path, &lines).unwrap_or_else(&mut tell);
            }
        });
        Journal {
            lines,
            troubles,
            thread: Some(thread),
        }
    }

    pub fn write(&self, lines: Vec<Line>) {
        // the thread ends after this end of the channel
        let _ = self.lines.send(lines);
    }

    /// Why lines cannot be written, once.
    pub fn trouble(&self) -> Option<String> {
        self.troubles.try_recv().ok()
    }
}

impl Drop for Journal {
    /// Waits until all lines are on the disk.
    fn drop(&mut self) {
        self.lines = channel().0;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn bytes(lines: &[Line]) -> Vec<u8> {
    let line = |line: &Line| serde_json::to_string(line).expect("a time after 1970") + "\n";
    lines.iter().map(line).collect::<String>().into_bytes()
}

fn append(open: &mut Option<File>, path: &Path, lines: &[Line]) -> std::io::Result<()> {
    if open.is_none() {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        // behind a torn line comes a new one
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
    file.write_all(&bytes(lines))?;
    file.sync_data()
}
