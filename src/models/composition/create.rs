//! New compositions, whose projector is not trained.

use std::path::{Component, Path, PathBuf};

use super::config::{Config, DecoderPart, EncoderPart, IMAGE_TOKEN, PROJECTOR, ProjectorConfig};
use super::parts::{DECODER, ENCODER, in_part, open_decoder};
use crate::device::Device;
use crate::models::library;
use crate::models::load::{CheckpointError, Metadata, make_folder, write_file, write_tensors};
use crate::models::{ModelConfig, clip};
use crate::nn::{Parameters, Projection};
use crate::text::chat::ChatTemplate;

/// Parts of a composition.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Image encoder: a folder of CLIP, or a repository on the Hugging Face Hub or its short name.
    pub encoder: PathBuf,
    /// Language model of Llama's type: a folder, a GGUF file, a repository or its short name.
    pub decoder: PathBuf,
    /// Layers of the projector; the width of the embedding is that of the encoder.
    pub projector: ProjectorConfig,
    /// Whether the encoder's embedding of the whole picture becomes a row of its own.
    pub whole_picture: bool,
    /// Number of the encoder's blocks that are used; all but the last if not given.
    pub layers: Option<usize>,
    /// Source of a chat template in place of the language model's own.
    pub chat_template: Option<String>,
    /// Seed of the projector's initial values.
    pub seed: u64,
}

/// Chat template of SmolLM2 without its system message, which takes some 25 positions of every prompt.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

impl Recipe {
    /// A linear projector after a pixel shuffle by 2, the rows of patches without the last block, as in
    /// CLIP only its CLS row is trained, and the embedding of the whole picture.
    pub fn new(encoder: impl Into<PathBuf>, decoder: impl Into<PathBuf>) -> Recipe {
        Recipe {
            encoder: encoder.into(),
            decoder: decoder.into(),
            projector: ProjectorConfig {
                kind: Projection::Linear,
                pixel_shuffle_factor: 2,
                norm: true,
                embedding: 0,
                names: vec![],
            },
            whole_picture: true,
            layers: None,
            chat_template: None,
            seed: 0,
        }
    }
}

/// Writes a composition with an untrained projector into a folder, which is created, and returns its
/// configuration. The parts are referred to: by their repositories, or by their paths, which are
/// stored relative to the folder if they are given as relative ones.
///
/// # Errors
/// A folder that holds a model already, a part that is absent or of another kind, or sizes that do
/// not fit together.
pub fn create(out: &Path, recipe: &Recipe) -> Result<Config, CheckpointError> {
    let taken = ["config.json", "model.safetensors", "adapter_config.json"];
    if taken.iter().any(|name| out.join(name).exists()) {
        return Err(CheckpointError::Occupied {
            path: out.display().to_string(),
        });
    }
    make_folder(out)?;
    let (encoder, decoder) = (
        reference(out, &recipe.encoder),
        reference(out, &recipe.decoder),
    );
    let clip = in_part(out, ENCODER, &encoder, |folder| {
        let config = clip::Config::load(folder)?;
        clip::PreprocessConfig::load(folder)?;
        Ok(config)
    })?;
    let vision = clip.vision;
    let (text, image_token_id) = in_part(out, DECODER, &decoder, |folder| {
        let (opened, text) = open_decoder(folder, None)?;
        let vocabulary = opened.dialogue.with_image_token(IMAGE_TOKEN);
        Ok((text, vocabulary))
    })?;
    let config = Config {
        encoder: EncoderPart {
            model: encoder,
            layers: recipe
                .layers
                .unwrap_or(vision.num_hidden_layers.saturating_sub(1).max(1)),
            vision,
        },
        projector: ProjectorConfig {
            names: if recipe.whole_picture {
                recipe.projector.names.clone()
            } else {
                vec![]
            },
            embedding: if recipe.whole_picture {
                clip.projection_dim
            } else {
                0
            },
            ..recipe.projector.clone()
        },
        decoder: DecoderPart {
            model: decoder,
            text,
        },
        image_token_id,
        prompt: None,
    };
    let described = ModelConfig::from(&config);
    described.check()?;
    if let Some(template) = &recipe.chat_template {
        ChatTemplate::new(template)?;
        write_file(&out.join("chat_template.jinja"), template.as_bytes())?;
    }
    let device = Device::open(Some("cpu"))?;
    let (_, store) = Parameters::build(&device, recipe.seed, |p| config.connector(p))?;
    let named = store.named().iter();
    let trained = named.filter(|(name, _)| name.starts_with(PROJECTOR));
    let trained: Vec<_> = trained.cloned().collect();
    let path = out.join("model.safetensors");
    write_tensors(&path, &trained, Metadata::new())?;
    // last, so that a folder that was begun is no model
    write_file(&out.join("config.json"), described.to_json().as_bytes())?;
    Ok(config)
}

/// Returns what a composition in the folder `out` calls a model: its repository if `model` is no
/// path, else its path, relative to the folder if it is given as a relative one.
fn reference(out: &Path, model: &Path) -> String {
    let name = model.to_string_lossy();
    if !model.exists() {
        let known = library::known(&name);
        return known.map_or(name.to_string(), |known| known.repository.to_owned());
    }
    let absolute = std::path::absolute(model).unwrap_or(model.to_owned());
    match model.is_absolute() {
        true => absolute.display().to_string(),
        false => relative(out, &absolute),
    }
}

/// Returns a reference from the folder `to` for one that a composition in the folder `from` has.
pub(in crate::models) fn reference_from(from: &Path, reference: &str, to: &Path) -> String {
    let path = from.join(reference);
    match Path::new(reference).is_absolute() || !path.exists() {
        true => reference.to_owned(),
        false => relative(to, &std::path::absolute(&path).unwrap_or(path)),
    }
}

/// Returns the way from a folder to an absolute path.
pub(in crate::models) fn relative(folder: &Path, path: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or(folder.to_owned());
    let (folder, path) = (resolved(&folder), resolved(path));
    let common = folder
        .iter()
        .zip(&path)
        .take_while(|(folder, path)| folder == path)
        .count();
    let up = folder[common..].iter().map(|_| "..".to_owned());
    let steps: Vec<String> = up.chain(path[common..].iter().cloned()).collect();
    match steps.is_empty() {
        true => ".".into(),
        false => steps.join("/"),
    }
}

/// Returns the components of an absolute path without `.` and `..`.
fn resolved(path: &Path) -> Vec<String> {
    let mut parts = vec![];
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other.as_os_str().to_string_lossy().into_owned()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_lead_from_a_folder_to_a_path() {
        let way = |folder: &str, path: &str| relative(Path::new(folder), Path::new(path));
        assert_eq!(way("/a/b", "/a/c/d"), "../c/d");
        assert_eq!(way("/a/b", "/a/b/c"), "c");
        assert_eq!(way("/a/b/../x", "/a/./x"), ".");
    }

    #[test]
    fn references_move_with_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a/one"), dir.path().join("b"));
        for folder in [&from, &to, &dir.path().join("a/clip")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let moved = |reference: &str| reference_from(&from, reference, &to);
        assert_eq!(moved("../clip"), "../a/clip");
        assert_eq!(moved("openai/clip"), "openai/clip");
        assert_eq!(moved("/models/clip"), "/models/clip");
    }
}
