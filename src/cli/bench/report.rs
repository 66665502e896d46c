//! Output of measurements, compared with an earlier run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::measure::{KernelTime, Measurement};
use crate::cli::{say, say_json};

/// Measurements of an earlier run by benchmark, case and variant.
pub type Earlier = BTreeMap<(String, String, String), Measurement>;

/// Reads an output of `--json`.
///
/// # Errors
/// A file that cannot be read, or a line that is no measurement.
pub fn read(path: &Path) -> anyhow::Result<Earlier> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut earlier = Earlier::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let measurement: Measurement = serde_json::from_str(line).with_context(|| {
            format!(
                "{} line {} is not a line of `seemore bench --json`",
                path.display(),
                index + 1
            )
        })?;
        let key = (
            measurement.bench.clone(),
            measurement.case.clone(),
            measurement.variant.clone(),
        );
        earlier.insert(key, measurement);
    }
    Ok(earlier)
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    measurement: &'a Measurement,
    /// Wall time as a multiple of the earlier run's, if that has the case on the same adapter and
    /// driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ratio: Option<f64>,
    /// CPU time as a multiple of the earlier run's.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ratio: Option<f64>,
}

/// Prints measurements as lines for people or as JSON.
pub struct Report {
    /// Print JSON.
    pub json: bool,
    /// Measurements to compare with.
    pub earlier: Option<Earlier>,
}

impl Report {
    /// Prints measurements.
    pub fn all(&self, measurements: &[Measurement]) -> anyhow::Result<()> {
        for measurement in measurements {
            if self.json {
                let before = self
                    .before(measurement)
                    .filter(|before| before.adapter == measurement.adapter);
                let (time_ratio, cpu_ratio) =
                    before.map(|before| ratios(measurement, before)).unzip();
                say_json(&serde_json::to_string(&Line {
                    measurement,
                    time_ratio,
                    cpu_ratio,
                })?);
                continue;
            }
            let Measurement {
                bench,
                case,
                median_ms,
                spread_ms,
                cpu_ms,
                ..
            } = measurement;
            let variant = format!(
                "{}{}",
                measurement.variant,
                if measurement.chosen { " (chosen)" } else { "" }
            );
            let optional = |value: Option<f64>, unit: &str| {
                value.map_or(String::new(), |value| format!("  {value:.1} {unit}"))
            };
            say(&format!(
                "{bench:9} {case:34} {variant:30} {median_ms:9.2} ms ({:.2} .. {:.2})  {cpu_ms:.1} ms CPU{}{}{}{}",
                spread_ms.0,
                spread_ms.1,
                optional(measurement.gflops, "GFLOP/s"),
                optional(measurement.gflops_per_cpu_s, "GFLOP per CPU-second"),
                optional(measurement.gbytes_per_s, "GB/s"),
                self.change(measurement)
            ));
            if matches!(bench.as_str(), "train" | "decode") {
                let mega = |bytes: u64| bytes as f64 / 1e6;
                say(&format!(
                    "{:44} {:.0} MB of device memory besides parameters, {:.0} MB peak process memory",
                    "",
                    mega(measurement.peak_gpu_bytes),
                    mega(measurement.peak_rss_bytes)
                ));
            }
            self.kernels(&measurement.kernels);
        }
        Ok(())
    }

    /// Returns the measurement of the same case in the earlier run.
    fn before(&self, now: &Measurement) -> Option<&Measurement> {
        self.earlier
            .as_ref()?
            .get(&(now.bench.clone(), now.case.clone(), now.variant.clone()))
    }

    /// Returns the comparison with the earlier run in words.
    fn change(&self, now: &Measurement) -> String {
        match self.before(now) {
            None if self.earlier.is_none() => String::new(),
            None => "  not in the earlier run".into(),
            Some(before) if before.adapter != now.adapter => format!(
                "  earlier on another adapter or driver ({})",
                before.adapter
            ),
            Some(before) => {
                let (time, cpu) = ratios(now, before);
                format!("  x{time:.2} time, x{cpu:.2} CPU of the earlier run")
            }
        }
    }

    fn kernels(&self, kernels: &[KernelTime]) {
        let all: f64 = kernels.iter().map(|kernel| kernel.ms).sum();
        for KernelTime {
            kernel,
            dispatches,
            ms,
        } in kernels.iter().take(12)
        {
            say(&format!(
                "    {kernel:40} {dispatches:5} dispatches {ms:9.2} ms {:5.1} %",
                100.0 * ms / all.max(1e-9)
            ));
        }
    }
}

/// Returns wall and CPU time as multiples of those of an earlier run.
fn ratios(now: &Measurement, before: &Measurement) -> (f64, f64) {
    let ratio = |now: f64, before: f64| if before > 0.0 { now / before } else { f64::NAN };
    (
        ratio(now.median_ms, before.median_ms),
        ratio(now.cpu_ms, before.cpu_ms),
    )
}
