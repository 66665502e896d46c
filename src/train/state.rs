//! The whole state of a training, one file for each save: `states/step-00000120.safetensors` in the folder of the run.
//!
//! A file is written aside, flushed to the disk and renamed, so that one by such a name is whole however the program ended: nothing
//! in it depends on another file of the folder but `config.json` and `tokenizer.json`, which do not change.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::trainer::{Best, Options};
use crate::atomic_file;
use crate::models::checkpoint::{self, CheckpointError, Values};

/// What a training needs to go on beside numbers of the device: noted in the state's file, and in `training.json` for people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    /// Steps trained.
    pub step: u64,
    /// The time they took, in seconds.
    pub(super) seconds: f64,
    pub options: Options,
    /// The training set's fingerprint.
    pub(super) data: u64,
    #[serde(default)]
    pub(super) best: Option<Best>,
    /// What the learning rate is multiplied by, since rollbacks lowered it.
    #[serde(default = "one")]
    pub(super) rate: f64,
}

fn one() -> f64 {
    1.0
}

impl Progress {
    /// What the folder of a training, or of a model made from one, says of it.
    pub fn load(dir: &Path) -> Result<Progress, TrainError> {
        let path = dir.join("training.json");
        let fail = |reason: String| TrainError::Resume {
            path: dir.display().to_string(),
            reason,
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            fail(format!(
                "{}: {error}. Only folders that training saved have it",
                path.display()
            ))
        })?;
        serde_json::from_str(&text).map_err(|error| fail(format!("{}: {error}", path.display())))
    }
}

/// A state that was read: see [`Optimizer::state`](crate::train::Optimizer::state) for its tensors.
#[derive(Debug, Clone)]
pub struct State {
    pub progress: Progress,
    pub(super) tensors: Values,
    /// The file, for messages.
    pub(super) path: PathBuf,
}

const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";

fn folder(dir: &Path) -> PathBuf {
    dir.join("states")
}

/// Where the states of a run that another takes the place of are, until that has one.
fn former(dir: &Path) -> PathBuf {
    dir.join("states.old")
}

fn file(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{step:08}{SUFFIX}"))
}

/// The steps of which there are states in the folder of a run, oldest first.
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
    // a folder that is not there has none
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut steps: Vec<u64> = entries
        .filter_map(|entry| step(entry.file_name().to_str()?))
        .collect();
    steps.sort_unstable();
    steps
}

impl State {
    /// Reads the newest state in the folder of a run.
    ///
    /// # Errors
    /// No state, or one that is damaged: it is then said which one is there before it.
    pub fn newest(dir: &Path) -> Result<State, TrainError> {
        let fail = |reason: String| TrainError::Resume {
            path: dir.display().to_string(),
            reason,
        };
        // where a run that should take the place of another ended before its first save, the other is still there
        let places = [folder(dir), former(dir)];
        let place = places
            .iter()
            .find(|place| !steps_in(place).is_empty())
            .unwrap_or(&places[0]);
        let steps = steps_in(place);
        let Some(&step) = steps.last() else {
            let why = match (
                dir.join("training.json").is_file(),
                dir.join("config.json").is_file(),
            ) {
                (true, _) => {
                    "it has no states/: it was packed to be shared, or made by another program, and can only be started from with --load"
                }
                (false, true) => {
                    "it has no states/: that training ended before its first save (--save-every)"
                }
                (false, false) => {
                    "only folders that training saved, with a folder states/, can be resumed"
                }
            };
            return Err(fail(why.into()));
        };
        let path = file(place, step);
        State::read(&path).map_err(|reason| {
            let advice = match steps.iter().rev().nth(1) {
                Some(before) => format!("move it away to go on from step {before}, which was saved before it"),
                None => "there is no state before it; its model may still be good: start from it with --load".into(),
            };
            fail(format!("{reason}. {advice}"))
        })
    }

    fn read(path: &Path) -> Result<State, String> {
        let (tensors, metadata) =
            checkpoint::read_noted(path).map_err(|error| error.to_string())?;
        let progress = metadata
            .get("training")
            .ok_or_else(|| format!("{} is no state of a training", path.display()))?;
        let progress = serde_json::from_str(progress)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(State {
            progress,
            tensors,
            path: path.to_owned(),
        })
    }

    /// Writes a state, and removes those that are older than the newest `keep`, with what an interrupted save left. If it is the `first`
    /// of a run, it takes the place of all that are there.
    pub(super) fn write(
        dir: &Path,
        progress: &Progress,
        tensors: &Values,
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
            // renamed at once, so that there is always one run that can be gone on with
            if former.exists() {
                std::fs::remove_dir_all(&former).map_err(|reason| cannot(&former, reason))?;
            }
            std::fs::rename(&folder, &former).map_err(|reason| cannot(&folder, reason))?;
        }
        let json = serde_json::to_string(progress).expect("progress is plain data");
        checkpoint::make_folder(&folder)?;
        checkpoint::write_noted(&path, tensors, [("training".to_owned(), json)].into())?;
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

    /// Removes all states of a run, which an imported model takes the place of.
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
    #[test]
    fn numbers_of_the_progress_come_back_to_the_last_bit() {
        for millionths in 1..20_000 {
            let rate = millionths as f64 * 1e-6;
            let text = serde_json::to_string(&rate).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap(), rate, "{text}");
        }
    }
}
