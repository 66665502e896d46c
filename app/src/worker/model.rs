//! Commands that find, load and unload models.

use std::path::{Path, PathBuf};

use seemore::caption::{CaptionError, Session};
use seemore::device::Device;
use seemore::models::composition::missing_parts;
use seemore::models::{checkpoint, library};

use super::{Event, Worker};
use crate::hint;

/// Index of one of the two models that the worker holds: 0 is the chosen one, 1 the one it is
/// compared with.
pub type Slot = usize;

/// A loaded model, as the window shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelInfo {
    /// Checkpoint folder.
    pub folder: PathBuf,
    /// Number of parameters.
    pub parameters: usize,
    /// Width and height of the model's input, in pixels.
    pub image_size: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Whether the model sees pictures cropped to the drawing on their plain background.
    pub crop: bool,
    /// Kind of pictures that the model is good for.
    pub subject: Subject,
    /// Whether the model answers questions, one after another.
    pub answers: bool,
    /// Question that the model is asked where no other is given.
    pub question: String,
    /// Family of the model, which decides the wording of questions.
    pub family: String,
}

/// Kind of pictures that a model is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subject {
    /// Drawings, as the models that come with seemore.
    #[default]
    Drawings,
    /// Photographs, and questions about them.
    Photographs,
    /// Pictures of the user, who has trained it.
    Own,
}

impl Subject {
    /// Returns the words beside the model's name.
    pub fn label(self) -> &'static str {
        match self {
            Subject::Drawings => "knows drawings",
            Subject::Photographs => "photographs, questions",
            Subject::Own => "trained here",
        }
    }

    fn of(folder: &Path, session: &Session) -> Subject {
        match session.model().dialogue() {
            Some(_) => Subject::Photographs,
            None if is_shipped(folder) => Subject::Drawings,
            None => Subject::Own,
        }
    }
}

impl ModelInfo {
    /// Returns the model's name, which is that of its folder.
    pub fn name(&self) -> String {
        model_name(&self.folder)
    }
}

/// Whether a model is one of those of drawings that come with seemore.
pub fn is_shipped(folder: &Path) -> bool {
    let same = |path: &Path| std::fs::canonicalize(path).ok();
    let shipped = checkpoint::shipped();
    let shipped = shipped.as_deref().and_then(Path::parent).and_then(same);
    let photo = checkpoint::shipped_photo().as_deref().and_then(same);
    shipped.is_some() && folder.parent().and_then(same) == shipped && same(folder) != photo
}

/// Returns the name of a model: that of its folder or file, or its short name among the known ones
/// if it is in the cache of the Hugging Face Hub.
pub fn model_name(folder: &Path) -> String {
    if let Some(repository) = library::repository_of(folder) {
        return match library::known(&repository) {
            Some(known) => known.name.to_owned(),
            None => repository,
        };
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Sends the checkpoint folders that can be chosen.
pub(super) fn list(worker: &Worker) {
    worker.events.send(Event::Checkpoints(checkpoints()));
}

/// A model to load, reported as [`Event::ModelLoaded`] or [`Event::ModelFailed`].
#[derive(Debug, Clone)]
pub struct LoadModel {
    /// Where to put it.
    pub slot: Slot,
    /// Folder or GGUF file of the model, or its name among the known ones.
    pub folder: PathBuf,
}

impl LoadModel {
    /// Loads the model.
    pub(super) fn run(self, worker: &mut Worker) {
        let LoadModel { slot, folder } = self;
        match load(&worker.device, &folder) {
            Ok((folder, session)) => {
                let info = session.info();
                let model = ModelInfo {
                    parameters: session.parameter_count(),
                    image_size: info.image_size(),
                    vocab_size: session.tokenizer().vocab_size(),
                    crop: info.preprocess.crop,
                    subject: Subject::of(&folder, &session),
                    answers: session.model().dialogue().is_some(),
                    question: session.question().to_owned(),
                    family: session.model().config().family().to_owned(),
                    folder,
                };
                worker.models[slot] = Some(session);
                worker.events.send(Event::ModelLoaded { slot, model });
            }
            Err(error) => worker.events.send(Event::ModelFailed {
                slot,
                message: hint::explain(error.as_ref()),
            }),
        }
    }
}

/// Loads the model of a folder, a GGUF file or a name, and returns it with its folder.
fn load(device: &Device, name: &Path) -> anyhow::Result<(PathBuf, Session)> {
    let folder = library::locate(name)?;
    let (model, tokenizer) = checkpoint::load(device, &folder)?;
    let tokenizer =
        tokenizer.ok_or_else(|| CaptionError::NoTokenizer(folder.display().to_string()))?;
    // as the command line does: faster on processors that multiply bf16
    let session = Session::new(device, model.rounding(true), tokenizer);
    session.check_pictures()?;
    Ok((folder, session))
}

/// Empties a slot.
pub(super) fn unload(worker: &mut Worker, slot: Slot) {
    worker.models[slot] = None;
    worker.events.send(Event::ModelUnloaded(slot));
}

/// Returns the folders of models that take pictures: those that come with seemore, those in
/// `runs/`, and downloaded ones, each sorted by path.
fn checkpoints() -> Vec<PathBuf> {
    let shipped = checkpoint::shipped().and_then(|folder| Some(folder.parent()?.to_owned()));
    let within = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        let whole = |folder: &Path| {
            folder.join("model.safetensors").is_file() && missing_parts(folder).is_empty()
        };
        found.retain(|folder| whole(folder));
        found.sort();
        found
    };
    let cache = library::cache_folder();
    let cached = cache.map_or(vec![], |cache| library::cached(&cache));
    let cached = cached.into_iter().map(|(_, folder)| folder);
    let cached = cached.filter(|folder| {
        library::has_weights(folder) && library::takes_pictures(folder) == Some(true)
    });
    let mut found: Vec<PathBuf> = shipped
        .into_iter()
        .chain(["runs".into()])
        .flat_map(within)
        .collect();
    found.extend(cached);
    found
}
