//! Forward pass of the emoji family.

use super::Config;
use super::class_head::ClassHead;
use super::decoder::{Decoder, ImageContext};
use super::vision::Vision;
use crate::device::DeviceError;
use crate::graph::Var;
use crate::models::{Caches, ClassHeadTensors, ImageFeatures, VisionLanguage};
use crate::nn::{Context, Parameters, Projector, Role};

/// Image encoder, class head, projector and decoder of an emoji model.
pub struct Network {
    /// Absent where patches go straight to the projector.
    vision: Option<Vision>,
    class_head: Option<ClassHead>,
    projector: Projector,
    decoder: Decoder,
    patch_size: usize,
    color_levels: usize,
    guesses: bool,
}

impl Network {
    /// Creates the layers.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Network, DeviceError> {
        let vision = config
            .has_encoder()
            .then(|| p.with_role(Role::ENCODER, |p| Vision::new(p, config)))
            .transpose()?;
        let class_head = (config.class_head.classes > 0)
            .then(|| ClassHead::new(p, config))
            .transpose()?;
        let projector = p.with_role(Role::PROJECTOR, |p| {
            let (inputs, outputs) = (config.feature_width(), config.text.width);
            Projector::new(p, config.projector.kind, inputs, outputs)
        })?;
        let decoder = p.with_role(Role::DECODER, |p| Decoder::new(p, config))?;
        Ok(Network {
            vision,
            class_head,
            projector,
            decoder,
            patch_size: config.vision.patch_size,
            color_levels: config.vision.color_levels,
            guesses: config.guesses(),
        })
    }

    /// Prepares image features for the decoder.
    fn image_context(&self, c: &mut Context, mut features: ImageFeatures) -> ImageContext {
        let class_logits = self
            .guesses
            .then(|| self.classify(c, &mut features))
            .flatten();
        ImageContext {
            visual: self.projector.forward(c, features.rows),
            guess: self
                .class_head
                .as_ref()
                .zip(class_logits)
                .and_then(|(head, logits)| head.guess(c, logits)),
            colors: features
                .pixels
                .filter(|_| self.color_levels > 0)
                .map(|pixels| {
                    c.tape
                        .color_histogram(pixels, self.color_levels, [0.0, 1.0])
                }),
        }
    }
}

impl VisionLanguage for Network {
    fn encode(&self, c: &mut Context, image: Var) -> ImageFeatures {
        let Some(vision) = &self.vision else {
            return ImageFeatures {
                rows: c.tape.patchify(image, self.patch_size),
                vector: None,
                pixels: None,
                class_logits: None,
            };
        };
        let pixels = vision.see(c, image);
        let (rows, vector) = vision.forward(c, pixels);
        ImageFeatures {
            rows,
            vector,
            pixels: Some(pixels),
            class_logits: None,
        }
    }

    fn class_logits(&self, c: &mut Context, vector: Var) -> Option<Var> {
        let head = self.class_head.as_ref()?;
        Some(head.forward(c, vector))
    }

    fn decode(
        &self,
        c: &mut Context,
        features: Option<ImageFeatures>,
        ids: Var,
        caches: Option<&Caches>,
    ) -> Var {
        let image = features.map(|features| self.image_context(c, features));
        self.decoder.forward(c, image, ids, caches)
    }

    fn output(&self, c: &mut Context, x: Var) -> Var {
        self.decoder.output(c, x)
    }

    fn class_head(&self) -> Option<ClassHeadTensors> {
        let head = self.class_head.as_ref()?;
        Some(ClassHeadTensors {
            classes: head.weight().clone(),
            bias: self.vision.as_ref()?.pooling_bias().cloned(),
            words: head
                .words()
                .map(|words| (words.clone(), self.decoder.tokens().clone())),
        })
    }
}
