//! The whole state of a training, one file for each save: `states/step-00000120.safetensors` in the
//! run folder.
//!
//! A file is written aside, flushed to the disk and renamed, so that one by such a name is whole
//! however the program ended. It depends on no other file of the folder but `config.json` and
//! `tokenizer.json`, which do not change.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::config::{Options, RunConfig};
use super::trainer::Best;
use crate::atomic_file;
use crate::device::Tensor;
use crate::hint::Hint;
use crate::models::checkpoint::{self, CheckpointError, TensorFile};
use crate::train::Optimizer;

/// Key of the progress in the metadata of a state file.
const NOTE: &str = "training";

/// How far a training is, and how it is configured: noted in each state file, and in
/// `training.json` for people.
#[derive(Debug, Clone, Serialize)]
pub struct Progress {
    /// Steps trained.
    pub step: u64,
    /// Training time, in seconds.
    pub(super) seconds: f64,
    /// The configuration, with the batch size and the data that are used.
    pub config: RunConfig,
    /// Fingerprint of the training set.
    pub(super) data: u64,
    pub(super) best: Option<Best>,
    /// Factor of the learning rate, halved by each rollback.
    pub(super) rate: f64,
    /// Fraction of the budget that is used up: at least 1 once the training is done. `None` in
    /// states of earlier versions.
    pub(super) done: Option<f64>,
}

/// A progress as it is stored, today or by earlier versions.
#[derive(Deserialize)]
struct Stored {
    step: u64,
    seconds: f64,
    config: Option<RunConfig>,
    /// Options of a state written before `config` existed.
    options: Option<Options>,
    data: u64,
    #[serde(default)]
    best: Option<Best>,
    #[serde(default = "one")]
    rate: f64,
    done: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl Progress {
    /// Reads the `training.json` of a run folder, or of a model packed from one.
    ///
    /// # Errors
    /// No such file, or one that is damaged.
    pub fn load(dir: &Path) -> Result<Progress, TrainError> {
        let path = dir.join("training.json");
        let fail = |reason: String| TrainError::Resume {
            path: dir.to_owned(),
            reason,
            hint: None,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            fail(format!(
                "{}: {error}. Only folders that training saved have it",
                path.display()
            ))
        })?;
        Progress::parse(&text, dir).map_err(|reason| fail(format!("{}: {reason}", path.display())))
    }

    /// Whether a part of the budget is left to train for.
    pub fn is_interrupted(&self) -> bool {
        match self.done {
            Some(done) => done < 1.0,
            None => self
                .config
                .budget
                .steps
                .is_some_and(|steps| self.step < steps),
        }
    }

    /// Parses a progress stored in run folder `dir`, upgrading that of earlier versions.
    pub(super) fn parse(text: &str, dir: &Path) -> Result<Progress, String> {
        let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let config = match (stored.config, stored.options) {
            (Some(config), _) => config,
            (None, Some(options)) => options.upgrade(dir),
            (None, None) => return Err("it has neither `config` nor `options`".into()),
        };
        Ok(Progress {
            step: stored.step,
            seconds: stored.seconds,
            config,
            data: stored.data,
            best: stored.best,
            rate: stored.rate,
            done: stored.done,
        })
    }
}

/// A verified state on the disk: see [`Optimizer::state`](crate::train::Optimizer::state) for its
/// tensors.
#[derive(Debug, Clone)]
pub struct State {
    /// How far the training is.
    pub progress: Progress,
    /// The file, with the tensors.
    pub(super) path: PathBuf,
}

const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";

fn folder(dir: &Path) -> PathBuf {
    dir.join("states")
}

/// Where the states of a replaced run are until the run that replaces it has saved.
fn former(dir: &Path) -> PathBuf {
    dir.join("states.old")
}

fn file(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{step:08}{SUFFIX}"))
}

/// Returns the steps whose states are in a run folder, oldest first.
pub fn saved_steps(dir: &Path) -> Vec<u64> {
    steps_in(&folder(dir))
}

fn steps_in(folder: &Path) -> Vec<u64> {
    let step = |name: &str| {
        name.strip_prefix(PREFIX)?
            .strip_suffix(SUFFIX)?
            .parse()
            .ok()
    };
    // a folder that does not exist has none
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut steps: Vec<u64> = entries
        .filter_map(|entry| step(entry.file_name().to_str()?))
        .collect();
    steps.sort_unstable();
    steps
}

/// The folder with the states of a run, and their steps, oldest first.
fn states(dir: &Path) -> (PathBuf, Vec<u64>) {
    // where a run that should replace another ended before its first save, the other is still there
    let places = [folder(dir), former(dir)];
    let place = places
        .iter()
        .find(|place| !steps_in(place).is_empty())
        .unwrap_or(&places[0]);
    (place.clone(), steps_in(place))
}

impl State {
    /// Finds the newest state in a run folder, verifies it and reads its progress.
    ///
    /// # Errors
    /// No state, or one that is damaged; the message then names the state before it.
    pub fn newest(dir: &Path) -> Result<State, TrainError> {
        let fail = |reason: String, hint| TrainError::Resume {
            path: dir.to_owned(),
            reason,
            hint,
        };
        let (place, steps) = states(dir);
        let Some(&step) = steps.last() else {
            let (why, hint) = match (
                dir.join("training.json").is_file(),
                dir.join("config.json").is_file(),
            ) {
                (true, _) => (
                    "it has no states/: it was packed to be shared, or made by another program",
                    Some(Hint::StartFrom),
                ),
                (false, true) => (
                    "it has no states/: that training ended before its first save",
                    Some(Hint::SaveOften),
                ),
                (false, false) => (
                    "only folders that training saved, with a folder states/, can be resumed",
                    None,
                ),
            };
            return Err(fail(why.into(), hint));
        };
        State::read(&file(&place, step), dir).map_err(|reason| match steps.iter().rev().nth(1) {
            Some(before) => fail(
                format!(
                    "{reason}. To go on from step {before}, which was saved before it, move it away"
                ),
                None,
            ),
            None => fail(
                format!("{reason}. There is no state before it; its model may still be good"),
                Some(Hint::StartFrom),
            ),
        })
    }

    /// Reads the progress of the newest state in a run folder, without its tensors.
    ///
    /// # Errors
    /// Those of [`newest`](Self::newest).
    pub fn newest_progress(dir: &Path) -> Result<Progress, TrainError> {
        let (place, steps) = states(dir);
        let noted = steps.last().and_then(|&step| {
            let state = TensorFile::open(&file(&place, step)).ok()?;
            Progress::parse(state.notes().get(NOTE)?, dir).ok()
        });
        match noted {
            Some(progress) => Ok(progress),
            // says what is wrong
            None => Ok(State::newest(dir)?.progress),
        }
    }

    fn read(path: &Path, dir: &Path) -> Result<State, String> {
        let file = TensorFile::open(path).map_err(|error| error.to_string())?;
        let mut file = file.with_words();
        file.verify().map_err(|error| error.to_string())?;
        let note = file
            .notes()
            .get(NOTE)
            .ok_or_else(|| format!("{} is not the state of a training", path.display()))?;
        let progress =
            Progress::parse(note, dir).map_err(|reason| format!("{}: {reason}", path.display()))?;
        Ok(State {
            progress,
            path: path.to_owned(),
        })
    }

    /// Writes a state, and removes those older than the newest `keep` and what an interrupted save
    /// left. The `first` state of a run replaces all that are there.
    pub(super) fn write(
        dir: &Path,
        progress: &Progress,
        tensors: &[(String, Tensor)],
        keep: usize,
        first: bool,
    ) -> Result<(), TrainError> {
        let (folder, former) = (folder(dir), former(dir));
        let path = file(&folder, progress.step);
        let cannot = |path: &Path, reason| CheckpointError::Write {
            path: path.display().to_string(),
            reason,
        };
        if first && !steps_in(&folder).is_empty() {
            // renamed at once, so that there is always one run that can go on
            if former.exists() {
                std::fs::remove_dir_all(&former).map_err(|reason| cannot(&former, reason))?;
            }
            std::fs::rename(&folder, &former).map_err(|reason| cannot(&folder, reason))?;
        }
        let json = serde_json::to_string(progress).expect("progress is plain data");
        checkpoint::make_folder(&folder)?;
        let notes = [(NOTE.to_owned(), json)].into();
        checkpoint::write_tensors_and_words(&path, tensors, &Optimizer::holds_codes, notes)?;
        let steps = steps_in(&folder);
        for &old in &steps[..steps.len().saturating_sub(keep.max(1))] {
            // one that stays does no harm
            let _ = std::fs::remove_file(file(&folder, old));
        }
        if former.exists() {
            let _ = std::fs::remove_dir_all(&former);
        }
        atomic_file::remove_parts(&folder);
        Ok(())
    }

    /// Removes all states of a run folder, before another model takes its place.
    ///
    /// # Errors
    /// A folder that cannot be removed.
    pub fn remove_all(dir: &Path) -> Result<(), TrainError> {
        for folder in [folder(dir), former(dir)]
            .iter()
            .filter(|folder| folder.exists())
        {
            std::fs::remove_dir_all(folder).map_err(|reason| CheckpointError::Write {
                path: folder.display().to_string(),
                reason,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    fn progress() -> Progress {
        Progress {
            step: 7,
            seconds: 1.5,
            config: RunConfig::default(),
            data: 9,
            best: None,
            rate: 0.5,
            done: Some(0.25),
        }
    }

    #[test]
    fn numbers_round_trip_to_the_last_bit() {
        for millionths in 1..20_000 {
            let rate = millionths as f64 * 1e-6;
            let text = serde_json::to_string(&rate).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap(), rate, "{text}");
        }
    }

    #[test]
    fn the_progress_is_read_without_the_tensors() {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::open(Some("cpu")).unwrap();
        let tensor = Tensor::new(&device, &[2], &[1.0f32, 2.0]).unwrap();
        State::write(dir.path(), &progress(), &[("p.x".into(), tensor)], 2, true).unwrap();
        let path = State::newest(dir.path()).unwrap().path;
        // a damaged tensor
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(State::newest(dir.path()).is_err());
        let read = State::newest_progress(dir.path()).unwrap();
        assert_eq!((read.step, read.rate), (7, 0.5));
        assert!(read.is_interrupted());
        assert_eq!(read.config, RunConfig::default());
    }

    #[test]
    fn a_progress_without_configuration_is_refused() {
        let text = r#"{"step": 1, "seconds": 0.0, "data": 1}"#;
        let error = Progress::parse(text, Path::new("run")).unwrap_err();
        assert!(error.contains("neither"), "{error}");
    }
}
