//! A CSV file with a row for each report: `step,seconds,loss,..`.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use super::{Begin, End, METRICS, Metrics, Notice, Track, TrackError};
use crate::atomic_file;

/// Tracks a run in a CSV file.
pub struct Csv {
    path: PathBuf,
    resumed: bool,
    overwrite: bool,
    writer: Option<csv::Writer<File>>,
}

impl Csv {
    /// Creates a tracker. A resumed run continues an existing file; a new run replaces it only if
    /// `overwrite` is set.
    pub fn new(path: &Path, resumed: bool, overwrite: bool) -> Csv {
        Csv {
            path: path.to_owned(),
            resumed,
            overwrite,
            writer: None,
        }
    }

    fn write_error(&self) -> impl FnOnce(csv::Error) -> TrackError + use<> {
        let wrap = TrackError::write(&self.path);
        move |error| wrap(std::io::Error::from(error))
    }

    /// Removes the rows after a step, which a resumed run repeats.
    fn truncate(&self, step: u64) -> Result<(), TrackError> {
        let text = std::fs::read_to_string(&self.path).map_err(TrackError::read(&self.path))?;
        let mut kept = String::new();
        for (number, line) in text.lines().enumerate() {
            let first = line.split(',').next().unwrap_or_default();
            if number == 0 && !line.starts_with("step,seconds,") {
                return Err(TrackError::Foreign {
                    path: self.path.clone(),
                });
            }
            if number == 0 || first.parse::<u64>().is_ok_and(|row| row <= step) {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        atomic_file::write(&self.path, kept.as_bytes()).map_err(TrackError::write(&self.path))
    }
}

impl Track for Csv {
    fn begin(&mut self, begin: &Begin) -> Result<(), TrackError> {
        let exists = self.path.exists();
        if exists && self.resumed {
            self.truncate(begin.step)?;
        } else if exists && !self.overwrite {
            return Err(TrackError::Exists {
                path: self.path.clone(),
            });
        }
        let append = exists && self.resumed;
        let file = OpenOptions::new()
            .create(true)
            .append(append)
            .write(true)
            .truncate(!append)
            .open(&self.path)
            .map_err(TrackError::write(&self.path))?;
        let mut writer = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(file);
        if !append {
            writer
                .write_record(["step", "seconds"].iter().chain(&METRICS))
                .map_err(self.write_error())?;
            writer.flush().map_err(TrackError::write(&self.path))?;
        }
        self.writer = Some(writer);
        Ok(())
    }

    fn metrics(&mut self, step: u64, seconds: f64, metrics: Metrics) -> Result<(), TrackError> {
        let (write_error, flush_error) = (self.write_error(), TrackError::write(&self.path));
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let value = |name: &&str| {
            metrics
                .iter()
                .find(|(known, _)| known == name)
                .map_or(String::new(), |(_, value)| value.to_string())
        };
        let row = [step.to_string(), format!("{seconds:.3}")]
            .into_iter()
            .chain(METRICS.iter().map(value));
        writer.write_record(row).map_err(write_error)?;
        // readers see whole rows, and a crash loses none
        writer.flush().map_err(flush_error)
    }

    fn end(&mut self, _end: End, _folder: &Path) -> Result<Option<Notice>, TrackError> {
        Ok(None)
    }
}
