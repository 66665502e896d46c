//! TensorBoard's event files: TFRecord frames around protocol-buffer messages.
//!
//! The messages are those of TensorFlow's `event.proto`, `summary.proto` and `tensor.proto`, with
//! only the fields needed here. Numbers in the comments below are field numbers.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Begin, End, Metrics, Notice, Track, TrackError};

/// Tracks a run in an event file; each run writes a new file into its folder.
pub struct TensorBoard {
    dir: PathBuf,
    file: Option<(PathBuf, File)>,
}

/// Appends a field of bytes: field number and wire type 2, length, bytes.
fn bytes(message: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    varint(message, (field << 3 | 2) as u64);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Appends an integer field.
fn integer(message: &mut Vec<u8>, field: u32, value: u64) {
    varint(message, (field << 3) as u64);
    varint(message, value);
}

/// Appends a number in 7 bits per byte, lowest bits first.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// Encodes an `Event`: wall time (1), step (2) and `content`.
fn event(step: u64, content: &[u8]) -> Vec<u8> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let mut message = vec![1 << 3 | 1];
    message.extend(seconds.to_le_bytes());
    integer(&mut message, 2, step);
    message.extend(content);
    message
}

/// Encodes a `Summary` (5 of an event) with a scalar: tag (1) and simple value (2, 32 bits).
fn scalar(tag: &str, value: f32) -> Vec<u8> {
    let mut one = vec![];
    bytes(&mut one, 1, tag.as_bytes());
    one.push(2 << 3 | 5);
    one.extend(value.to_le_bytes());
    summary(&one)
}

/// Encodes a `Summary` with a text: a tensor (8) of one string (type 7) for the plugin `text`
/// (metadata 9).
fn text(tag: &str, text: &str) -> Vec<u8> {
    let (mut plugin, mut metadata, mut dimension, mut shape, mut tensor, mut one) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    bytes(&mut plugin, 1, b"text");
    bytes(&mut metadata, 1, &plugin);
    integer(&mut dimension, 1, 1);
    bytes(&mut shape, 2, &dimension);
    integer(&mut tensor, 1, 7);
    bytes(&mut tensor, 2, &shape);
    bytes(&mut tensor, 8, text.as_bytes());
    bytes(&mut one, 1, tag.as_bytes());
    bytes(&mut one, 8, &tensor);
    bytes(&mut one, 9, &metadata);
    summary(&one)
}

/// Encodes a `SessionLog` (7 of an event) of a start (status 1): TensorBoard drops the data from
/// this event's step on.
fn session_start() -> Vec<u8> {
    let (mut log, mut content) = (vec![], vec![]);
    integer(&mut log, 1, 1);
    bytes(&mut content, 7, &log);
    content
}

fn summary(value: &[u8]) -> Vec<u8> {
    let (mut values, mut content) = (vec![], vec![]);
    bytes(&mut values, 1, value);
    bytes(&mut content, 5, &values);
    content
}

/// Encodes a TFRecord: length, masked CRC of the length, bytes, masked CRC of the bytes.
fn record(message: &[u8]) -> Vec<u8> {
    // TFRecord masks CRCs by rotation and addition, so that records may contain CRCs
    let masked = |bytes: &[u8]| {
        crc32c::crc32c(bytes)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8)
            .to_le_bytes()
    };
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), message, &masked(message)].concat()
}

impl TensorBoard {
    /// Creates a tracker. The folder is created when training begins.
    pub fn new(dir: &Path) -> TensorBoard {
        TensorBoard {
            dir: dir.to_owned(),
            file: None,
        }
    }

    fn write(&mut self, messages: impl Iterator<Item = Vec<u8>>) -> Result<(), TrackError> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let bytes: Vec<u8> = messages.flat_map(|message| record(&message)).collect();
        file.write_all(&bytes).map_err(TrackError::write(path))
    }
}

impl Track for TensorBoard {
    fn begin(&mut self, begin: &Begin) -> Result<(), TrackError> {
        std::fs::create_dir_all(&self.dir).map_err(TrackError::write(&self.dir))?;
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let path = self.dir.join(format!(
            "events.out.tfevents.{seconds:010}.seemore.{}",
            std::process::id()
        ));
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path)
            .map_err(TrackError::write(&path))?;
        self.file = Some((path, file));
        // a table in Markdown
        let rows = begin
            .parameters
            .iter()
            .map(|(name, value)| format!("| {name} | {} |\n", value.replace('|', "\\|")));
        let table = format!(
            "| parameter | value |\n|---|---|\n{}",
            rows.collect::<String>()
        );
        let mut version = vec![];
        bytes(&mut version, 3, b"brain.Event:2");
        // steps after this one that an earlier part of the run has recorded are repeated
        let start = (begin.step > 0).then(|| event(begin.step + 1, &session_start()));
        self.write(
            [event(0, &version)]
                .into_iter()
                .chain(start)
                .chain([event(begin.step, &text("parameters", &table))]),
        )
    }

    fn metrics(&mut self, step: u64, _seconds: f64, metrics: Metrics) -> Result<(), TrackError> {
        self.write(
            metrics
                .iter()
                .map(|(name, value)| event(step, &scalar(name, *value as f32))),
        )
    }

    fn end(&mut self, _end: End, _folder: &Path) -> Result<Option<Notice>, TrackError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_records_as_tensorflow_does() {
        // the frame of an empty record, as tensorflow.io writes it
        assert_eq!(
            record(b""),
            [
                0, 0, 0, 0, 0, 0, 0, 0, 0x29, 0x03, 0x98, 0x07, 0xd8, 0xea, 0x82, 0xa2
            ]
        );
        let framed = record(b"abc");
        assert_eq!(
            (framed.len(), &framed[..8], &framed[12..15]),
            (19, &[3, 0, 0, 0, 0, 0, 0, 0][..], &b"abc"[..])
        );
    }

    #[test]
    fn encodes_integers_as_varints() {
        let mut message = vec![];
        integer(&mut message, 2, 300);
        assert_eq!(message, [0x10, 0xac, 0x02]);
    }
}
