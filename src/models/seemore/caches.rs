//! What generation remembers of the picture and of the text so far.

use super::Config;
use crate::device::{Device, DeviceError, Tensor};
use crate::graph::{Tape, Var};
use crate::nn::{Cache, take_elements};

/// Keys and values of every decoder layer, and what is added to every text position.
#[derive(Clone)]
pub struct Caches {
    layers: Vec<Cache>,
    told: Option<Tensor>,
}

impl Caches {
    /// Empty caches for `batch` pictures and `capacity` positions.
    pub fn new(
        device: &Device,
        config: &Config,
        batch: usize,
        capacity: usize,
    ) -> Result<Caches, DeviceError> {
        Ok(Caches {
            layers: (0..config.layers)
                .map(|_| Cache::new(device, batch, capacity, config.width))
                .collect::<Result<_, _>>()?,
            told: config
                .adds()
                .then(|| Tensor::zeros(device, &[batch, 1, config.width]))
                .transpose()?,
        })
    }

    /// Makes batch element `i` what element `elements[i]` of `from`, which may be these caches, has held: see [`Cache::take`].
    pub fn take(&self, tape: &mut Tape, from: &Caches, elements: Var, start: Var) {
        for (layer, from) in self.layers.iter().zip(&from.layers) {
            layer.take(tape, from, elements, start);
        }
        if let Some((told, from)) = self.told.as_ref().zip(from.told.as_ref()) {
            take_elements(tape, told, from, elements, start);
        }
    }

    /// Of decoder layer `index`.
    pub fn layer(&self, index: usize) -> &Cache {
        &self.layers[index]
    }

    /// What of the picture is added to every text position, `[batch, 1, width]`, where anything is.
    pub fn told(&self) -> Option<&Tensor> {
        self.told.as_ref()
    }
}
