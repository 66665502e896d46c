//! Connects trackers to the events of a training.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cpu_time::ProcessTime;
use serde_json::Value;

use super::{Event, Note, Observer, ObserverError, Ready};
use crate::progress::Progress;
use crate::track::{Begin, End, Metrics, Notice, Track};

/// Forwards the events of a training to trackers and to another observer.
pub(super) struct Tracked<'a> {
    inner: &'a mut dyn Observer,
    trackers: Vec<Box<dyn Track>>,
    /// Minimum number of steps between two reports to trackers.
    every: u64,
    /// Step of the last report.
    last: Option<u64>,
    /// Planned device memory, in megabytes.
    device: f64,
    /// Training time so far.
    seconds: f64,
    /// Whether each tracker has failed and is not used any more.
    failed: Vec<bool>,
}

impl<'a> Tracked<'a> {
    /// Creates an observer around `inner` that reports to the trackers at most every `every` steps.
    pub fn new(
        inner: &'a mut dyn Observer,
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

    fn report(&mut self, step: u64, metrics: Metrics) {
        for (tracker, failed) in self
            .trackers
            .iter_mut()
            .zip(&mut self.failed)
            .filter(|(_, failed)| !**failed)
        {
            if let Err(error) = tracker.metrics(step, self.seconds, metrics) {
                *failed = true;
                self.inner.note(&Note::TrackerFailed(error));
            }
        }
    }

    /// Ends tracking after a training, and returns the notices for the user. `folder` holds the
    /// trained model.
    pub fn end(&mut self, end: End, folder: &Path) -> Vec<Notice> {
        self.trackers
            .iter_mut()
            .zip(&self.failed)
            .filter(|(_, failed)| !**failed)
            .filter_map(|(tracker, _)| match tracker.end(end, folder) {
                Ok(notice) => notice,
                Err(error) => Some(Notice::Failed(error)),
            })
            .collect()
    }
}

impl Observer for Tracked<'_> {
    fn note(&mut self, note: &Note) {
        self.inner.note(note);
    }

    fn reading(&mut self, files: &[PathBuf]) -> Box<dyn Progress> {
        self.inner.reading(files)
    }

    fn ready(&mut self, ready: &Ready) -> Result<(), ObserverError> {
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
                    self.report(*step, &values);
                }
            }
            Event::Validated { step, result } => {
                self.report(
                    *step,
                    &[
                        ("val_loss", result.loss as f64),
                        ("exact_match", result.exact_match),
                    ],
                );
            }
            // steps that were rolled back are repeated
            Event::RolledBack { .. } => self.last = None,
            _ => {}
        }
        self.inner.on(event)
    }
}

/// Returns the configuration, the model and the machine by dotted names such as `optimizer.beta1`,
/// `model.text.width` and `adapter`.
fn parameters(ready: &Ready) -> Vec<(String, String)> {
    let mut flat = vec![];
    let plain = |value: serde_json::Result<Value>| value.expect("configurations are plain data");
    flatten(
        "",
        &plain(serde_json::to_value(ready.config.stored())),
        &mut flat,
    );
    flatten(
        "model.",
        &plain(serde_json::to_value(ready.model)),
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
        (
            "command",
            format!("train {}", ready.out.join("run.toml").display()),
        ),
    ];
    flat.extend(facts.map(|(name, value)| (name.to_owned(), value)));
    // a setting such as the dropout is also one of the model's sizes
    let mut names = BTreeSet::new();
    flat.retain(|(name, _)| names.insert(name.clone()));
    flat
}

/// Appends the leaves of a JSON value by their dotted paths; null values are left out.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flattens_nested_options_to_dotted_names() {
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
