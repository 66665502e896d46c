//! Checkpoint folders: `config.json`, `model.safetensors` and `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::safetensors::{Metadata, TensorFile, Values, write_tensors};
use super::{CheckpointError, Opened, WeightFiles, make_folder, write_file};
use crate::device::{Device, DeviceError, Tensor};
use crate::models::{Model, ModelConfig, composition};
use crate::nn::{Kept, LoraConfig, ParameterInfo, Part, Storage, StorageOf};
use crate::ops::Encoding;
use crate::text::{TOKENIZER_CONFIG, Tokenizer};

/// Names of unknown tensors that an error lists.
const LISTED: usize = 5;

/// Reads the current values of named tensors from the device.
///
/// # Errors
/// Returns an error when the device is lost.
pub fn snapshot(named: &[(String, Tensor)]) -> Result<Values, DeviceError> {
    named
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), (tensor.shape().to_vec(), tensor.read()?))))
        .collect()
}

/// Writes values read from the file `path` to named tensors.
///
/// # Errors
/// Returns an error when the names or shapes of both differ.
pub fn restore(
    named: &[(String, Tensor)],
    values: &Values,
    path: &Path,
) -> Result<(), CheckpointError> {
    let shapes = values.iter();
    let shapes = shapes.map(|(name, (shape, _))| (name.as_str(), shape.as_slice()));
    check_shapes(named, shapes.collect(), &path.display().to_string())?;
    for (name, tensor) in named {
        tensor.write(&values[name].1);
    }
    Ok(())
}

/// Checks that the file `path` has the shapes of the named tensors, and no other tensors.
pub(super) fn check_shapes(
    named: &[(String, Tensor)],
    mut shapes: BTreeMap<&str, &[usize]>,
    path: &str,
) -> Result<(), CheckpointError> {
    let path = || path.to_owned();
    for (name, tensor) in named {
        let shape = shapes
            .remove(name.as_str())
            .ok_or_else(|| CheckpointError::Missing {
                path: path(),
                name: name.clone(),
            })?;
        if shape != tensor.shape() {
            return Err(CheckpointError::Mismatch {
                path: path(),
                name: name.clone(),
                have: format!("has shape {shape:?}"),
                want: format!("{:?}", tensor.shape()),
            });
        }
    }
    if shapes.is_empty() {
        return Ok(());
    }
    Err(CheckpointError::Unknown {
        path: path(),
        names: listed(shapes.into_keys()),
    })
}

/// Returns the first of some names, and how many more there are.
pub(super) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let names: Vec<&str> = names.take(LISTED).collect();
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Saves a model and its tokenizer into a folder, which is created if it does not exist.
///
/// # Errors
/// Returns an error when a file cannot be written, or the device is lost.
pub fn save(
    dir: &Path,
    model: &Model,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), CheckpointError> {
    save_description(dir, model, tokenizer)?;
    write_tensors(
        &dir.join("model.safetensors"),
        model.parameters(),
        Metadata::new(),
    )
}

/// Saves configuration and tokenizer, which training does not change, into a folder.
///
/// # Errors
/// Returns an error when a file cannot be written.
pub fn save_description(
    dir: &Path,
    model: &Model,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), CheckpointError> {
    make_folder(dir)?;
    write_file(
        &dir.join("config.json"),
        model.config().to_json().as_bytes(),
    )?;
    if let Some(tokenizer) = tokenizer {
        write_file(&dir.join("tokenizer.json"), tokenizer.to_json().as_bytes())?;
        let names = dir.join(TOKENIZER_CONFIG);
        match tokenizer.config_json() {
            Some(json) => write_file(&names, json.as_bytes())?,
            // of a tokenizer that was in the folder before
            None => _ = std::fs::remove_file(&names),
        }
    }
    Ok(())
}

/// Returns the folder of the model of drawings that is shipped with this program:
/// `data/checkpoints/emoji` in the current folder, or in one above the executable.
pub fn shipped() -> Option<PathBuf> {
    shipped_in("data/checkpoints/emoji")
}

/// Returns the folder of the captioner of photographs that is shipped with this program,
/// `data/checkpoints/photo`, whether or not the models that it is made of are on this machine.
pub fn shipped_photo() -> Option<PathBuf> {
    shipped_in("data/checkpoints/photo")
}

/// Returns a folder with weights below the current folder, or below one above the executable.
fn shipped_in(place: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let above = program
        .iter()
        .flat_map(|program| program.ancestors().skip(1));
    let folders = std::iter::once(Path::new("")).chain(above);
    folders
        .map(|folder| folder.join(place))
        .find(|dir| dir.join("model.safetensors").is_file())
}

/// Returns the folder of the model to use when none is named: the [captioner of
/// photographs](shipped_photo) if the models that it is made of are on this machine, else the
/// [`shipped`] one of drawings, else the one in `runs/` that was written last.
pub fn default_folder() -> Option<PathBuf> {
    let photo = shipped_photo().filter(|folder| composition::missing_parts(folder).is_empty());
    photo.or_else(shipped).or_else(newest_run)
}

/// Returns the checkpoint folder in `runs/` that was written last.
fn newest_run() -> Option<PathBuf> {
    let folders = std::fs::read_dir("runs")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let dated = folders.filter_map(|dir| {
        let parameters = dir.join("model.safetensors").metadata().ok()?;
        Some((parameters.modified().ok()?, dir))
    });
    dated.max().map(|(_, dir)| dir)
}

/// How the weights of a pretrained model are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepWeights {
    /// As they are in the files.
    #[default]
    AsStored,
    /// Matrices in this encoding.
    Converted(Encoding),
    /// In f32, so that they can be trained.
    Trained,
    /// Those of some parts in f32, so that they can be trained, and the others as they are in the
    /// files.
    TrainedParts(Parts),
}

/// Parts of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// Image encoder.
    pub encoder: bool,
    /// Layers between image encoder and decoder.
    pub projector: bool,
    /// Language model.
    pub decoder: bool,
}

impl Parts {
    /// Whether a part is among them.
    pub fn contains(self, part: Part) -> bool {
        match part {
            Part::Encoder => self.encoder,
            Part::Projector => self.projector,
            Part::Decoder => self.decoder,
        }
    }
}

/// How a pretrained model is loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// File with the image encoder of a GGUF model; without one, it is looked for beside the model.
    pub encoder: Option<&'a Path>,
    /// Folder with an adapter in PEFT's files, for a model that has none.
    pub adapter: Option<&'a Path>,
    /// New adapters, and the seed of their initial values, for a model that has none.
    pub new_adapters: Option<(&'a LoraConfig, u64)>,
    /// How weights are kept.
    pub keep: KeepWeights,
}

/// Loads a model, and its tokenizer if there is one, from a folder: a checkpoint of this library,
/// or a pretrained model of a known family.
///
/// # Errors
/// Names the file that is absent or damaged, or that does not fit the others.
pub fn load(device: &Device, dir: &Path) -> Result<(Model, Option<Tokenizer>), CheckpointError> {
    load_with(device, dir, KeepWeights::AsStored)
}

/// As [`load`], with a choice of how the weights of a pretrained model are kept.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    device: &Device,
    dir: &Path,
    keep: KeepWeights,
) -> Result<(Model, Option<Tokenizer>), CheckpointError> {
    load_with_encoder(device, dir, None, keep)
}

/// As [`load_with`], of a GGUF model with the image encoder in a file of its own; without one, it is
/// looked for beside the model.
///
/// # Errors
/// As [`load`], and if the model is not in a GGUF file.
pub fn load_with_encoder(
    device: &Device,
    dir: &Path,
    encoder: Option<&Path>,
    keep: KeepWeights,
) -> Result<(Model, Option<Tokenizer>), CheckpointError> {
    let options = LoadOptions {
        encoder,
        keep,
        ..LoadOptions::default()
    };
    load_options(device, dir, &options)
}

/// As [`load`], with all options.
///
/// # Errors
/// As [`load`]; and if an option does not fit the model.
pub fn load_options(
    device: &Device,
    dir: &Path,
    options: &LoadOptions,
) -> Result<(Model, Option<Tokenizer>), CheckpointError> {
    let LoadOptions {
        encoder,
        adapter,
        new_adapters,
        keep,
    } = *options;
    let Some(opened) = Opened::open(dir, encoder, keep.quantized())? else {
        return match adapter.is_some() || new_adapters.is_some() {
            true => Err(CheckpointError::NotAdaptable {
                path: dir.display().to_string(),
            }),
            false => load_own(device, dir),
        };
    };
    let opened = match adapter {
        Some(adapter) => opened.with_adapter(adapter)?,
        None => opened,
    };
    load_pretrained(device, opened, new_adapters, keep)
}

impl KeepWeights {
    /// Returns the encoding that matrices are converted to while they are read.
    pub(in crate::models) fn quantized(self) -> Option<Encoding> {
        match self {
            KeepWeights::Converted(encoding) => Some(encoding),
            KeepWeights::AsStored | KeepWeights::Trained | KeepWeights::TrainedParts(_) => None,
        }
    }
}

/// Returns the configuration of the pretrained model in a folder or GGUF file, and whether it has an
/// adapter. Returns `None` for a folder that is not a pretrained model.
///
/// # Errors
/// As [`load`].
pub fn describe(dir: &Path) -> Result<Option<(ModelConfig, bool)>, CheckpointError> {
    let opened = Opened::open(dir, None, None)?;
    Ok(opened.map(|opened| (opened.config, opened.lora.is_some())))
}

/// Returns how to keep the weight matrix of each name.
pub(in crate::models) fn stored(weights: &WeightFiles, keep: KeepWeights) -> StorageOf {
    let trained = match keep {
        KeepWeights::Trained => return Arc::new(|_, _| Storage::Trained),
        KeepWeights::TrainedParts(parts) => parts,
        KeepWeights::AsStored | KeepWeights::Converted(_) => Parts::default(),
    };
    let known = weights.storage();
    Arc::new(move |name, part| match known.get(name) {
        Some(storage) if !trained.contains(part) => *storage,
        // names that the files do not have are refused by the check
        _ => Storage::Trained,
    })
}

/// Builds a pretrained model and fills it.
fn load_pretrained(
    device: &Device,
    opened: Opened,
    new_adapters: Option<(&LoraConfig, u64)>,
    keep: KeepWeights,
) -> Result<(Model, Option<Tokenizer>), CheckpointError> {
    let Opened {
        config,
        dialogue,
        tokenizer,
        mut weights,
        lora,
        base,
        prompt,
        ..
    } = opened;
    // an adapter that the model has already goes on training
    let fresh = new_adapters.filter(|_| lora.is_none());
    let lora = lora.or(fresh.map(|(config, _)| config.clone()));
    if let Some(Err(reason)) = lora.as_ref().map(LoraConfig::check) {
        return Err(CheckpointError::Adapter {
            path: base.display().to_string(),
            reason,
        });
    }
    let adapted = lora.is_some();
    let kept = Kept {
        storage: stored(&weights, keep),
        lora: lora.map(Arc::new),
        lora_seed: fresh.map(|(_, seed)| seed),
    };
    let model = Model::unfilled(device, config, kept, |store| {
        let mut infos = store.infos().iter();
        if adapted && !infos.any(ParameterInfo::is_adapter) {
            return Err(CheckpointError::Adapter {
                path: base.display().to_string(),
                reason: "none of its layers is a target of the adapter".into(),
            });
        }
        weights.check(store, fresh.is_some())
    })?;
    weights.fill(model.store(), fresh.is_some())?;
    Ok((
        model.with_dialogue(dialogue, &base, prompt),
        Some(tokenizer),
    ))
}

/// Loads a checkpoint of this library.
fn load_own(device: &Device, dir: &Path) -> Result<(Model, Option<Tokenizer>), CheckpointError> {
    for missing in ["config.json", "model.safetensors"] {
        if !dir.join(missing).is_file() {
            return Err(CheckpointError::NotACheckpoint {
                path: dir.display().to_string(),
                missing,
            });
        }
    }
    let config = ModelConfig::load(&dir.join("config.json"))?;
    let mut file = TensorFile::open(&dir.join("model.safetensors"))?;
    let model = Model::new(device, config, 0)?;
    file.restore(model.parameters())?;
    let tokenizer = dir.join("tokenizer.json");
    let tokenizer = tokenizer
        .is_file()
        .then(|| Tokenizer::load(&tokenizer))
        .transpose()?;
    let vocab_size = model.info().vocab_size;
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab_size() > vocab_size
    {
        return Err(CheckpointError::Mismatch {
            path: dir.display().to_string(),
            name: "tokenizer.json".into(),
            have: format!("has {} tokens", tokenizer.vocab_size()),
            want: format!("at most {vocab_size}, as config.json says"),
        });
    }
    Ok((model, tokenizer))
}
