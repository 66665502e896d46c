//! `--device`, and `seemore devices`, which lists what it can choose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::{cache_folder, say, say_json};
use crate::cli::output::errln;
use crate::device::{Device, DeviceError, Plan, Tuner};
use crate::ops;
use crate::train::{Ranks, Share};

/// Choice of the device.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// Device: auto (a GPU, else the CPU), gpu, cpu, cpu:THREADS, or an adapter by its number in
    /// `seemore devices` or a part of its name [env: SEEMORE_DEVICE] [default: auto]
    #[arg(long = "device", alias = "adapter", value_name = "DEVICE")]
    pub name: Option<String>,
    /// Choose kernel variants by a fixed rule instead of measuring them; measurements are kept in
    /// the user's cache folder or SEEMORE_CACHE
    #[arg(long, hide_short_help = true)]
    no_autotune: bool,
}

impl DeviceArgs {
    /// Opens the device, names it on standard error, and chooses kernel variants as the flags say.
    pub fn open(&self) -> Result<Device, DeviceError> {
        Ok(self.tuned(&self.device()?))
    }

    /// Opens the device of a rank, with its share of the machine; rank 0 names its own.
    pub fn open_among(&self, ranks: &Ranks) -> anyhow::Result<Device> {
        if !ranks.are_several() {
            return Ok(self.open()?);
        }
        let Share { local, threads } = ranks.share()?;
        // pictures are read and changed on the same cores; a pool that exists stays
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
        let device = Device::open_share(self.name.as_deref(), local, threads)?;
        if ranks.is_first() {
            errln!("device of rank 0: {}", device.describe());
        }
        Ok(self.tuned(&device))
    }

    /// Opens the device and names it on standard error, without choosing kernel variants.
    pub fn device(&self) -> Result<Device, DeviceError> {
        let device = Device::open(self.name.as_deref())?;
        errln!("device: {}", device.describe());
        Ok(device)
    }

    /// Chooses kernel variants on a device as the flags say.
    pub fn tuned(&self, device: &Device) -> Device {
        match self.no_autotune {
            true => device.clone(),
            false => device.choosing(Arc::new(Tuner::new(
                device,
                cache_folder(),
                &ops::tuned_sources(),
            ))),
        }
    }
}

/// Arguments of `seemore devices`.
#[derive(Args)]
pub struct DevicesArgs {
    /// Do not measure the speed of each device (takes a second each)
    #[arg(long)]
    no_speed: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Side of the square matrices that speed is measured with.
const SIDE: usize = 1024;

/// Runs `seemore devices`.
pub fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    let auto = Device::open(Some("auto"))
        .map(|device| device.adapter())
        .ok();
    let adapters = Device::adapters();
    let software = adapters.iter().filter(|adapter| adapter.kind == "software");
    let (gpus, software) = (adapters.len() - software.count(), adapters.len());
    let indices = (0..gpus).map(|index| (index.to_string(), false));
    let slow = (gpus..software).map(|index| (index.to_string(), true));
    for (word, software) in indices.chain([("cpu".to_owned(), false)]).chain(slow) {
        let device = match Device::open(Some(&word)) {
            Ok(device) => device,
            Err(error) => {
                match args.json {
                    true => {
                        say_json(&json!({ "device": word, "error": error.to_string() }).to_string())
                    }
                    false => say(&format!("  {word:4} {error}")),
                }
                continue;
            }
        };
        let speed = match args.no_speed {
            true => None,
            false => speed(&device).ok(),
        };
        let chosen = auto.as_deref() == Some(&device.adapter());
        if args.json {
            let line = json!({
                "device": word, "name": device.adapter(), "auto": chosen, "software": software,
                "gflops": speed.map(f64::round),
            });
            say(&line.to_string());
            continue;
        }
        let mark = if chosen { '*' } else { ' ' };
        let speed = speed.map_or(String::new(), |speed| format!("{speed:8.0} GFLOP/s  "));
        let note = match software {
            true => "  [a software driver: slower than cpu, for checks]",
            false => "",
        };
        say(&format!(
            "{mark} {word:4} {speed}{}{note}",
            device.adapter()
        ));
    }
    if !args.json {
        say("\n* the choice of --device auto. Speed: f32 products of 1024 x 1024 matrices.");
    }
    Ok(())
}

/// Returns GFLOP per second of f32 matrix products, measured for a second.
fn speed(device: &Device) -> Result<f64, DeviceError> {
    /// Products of a run, so that its submission costs little.
    const PRODUCTS: usize = 4;
    let mut tape = device.tape();
    let (a, b) = (tape.input(&[SIDE, SIDE]), tape.input(&[SIDE, SIDE]));
    for _ in 0..PRODUCTS {
        let c = tape.matmul(a, b);
        tape.hold(c);
    }
    let plan = Plan::new(device, tape)?;
    let run = || plan.run().and_then(|()| device.wait());
    // the first run compiles
    run()?;
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < Duration::from_secs(1) {
        let started = Instant::now();
        run()?;
        best = best.min(started.elapsed());
    }
    let operations = 2.0 * (SIDE * SIDE * SIDE * PRODUCTS) as f64;
    Ok(operations / best.as_secs_f64() / 1e9)
}
