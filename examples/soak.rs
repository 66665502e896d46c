//! Trains the smallest model for many steps and checks that memory does not grow:
//! `cargo run --release --example soak [-- STEPS]`.
//!
//! Fails when resident memory grows by more than 5 % and 4 MB after the first tenth of the steps,
//! or when anything is created on the device after it.

use std::ops::ControlFlow;

use anyhow::{Context, ensure};
use seemore::device::{Created, Device};
use seemore::models::Preset;
use seemore::train::{Event, Note, Observer, ObserverError, Ready, RunConfig, TrainRun};

/// Memory at a step.
struct Held {
    step: u64,
    resident: f64,
    created: Created,
}

struct Soak {
    device: Device,
    held: Vec<Held>,
    every: u64,
}

impl Observer for Soak {
    fn note(&mut self, note: &Note) {
        eprintln!("{note}");
    }

    fn ready(&mut self, ready: &Ready) -> Result<(), ObserverError> {
        let footprint = ready.footprint;
        println!(
            "{} bytes of device memory per step, {} for parameters and optimizer",
            footprint.step,
            footprint.parameters + footprint.optimizer
        );
        Ok(())
    }

    fn on(&mut self, event: Event) -> ControlFlow<()> {
        let Event::Step {
            step,
            loss,
            elapsed,
            ..
        } = event
        else {
            return ControlFlow::Continue(());
        };
        if !step.is_multiple_of(self.every) {
            return ControlFlow::Continue(());
        }
        let held = Held {
            step,
            resident: resident().unwrap_or(f64::NAN),
            created: self.device.created(),
        };
        let Created {
            buffers,
            bytes,
            bind_groups,
            pipelines,
        } = held.created;
        let (resident, seconds) = (held.resident, elapsed.as_secs_f64());
        println!(
            "step {step:6}  {seconds:6.0} s  loss {loss:.5}  resident {resident:.1} MB  created: {buffers} buffers of {bytes} bytes, {bind_groups} bind groups, {pipelines} pipelines"
        );
        self.held.push(held);
        ControlFlow::Continue(())
    }
}

/// Resident memory of this process in MB, read from `/proc` on Linux.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1e3)
}

fn main() -> anyhow::Result<()> {
    let steps: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(20_000), |steps| steps.parse())
        .context("give a number of steps")?;
    let folder = std::env::temp_dir().join(format!("seemore-soak-{}", std::process::id()));
    let mut config = RunConfig::default();
    config.model.preset = Preset::Tiny;
    config.budget.steps = Some(steps);
    config.log.every = 100;
    config.checkpoint.every = (steps / 10).max(1);
    config.checkpoint.out = Some(folder.clone());
    let device = Device::open(None)?;
    println!("{}", device.adapter());
    let mut soak = Soak {
        device: device.clone(),
        held: vec![],
        every: (steps / 20).max(1),
    };
    let summary = TrainRun::new(config)?.start(&device, &mut soak);
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot remove {}", folder.display()))?;
    let summary = summary?;
    println!(
        "{} steps in {:.0} s",
        summary.steps,
        summary.elapsed.as_secs_f64()
    );

    let settled: Vec<&Held> = soak
        .held
        .iter()
        .filter(|held| held.step > steps / 10)
        .collect();
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else {
        return Ok(());
    };
    ensure!(
        last.resident <= (1.05 * first.resident).max(first.resident + 4.0)
            || first.resident.is_nan(),
        "resident memory grows: {:.1} to {:.1} MB",
        first.resident,
        last.resident
    );
    ensure!(
        first.created == last.created,
        "the device still creates objects: {:?} and then {:?}",
        first.created,
        last.created
    );
    println!(
        "flat: {:.1} MB resident at step {}, {:.1} MB at step {}",
        first.resident, first.step, last.resident, last.step
    );
    Ok(())
}
