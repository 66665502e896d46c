//! Commands that find, load and unload models.

use std::path::{Path, PathBuf};

use seemore::caption::Session;
use seemore::models::checkpoint;

use super::{Command, Event, Worker};
use crate::hint;

/// Index of one of the two models that the worker holds: 0 is the chosen one, 1 the one it is
/// compared with.
pub type Slot = usize;

/// A loaded model, as the window shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Checkpoint folder.
    pub folder: PathBuf,
    /// Number of parameters.
    pub parameters: usize,
    /// Width and height of the model's input, in pixels.
    pub image_size: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
}

impl ModelInfo {
    /// Returns the model's name, which is that of its folder.
    pub fn name(&self) -> String {
        model_name(&self.folder)
    }
}

/// Returns the name of the model in a folder.
pub fn model_name(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or(folder.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Lists the checkpoint folders that can be chosen, as [`Event::Checkpoints`].
#[derive(Debug, Clone, Copy)]
pub struct ListCheckpoints;

impl Command for ListCheckpoints {
    fn run(self: Box<Self>, worker: &mut Worker) {
        worker.events().send(Event::Checkpoints(checkpoints()));
    }
}

/// Loads a model, reported as [`Event::ModelLoaded`] or [`Event::ModelFailed`].
#[derive(Debug, Clone)]
pub struct LoadModel {
    /// Where to put it.
    pub slot: Slot,
    /// Checkpoint folder.
    pub folder: PathBuf,
}

impl Command for LoadModel {
    fn run(self: Box<Self>, worker: &mut Worker) {
        let LoadModel { slot, folder } = *self;
        match Session::load(&worker.device(), &folder) {
            Ok(session) => {
                let model = ModelInfo {
                    folder,
                    parameters: session.parameter_count(),
                    image_size: session.info().image_size(),
                    vocab_size: session.tokenizer().vocab_size(),
                };
                worker.set_model(slot, Some(session));
                worker.events().send(Event::ModelLoaded { slot, model });
            }
            Err(error) => worker.events().send(Event::ModelFailed {
                slot,
                message: hint::explain(&error),
            }),
        }
    }
}

/// Unloads a model, reported as [`Event::ModelUnloaded`].
#[derive(Debug, Clone, Copy)]
pub struct UnloadModel(
    /// Slot to empty.
    pub Slot,
);

impl Command for UnloadModel {
    fn run(self: Box<Self>, worker: &mut Worker) {
        worker.set_model(self.0, None);
        worker.events().send(Event::ModelUnloaded(self.0));
    }
}

/// Returns the checkpoint folders that come with seemore and those in `runs/`, sorted by path.
fn checkpoints() -> Vec<PathBuf> {
    let shipped = checkpoint::shipped().and_then(|folder| Some(folder.parent()?.to_owned()));
    let within = |folder: PathBuf| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let mut found: Vec<PathBuf> = shipped
        .into_iter()
        .chain(["runs".into()])
        .flat_map(within)
        .collect();
    found.retain(|folder| folder.join("model.safetensors").is_file());
    found.sort();
    found
}
