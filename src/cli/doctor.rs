//! `seemore doctor`: checks the installation, adapters, folders and kernels, and says how to fix
//! what fails.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::devices::DeviceArgs;
use super::{cache_folder, say};
use crate::device::Tuner;
use crate::device::{Device, DeviceError};
use crate::models::checkpoint;
use crate::ops;

#[derive(Args)]
pub struct DoctorArgs {
    /// Skip checking every op against its reference (takes half a minute on two CPU cores)
    #[arg(long)]
    no_self_test: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Free disk space to warn below, in bytes: a few saved states of the default model.
const LEAST_FREE: u64 = 1 << 30;

/// Findings, printed as lines while they are made or as JSON at the end.
struct Report {
    json: bool,
    found: Map<String, Value>,
    /// Findings about the device that is being checked.
    device: Map<String, Value>,
    /// Problems found, each with a remedy.
    problems: Vec<String>,
}

impl Report {
    fn section(&self, name: &str) {
        if !self.json {
            say(&format!("\n{name}"));
        }
    }

    fn note(&mut self, key: &str, name: &str, value: impl Into<Value>) {
        let value = self.line(name, value.into());
        self.found.insert(key.to_owned(), value);
    }

    fn of_device(&mut self, key: &str, name: &str, value: impl Into<Value>) {
        let value = self.line(name, value.into());
        self.device.insert(key.to_owned(), value);
    }

    fn line(&self, name: &str, value: Value) -> Value {
        if !self.json {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            say(&format!("  {name:28} {text}"));
        }
        value
    }

    fn problem(&mut self, what: String) {
        if !self.json {
            say(&format!("  ✗ {what}"));
        }
        self.problems.push(what);
    }
}

pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let mut report = Report {
        json: args.json,
        found: Map::new(),
        device: Map::new(),
        problems: vec![],
    };
    report.section("Program");
    report.note("version", "seemore", env!("CARGO_PKG_VERSION"));
    report.note(
        "system",
        "system",
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    );
    report.note(
        "cores",
        "CPU cores",
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    model(&mut report);
    disks(&mut report);

    report.section("Graphics adapters");
    let listed = Device::adapters();
    let adapters: Vec<String> = listed.iter().map(ToString::to_string).collect();
    if !args.json {
        adapters.iter().for_each(|line| say(&format!("  {line}")));
        if adapters.is_empty() {
            say("  none: the CPU does all the work. A graphics card needs its Vulkan driver");
        }
    }
    report.found.insert("adapters".into(), json!(adapters));
    // both kinds of kernels, unless one device is asked for
    let words: Vec<Option<&str>> = match args.device.name.as_deref() {
        Some(word) => vec![Some(word)],
        // the one that `auto` chooses last, so that its facts stand alone
        None => match listed.first() {
            None => vec![Some("cpu")],
            Some(best) if best.kind == "software" => vec![Some("0"), Some("cpu")],
            Some(_) => vec![Some("cpu"), Some("0")],
        },
    };
    let mut checked = Ok(());
    let mut devices = vec![];
    for word in words {
        let result = match Device::open(word) {
            Ok(opened) => device(&opened, args, &mut report),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            report.problem(error.to_string());
            checked = checked.and(Err(error));
        }
        devices.push(json!(report.device));
        let found = std::mem::take(&mut report.device);
        // the last one's facts stand alone, too, as in earlier versions
        report.found.extend(found);
    }
    report.found.insert("devices".into(), json!(devices));
    let Report {
        problems,
        mut found,
        ..
    } = report;
    if args.json {
        found.insert("problems".into(), json!(problems));
        say(&Value::from(found).to_string());
    }
    // an error of the device has its own exit code
    checked?;
    match problems.len() {
        0 => {
            if !args.json {
                say("\nNo problems found.");
            }
            Ok(())
        }
        1 => anyhow::bail!("1 problem found: {}", problems[0]),
        count => anyhow::bail!("{count} problems found: see the lines marked ✗"),
    }
}

fn model(report: &mut Report) {
    match checkpoint::default_folder() {
        Some(dir) => report.note("model", "default model", dir.display().to_string()),
        None => report.note(
            "model",
            "default model",
            "none found: run seemore in its repository, or pass --model",
        ),
    }
}

/// Checks the folders that are written to.
fn disks(report: &mut Report) {
    report.section("Folders");
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let mut folders = vec![("here", "current folder", here)];
    match cache_folder() {
        Some(folder) => folders.push(("cache", "kernel measurements", folder)),
        None => report
            .problem("there is no cache folder for this user: set SEEMORE_CACHE to one".into()),
    }
    for (key, name, folder) in folders {
        let free = match writable(&folder) {
            Ok(free) => free,
            Err(error) => {
                report.problem(format!(
                    "{name}: cannot write to {}: {error}; choose another folder or change its permissions",
                    folder.display()
                ));
                continue;
            }
        };
        let text = format!(
            "{}, writable, {:.1} GB free",
            folder.display(),
            free as f64 / 1e9
        );
        report.note(key, name, text);
        if free < LEAST_FREE {
            report.problem(format!(
                "{} has less than 1 GB free: the saved states of a training run may not fit",
                folder.display()
            ));
        }
    }
}

/// Writes a file into a folder and removes it. Returns the free space there, in bytes.
fn writable(folder: &Path) -> std::io::Result<u64> {
    std::fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".seemore-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"probe")?;
    std::fs::remove_file(&probe)?;
    fs4::available_space(folder)
}

fn device(device: &Device, args: &DoctorArgs, report: &mut Report) -> Result<(), DeviceError> {
    report.section(&format!("Device {}", device.name()));
    report.of_device("adapter", "device", device.adapter());
    if device.capabilities().software {
        let advice = "this is a software driver, for checks: the device cpu is faster. A graphics card needs its Vulkan driver";
        report.of_device("note", "note", advice);
    }
    for (name, value) in device.facts() {
        report.of_device(name, name, value);
    }
    let free = device
        .free_memory()
        .map_or("not reported by the device".into(), |free| {
            format!("{:.1} GB", free as f64 / 1e9)
        });
    report.of_device("free memory", "free memory", free);

    report.section("Kernel variants chosen by measurement here");
    let answers = Tuner::new(device, cache_folder(), &ops::tuned_sources()).answers();
    if answers.is_empty() && !args.json {
        say("  none yet: they are measured on first use");
    }
    if !args.json {
        answers
            .iter()
            .for_each(|(class, form)| say(&format!("  {class:60} {form}")));
    }
    report.device.insert("variants".into(), json!(answers));
    if args.no_self_test {
        return Ok(());
    }
    self_test(device, report);
    device.check()
}

/// Checks every op against its f64 reference.
fn self_test(device: &Device, report: &mut Report) {
    report.section("Ops against their references");
    let bar = if report.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(ops::CHECKS.len() as u64)
    };
    bar.set_style(
        ProgressStyle::with_template("  {msg} {wide_bar} {pos}/{len}")
            .expect("the template is constant"),
    );
    let (start, mut tests, mut agree, mut broken) = (Instant::now(), 0, 0, vec![]);
    ops::self_test(device, ops::CHECKS, |op, passed, failed| {
        bar.set_message(op);
        bar.inc(1);
        (tests, agree) = (tests + passed, agree + failed.is_empty() as usize);
        broken.extend(failed.iter().map(|text| format!("{op}: {text}")));
    });
    bar.finish_and_clear();
    report.of_device(
        "ops",
        "ops in agreement",
        format!("{agree} of {}, {tests} checks passed", ops::CHECKS.len()),
    );
    report.of_device(
        "self_test_seconds",
        "seconds",
        (10.0 * start.elapsed().as_secs_f64()).round() / 10.0,
    );
    for text in broken {
        report.problem(format!("{text}. This device computes wrong results: update its driver, choose another with --device, and report this"));
    }
}
