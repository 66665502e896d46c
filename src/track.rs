//! Tracking of training runs: a CSV file, TensorBoard, an MLflow server.
//!
//! A tracker neither ends a training nor delays it: when it fails, that is reported once, and
//! training goes on.

mod csv;
mod error;
#[cfg(feature = "mlflow")]
mod mlflow;
mod tensorboard;

use std::path::{Path, PathBuf};

pub use csv::Csv;
pub use error::{Notice, TrackError};
#[cfg(feature = "mlflow")]
pub use mlflow::{Mlflow, send_rest};
pub use tensorboard::TensorBoard;

/// Destination of tracking data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// CSV file with a row for each report.
    Csv(PathBuf),
    /// Folder for TensorBoard's event files.
    TensorBoard(PathBuf),
    /// Address of an MLflow server.
    Mlflow(String),
}

impl std::str::FromStr for Target {
    type Err = String;

    /// Parses `csv=FILE`, `tensorboard=DIR` or `mlflow=URI`.
    fn from_str(text: &str) -> Result<Target, String> {
        match text.split_once('=') {
            Some(("csv", file)) if !file.is_empty() => Ok(Target::Csv(file.into())),
            Some(("tensorboard", dir)) if !dir.is_empty() => Ok(Target::TensorBoard(dir.into())),
            Some(("mlflow", uri)) if uri.starts_with("http://") || uri.starts_with("https://") => {
                Ok(Target::Mlflow(uri.trim_end_matches('/').to_owned()))
            }
            Some(("mlflow", _)) => Err(
                "the address of an MLflow server starts with http:// or https://, as in mlflow=http://127.0.0.1:5000"
                    .into(),
            ),
            _ => Err("expected csv=FILE, tensorboard=DIR or mlflow=URI".into()),
        }
    }
}

/// Names of a run on an MLflow server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Name of the experiment; `None` for `seemore`.
    pub experiment: Option<String>,
    /// Name of the run; `None` for the name of its folder.
    pub run: Option<String>,
}

/// Facts about a training that are known before its first step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Options, model and machine as (dotted name, value).
    pub parameters: Vec<(String, String)>,
    /// Number of steps trained before; above 0 for a resumed run.
    pub step: u64,
}

/// Outcome of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Training reached its budget.
    Finished,
    /// The user stopped the training.
    Stopped,
    /// Training failed.
    Failed,
}

/// Values of a report, by metric name.
pub type Metrics<'a> = &'a [(&'static str, f64)];

/// Names of all metrics, in the order of CSV columns.
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

/// A destination that records a training.
pub trait Track {
    /// Starts recording, before the first step.
    ///
    /// # Errors
    /// A file that would be overwritten or cannot be written.
    fn begin(&mut self, begin: &Begin) -> Result<(), TrackError>;

    /// Records the values of a step, `seconds` after the start of training.
    ///
    /// # Errors
    /// A file that cannot be written. The tracker is not used again.
    fn metrics(&mut self, step: u64, seconds: f64, metrics: Metrics) -> Result<(), TrackError>;

    /// Ends recording; `folder` holds the trained model. Returns a notice for the user, if any.
    ///
    /// # Errors
    /// A file that cannot be written.
    fn end(&mut self, end: End, folder: &Path) -> Result<Option<Notice>, TrackError>;
}

/// Creates the trackers of a run in folder `out`. Existing files are continued if the run is
/// `resumed`, and replaced only if `overwrite` is set.
///
/// # Errors
/// A target that this build does not support.
pub fn trackers(
    targets: &[Target],
    names: &Names,
    out: &Path,
    resumed: bool,
    overwrite: bool,
) -> Result<Vec<Box<dyn Track>>, TrackError> {
    #[cfg(not(feature = "mlflow"))]
    let _ = (names, out);
    let tracker = |target: &Target| -> Result<Box<dyn Track>, TrackError> {
        Ok(match target {
            Target::Csv(path) => Box::new(Csv::new(path, resumed, overwrite)),
            Target::TensorBoard(dir) => Box::new(TensorBoard::new(dir)),
            #[cfg(feature = "mlflow")]
            Target::Mlflow(uri) => Box::new(Mlflow::new(uri, names, out, resumed)),
            #[cfg(not(feature = "mlflow"))]
            Target::Mlflow(_) => return Err(TrackError::NoMlflow),
        })
    };
    targets.iter().map(tracker).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_targets() {
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
}
