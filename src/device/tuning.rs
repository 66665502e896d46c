//! Chooses between kernel variants by measuring them on the device at hand, once.
//!
//! Answers are kept in `tuned.json` in a folder of the caller's choice. A stored answer is taken as
//! it is for as long as the kernels stay as they are, so runs with the same file record the same
//! kernels. A file that cannot be read or written costs a warning and the measurement, never the
//! run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};

use super::{Device, DeviceError, Plan};
use crate::atomic_file;
use crate::graph::{Candidates, Choose};

/// Name of the variant chosen for each class of ops.
type Answers = BTreeMap<String, String>;

#[derive(Default, Serialize, Deserialize)]
struct File {
    /// Hash of the sources of all kernels that are chosen between: answers about others mean
    /// nothing.
    kernels: String,
    /// Answers by adapter and driver.
    adapters: BTreeMap<String, Answers>,
}

/// Chooses kernel variants by measuring them on a device, and remembers the answers.
#[derive(Debug)]
pub struct Tuner {
    device: Device,
    adapter: String,
    kernels: String,
    path: Option<PathBuf>,
    measurements: Mutex<Measurements>,
}

#[derive(Debug, Default)]
struct Measurements {
    answers: Answers,
    made: Measured,
    warned: bool,
}

/// The measurements that a [`Tuner`] made since it was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// Number of classes measured.
    pub classes: usize,
    /// Time that it took.
    pub time: Duration,
}

/// Time of another variant, relative to the one of the fixed rule, below which it is chosen:
/// smaller gains may be noise.
const MARGIN: f64 = 0.9;

/// Runs of each variant, of which the fastest counts.
const ROUNDS: usize = 3;

impl Tuner {
    /// Returns a tuner for `device` that keeps its answers in `folder`, or only in memory.
    /// `sources` are those of the kernels it chooses between.
    pub fn new(device: &Device, folder: Option<PathBuf>, sources: &[&str]) -> Tuner {
        let tuner = Tuner {
            device: device.clone(),
            adapter: device.adapter(),
            kernels: format!("{:016x}", hash(sources)),
            path: folder.map(|folder| folder.join("tuned.json")),
            measurements: Mutex::default(),
        };
        let mut stored = tuner.read();
        let answers = stored.adapters.remove(&tuner.adapter);
        tuner.measurements().answers = answers.unwrap_or_default();
        tuner
    }

    fn measurements(&self) -> MutexGuard<'_, Measurements> {
        let measurements = self.measurements.lock();
        measurements.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the variant chosen for each class that was decided on this adapter.
    pub fn answers(&self) -> BTreeMap<String, String> {
        self.measurements().answers.clone()
    }

    /// Returns what was measured since this tuner was created.
    pub fn measured(&self) -> Measured {
        self.measurements().made
    }

    /// Returns the file as it is now; empty if there is none of use.
    fn read(&self) -> File {
        let empty = || File {
            kernels: self.kernels.clone(),
            ..File::default()
        };
        let Some(path) = &self.path else {
            return empty();
        };
        let Ok(text) = std::fs::read_to_string(path) else {
            return empty();
        };
        match serde_json::from_str::<File>(&text) {
            Ok(file) if file.kernels == self.kernels => file,
            Ok(_) => empty(),
            Err(error) => {
                let path = path.display();
                tracing::warn!("cannot understand {path} ({error}); measuring again");
                empty()
            }
        }
    }

    /// Adds the answers to those in the file, which another process may have changed.
    fn write(&self, measurements: &mut Measurements) {
        let Some(path) = &self.path else { return };
        let mut file = self.read();
        let stored = file.adapters.entry(self.adapter.clone()).or_default();
        stored.extend(measurements.answers.clone());
        let written = (|| {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            atomic_file::write_shared(path, serde_json::to_string_pretty(&file)?.as_bytes())
        })();
        if let Err(error) = written
            && !std::mem::replace(&mut measurements.warned, true)
        {
            let path = path.display();
            tracing::warn!(
                "cannot store measurements in {path} ({error}); SEEMORE_CACHE names another folder"
            );
        }
    }

    /// Returns the fastest of the plausible candidates.
    fn measure(&self, candidates: &Candidates) -> usize {
        let plans: Vec<(usize, Plan)> = (0..candidates.plausible)
            .filter_map(|index| {
                let plan = || -> Result<Plan, DeviceError> {
                    let mut tape = self.device.tape();
                    (candidates.record)(&mut tape, index);
                    let plan = Plan::on_this_thread(&self.device, tape)?;
                    // the first run compiles
                    plan.run().and_then(|()| self.device.wait())?;
                    Ok(plan)
                };
                Some((index, self.device.attempt(plan).ok()?))
            })
            .collect();
        let software = self.device.capabilities().software;
        let mut best = vec![f64::INFINITY; candidates.plausible];
        for _ in 0..ROUNDS {
            for (index, plan) in &plans {
                // on a CPU the time that the work cost, however busy the machine is
                let (start, cpu) = (Instant::now(), ProcessTime::now());
                let run = || plan.run().and_then(|()| self.device.wait());
                if self.device.attempt(run).is_err() {
                    continue;
                }
                let time = if software {
                    cpu.elapsed()
                } else {
                    start.elapsed()
                };
                best[*index] = best[*index].min(time.as_secs_f64());
            }
        }
        let fastest = (0..best.len()).min_by(|&a, &b| best[a].total_cmp(&best[b]));
        fastest
            .filter(|&fastest| best[fastest] < MARGIN * best[0])
            .unwrap_or(0)
    }
}

impl Choose for Tuner {
    fn choose(&self, candidates: &Candidates) -> usize {
        if candidates.plausible < 2 {
            return 0;
        }
        let mut measurements = self.measurements();
        let position = |answer| candidates.names.iter().position(|name| name == answer);
        let answer = measurements.answers.get(candidates.class);
        if let Some(index) = answer.and_then(position) {
            return index;
        }
        if measurements.made.classes == 0 {
            tracing::info!(
                "measuring which variant of a kernel is fastest here, once for each kind of shape"
            );
        }
        let start = Instant::now();
        let index = self.measure(candidates);
        measurements.made.classes += 1;
        measurements.made.time += start.elapsed();
        let (class, name) = (candidates.class, candidates.names[index]);
        measurements.answers.insert(class.into(), name.into());
        self.write(&mut measurements);
        index
    }
}

/// FNV-1a: stable across systems and compilers, unlike the standard library's hash.
fn hash(sources: &[&str]) -> u64 {
    let bytes = sources.iter().flat_map(|source| source.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::graph::Tape;

    /// Chooses between a fill of many numbers and one of few, the slow one first. Returns the
    /// choice and how often one was recorded.
    fn choose(tuner: &Tuner, class: &str) -> (usize, usize) {
        let recorded = Cell::new(0);
        let record = |t: &mut Tape, index: usize| {
            recorded.set(recorded.get() + 1);
            for _ in 0..4 {
                let x = t.fill(&[if index == 0 { 4 << 20 } else { 4 }], 1.0);
                t.hold(x);
            }
        };
        let candidates = Candidates {
            class,
            names: &["slow", "fast", "untried"],
            plausible: 2,
            record: &record,
        };
        (tuner.choose(&candidates), recorded.get())
    }

    fn tuner(device: &Device, folder: &Path, sources: &[&str]) -> Tuner {
        Tuner::new(device, Some(folder.to_owned()), sources)
    }

    fn device_and_folder() -> (Device, tempfile::TempDir) {
        (Device::best().unwrap(), tempfile::tempdir().unwrap())
    }

    #[test]
    fn the_fastest_variant_is_measured_once_and_stored_until_kernels_change() {
        let (device, dir) = device_and_folder();
        let folder = dir.path().join("new");
        let first = tuner(&device, &folder, &["kernel"]);
        assert_eq!(choose(&first, "sort of fill"), (1, 2));
        assert_eq!(choose(&first, "sort of fill"), (1, 0));
        assert_eq!(first.measured().classes, 1);
        let again = tuner(&device, &folder, &["kernel"]);
        assert_eq!(choose(&again, "sort of fill"), (1, 0));
        assert_eq!(choose(&again, "another sort").1, 2);
        let changed = tuner(&device, &folder, &["changed kernel"]);
        assert_eq!(choose(&changed, "sort of fill").1, 2);
    }

    #[test]
    fn an_unusable_file_costs_only_the_measurement() {
        let (device, dir) = device_and_folder();
        std::fs::write(dir.path().join("tuned.json"), "{\"kernels\": 7").unwrap();
        assert_eq!(choose(&tuner(&device, dir.path(), &[]), "fill"), (1, 2));
        assert_eq!(choose(&tuner(&device, dir.path(), &[]), "fill"), (1, 0));
        // a folder below a file
        let nowhere = dir.path().join("tuned.json/folder");
        assert_eq!(choose(&tuner(&device, &nowhere, &[]), "fill"), (1, 2));
    }

    #[test]
    fn a_stored_variant_that_no_longer_exists_is_measured_again() {
        let (device, dir) = device_and_folder();
        choose(&tuner(&device, dir.path(), &[]), "fill");
        let path = dir.path().join("tuned.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("fast"), "{text}");
        std::fs::write(&path, text.replace("fast", "gone")).unwrap();
        assert_eq!(choose(&tuner(&device, dir.path(), &[]), "fill"), (1, 2));
    }
}
