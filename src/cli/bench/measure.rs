//! Times of a run, and the record made of them.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};

use crate::device::{Device, Plan, Timing};
use crate::ops::check::random_f32;

/// A measured case: one line of `bench --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// Name of the benchmark: matmul, attention, layernorm, packed, train, decode,
    /// encode or load.
    pub bench: String,
    /// Sizes measured.
    pub case: String,
    /// Kernel variant, or part of the work.
    pub variant: String,
    /// Whether this is the variant that models use on this adapter.
    #[serde(default)]
    pub chosen: bool,
    /// Median wall time of a run, in milliseconds.
    pub median_ms: f64,
    /// Shortest and longest wall time, in milliseconds.
    pub spread_ms: (f64, f64),
    /// Mean CPU time of the process in a run, summed over threads, in milliseconds. On a software
    /// adapter it is the cost of the work however busy the machine is.
    pub cpu_ms: f64,
    /// GFLOP per second of the median, a multiply-add counted as two.
    pub gflops: Option<f64>,
    /// GFLOP per second of CPU time.
    pub gflops_per_cpu_s: Option<f64>,
    /// Gigabytes per second of the median, counting each operand and result once.
    pub gbytes_per_s: Option<f64>,
    /// Device memory of the plan without parameters, in bytes.
    pub peak_gpu_bytes: u64,
    /// Peak resident memory of the process so far, in bytes. Includes benchmarks measured before;
    /// measure one alone to know its own.
    pub peak_rss_bytes: u64,
    /// Adapter name, kind, backend and driver.
    pub adapter: String,
    /// Time by kernel, longest first, if the adapter has timestamps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelTime>,
}

/// Time of a kernel in one profiled run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KernelTime {
    /// Kernel and entry point, as `softmax.forward`.
    pub kernel: String,
    /// Number of dispatches.
    pub dispatches: usize,
    /// Milliseconds of all dispatches together.
    pub ms: f64,
}

/// Profiles one run of a plan; empty without timestamps.
pub fn kernel_times(plan: &Plan) -> Result<Vec<KernelTime>, Failure> {
    let time = |timing: &Timing| KernelTime {
        kernel: format!("{}.{}", timing.kernel, timing.entry),
        dispatches: timing.dispatches,
        ms: 1e3 * timing.time.as_secs_f64(),
    };
    Ok(plan
        .profile()?
        .unwrap_or_default()
        .iter()
        .map(time)
        .collect())
}

/// A device error, or a wrong result.
pub type Failure = anyhow::Error;

/// Number of runs of each case.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Untimed runs before the first timed one.
    pub warmup: u32,
    /// Timed runs, at least one.
    pub runs: u32,
}

/// Times of a run.
pub struct Times {
    /// Median wall time.
    pub median: Duration,
    /// Shortest wall time.
    pub least: Duration,
    /// Longest wall time.
    pub most: Duration,
    /// Mean CPU time of the process.
    pub cpu: Duration,
}

impl Times {
    /// Summarises the wall times of at least one run.
    pub fn new(mut times: Vec<Duration>, cpu: Duration) -> Times {
        times.sort();
        let median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2;
        Times {
            median,
            least: times[0],
            most: times[times.len() - 1],
            cpu,
        }
    }
}

/// Times `run`.
pub fn time(
    effort: Effort,
    mut run: impl FnMut() -> Result<(), Failure>,
) -> Result<Times, Failure> {
    for _ in 0..effort.warmup {
        run()?;
    }
    let runs = effort.runs.max(1);
    let cpu = ProcessTime::now();
    let mut times = vec![];
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    let cpu = cpu.elapsed() / runs;
    Ok(Times::new(times, cpu))
}

/// Returns the peak resident memory of the process in bytes; 0 on systems other than Linux.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| 1024 * kilobytes)
}

/// A case and its cost, before its times are known.
pub struct Case<'a> {
    /// Device that it runs on.
    pub device: &'a Device,
    /// Name of the benchmark.
    pub bench: &'a str,
    /// Sizes measured.
    pub case: String,
    /// Kernel variant, or part of the work.
    pub variant: String,
    /// Floating-point operations of a run, a multiply-add counted as two.
    pub flops: Option<f64>,
    /// Bytes of the operands and results of a run, each counted once.
    pub bytes: Option<f64>,
    /// Device memory of the plan without parameters, in bytes.
    pub peak_gpu_bytes: u64,
}

impl Case<'_> {
    /// Combines the case with its times.
    pub fn measured(self, times: Times) -> Measurement {
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        let giga = |amount: Option<f64>, time: Duration| {
            amount.map(|amount| amount / time.as_secs_f64().max(1e-9) / 1e9)
        };
        Measurement {
            bench: self.bench.into(),
            case: self.case,
            variant: self.variant,
            chosen: false,
            median_ms: ms(times.median),
            spread_ms: (ms(times.least), ms(times.most)),
            cpu_ms: ms(times.cpu),
            gflops: giga(self.flops, times.median),
            gflops_per_cpu_s: giga(self.flops, times.cpu),
            gbytes_per_s: giga(self.bytes, times.median),
            peak_gpu_bytes: self.peak_gpu_bytes,
            peak_rss_bytes: peak_rss(),
            adapter: self.device.adapter(),
            kernels: vec![],
        }
    }
}

/// Returns reproducible values, uniform in [-1, 1).
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let values = random_f32(count, seed);
    values.iter().map(|value| 0.5 * value).collect()
}

/// Returns an error unless `got` is within `tolerance` of `want`.
pub fn expect(what: &str, got: f32, want: f64, tolerance: f64) -> Result<(), Failure> {
    let off = (got as f64 - want).abs();
    anyhow::ensure!(
        off <= tolerance,
        "{what}: got {got}, want {want}; a wrong result is not timed"
    );
    Ok(())
}

/// Returns the device memory of a plan without parameters, in bytes.
pub fn bytes_of(plan: &Plan) -> u64 {
    plan.memory().total()
}
