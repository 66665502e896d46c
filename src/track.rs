//! What a training tells others while it runs: a CSV file, TensorBoard, an MLflow server.
//!
//! A tracker never ends a training, nor makes it wait: what cannot be written is told once, and the training goes on.

mod csv;
mod mlflow;
mod tensorboard;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cpu_time::ProcessTime;
use indicatif::ProgressBar;
use serde_json::Value;

use crate::cli::train::{Listener, Ready};
use crate::train::{Event, Summary};

pub use csv::Csv;
pub use mlflow::{Mlflow, Names, send_rest};
pub use tensorboard::TensorBoard;

/// Where a training is tracked, as `--track` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file of comma-separated values, a row a report.
    Csv(PathBuf),
    /// A folder for TensorBoard's event files.
    TensorBoard(PathBuf),
    /// The address of an MLflow server.
    Mlflow(String),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match text.split_once('=') {
            Some(("csv", file)) if !file.is_empty() => Ok(Target::Csv(file.into())),
            Some(("tensorboard", dir)) if !dir.is_empty() => Ok(Target::TensorBoard(dir.into())),
            Some(("mlflow", uri)) if uri.starts_with("http://") || uri.starts_with("https://") => {
                Ok(Target::Mlflow(uri.trim_end_matches('/').to_owned()))
            }
            Some(("mlflow", _)) => {
                Err("the address of an MLflow server starts with http:// or https://, as mlflow=http://127.0.0.1:5000".into())
            }
            _ => Err("give csv=FILE, tensorboard=DIR or mlflow=URI".into()),
        }
    }
}

/// What is known of a training before its first step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Options, model and machine, by dotted names.
    pub parameters: Vec<(String, String)>,
    /// Steps that were trained before.
    pub step: u64,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Finished,
    /// The user ended it.
    Stopped,
    Failed,
}

/// The numbers of a report, by name.
pub type Metrics<'a> = &'a [(&'static str, f64)];

/// The names of all metrics, in the order of columns.
pub const METRICS: [&str; 10] = [
    "loss",
    "learning_rate",
    "gradient_norm",
    "tokens_per_s",
    "skipped",
    "val_loss",
    "exact_match",
    "resident_mb",
    "cpu_seconds",
    "device_mb",
];

/// Something that follows a training.
pub trait Track {
    /// # Errors
    /// What would be overwritten, or cannot be written at all: found before training.
    fn begin(&mut self, begin: &Begin) -> anyhow::Result<()>;

    /// The numbers of a step, `seconds` after the start of training.
    fn metrics(&mut self, step: u64, seconds: f64, metrics: Metrics) -> anyhow::Result<()>;

    /// Training ended; `folder` holds the model. Returns what the user should know.
    fn end(&mut self, end: End, folder: &Path) -> anyhow::Result<Option<String>>;
}

/// A listener that tells trackers what it hears, and another listener.
pub struct Tracked<'a> {
    inner: &'a mut dyn Listener,
    trackers: Vec<Box<dyn Track>>,
    /// Steps between two reports to trackers, at least.
    every: u64,
    last: Option<u64>,
    device: f64,
    seconds: f64,
    /// The trackers that failed and are not told any more.
    failed: Vec<bool>,
}

impl<'a> Tracked<'a> {
    pub fn new(
        inner: &'a mut dyn Listener,
        trackers: Vec<Box<dyn Track>>,
        every: u64,
    ) -> Tracked<'a> {
        let failed = vec![false; trackers.len()];
        Tracked {
            inner,
            trackers,
            every,
            last: None,
            device: 0.0,
            seconds: 0.0,
            failed,
        }
    }

    fn tell(&mut self, step: u64, metrics: Metrics) {
        for (tracker, failed) in self
            .trackers
            .iter_mut()
            .zip(&mut self.failed)
            .filter(|(_, failed)| !**failed)
        {
            if let Err(error) = tracker.metrics(step, self.seconds, metrics) {
                *failed = true;
                self.inner.note(&format!(
                    "warning: {error:#}; training goes on without this tracking"
                ));
            }
        }
    }

    /// To be called after training, however it ended.
    pub fn end(&mut self, result: &anyhow::Result<Summary>, folder: &Path) {
        let end = match result {
            Ok(summary) if summary.interrupted => End::Stopped,
            Ok(_) => End::Finished,
            Err(_) => End::Failed,
        };
        for (tracker, _) in self
            .trackers
            .iter_mut()
            .zip(&self.failed)
            .filter(|(_, failed)| !**failed)
        {
            match tracker.end(end, folder) {
                Ok(Some(note)) => self.inner.note(&note),
                Ok(None) => {}
                Err(error) => self.inner.note(&format!("warning: {error:#}")),
            }
        }
    }
}

impl Listener for Tracked<'_> {
    fn note(&mut self, text: &str) {
        self.inner.note(text);
    }

    fn reading(&mut self, path: &Path) -> ProgressBar {
        self.inner.reading(path)
    }

    fn ready(&mut self, ready: &Ready) -> anyhow::Result<()> {
        let footprint = ready.footprint;
        self.device = (footprint.parameters + footprint.optimizer + footprint.step) as f64 / 1e6;
        let begin = Begin {
            parameters: parameters(ready),
            step: ready.step,
        };
        for tracker in &mut self.trackers {
            tracker.begin(&begin)?;
        }
        self.inner.ready(ready)
    }

    fn on(&mut self, event: Event) -> ControlFlow<()> {
        match &event {
            Event::Step {
                step,
                loss,
                gradient_norm,
                learning_rate,
                tokens_per_s,
                elapsed,
                steps_so_far,
                ..
            } => {
                self.seconds = elapsed.as_secs_f64();
                if self
                    .last
                    .is_none_or(|last| *step >= last + self.every.max(1))
                {
                    self.last = Some(*step);
                    let resident = memory_stats::memory_stats()
                        .map_or(f64::NAN, |memory| memory.physical_mem as f64 / 1e6);
                    let values = [
                        ("loss", *loss as f64),
                        ("learning_rate", *learning_rate),
                        ("gradient_norm", *gradient_norm as f64),
                        ("tokens_per_s", *tokens_per_s),
                        ("skipped", steps_so_far.skipped as f64),
                        ("resident_mb", resident),
                        (
                            "cpu_seconds",
                            ProcessTime::now().as_duration().as_secs_f64(),
                        ),
                        ("device_mb", self.device),
                    ];
                    self.tell(*step, &values);
                }
            }
            Event::Validated { step, verdict } => {
                self.tell(
                    *step,
                    &[
                        ("val_loss", verdict.loss as f64),
                        ("exact_match", verdict.exact_match),
                    ],
                );
            }
            // steps that were taken back come again
            Event::RolledBack { .. } => self.last = None,
            _ => {}
        }
        self.inner.on(event)
    }
}

/// What decides a training, flat: `hyper.beta1`, `model.width`, `adapter`.
fn parameters(ready: &Ready) -> Vec<(String, String)> {
    let mut flat = vec![];
    let plain = |value: serde_json::Result<Value>| value.expect("options and sizes are plain data");
    flatten("", &plain(serde_json::to_value(ready.options)), &mut flat);
    flatten(
        "model.",
        &plain(serde_json::to_value(ready.config)),
        &mut flat,
    );
    let facts = [
        ("model.parameters", ready.parameters.to_string()),
        ("pictures", ready.train.samples.len().to_string()),
        (
            "validation_pictures",
            ready
                .validation
                .map_or(0, |validation| validation.samples.len())
                .to_string(),
        ),
        ("adapter", ready.adapter.clone()),
        ("seemore", env!("CARGO_PKG_VERSION").to_owned()),
        ("command", std::env::args().collect::<Vec<_>>().join(" ")),
    ];
    flat.extend(facts.map(|(name, value)| (name.to_owned(), value)));
    flat
}

fn flatten(prefix: &str, value: &Value, flat: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| flatten(&format!("{prefix}{name}."), value, flat)),
        Value::Null => {}
        other => {
            let text = other
                .as_str()
                .map_or_else(|| other.to_string(), str::to_owned);
            flat.push((prefix.trim_end_matches('.').to_owned(), text));
        }
    }
}

/// The trackers of targets. `out` is the folder of the run, which goes on if `resumed`.
pub fn trackers(
    targets: &[Target],
    names: &Names,
    out: &Path,
    resumed: bool,
    overwrite: bool,
) -> Vec<Box<dyn Track>> {
    let tracker = |target: &Target| -> Box<dyn Track> {
        match target {
            Target::Csv(path) => Box::new(Csv::new(path, resumed, overwrite)),
            Target::TensorBoard(dir) => Box::new(TensorBoard::new(dir)),
            Target::Mlflow(uri) => Box::new(Mlflow::new(uri, names, out, resumed)),
        }
    };
    targets.iter().map(tracker).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_by_their_kind() {
        assert_eq!("csv=a=b.csv".parse(), Ok(Target::Csv("a=b.csv".into())));
        assert_eq!(
            "tensorboard=runs/tb".parse(),
            Ok(Target::TensorBoard("runs/tb".into()))
        );
        assert_eq!(
            "mlflow=http://localhost:5000/".parse(),
            Ok(Target::Mlflow("http://localhost:5000".into()))
        );
        for bad in ["", "csv", "csv=", "mlflow=localhost:5000", "wandb=x"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nested_options_become_dotted_names() {
        let mut flat = vec![];
        flatten(
            "",
            &serde_json::json!({"a": 1, "b": {"c": "x", "d": null, "e": [1, 2]}}),
            &mut flat,
        );
        let want = [("a", "1"), ("b.c", "x"), ("b.e", "[1,2]")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(flat, want);
    }
}
