//! What generation remembers of the picture and of the text so far.

use super::{Config, Fusion};
use crate::gpu::{Gpu, GpuError, Tensor};
use crate::nn::Cache;

/// Keys and values of every decoder layer, and the image vector where it is added to every position.
pub struct Caches {
    layers: Vec<Cache>,
    image: Option<Tensor>,
}

impl Caches {
    /// Empty caches for `batch` pictures and `capacity` positions.
    pub fn new(gpu: &Gpu, config: &Config, batch: usize, capacity: usize) -> Result<Caches, GpuError> {
        let adds = config.fusion == Fusion::Add;
        Ok(Caches {
            layers: (0..config.layers).map(|_| Cache::new(gpu, batch, capacity, config.width)).collect::<Result<_, _>>()?,
            image: adds.then(|| Tensor::zeros(gpu, &[batch, 1, config.width])).transpose()?,
        })
    }

    /// Of decoder layer `index`.
    pub fn layer(&self, index: usize) -> &Cache {
        &self.layers[index]
    }

    /// The normalised image vector `[batch, 1, width]`, where it is added.
    pub fn image(&self) -> Option<&Tensor> {
        self.image.as_ref()
    }
}
