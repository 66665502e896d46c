//! A row a report: `step,seconds,loss,..`.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Begin, End, METRICS, Metrics, Track};
use crate::atomic_file;

/// A CSV file that grows by a row at every report.
pub struct Csv {
    path: PathBuf,
    resumed: bool,
    overwrite: bool,
    writer: Option<csv::Writer<File>>,
}

impl Csv {
    /// Where the run goes on, a file that is there grows; else it must not be there, unless it may be overwritten.
    pub fn new(path: &Path, resumed: bool, overwrite: bool) -> Csv {
        Csv {
            path: path.to_owned(),
            resumed,
            overwrite,
            writer: None,
        }
    }

    fn name(&self) -> String {
        format!("cannot write {}", self.path.display())
    }

    /// Takes off the rows after a step, which will come again, as those between the last save and a crash.
    fn cut(&self, step: u64) -> anyhow::Result<()> {
        let read = || format!("cannot go on with {}", self.path.display());
        let text = std::fs::read_to_string(&self.path).with_context(read)?;
        let mut kept = String::new();
        for (number, line) in text.lines().enumerate() {
            let first = line.split(',').next().unwrap_or_default();
            if number == 0 && !line.starts_with("step,seconds,") {
                bail!(
                    "{}: it is not one that --track wrote; choose another file",
                    read()
                );
            }
            if number == 0 || first.parse::<u64>().is_ok_and(|row| row <= step) {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        atomic_file::write(&self.path, kept.as_bytes()).with_context(|| self.name())
    }
}

impl Track for Csv {
    fn begin(&mut self, begin: &Begin) -> anyhow::Result<()> {
        let there = self.path.exists();
        if there && self.resumed {
            self.cut(begin.step)?;
        } else if there && !self.overwrite {
            bail!(
                "{} is there already: choose another file for --track csv, or add --overwrite",
                self.path.display()
            );
        }
        let goes_on = there && self.resumed;
        let file = OpenOptions::new()
            .create(true)
            .append(goes_on)
            .write(true)
            .truncate(!goes_on)
            .open(&self.path);
        let mut writer = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(file.with_context(|| self.name())?);
        if !goes_on {
            writer
                .write_record(["step", "seconds"].iter().chain(&METRICS))
                .with_context(|| self.name())?;
            writer.flush().with_context(|| self.name())?;
        }
        self.writer = Some(writer);
        Ok(())
    }

    fn metrics(&mut self, step: u64, seconds: f64, metrics: Metrics) -> anyhow::Result<()> {
        let name = self.name();
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
        writer.write_record(row).with_context(|| name.clone())?;
        // a reader sees whole rows, and a crash loses none
        writer.flush().context(name)
    }

    fn end(&mut self, _end: End, _folder: &Path) -> anyhow::Result<Option<String>> {
        Ok(None)
    }
}
