//! Parts of a composition, where they lie.

use std::path::Path;

use serde_json::Value;

use super::config::PROJECTOR;
use super::{Config, IMAGE_TOKEN};
use crate::models::load::{CheckpointError, Opened, WeightFiles, WeightRules, referred};
use crate::models::pretrained::DecoderConfig;
use crate::models::{ModelConfig, clip, library};
use crate::ops::Encoding;
use crate::text::chat::{ChatError, ChatTemplate};

/// Names of the parts in errors.
pub(super) const ENCODER: &str = "image encoder";
pub(super) const DECODER: &str = "decoder";

/// Prefix of the names of the encoder's tensors.
const VISION: &str = "vision_model.";

/// Opens the files of a composition: its own, the encoder's and the decoder's.
///
/// # Errors
/// Names the part that is absent, damaged or another model than when the composition was made.
pub(in crate::models) fn open(
    dir: &Path,
    config: Config,
    quantize: Option<Encoding>,
) -> Result<Opened, CheckpointError> {
    let encoder = config.encoder.model.clone();
    let vision = in_part(dir, ENCODER, &encoder, |folder| {
        let found = clip::Config::load(folder)?;
        same(&found.vision, &config.encoder.vision)?;
        let rules = WeightRules {
            ignored: clip::OTHERS,
            ..WeightRules::default()
        };
        let mut weights = WeightFiles::open(folder, &rules, quantize)?;
        weights.retain(|name| config.uses(name));
        Ok((clip::PreprocessConfig::load(folder)?, weights))
    });
    let (preprocess, vision) = vision?;
    let decoder = config.decoder.model.clone();
    let opened = in_part(dir, DECODER, &decoder, |folder| {
        let (opened, text) = open_decoder(folder, quantize)?;
        same(&text, &config.decoder.text)?;
        Ok(opened)
    })?;
    let template = match ChatTemplate::load(dir) {
        Ok(template) => Some(template),
        Err(ChatError::Absent { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let rows = config.tile_rows();
    let dialogue = opened.dialogue;
    let (dialogue, tokenizer) = dialogue.with_pictures(preprocess, rows, IMAGE_TOKEN, template);
    let id = dialogue.id(IMAGE_TOKEN).expect("the token was added");
    if id != config.image_token_id {
        let error = CheckpointError::OtherPart {
            field: format!("id of the token {IMAGE_TOKEN}"),
            have: id.to_string(),
            want: config.image_token_id.to_string(),
        };
        return Err(part_error(dir, DECODER, &decoder, error));
    }
    let own = WeightFiles::open(dir, &WeightRules::default(), quantize)?;
    Ok(Opened {
        weights: opened
            .weights
            .and(vision, |name| {
                name.starts_with(VISION) || name.starts_with(clip::PROJECTION)
            })
            .and(own, |name| name.starts_with(PROJECTOR)),
        prompt: config.prompt.clone(),
        config: config.into(),
        dialogue,
        tokenizer,
        lora: None,
        base: dir.to_owned(),
        root: dir.to_owned(),
    })
}

/// Returns the models that a composition in a folder refers to and that are not on this machine, as
/// it names them; none for a folder without a composition.
pub fn missing_parts(dir: &Path) -> Vec<String> {
    let text = std::fs::read(dir.join("config.json")).unwrap_or_default();
    let Ok(ModelConfig::Composition(config)) = ModelConfig::parse(&text) else {
        return vec![];
    };
    let parts = [config.encoder.model, config.decoder.model];
    let here = |part: &String| {
        let found = referred(dir, part);
        found.is_ok_and(|path| path.is_file() || library::has_weights(&path))
    };
    parts.into_iter().filter(|part| !here(part)).collect()
}

/// Opens a model of Llama's type, and returns its sizes.
pub(super) fn open_decoder(
    folder: &Path,
    quantize: Option<Encoding>,
) -> Result<(Opened, DecoderConfig), CheckpointError> {
    let missing = CheckpointError::NotACheckpoint {
        path: folder.display().to_string(),
        missing: "config.json",
    };
    let opened = Opened::open(folder, None, quantize)?.ok_or(missing)?;
    match &opened.config {
        ModelConfig::Llama(config) => {
            let text = config.text.clone();
            Ok((opened, text))
        }
        other => Err(CheckpointError::NotALanguageModel {
            family: other.family(),
        }),
    }
}

/// Calls `use_it` with the folder or file of a part, and says of errors which part they are about.
pub(super) fn in_part<T>(
    dir: &Path,
    part: &'static str,
    model: &str,
    use_it: impl FnOnce(&Path) -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    referred(dir, model)
        .and_then(|folder| use_it(&folder))
        .map_err(|error| part_error(dir, part, model, error))
}

fn part_error(
    dir: &Path,
    part: &'static str,
    model: &str,
    error: CheckpointError,
) -> CheckpointError {
    CheckpointError::Part {
        path: dir.display().to_string(),
        part,
        model: model.to_owned(),
        error: Box::new(error),
    }
}

impl Config {
    /// Whether a tensor of CLIP is used.
    fn uses(&self, name: &str) -> bool {
        let of_embedding = [clip::PROJECTION, "vision_model.post_layernorm."];
        let block = name.strip_prefix("vision_model.encoder.layers.");
        let number = block.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        (self.projector.embedding > 0 || !of_embedding.iter().any(|begin| name.starts_with(begin)))
            && number.is_none_or(|number| number < self.used_layers())
    }
}

/// Checks that a part has the sizes that it had.
fn same<T: serde::Serialize>(have: &T, want: &T) -> Result<(), CheckpointError> {
    let values = [have, want].map(|value| serde_json::to_value(value).unwrap_or_default());
    let [Value::Object(have), Value::Object(want)] = values else {
        unreachable!("sizes are objects")
    };
    let names = have.keys().chain(want.keys());
    let mut others = names.filter(|name| have.get(*name) != want.get(*name));
    match others.next() {
        None => Ok(()),
        Some(name) => Err(CheckpointError::OtherPart {
            field: name.clone(),
            have: have.get(name).unwrap_or(&Value::Null).to_string(),
            want: want.get(name).unwrap_or(&Value::Null).to_string(),
        }),
    }
}
