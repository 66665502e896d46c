//! The whole model: one forward pass for training and generation.

use super::decoder::ImageContext;
use super::{Caches, ClassHead, Config, Decoder, Projector, Vision, VisualTokens};
use crate::device::{Device, DeviceError, Tensor};
use crate::graph::Var;
use crate::nn::{Context, ParameterStore, Parameters};
use crate::ops::max_keys;

/// Standard deviation of freshly made token and position embeddings (GPT-2's).
pub(super) const EMBEDDING_DEVIATION: f32 = 0.02;

/// At which positions logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// All: visual tokens and text.
    All,
    /// The text's.
    Text,
    /// The last one's.
    Last,
    /// One row of each text: `[batch]` indices into all rows of the batch, visual tokens included.
    Rows(Var),
}

/// What the encoder makes of pictures.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// `[batch, v, feature width]`.
    pub rows: Var,
    /// One vector of the whole picture, `[batch, 1, width]`, where there is one.
    pub vector: Option<Var>,
    /// The pictures as the encoder sees them, `[batch, 3, side, side]`, where there is one.
    pub seen: Option<Var>,
}

/// Image encoder, projector and decoder with their parameters.
pub struct Vlm {
    config: Config,
    vision: Option<Vision>,
    projector: Projector,
    decoder: Decoder,
    classes: Option<ClassHead>,
    storage: ParameterStore,
    positions: usize,
}

impl Vlm {
    /// A model with fresh parameters.
    ///
    /// # Errors
    /// A device without room for the parameters, or more patches than attention takes there.
    pub fn new(device: &Device, config: &Config, seed: u64) -> Result<Vlm, DeviceError> {
        let most = max_keys(&device.capabilities());
        let encoder = if config.visual_tokens == VisualTokens::Fuyu {
            0
        } else {
            config.encoder_rows()
        };
        for (tokens, what) in [
            (encoder, "tokens in the image encoder"),
            (config.visual() + 1, "tokens in the decoder"),
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
        let ((vision, projector, decoder, classes), storage) =
            Parameters::build(device, seed, |p| {
                let vision = (config.visual_tokens != VisualTokens::Fuyu)
                    .then(|| Vision::new(p, config))
                    .transpose()?;
                let classes = (config.classes > 0).then(|| ClassHead::new(p, config));
                Ok((
                    vision,
                    Projector::new(p, config)?,
                    Decoder::new(p, config)?,
                    classes.transpose()?,
                ))
            })?;
        Ok(Vlm {
            config: config.clone(),
            vision,
            projector,
            decoder,
            classes,
            storage,
            positions: config.context.min(most),
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Most positions of visual tokens and text together: the configuration's context, unless the adapter takes less.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Most positions of text.
    pub fn room(&self) -> usize {
        self.positions - self.config.visual()
    }

    /// All parameters by name, in a fixed order.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        self.storage.named()
    }

    /// Where the parameters lie.
    pub fn storage(&self) -> &ParameterStore {
        &self.storage
    }

    /// Number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters()
            .iter()
            .map(|(_, tensor)| tensor.len())
            .sum()
    }

    /// What the model sees in `image: [batch, 3, side, side]`.
    pub fn encode(&self, c: &mut Context, image: Var) -> Features {
        let Some(vision) = &self.vision else {
            return Features {
                rows: c.tape.patchify(image, self.config.patch_size),
                vector: None,
                seen: None,
            };
        };
        let seen = vision.see(c, image);
        let (rows, vector) = vision.forward(c, seen);
        Features {
            rows,
            vector,
            seen: Some(seen),
        }
    }

    /// The class head's `[batch, classes]` for image features; none without such a head.
    pub fn classify(&self, c: &mut Context, features: Features) -> Option<Var> {
        let (head, vector) = self.classes.as_ref().zip(features.vector)?;
        Some(head.forward(c, vector))
    }

    /// Logits `[batch, positions, vocab]` for the text `ids: [batch, t]` after image features with the class head's logits of them;
    /// without these the ids continue what the caches hold. With caches, keys and values of all new positions are appended to them.
    pub fn describe(
        &self,
        c: &mut Context,
        features: Option<(Features, Option<Var>)>,
        ids: Var,
        caches: Option<&Caches>,
        logits: Logits,
    ) -> Var {
        let levels = self.config.color_levels;
        let seen = features.map(|(Features { rows, seen, .. }, classes)| ImageContext {
            visual: self.projector.forward(c, rows),
            guess: self
                .classes
                .as_ref()
                .zip(classes)
                .and_then(|(head, classes)| head.guess(c, classes)),
            colors: seen
                .filter(|_| levels > 0)
                .map(|seen| c.tape.color_histogram(seen, levels)),
        });
        let x = self.decoder.forward(c, seen, ids, caches);
        let (text, all) = (c.tape.shape(ids)[1], c.tape.shape(x)[1]);
        let rows = match logits {
            Logits::Rows(rows) => {
                let (batch, width) = (c.tape.shape(x)[0], c.tape.shape(x)[2]);
                let x = c.tape.view(x, &[batch * all, width]);
                let x = c.tape.embedding(x, rows);
                let x = c.tape.view(x, &[batch, 1, width]);
                return self.decoder.logits(c, x);
            }
            Logits::All => all,
            Logits::Text => text,
            Logits::Last => 1,
        };
        let x = if rows == all {
            x
        } else {
            c.tape.slice_rows(x, all - rows, rows)
        };
        self.decoder.logits(c, x)
    }

    /// [`encode`](Self::encode), then [`describe`](Self::describe): what a picture and the text so far make of the next token.
    pub fn forward(
        &self,
        c: &mut Context,
        image: Option<Var>,
        ids: Var,
        caches: Option<&Caches>,
        logits: Logits,
    ) -> Var {
        let features = image.map(|image| {
            let features = self.encode(c, image);
            (
                features,
                if self.config.guess {
                    self.classify(c, features)
                } else {
                    None
                },
            )
        });
        self.describe(c, features, ids, caches, logits)
    }

    /// Empty key/value caches for `batch` pictures and `capacity` positions.
    pub fn caches(
        &self,
        device: &Device,
        batch: usize,
        capacity: usize,
    ) -> Result<Caches, DeviceError> {
        Caches::new(device, &self.config, batch, capacity)
    }
}
