//! Trained parts of a pretrained model, and the question it is asked.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::Tiling;
use crate::models::checkpoint::Parts;
use crate::models::{ModelConfig, Part};
use crate::nn::{LoraConfig, ParameterInfo, Targets};
use crate::text::Style;
use crate::train::TrainError;

/// Part of a pretrained model that is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tuned {
    /// Layers between image encoder and decoder.
    Projector,
    /// Low-rank adapters of the decoder's layers, or of those that `targets` names.
    Lora,
    /// The whole decoder.
    Decoder,
    /// The whole model, image encoder included.
    All,
}

/// Trained parts of a pretrained model, and the question it is asked. Used with
/// [`ModelConfig::base`](super::ModelConfig::base) only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuneConfig {
    /// Trained parts; if empty, the projector of a composition without adapter, and adapters of
    /// other models.
    pub parts: Vec<Tuned>,
    /// Rank of adapters.
    pub rank: usize,
    /// Numerator of the adapters' scale.
    pub alpha: f64,
    /// Whether the adapters' scale is `alpha / sqrt(rank)` instead of `alpha / rank`.
    pub rslora: bool,
    /// Probability that dropout zeroes an input of an adapter.
    pub dropout: f32,
    /// Regular expression that the whole names of layers with adapters match; all linear layers of
    /// the decoder's blocks if not given.
    pub targets: Option<String>,
    /// Kind of caption that the captions are, which decides the question about a picture.
    pub style: Style,
    /// Question about a picture, in place of that of `style`.
    pub prompt: Option<String>,
    /// Tiles that the model sees a picture in: `1`, `auto`, or at most so many along the longer edge.
    pub tiles: Tiling,
    /// Whether a composition's layer from the embedding of the whole picture to the decoder begins
    /// fitted to the words of the training answers, and its names are found among them.
    pub fit: bool,
    /// Further pictures with questions and answers that `fit` uses, and that are not trained on.
    pub fit_data: Vec<PathBuf>,
    /// Where the features of a frozen image encoder are kept.
    pub features: FeatureStore,
    /// Whether products with frozen weights of 16 bits or less, and their gradients, may round their
    /// operands to bf16 on processors that multiply it faster.
    pub round: bool,
}

impl Default for TuneConfig {
    fn default() -> TuneConfig {
        TuneConfig {
            parts: vec![],
            rank: 8,
            alpha: 16.0,
            rslora: false,
            dropout: 0.0,
            targets: None,
            style: Style::Short,
            prompt: None,
            tiles: Tiling::One,
            fit: false,
            fit_data: vec![],
            features: FeatureStore::Shared,
            round: false,
        }
    }
}

impl TuneConfig {
    /// Returns what is trained of a model.
    pub(in crate::train) fn parts_of(&self, composition: bool, adapted: bool) -> Vec<Tuned> {
        match self.parts.is_empty() {
            true if composition && !adapted => vec![Tuned::Projector],
            true => vec![Tuned::Lora],
            false => self.parts.clone(),
        }
    }

    /// Question about a picture, for a model of a family.
    pub fn question(&self, family: &str) -> &str {
        match &self.prompt {
            Some(prompt) => prompt,
            None => self.style.prompt(family),
        }
    }

    /// Returns the adapters that a model gets.
    pub(in crate::train) fn lora(&self, model: &ModelConfig) -> LoraConfig {
        let all = || Targets::Pattern(model.adapter_targets().unwrap_or_default());
        LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            rslora: self.rslora,
            dropout: self.dropout,
            ..LoraConfig::new(self.targets.clone().map_or_else(all, Targets::Pattern))
        }
    }

    /// Checks ranges.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let plain = LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            ..LoraConfig::new(match &self.targets {
                Some(pattern) => Targets::Pattern(pattern.clone()),
                None => Targets::AllLinear,
            })
        };
        let reason = plain.check().err();
        reason.map_or(Ok(()), |reason| {
            Err(TrainError::setting(
                "tune",
                format!("is not usable: {reason}"),
            ))
        })
    }
}

impl Tuned {
    /// Returns the parts of the model whose own weights train.
    pub(in crate::train) fn weights(tuned: &[Tuned]) -> Parts {
        let any = |which: &[Tuned]| tuned.iter().any(|it| which.contains(it));
        Parts {
            encoder: any(&[Tuned::All]),
            projector: any(&[Tuned::Projector, Tuned::All]),
            decoder: any(&[Tuned::Decoder, Tuned::All]),
        }
    }

    /// Whether a parameter trains.
    pub(in crate::train) fn trains(tuned: &[Tuned], info: &ParameterInfo) -> bool {
        match info.is_adapter() {
            true => tuned.contains(&Tuned::Lora),
            false => {
                info.role.learns_from_captions && Tuned::weights(tuned).contains(info.role.part)
            }
        }
    }

    /// Whether the rows that the image encoder gives for a picture stay as they are.
    pub(in crate::train) fn keeps_encoder<'a>(
        tuned: &[Tuned],
        mut infos: impl Iterator<Item = &'a ParameterInfo>,
    ) -> bool {
        !infos.any(|info| info.role.part == Part::Encoder && Tuned::trains(tuned, info))
    }
}

/// Where the features of a frozen image encoder are kept: `shared`, `off`, or a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FeatureStore {
    /// In the user's cache folder.
    #[default]
    Shared,
    /// Nowhere: pictures are encoded in every step.
    Off,
    /// In a folder.
    Folder(PathBuf),
}

impl fmt::Display for FeatureStore {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            FeatureStore::Shared => f.write_str("shared"),
            FeatureStore::Off => f.write_str("off"),
            FeatureStore::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for FeatureStore {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<FeatureStore, Infallible> {
        Ok(match text {
            "shared" => FeatureStore::Shared,
            "off" => FeatureStore::Off,
            path => FeatureStore::Folder(path.into()),
        })
    }
}

impl Serialize for FeatureStore {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for FeatureStore {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<FeatureStore, D::Error> {
        let text = String::deserialize(from)?;
        Ok(text
            .parse()
            .unwrap_or_else(|never: Infallible| match never {}))
    }
}
