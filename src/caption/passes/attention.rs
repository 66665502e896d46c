//! Attention maps of every layer over one picture and its caption.

use crate::device::{Device, DeviceError, Plan};
use crate::explain::{AttentionMap, AttentionMaps};
use crate::graph::Var;
use crate::models::{ImageTokens, Logits, Model};
use crate::nn::{Context, LayerAttention};

/// A recorded pass over one picture and a text, without caches, that keeps the attention of every
/// layer.
pub struct AttentionPass {
    plan: Plan,
    image: Var,
    ids: Var,
    maps: Vec<LayerAttention>,
    length: usize,
    /// Encoder rows before the patches.
    first: usize,
    cls: bool,
    visual: usize,
}

impl AttentionPass {
    /// Records the pass for texts of at most `length` tokens.
    ///
    /// # Errors
    /// Insufficient device memory for the maps.
    pub fn new(
        device: &Device,
        model: &Model,
        length: usize,
    ) -> Result<AttentionPass, DeviceError> {
        let info = model.info();
        let mut tape = device.tape();
        let image = tape.input(&[1, 3, info.image_size(), info.image_size()]);
        let ids = tape.input(&[1, length]);
        let mut c = Context::inference(&mut tape);
        c.maps = Some(vec![]);
        let logits = model.forward(&mut c, Some(image), ids, None, Logits::Text);
        let maps = c.maps.take().unwrap_or_default();
        tape.hold(logits);
        Ok(AttentionPass {
            plan: Plan::new(device, tape)?,
            image,
            ids,
            maps,
            length,
            first: info.cls_tokens,
            cls: info.image_tokens == ImageTokens::Cls,
            visual: info.visual_tokens,
        })
    }

    /// Returns the attention over a normalised picture `[3, side, side]` and a text, from its first
    /// token on.
    ///
    /// # Panics
    /// With a text longer than the pass was recorded for.
    pub fn run(&self, image: &[f32], text: &[u32]) -> Result<AttentionMaps, DeviceError> {
        assert!(
            text.len() <= self.length,
            "a text of {} tokens exceeds the {} that were recorded",
            text.len(),
            self.length
        );
        // padding does not count: attention is causal, and its rows are cut off
        let mut ids = text.to_vec();
        ids.resize(self.length, 0);
        self.plan.write(self.image, image);
        self.plan.write(self.ids, &ids);
        self.plan.run()?;
        let (mut encoder, mut decoder) = (vec![], vec![]);
        for recorded in &self.maps {
            let probabilities = recorded.probabilities;
            let map = AttentionMap {
                layer: recorded.layer.clone(),
                part: recorded.part,
                shape: self.plan.shape(probabilities).to_vec(),
                values: self.plan.read(probabilities)?,
            };
            match map.is_encoder() {
                true => encoder.push(map),
                false => decoder.push(map.cut(self.visual + text.len())),
            }
        }
        Ok(AttentionMaps {
            encoder,
            decoder,
            first: self.first,
            cls: self.cls,
            visual: self.visual,
        })
    }
}
