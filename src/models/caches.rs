//! State of generation: what the decoder keeps of the image and of the text so far.

use super::ModelInfo;
use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::nn::{Cache, gather_rows};

/// Key/value caches of all decoder layers, and the vector that the decoder adds to every text
/// position, if any.
#[derive(Clone)]
pub struct Caches {
    layers: Vec<Cache>,
    conditioning: Option<Tensor>,
}

impl Caches {
    /// Allocates empty caches for `batch` texts and `capacity` positions.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn new(
        device: &Device,
        info: &ModelInfo,
        batch: usize,
        capacity: usize,
    ) -> Result<Caches, DeviceError> {
        let decoder = info.decoder;
        let (width, kv_width) = (decoder.width, decoder.kv_heads * decoder.head_width);
        Ok(Caches {
            layers: (0..decoder.layers)
                .map(|_| Cache::new(device, batch, capacity, kv_width))
                .collect::<Result<_, _>>()?,
            conditioning: info
                .conditioned
                .then(|| Tensor::zeros(device, &[batch, 1, width]))
                .transpose()?,
        })
    }

    /// Copies batch element `elements[i]` of `from`, which may be these caches, to batch element
    /// `i`; see [`Cache::gather`].
    pub fn gather(&self, tape: &mut Tape, from: &Caches, elements: Var, start: Var) {
        for (layer, from) in self.layers.iter().zip(&from.layers) {
            layer.gather(tape, from, elements, start);
        }
        if let Some((to, from)) = self.conditioning.as_ref().zip(from.conditioning.as_ref()) {
            gather_rows(tape, to, from, elements, start);
        }
    }

    /// Caches of the decoder layers, first to last.
    pub fn layers(&self) -> &[Cache] {
        &self.layers
    }

    /// Vector that the decoder adds to every text position, `[batch, 1, width]`.
    pub fn conditioning(&self) -> Option<&Tensor> {
        self.conditioning.as_ref()
    }
}
