//! The spool: everything to be sent to the server, one JSON object on each line of a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Name of the spool in the tracking folder of a run.
pub const SPOOL: &str = "mlflow.jsonl";

/// Metric values by step and name.
pub type Values = HashMap<(u64, String), Number>;

/// A line of the spool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A new run.
    Begin {
        uri: String,
        experiment: String,
        run: String,
        /// Milliseconds since 1970, as all times.
        time: u64,
        parameters: Vec<(String, String)>,
    },
    /// The run continues after `step`.
    Resume { step: u64, time: u64 },
    /// Metric values of a step.
    Metrics {
        step: u64,
        time: u64,
        values: Vec<(String, Number)>,
    },
    /// A file to upload, by its absolute path when the run ended.
    Artifact { path: PathBuf, name: String },
    /// The end of the run.
    End { status: String, time: u64 },
}

/// A number; JSON has no non-finite numbers, for which MLflow accepts words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    Finite(f64),
    Other(String),
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        match value {
            value if value.is_nan() => Number::Other("NaN".into()),
            f64::INFINITY => Number::Other("Infinity".into()),
            f64::NEG_INFINITY => Number::Other("-Infinity".into()),
            value => Number::Finite(value),
        }
    }
}

/// Returns the current time in milliseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}

/// Returns the metric values of all steps after `step` in a spool.
pub fn values_after(spool: &Path, step: u64) -> std::io::Result<Values> {
    let mut values_by_step = Values::new();
    for text in BufReader::new(File::open(spool)?).split(b'\n') {
        if let Ok(Entry::Metrics {
            step: of, values, ..
        }) = serde_json::from_slice(&text?)
            && of > step
        {
            values_by_step.extend(values.into_iter().map(|(name, value)| ((of, name), value)));
        }
    }
    Ok(values_by_step)
}
