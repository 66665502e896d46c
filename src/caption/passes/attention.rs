//! Attention maps of every layer over one picture and its caption.

use super::pictures::{Pictures, places_of};
use crate::device::{Device, DeviceError, Plan};
use crate::explain::{AttentionMap, AttentionMaps};
use crate::graph::Var;
use crate::models::{ImageTokens, Logits, Model};
use crate::nn::{Context, LayerAttention};

/// A recorded pass over one picture and a text, without caches, that keeps the attention of every
/// layer; of models that [encode pictures apart](crate::models::ModelInfo::encodes_apart) that of
/// every layer of the decoder.
pub struct AttentionPass {
    plan: Plan,
    pictures: Option<Pictures>,
    ids: Var,
    maps: Vec<LayerAttention>,
    length: usize,
    /// Encoder rows before the patches.
    first: usize,
    cls: bool,
    /// Decoder positions before the text.
    front: usize,
    placeholder: Option<u32>,
}

impl AttentionPass {
    /// Records the pass for texts of at most `length` tokens, of which `image_rows` are places for
    /// rows of a picture.
    ///
    /// # Errors
    /// Insufficient device memory for the maps.
    pub fn new(
        device: &Device,
        model: &Model,
        length: usize,
        image_rows: usize,
    ) -> Result<AttentionPass, DeviceError> {
        let info = model.info();
        let mut tape = model.tape(device);
        let pictures = Pictures::new(&mut tape, info, 1, image_rows);
        let ids = tape.input(&[1, length]);
        let mut c = Context::inference(&mut tape);
        c.maps = Some(vec![]);
        let features = pictures.map(|pictures| pictures.features(&mut c, model));
        let at = match info.encodes_apart() {
            // no one reads them, and those of a large vocabulary take time
            true => Logits::Last,
            false => Logits::Text,
        };
        let logits = model.decode(&mut c, features, ids, None, at);
        let maps = c.maps.take().unwrap_or_default();
        tape.hold(logits);
        Ok(AttentionPass {
            plan: Plan::new(device, tape)?,
            pictures,
            ids,
            maps,
            length,
            first: info.cls_tokens,
            cls: info.image_tokens == ImageTokens::Cls,
            front: info.visual_tokens,
            placeholder: info.placeholder.map(|placeholder| placeholder.token),
        })
    }

    /// Returns the attention over a picture and a text, from its first token on. The picture is
    /// normalised, `[3, side, side]`, or its encoded rows `[rows, width]`; the maps then have no
    /// [layout](AttentionMaps::layout).
    ///
    /// # Errors
    /// A failed device.
    ///
    /// # Panics
    /// With a text longer than the pass was recorded for, or another number of places than rows.
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
        if let Some(pictures) = self.pictures {
            pictures.write(&self.plan, image, &[text], self.length);
        }
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
                false => decoder.push(map.cut(self.front + text.len())),
            }
        }
        Ok(AttentionMaps {
            encoder,
            decoder,
            first: self.first,
            cls: self.cls,
            front: self.front,
            visual: match self.placeholder {
                Some(token) => places_of(text, token).collect(),
                None => (0..self.front).collect(),
            },
            layout: None,
        })
    }
}
