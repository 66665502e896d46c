//! Configuration of a composition, in its `config.json`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::device::DeviceError;
use crate::models::pretrained::{
    COLOR_VALUES, Connector, Decoder, DecoderConfig, Names, Network, VisionConfig, VisionNames,
    VisionTransformer, WholePicture, pretrained_info,
};
use crate::models::{
    ConfigError, FamilyConfig, ImagePlaceholder, ModelInfo, Overrides, VisionLanguage, clip, llama,
};
use crate::nn::{Init, LayerNorm, Linear, Parameters, Projection, Role};

/// Name of the token whose places the rows of a picture take.
pub const IMAGE_TOKEN: &str = "<image>";

/// Module path of the projector.
pub(super) const PROJECTOR: &str = "projector";

/// Names of the normalisation and the layer of the row of the whole picture, without `.weight`.
pub const EMBEDDING_NORM: &str = "projector.embedding_norm";
pub const EMBEDDING_LAYER: &str = "projector.embedding";

/// End of the name of the tokens of names, behind [`names_layer`].
pub const NAME_TOKENS: &str = ".tokens";

/// Layer to the logits of a set of names, without `.weight`.
pub fn names_layer(set: usize) -> String {
    format!("projector.names.{set}")
}

/// Epsilon of the projector's normalisation.
const NORM_EPS: f32 = 1e-5;

/// Parts of a composition, with the sizes that they had when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Image encoder.
    pub encoder: EncoderPart,
    /// From the rows of the encoder to those of the decoder.
    pub projector: ProjectorConfig,
    /// Language model.
    pub decoder: DecoderPart,
    /// Id of the token whose places the rows of a picture take; it may lie beyond the decoder's
    /// vocabulary.
    pub image_token_id: u32,
    /// Question that the model was trained to answer, for captions without another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Image encoder of a composition: that of CLIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderPart {
    /// Folder, relative to the composition's or absolute, or repository on the Hugging Face Hub.
    pub model: String,
    /// Number of blocks, the first ones, after which the rows of patches are taken.
    pub layers: usize,
    /// Sizes of the whole encoder.
    pub vision: VisionConfig,
}

/// Language model of a composition: of Llama's type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderPart {
    /// Folder or GGUF file, relative to the composition's folder or absolute, or repository on the
    /// Hugging Face Hub.
    pub model: String,
    /// Sizes of the decoder.
    pub text: DecoderConfig,
}

/// Layers from the rows of the encoder to those of the decoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectorConfig {
    /// One layer, or two with a GELU between them.
    pub kind: Projection,
    /// Patches along the side of a square that becomes one row.
    pub pixel_shuffle_factor: usize,
    /// Whether a LayerNorm stands in front of the layers.
    pub norm: bool,
    /// Width of the encoder's embedding of the whole picture, which becomes one more row by a
    /// LayerNorm and a layer of its own; 0 without that row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub embedding: usize,
    /// Sets of names that the embedding can be given: the tokens of the most probable of each set
    /// become more rows. They are no trained layers: training finds them once, when it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameSet>,
}

/// Answers to a question about a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameSet {
    /// Question that the names answer in the data that they are found in; without one that of
    /// captions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Largest number of names; at least 1.
    pub names: usize,
    /// Number of rows, each a token: longer names are cut, and the token that ends answers follows
    /// shorter ones.
    pub rows: usize,
    /// Whether names are told apart by the sum of the patches' rows, too, which knows more of colours
    /// and shapes than the embedding, and less of what photographs have in common with drawings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub patches: bool,
    /// Whether names are told apart by the sums of the patches' rows in the upper, middle and lower
    /// third of the picture, too, which know where colours and shapes are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub thirds: bool,
    /// Whether names are told apart by the histogram of the picture's colours, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub colors: bool,
}

impl NameSet {
    /// Rows of a set that names no other number: most everyday names have fewer tokens.
    pub const ROWS: usize = 4;
}

impl FromStr for NameSet {
    type Err = String;

    /// Parses `NUMBER`, `NUMBERxROWS` or `QUESTION=NUMBERxROWS`, each with or without `+patches`,
    /// `+thirds` and `+colors` at its end.
    fn from_str(text: &str) -> Result<NameSet, String> {
        let wrong = || {
            format!(
                "`{text}` is no set of names: give their number, as in 1024, or with a question and the tokens of each as in \"Name it.=1600x6\""
            )
        };
        let (mut set, mut patches, mut thirds, mut colors) = (text, false, false, false);
        while let Some((start, end)) = set.rsplit_once('+') {
            match end {
                "patches" => patches = true,
                "thirds" => thirds = true,
                "colors" => colors = true,
                // a part of the question
                _ => break,
            }
            set = start;
        }
        let (question, sizes) = match set.rsplit_once('=') {
            Some((question, sizes)) => (Some(question.to_owned()), sizes),
            None => (None, set),
        };
        let number = |text: &str| match text.trim().parse::<u16>() {
            Ok(number) if number > 0 => Ok(usize::from(number)),
            _ => Err(wrong()),
        };
        let (names, rows) = match sizes.split_once('x') {
            Some((names, rows)) => (number(names)?, number(rows)?),
            None => (number(sizes)?, NameSet::ROWS),
        };
        Ok(NameSet {
            question: question.filter(|question| !question.is_empty()),
            names,
            rows,
            patches,
            thirds,
            colors,
        })
    }
}

/// Whether a field is left out of the file.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl Config {
    /// Number of rows that a picture becomes.
    pub fn tile_rows(&self) -> usize {
        self.tile_squares() + self.whole_rows()
    }

    /// Number of rows of a picture as a whole.
    fn whole_rows(&self) -> usize {
        let names = self.projector.names.iter();
        match self.projector.embedding {
            0 => 0,
            _ => 1 + names.map(|set| set.rows).sum::<usize>(),
        }
    }

    /// Number of rows that the patches of a picture become, one for each square of them.
    pub fn tile_squares(&self) -> usize {
        (self.encoder.vision.grid() / self.projector.pixel_shuffle_factor.max(1)).pow(2)
    }

    /// Width of the rows of patches that the projector takes in.
    pub fn projector_inputs(&self) -> usize {
        self.encoder.vision.hidden_size * self.projector.pixel_shuffle_factor.pow(2)
    }

    /// Input width of the layer that gives the logits of a set of names.
    pub fn name_inputs(&self, set: &NameSet) -> usize {
        let sums = usize::from(set.patches) + 3 * usize::from(set.thirds);
        let colors = usize::from(set.colors) * COLOR_VALUES;
        self.projector.embedding + sums * self.encoder.vision.hidden_size + colors
    }

    /// Number of values of the histogram of a picture's colours; 0 unless a set of names needs them.
    pub fn color_values(&self) -> usize {
        match self.projector.names.iter().any(|set| set.colors) {
            true => COLOR_VALUES,
            false => 0,
        }
    }

    /// Sizes of the blocks that are used.
    fn used_vision(&self) -> VisionConfig {
        VisionConfig {
            num_hidden_layers: self.used_layers(),
            ..self.encoder.vision.clone()
        }
    }

    /// Number of blocks that are used, the first ones: all for an embedding.
    pub(super) fn used_layers(&self) -> usize {
        match self.projector.embedding {
            0 => self.encoder.layers,
            _ => self.encoder.vision.num_hidden_layers,
        }
    }

    /// Creates the projector's layers.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub(super) fn connector(&self, p: &mut Parameters) -> Result<Connector, DeviceError> {
        let (inputs, width) = (self.projector_inputs(), self.decoder.text.hidden_size);
        let whole = self.whole_picture(p)?;
        p.with_role(Role::PROJECTOR, |p| {
            p.scope(PROJECTOR, |p| {
                let norm = self.projector.norm;
                Ok(Connector {
                    skipped_rows: 1,
                    factor: self.projector.pixel_shuffle_factor,
                    norm: norm
                        .then(|| LayerNorm::new(p, "norm", inputs, NORM_EPS))
                        .transpose()?,
                    layers: match self.projector.kind {
                        Projection::Linear => vec![Linear::new(p, "proj", inputs, width, true)?],
                        Projection::Mlp => vec![
                            Linear::new(p, "proj1", inputs, width, true)?,
                            Linear::new(p, "proj2", width, width, true)?,
                        ],
                    },
                    whole,
                })
            })
        })
    }

    /// Creates the layers to the row of the whole picture, if there is one.
    fn whole_picture(&self, p: &mut Parameters) -> Result<Option<WholePicture>, DeviceError> {
        let embedding = self.projector.embedding;
        if embedding == 0 {
            return Ok(None);
        }
        let projection = p.with_role(Role::ENCODER, |p| {
            let width = self.encoder.vision.hidden_size;
            Linear::new(p, clip::PROJECTION, width, embedding, false)
        })?;
        let width = self.decoder.text.hidden_size;
        let found = Role {
            learns_from_captions: false,
            ..Role::PROJECTOR
        };
        let names = p.with_role(found, |p| {
            let create = |(number, set): (usize, &NameSet)| -> Result<Names, DeviceError> {
                let layer = names_layer(number);
                let shape = [set.names, set.rows, 2];
                let inputs = self.name_inputs(set);
                Ok(Names {
                    layer: Linear::new(p, &layer, inputs, set.names, true)?,
                    tokens: p.create(&format!("{layer}{NAME_TOKENS}"), &shape, Init::Zeros)?,
                    patches: set.patches,
                    thirds: set.thirds,
                    colors: set.colors,
                })
            };
            self.projector
                .names
                .iter()
                .enumerate()
                .map(create)
                .collect::<Result<Vec<_>, _>>()
        })?;
        p.with_role(Role::PROJECTOR, |p| {
            p.scope(PROJECTOR, |p| {
                Ok(Some(WholePicture {
                    names,
                    patches_after: self.encoder.layers,
                    patch_rows: [self.tile_squares(), self.projector_inputs()],
                    width: embedding,
                    embedding: projection,
                    norm: LayerNorm::new(p, "embedding_norm", embedding, NORM_EPS)?,
                    layer: Linear::new(p, "embedding", embedding, width, true)?,
                }))
            })
        })
    }
}

impl FamilyConfig for Config {
    fn info(&self) -> ModelInfo {
        let factor = self.projector.pixel_shuffle_factor;
        let vision = self.used_vision();
        ModelInfo {
            cls_tokens: 1,
            placeholder: Some(ImagePlaceholder {
                token: self.image_token_id,
                rows: self.tile_rows(),
            }),
            whole_values: match self.projector.embedding {
                0 => 0,
                embedding => embedding + self.color_values(),
            },
            whole_rows: self.whole_rows(),
            ..pretrained_info(Some((&vision, factor)), &self.decoder.text)
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.encoder.vision.check("encoder.vision.")?;
        self.decoder.text.check("decoder.text.")?;
        let layers = self.encoder.layers;
        if layers == 0 || layers > self.encoder.vision.num_hidden_layers {
            let rule = format!(
                "it must be from 1 to {}, the number of the encoder's blocks",
                self.encoder.vision.num_hidden_layers
            );
            return Err(ConfigError::field("encoder.layers", layers, rule));
        }
        let factor = self.projector.pixel_shuffle_factor;
        let grid = self.encoder.vision.grid();
        if factor == 0 || !grid.is_multiple_of(factor) {
            let rule = format!("it must divide {grid}, the patches along a side of the picture");
            return Err(ConfigError::field(
                "projector.pixel_shuffle_factor",
                factor,
                rule,
            ));
        }
        for (number, set) in self.projector.names.iter().enumerate() {
            let field = |name: &str| format!("projector.names[{number}].{name}");
            for (name, value) in [("names", set.names), ("rows", set.rows)] {
                if value == 0 {
                    let rule = "it must be at least 1".to_owned();
                    return Err(ConfigError::field(&field(name), value, rule));
                }
            }
            let side = grid / factor;
            if set.thirds && side < 3 {
                let rule = format!(
                    "a picture of {side} x {side} squares of patches has no thirds: it must be false"
                );
                return Err(ConfigError::field(&field("thirds"), true, rule));
            }
        }
        Ok(())
    }

    fn apply(&mut self, _overrides: &Overrides) {}

    fn multiply_adds(&self, text: usize) -> f64 {
        self.encoder_multiply_adds()
            + self
                .decoder
                .text
                .multiply_adds(self.tile_rows() + text, text)
    }

    fn encoder_multiply_adds(&self) -> f64 {
        let width = self.decoder.text.hidden_size;
        let row = match self.projector.kind {
            Projection::Linear => self.projector_inputs() * width,
            Projection::Mlp => (self.projector_inputs() + width) * width,
        };
        let names = self.projector.names.iter();
        let names: usize = names.map(|set| set.names * self.name_inputs(set)).sum();
        let embedding = (self.encoder.vision.hidden_size + width) * self.projector.embedding;
        self.used_vision().multiply_adds(1) + (self.tile_squares() * row + embedding + names) as f64
    }

    fn adapter_targets(&self) -> Option<String> {
        Some(llama::NAMES.adapter_targets())
    }

    fn build(&self, p: &mut Parameters) -> Result<Box<dyn VisionLanguage>, DeviceError> {
        // the last LayerNorm is that of the CLS row
        let names = VisionNames {
            norm: clip::NAMES.norm.filter(|_| self.projector.embedding > 0),
            ..clip::NAMES
        };
        let vision = p.with_role(Role::ENCODER, |p| {
            VisionTransformer::new(p, &self.used_vision(), &names)
        })?;
        let connector = self.connector(p)?;
        let decoder = p.with_role(Role::DECODER, |p| {
            Decoder::new(p, &self.decoder.text, &llama::NAMES)
        })?;
        Ok(Box::new(Network {
            vision: Some((vision, connector)),
            decoder,
            in_front: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_names_are_numbers_with_and_without_a_question() {
        let set = |question: Option<&str>, names, rows| NameSet {
            question: question.map(str::to_owned),
            names,
            rows,
            patches: false,
            thirds: false,
            colors: false,
        };
        let parsed = |text: &str| text.parse::<NameSet>();
        assert_eq!(parsed("1024"), Ok(set(None, 1024, 4)));
        assert_eq!(parsed("16x2"), Ok(set(None, 16, 2)));
        let asked = set(Some("Is 1 = 2?"), 1600, 6);
        assert_eq!(parsed("Is 1 = 2?=1600x6"), Ok(asked.clone()));
        for (end, patches, thirds, colors) in [
            ("+patches", true, false, false),
            ("+thirds", false, true, false),
            ("+colors", false, false, true),
            ("+patches+colors", true, false, true),
            ("+colors+thirds+patches", true, true, true),
        ] {
            let told = NameSet {
                patches,
                thirds,
                colors,
                ..asked.clone()
            };
            assert_eq!(parsed(&format!("Is 1 = 2?=1600x6{end}")), Ok(told));
        }
        for wrong in [
            "", "0", "names", "4x", "4x0", "Who?=", "+patches", "4+looks", "70000",
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(
                error.starts_with(&format!("`{wrong}` is no set")),
                "{error}"
            );
        }
    }
}
