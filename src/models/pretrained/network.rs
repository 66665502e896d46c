//! Forward pass of a pretrained vision-language model.

use super::{Decoder, VisionTransformer};
use crate::graph::Var;
use crate::models::{Caches, ImageFeatures, VisionLanguage};
use crate::nn::{Context, Linear};

/// From the rows of the vision transformer to those of the decoder: squares of `factor` by `factor`
/// patches become one row each, then a linear layer.
pub struct Connector {
    /// Patches along the side of a square.
    pub factor: usize,
    /// Layer to the width of the decoder.
    pub projection: Linear,
}

/// Vision transformer, connector and decoder; or a decoder alone.
pub struct Network {
    /// Encoder of images, and what its rows pass to the decoder.
    pub vision: Option<(VisionTransformer, Connector)>,
    /// Language model.
    pub decoder: Decoder,
    /// Whether the rows of an image stand in front of the text; otherwise they take the places of
    /// its placeholder tokens.
    pub in_front: bool,
}

impl VisionLanguage for Network {
    fn encode(&self, c: &mut Context, image: Var) -> ImageFeatures {
        let Some((vision, connector)) = &self.vision else {
            panic!("encode: the model takes no pictures")
        };
        let (_, rows) = vision.forward(c, image);
        c.keep(|| "vision.norm".into(), rows);
        let rows = c.tape.pixel_shuffle(rows, connector.factor);
        c.keep(|| "pixel_shuffle".into(), rows);
        let rows = connector.projection.forward(c, rows);
        c.keep(|| "connector".into(), rows);
        ImageFeatures::of_rows(rows)
    }

    fn decode(
        &self,
        c: &mut Context,
        features: Option<ImageFeatures>,
        ids: Var,
        caches: Option<&Caches>,
    ) -> Var {
        let mut x = self.decoder.embed(c, ids);
        if let Some(features) = features {
            x = if self.in_front {
                c.tape.concat_rows(features.rows, x)
            } else {
                let places = c
                    .image_places
                    .expect("the places of the image's rows are an input of the pass");
                c.tape.scatter_rows(x, features.rows, places)
            };
        }
        c.keep(|| "inputs_embeds".into(), x);
        self.decoder.forward(c, x, caches)
    }

    fn output(&self, c: &mut Context, x: Var) -> Var {
        self.decoder.output(c, x)
    }
}
