//! CLIP's image encoder with its projection.

use super::Config;
use super::config::{NAMES, PROJECTION};
use crate::device::DeviceError;
use crate::graph::Var;
use crate::models::pretrained::VisionTransformer;
use crate::nn::{Context, Linear, Parameters, Role};

/// Vision transformer, and the layer to the embeddings that pictures and texts share.
pub struct Encoder {
    vision: VisionTransformer,
    projection: Linear,
}

impl Encoder {
    /// Creates the layers.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the parameters.
    pub fn new(p: &mut Parameters, config: &Config) -> Result<Encoder, DeviceError> {
        p.with_role(Role::ENCODER, |p| {
            let width = config.vision.hidden_size;
            let outputs = config.projection_dim;
            Ok(Encoder {
                vision: VisionTransformer::new(p, &config.vision, &NAMES)?,
                projection: Linear::new(p, PROJECTION, width, outputs, false)?,
            })
        })
    }

    /// Maps images `[n, 3, side, side]` to embeddings `[n, projection_dim]`, not normalised.
    pub fn embed(&self, c: &mut Context, image: Var) -> Var {
        let images = c.tape.shape(image)[0];
        let rows = self.vision.forward(c, image);
        let class = c.tape.slice_rows(rows, 0, 1);
        c.keep(|| "post_layernorm_of_cls".into(), class);
        let embeddings = self.projection.forward(c, class);
        let width = c.tape.len(embeddings) / images;
        c.tape.view(embeddings, &[images, width])
    }
}
