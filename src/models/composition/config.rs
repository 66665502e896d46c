//! Configuration of a composition, in its `config.json`.

use serde::{Deserialize, Serialize};

use crate::device::DeviceError;
use crate::models::pretrained::{
    Connector, Decoder, DecoderConfig, Names, Network, VisionConfig, VisionNames,
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

/// Logits of the names, without `.weight`, and the words of each.
pub const NAME_LOGITS: &str = "projector.names";
pub const NAME_WORDS: &str = "projector.words";

/// Number of rows that spell a name: most have fewer tokens.
pub const NAME_ROWS: usize = 4;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Number of names that the embedding can be given, whose words become four more rows; 0 without
    /// them. They are no trained layers: training finds them once, when it begins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub names: usize,
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
        self.patch_rows() + self.whole_rows()
    }

    /// Number of rows of a picture as a whole.
    fn whole_rows(&self) -> usize {
        let names = if self.projector.names > 0 {
            NAME_ROWS
        } else {
            0
        };
        match self.projector.embedding {
            0 => 0,
            _ => 1 + names,
        }
    }

    /// Number of rows that the patches of a picture become.
    fn patch_rows(&self) -> usize {
        (self.encoder.vision.grid() / self.projector.pixel_shuffle_factor.max(1)).pow(2)
    }

    /// Width of the rows of patches that the projector takes in.
    pub fn projector_inputs(&self) -> usize {
        self.encoder.vision.hidden_size * self.projector.pixel_shuffle_factor.pow(2)
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
        let (width, names) = (self.decoder.text.hidden_size, self.projector.names);
        let found = Role {
            learns_from_captions: false,
            ..Role::PROJECTOR
        };
        let names = p.with_role(found, |p| {
            let create = |p: &mut Parameters| -> Result<Names, DeviceError> {
                Ok(Names {
                    logits: Linear::new(p, NAME_LOGITS, embedding, names, true)?,
                    words: p.create(NAME_WORDS, &[names, NAME_ROWS * width], Init::Zeros)?,
                    rows: NAME_ROWS,
                })
            };
            (names > 0).then(|| create(p)).transpose()
        })?;
        p.with_role(Role::PROJECTOR, |p| {
            p.scope(PROJECTOR, |p| {
                Ok(Some(WholePicture {
                    names,
                    patches_after: self.encoder.layers,
                    patch_rows: [self.patch_rows(), self.projector_inputs()],
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
            embedding: self.projector.embedding,
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
        let names = self.projector.names;
        let embedding = (self.encoder.vision.hidden_size + width + names)
            * self.projector.embedding
            + names * NAME_ROWS * width;
        self.used_vision().multiply_adds(1) + (self.patch_rows() * row + embedding) as f64
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
