//! CLIP's image encoder with its parameters, loaded from a folder.

use std::path::Path;
use std::sync::Arc;

use super::preprocess::PreprocessConfig;
use super::{Config, Encoder};
use crate::device::{Device, DeviceError, Plan};
use crate::image::Picture;
use crate::models::load::{CheckpointError, KeepWeights, WeightFiles, WeightRules, stored};
use crate::nn::{Context, Kept, ParameterStore, Parameters};

/// Beginnings of the names of a whole CLIP model's other tensors.
pub(in crate::models) const OTHERS: &[&str] = &["text_model.", "text_projection.", "logit_scale"];

/// CLIP's image encoder.
pub struct Clip {
    device: Device,
    config: Config,
    preprocess: PreprocessConfig,
    encoder: Encoder,
    store: Arc<ParameterStore>,
}

impl Clip {
    /// Loads a folder as transformers writes it: of a vision model with projection, or of a whole
    /// CLIP model, whose text encoder is left out.
    ///
    /// # Errors
    /// Names the file, field or tensor that is absent or wrong.
    pub fn load(device: &Device, dir: &Path, keep: KeepWeights) -> Result<Clip, CheckpointError> {
        let config = Config::load(dir)?;
        let preprocess = PreprocessConfig::load(dir)?;
        let rules = WeightRules {
            ignored: OTHERS,
            ..WeightRules::default()
        };
        let mut weights = WeightFiles::open(dir, &rules, keep.quantized())?;
        let build = |p: &mut Parameters| Encoder::new(p, &config);
        let kept = Kept {
            storage: stored(&weights, keep),
            lora: None,
            lora_seed: None,
        };
        let (encoder, store) =
            Parameters::unfilled(device, kept, build, |store| weights.check(store, false))?;
        weights.fill(&store, false)?;
        Ok(Clip {
            device: device.clone(),
            config,
            preprocess,
            encoder,
            store: Arc::new(store),
        })
    }

    /// Sizes of the encoder.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How pictures become inputs.
    pub fn preprocess(&self) -> &PreprocessConfig {
        &self.preprocess
    }

    /// The layers.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The parameters.
    pub fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// Returns the embedding of each picture, `projection_dim` values, not normalised.
    ///
    /// # Errors
    /// Insufficient memory of the device, or a device that failed.
    pub fn embed(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>, DeviceError> {
        let side = self.config.vision.image_size;
        let mut tape = self.device.tape();
        let image = tape.input(&[1, 3, side, side]);
        let embeddings = self
            .encoder
            .embed(&mut Context::inference(&mut tape), image);
        tape.hold(embeddings);
        let plan = Plan::new(&self.device, tape)?;
        let embed = |picture: &Picture| {
            plan.write(image, &self.preprocess.preprocess(picture).inputs());
            plan.run_and_read(embeddings)
        };
        pictures.iter().map(embed).collect()
    }
}
