//! Chooses between the forms of an op by measuring them on the adapter at hand, once: the answers are kept in a file.
//!
//! The file is `tuned.json` in the user's cache folder (`SEEMORE_CACHE` names another folder). What it holds is taken
//! as it is for as long as the kernels stay as they are, so runs with the same file record the same kernels. A file that cannot
//! be read or written costs a warning and the measurement, never the run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};

use crate::device::Plan;
use crate::device::{Device, DeviceError};
use crate::graph::{Candidates, Choose, Tape};

/// The chosen form of each class of ops.
type Answers = BTreeMap<String, String>;

#[derive(Default, Serialize, Deserialize)]
struct File {
    /// Of the sources of all kernels that are chosen between: answers about others mean nothing.
    kernels: String,
    /// By adapter and driver.
    adapters: BTreeMap<String, Answers>,
}

/// Measures on a device, and remembers.
#[derive(Debug)]
pub struct Tuner {
    gpu: Device,
    adapter: String,
    kernels: String,
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: Answers,
    measured: usize,
    spent: Duration,
    warned: bool,
}

/// How much faster than the fixed rule's form another must be to be chosen: less may be noise.
const MARGIN: f64 = 0.9;

/// Runs of each form, of which the fastest counts.
const ROUNDS: usize = 3;

impl Tuner {
    /// A tuner for `gpu` that keeps its answers in `folder`, or only while it lives. `sources`: those of the kernels.
    pub fn new(gpu: &Device, folder: Option<PathBuf>, sources: &[&str]) -> Tuner {
        let adapter = gpu.adapter();
        let path = folder.map(|folder| folder.join("tuned.json"));
        let kernels = format!("{:016x}", hash(sources));
        let mut tuner = Tuner {
            gpu: gpu.clone(),
            adapter,
            kernels,
            path,
            state: Mutex::default(),
        };
        let answers = tuner
            .read()
            .adapters
            .remove(&tuner.adapter)
            .unwrap_or_default();
        tuner
            .state
            .get_mut()
            .unwrap_or_else(|e| e.into_inner())
            .answers = answers;
        tuner
    }

    /// The class of every choice that was made so far on this adapter, and the form chosen.
    pub fn answers(&self) -> BTreeMap<String, String> {
        self.state
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .answers
            .clone()
    }

    /// How many choices were measured since this tuner was made, and how long that took.
    pub fn effort(&self) -> (usize, Duration) {
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        (state.measured, state.spent)
    }

    /// The file as it is now; empty where there is none of use.
    fn read(&self) -> File {
        let fresh = || File {
            kernels: self.kernels.clone(),
            ..File::default()
        };
        let Some(path) = &self.path else {
            return fresh();
        };
        let Ok(text) = std::fs::read_to_string(path) else {
            return fresh();
        };
        match serde_json::from_str::<File>(&text) {
            Ok(file) if file.kernels == self.kernels => file,
            Ok(_) => fresh(),
            Err(error) => {
                eprintln!(
                    "warning: {} is not what this program wrote ({error}); measuring again",
                    path.display()
                );
                fresh()
            }
        }
    }

    /// Adds the answers to what is in the file, which another process may have changed.
    fn write(&self, state: &mut State) {
        let Some(path) = &self.path else { return };
        let mut file = self.read();
        file.adapters
            .entry(self.adapter.clone())
            .or_default()
            .extend(state.answers.clone());
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = (|| {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            std::fs::write(&aside, serde_json::to_string_pretty(&file)?)?;
            std::fs::rename(&aside, path)
        })();
        if let Err(error) = written
            && !std::mem::replace(&mut state.warned, true)
        {
            eprintln!(
                "warning: cannot remember measurements in {} ({error}); SEEMORE_CACHE names another folder",
                path.display()
            );
        }
    }

    /// The fastest of the plausible candidates.
    fn measure(&self, candidates: &Candidates) -> usize {
        let plans: Vec<(usize, Plan)> = (0..candidates.plausible)
            .filter_map(|index| {
                let plan = || -> Result<Plan, DeviceError> {
                    let mut tape = Tape::new(self.gpu.capabilities());
                    (candidates.record)(&mut tape, index);
                    let plan = Plan::on_this_thread(&self.gpu, tape)?;
                    // the first run compiles
                    plan.run().and_then(|()| self.gpu.wait())?;
                    Ok(plan)
                };
                Some((index, self.gpu.attempt(plan).ok()?))
            })
            .collect();
        let mut best = vec![f64::INFINITY; candidates.plausible];
        for _ in 0..ROUNDS {
            for (index, plan) in &plans {
                // on a CPU the time that the work cost, however busy the machine is
                let (start, cpu) = (Instant::now(), ProcessTime::now());
                if self
                    .gpu
                    .attempt(|| plan.run().and_then(|()| self.gpu.wait()))
                    .is_err()
                {
                    continue;
                }
                let time = if self.gpu.capabilities().software {
                    cpu.elapsed()
                } else {
                    start.elapsed()
                };
                best[*index] = best[*index].min(time.as_secs_f64());
            }
        }
        let fastest = (0..best.len())
            .min_by(|&a, &b| best[a].total_cmp(&best[b]))
            .unwrap_or(0);
        if best[fastest] < MARGIN * best[0] {
            fastest
        } else {
            0
        }
    }
}

impl Choose for Tuner {
    fn choose(&self, candidates: &Candidates) -> usize {
        if candidates.plausible < 2 {
            return 0;
        }
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let known = state
            .answers
            .get(candidates.class)
            .and_then(|answer| candidates.names.iter().position(|name| name == answer));
        if let Some(index) = known {
            return index;
        }
        if state.measured == 0 {
            eprintln!(
                "note: measuring which form of a kernel is the fastest here, once for each kind of shape"
            );
        }
        let start = Instant::now();
        let index = self.measure(candidates);
        state.measured += 1;
        state.spent += start.elapsed();
        state.answers.insert(
            candidates.class.to_owned(),
            candidates.names[index].to_owned(),
        );
        self.write(&mut state);
        index
    }
}

/// Where the answers are kept: `SEEMORE_CACHE`, else `seemore` in the cache folder of the user.
pub fn cache_folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("SEEMORE_CACHE").filter(|folder| !folder.is_empty()) {
        return Some(folder.into());
    }
    dirs::cache_dir().map(|folder| folder.join("seemore"))
}

/// FNV-1a: the same on every system and with every compiler, which the standard library's hash need not be.
fn hash(sources: &[&str]) -> u64 {
    let bytes = sources.iter().flat_map(|source| source.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;

    fn gpu() -> Device {
        Device::open(None).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A choice between a fill of a few numbers and one of many, the slow one first; counts what was recorded.
    fn ask(tuner: &Tuner, class: &str) -> (usize, usize) {
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

    fn tuner(gpu: &Device, folder: &Path, sources: &[&str]) -> Tuner {
        Tuner::new(gpu, Some(folder.to_owned()), sources)
    }

    #[test]
    fn the_faster_form_is_found_once_and_remembered_until_the_kernels_change() {
        let (gpu, dir) = (gpu(), tempfile::tempdir().unwrap());
        let folder = dir.path().join("new");
        let first = tuner(&gpu, &folder, &["kernel"]);
        assert_eq!(ask(&first, "sort of fill"), (1, 2));
        assert_eq!(ask(&first, "sort of fill"), (1, 0));
        assert_eq!(first.effort().0, 1);
        let again = tuner(&gpu, &folder, &["kernel"]);
        assert_eq!(ask(&again, "sort of fill"), (1, 0));
        assert_eq!(ask(&again, "another sort").1, 2);
        assert_eq!(
            ask(&tuner(&gpu, &folder, &["changed kernel"]), "sort of fill").1,
            2
        );
    }

    #[test]
    fn a_file_that_is_broken_or_cannot_be_written_costs_only_the_measurement() {
        let (gpu, dir) = (gpu(), tempfile::tempdir().unwrap());
        std::fs::write(dir.path().join("tuned.json"), "{\"kernels\": 7").unwrap();
        assert_eq!(ask(&tuner(&gpu, dir.path(), &[]), "fill"), (1, 2));
        assert_eq!(ask(&tuner(&gpu, dir.path(), &[]), "fill"), (1, 0));
        // a folder below a file
        let nowhere = dir.path().join("tuned.json/folder");
        assert_eq!(ask(&tuner(&gpu, &nowhere, &[]), "fill"), (1, 2));
    }

    #[test]
    fn what_was_remembered_of_a_form_that_is_gone_is_measured_again() {
        let (gpu, dir) = (gpu(), tempfile::tempdir().unwrap());
        let first = tuner(&gpu, dir.path(), &[]);
        ask(&first, "fill");
        let path = dir.path().join("tuned.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("fast"), "{text}");
        std::fs::write(&path, text.replace("fast", "gone")).unwrap();
        assert_eq!(ask(&tuner(&gpu, dir.path(), &[]), "fill"), (1, 2));
    }
}
