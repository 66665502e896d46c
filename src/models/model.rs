//! A model of any family.

use std::path::Path;
use std::sync::Arc;

use super::composition::NameSet;
use super::load::{self, CheckpointError};
use super::{Caches, Dialogue, ModelConfig, ModelInfo};
use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::nn::{Context, Kept, LoraConfig, ParameterStore, Parameters};
use crate::ops::max_keys;
use crate::text::Tokenizer;

/// Positions whose logits are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// Visual tokens and text.
    All,
    /// Text only.
    Text,
    /// The last position only.
    Last,
    /// Chosen rows: `[n]` indices (`u32`) into all rows of the batch, visual tokens included, for
    /// logits `[n, 1, vocab]`.
    Rows(Var),
}

/// Output of the image encoder for a batch of images.
#[derive(Debug, Clone, Copy)]
pub struct ImageFeatures {
    /// Rows for the projector: `[batch, v, feature width]`.
    pub rows: Var,
    /// One vector for the whole image, `[batch, 1, width]`, if the family has one.
    pub vector: Option<Var>,
    /// Image as the encoder sees it, `[batch, 3, side, side]`, if the family needs it later.
    pub pixels: Option<Var>,
    /// Logits of the class head, `[batch, classes]`, once they are computed.
    pub class_logits: Option<Var>,
}

impl ImageFeatures {
    /// Features that are rows alone.
    pub fn of_rows(rows: Var) -> ImageFeatures {
        ImageFeatures {
            rows,
            vector: None,
            pixels: None,
            class_logits: None,
        }
    }
}

/// Tensors of a class head that training can initialise from data.
#[derive(Clone)]
pub struct ClassHeadTensors {
    /// One row per class, whose direction is compared with the image vector: `[classes, width]`.
    pub classes: Tensor,
    /// Bias that is added to the image vector, `[width]`, if there is one.
    pub bias: Option<Tensor>,
    /// Embedding of each class that the decoder is given, `[classes, decoder width]`, and the
    /// decoder's token embeddings, `[vocab, decoder width]`.
    pub words: Option<(Tensor, Tensor)>,
}

/// Forward pass of a model family.
pub trait VisionLanguage: Send + Sync {
    /// Encodes images `[batch, 3, side, side]`.
    fn encode(&self, c: &mut Context, image: Var) -> ImageFeatures;

    /// Computes the rows `[n, rows, width]` that the image encoder passes to the projector, of a
    /// family that [encodes apart](ModelInfo::encodes_apart).
    ///
    /// # Panics
    /// If the family does not.
    fn encoder_rows(&self, _c: &mut Context, _image: Var) -> Var {
        panic!("encoder_rows: the family does not encode pictures apart")
    }

    /// Computes the logits `[images, names]` of a set of names from the rows that the last block of
    /// the image encoder takes in, `[images, rows, width]`.
    ///
    /// # Panics
    /// If the model has no such set, or one that needs more than the embedding of the picture.
    fn name_logits(&self, _c: &mut Context, _rows: Var, _set: usize) -> Var {
        panic!("name_logits: the model has no names")
    }

    /// Computes the embeddings `[batch, t, width]` of the tokens `ids: [batch, t]` as the decoder takes
    /// them in, of a family that [encodes apart](ModelInfo::encodes_apart).
    ///
    /// # Panics
    /// If the family does not.
    fn embed(&self, _c: &mut Context, _ids: Var) -> Var {
        panic!("embed: the family does not encode pictures apart")
    }

    /// Applies the projector to [encoder rows](Self::encoder_rows).
    ///
    /// # Panics
    /// If the family does not [encode apart](ModelInfo::encodes_apart).
    fn project(&self, _c: &mut Context, _rows: Var) -> ImageFeatures {
        panic!("project: the family does not encode pictures apart")
    }

    /// Computes the logits `[batch, classes]` of the class head, and keeps them in `features`.
    /// Returns `None` without a class head.
    fn classify(&self, c: &mut Context, features: &mut ImageFeatures) -> Option<Var> {
        if features.class_logits.is_none() {
            features.class_logits = self.class_logits(c, features.vector?);
        }
        features.class_logits
    }

    /// Computes the logits `[batch, classes]` of the class head for the image vector. Returns
    /// `None` without a class head.
    fn class_logits(&self, _c: &mut Context, _vector: Var) -> Option<Var> {
        None
    }

    /// Computes decoder states for the text `ids: [batch, t]`, after image features if given.
    ///
    /// Without features the text continues what the caches hold. With caches, keys and values of
    /// all new positions are appended to them. Returns `[batch, v + t, width]` with `v` visual
    /// tokens in front, or `[batch, t, width]` without any.
    fn decode(
        &self,
        c: &mut Context,
        features: Option<ImageFeatures>,
        ids: Var,
        caches: Option<&Caches>,
    ) -> Var;

    /// Applies the output layer: `[.., width]` to `[.., vocab]`.
    fn output(&self, c: &mut Context, x: Var) -> Var;

    /// Tensors of the class head; `None` without one.
    fn class_head(&self) -> Option<ClassHeadTensors> {
        None
    }
}

/// A model of any family: configuration, parameters and forward pass. Clones share the parameters.
#[derive(Clone)]
pub struct Model {
    config: ModelConfig,
    info: ModelInfo,
    positions: usize,
    network: Arc<dyn VisionLanguage>,
    store: Arc<ParameterStore>,
    tokenizer: Option<Arc<Tokenizer>>,
    dialogue: Option<Arc<Dialogue>>,
    rounds: bool,
    lora: Option<Arc<LoraConfig>>,
    base: Option<Arc<Path>>,
    prompt: Option<Arc<str>>,
}

impl Model {
    /// Creates a model with freshly initialised parameters.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters, or supports fewer tokens than
    /// the model has visual tokens.
    pub fn new(
        device: &Device,
        config: impl Into<ModelConfig>,
        seed: u64,
    ) -> Result<Model, DeviceError> {
        let config = config.into();
        let info = config.info();
        let most = max_keys(&device.capabilities());
        let encoder = info.encoder.map_or(0, |_| info.encoder_rows());
        for (tokens, what) in [
            (encoder, "tokens in the image encoder"),
            (info.visual_tokens + 1, "tokens in the decoder"),
        ] {
            if tokens > most {
                return Err(DeviceError::TooManyTokens {
                    tokens,
                    what,
                    most,
                    adapter: device.name().to_owned(),
                });
            }
        }
        let (network, store) = Parameters::build(device, seed, |p| config.build(p))?;
        Ok(Model {
            positions: info.context.min(most),
            config,
            info,
            network: network.into(),
            store: Arc::new(store),
            tokenizer: None,
            dialogue: None,
            rounds: false,
            lora: None,
            base: None,
            prompt: None,
        })
    }

    /// Creates a model whose parameters are kept as `kept` says and are zeros until they are
    /// filled, except new adapters. `check` sees their names and shapes before anything is
    /// allocated.
    pub(super) fn unfilled(
        device: &Device,
        config: ModelConfig,
        kept: Kept,
        check: impl FnOnce(&ParameterStore) -> Result<(), CheckpointError>,
    ) -> Result<Model, CheckpointError> {
        let build = |p: &mut Parameters| config.build(p);
        let lora = kept.lora.clone();
        let (network, store) = Parameters::unfilled(device, kept, build, check)?;
        let info = config.info();
        Ok(Model {
            positions: info.context.min(max_keys(&device.capabilities())),
            config,
            info,
            network: network.into(),
            store: Arc::new(store),
            tokenizer: None,
            dialogue: None,
            rounds: false,
            lora,
            base: None,
            prompt: None,
        })
    }

    /// Loads a model of any family, with its tokenizer if there is one, from a checkpoint folder.
    ///
    /// # Errors
    /// Names the file that is absent or damaged, or that does not fit the others.
    pub fn load(device: &Device, dir: &Path) -> Result<Model, CheckpointError> {
        let (model, tokenizer) = load::load(device, dir)?;
        Ok(Model {
            tokenizer: tokenizer.map(Arc::new),
            ..model
        })
    }

    /// Configuration of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Properties of the model that do not depend on its family.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Tokenizer that was loaded with the model.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_deref()
    }

    /// How the model is asked, if it is a pretrained one.
    pub fn dialogue(&self) -> Option<&Dialogue> {
        self.dialogue.as_deref()
    }

    /// Adapters of the model's layers, if it has any.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_deref()
    }

    /// Question that a pretrained model was trained to answer, for captions without another one.
    pub fn prompt(&self) -> Option<&str> {
        self.prompt.as_deref()
    }

    /// Folder or file that the weights of a pretrained model come from, without an adapter.
    pub fn base(&self) -> Option<&Path> {
        self.base.as_deref()
    }

    /// Sets how a pretrained model is asked, and where it comes from.
    pub(super) fn with_dialogue(
        self,
        dialogue: Dialogue,
        base: &Path,
        prompt: Option<String>,
    ) -> Model {
        Model {
            dialogue: Some(Arc::new(dialogue)),
            base: Some(base.into()),
            prompt: prompt.map(Into::into),
            ..self
        }
    }

    /// Sets whether products with weights in 16 bits or less may round their operands to bf16; see
    /// [`Tape::round_operands`]. They do not unless it is set.
    pub fn rounding(self, allowed: bool) -> Model {
        Model {
            rounds: allowed,
            ..self
        }
    }

    /// Whether products may round their operands; see [`rounding`](Self::rounding).
    pub(crate) fn rounds(&self) -> bool {
        self.rounds
    }

    /// Returns an empty tape for passes of this model on a device.
    pub(crate) fn tape(&self, device: &Device) -> Tape {
        let mut tape = device.tape();
        tape.round_operands(self.rounds);
        tape
    }

    /// Maximum number of positions, visual tokens and text together: the context, unless the
    /// adapter supports less.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Maximum number of text positions.
    pub fn room(&self) -> usize {
        self.positions - self.info.visual_tokens
    }

    /// All parameters by name, in a fixed order.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        self.store.named()
    }

    /// Storage of the parameters, with their roles.
    pub fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// Number of values of all parameters.
    pub fn parameter_count(&self) -> usize {
        let trained = self.parameters().iter().map(|(_, tensor)| tensor.len());
        let frozen = self.store.frozen().iter();
        let frozen = frozen.map(|parameter| parameter.info.shape.iter().product::<usize>());
        trained.chain(frozen).sum()
    }

    /// Tensors of the class head; `None` without one.
    pub fn class_head(&self) -> Option<ClassHeadTensors> {
        self.network.class_head()
    }

    /// Allocates empty caches for `batch` texts and `capacity` positions.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn caches(
        &self,
        device: &Device,
        batch: usize,
        capacity: usize,
    ) -> Result<Caches, DeviceError> {
        Caches::new(device, &self.info, batch, capacity)
    }

    /// Encodes images `[batch, 3, side, side]`.
    pub fn encode(&self, c: &mut Context, image: Var) -> ImageFeatures {
        self.network.encode(c, image)
    }

    /// Computes the rows that the image encoder passes to the projector; see
    /// [`VisionLanguage::encoder_rows`].
    pub fn encoder_rows(&self, c: &mut Context, image: Var) -> Var {
        self.network.encoder_rows(c, image)
    }

    /// Sets of names that a composition is given for a picture; none for other models.
    pub fn name_sets(&self) -> &[NameSet] {
        match &self.config {
            ModelConfig::Composition(config) if config.projector.embedding > 0 => {
                &config.projector.names
            }
            _ => &[],
        }
    }

    /// Computes the logits of a set of names, see [`VisionLanguage::name_logits`].
    pub fn name_logits(&self, c: &mut Context, rows: Var, set: usize) -> Var {
        self.network.name_logits(c, rows, set)
    }

    /// Computes the embeddings of tokens, see [`VisionLanguage::embed`].
    pub fn embed(&self, c: &mut Context, ids: Var) -> Var {
        self.network.embed(c, ids)
    }

    /// Applies the projector to [encoder rows](Self::encoder_rows).
    pub fn project(&self, c: &mut Context, rows: Var) -> ImageFeatures {
        self.network.project(c, rows)
    }

    /// Computes the logits `[batch, classes]` of the class head, and keeps them in `features`.
    /// Returns `None` without a class head.
    pub fn classify(&self, c: &mut Context, features: &mut ImageFeatures) -> Option<Var> {
        self.network.classify(c, features)
    }

    /// Computes logits `[batch, positions, vocab]` for the text `ids: [batch, t]`, after image
    /// features if given.
    ///
    /// Without features the text continues what the caches hold. With caches, keys and values of
    /// all new positions are appended to them.
    pub fn decode(
        &self,
        c: &mut Context,
        features: Option<ImageFeatures>,
        ids: Var,
        caches: Option<&Caches>,
        logits: Logits,
    ) -> Var {
        let x = self.network.decode(c, features, ids, caches);
        let (text, all) = (c.tape.shape(ids)[1], c.tape.shape(x)[1]);
        let rows = match logits {
            Logits::All => all,
            Logits::Text => text,
            Logits::Last => 1,
            Logits::Rows(rows) => {
                let (batch, width) = (c.tape.shape(x)[0], c.tape.shape(x)[2]);
                let count = c.tape.len(rows);
                let x = c.tape.view(x, &[batch * all, width]);
                let x = c.tape.embedding(x, rows);
                let x = c.tape.view(x, &[count, 1, width]);
                return self.network.output(c, x);
            }
        };
        let x = if rows == all {
            x
        } else {
            c.tape.slice_rows(x, all - rows, rows)
        };
        self.network.output(c, x)
    }

    /// [Encodes](Self::encode) an image if given, then [decodes](Self::decode) the text after it.
    pub fn forward(
        &self,
        c: &mut Context,
        image: Option<Var>,
        ids: Var,
        caches: Option<&Caches>,
        logits: Logits,
    ) -> Var {
        let features = image.map(|image| self.encode(c, image));
        self.decode(c, features, ids, caches, logits)
    }
}
