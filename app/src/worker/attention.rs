//! Computes the attention of all layers and heads for a caption.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use seemore::explain::{AttentionMap, AttentionMaps, Heads, Matrix};
use seemore::image::Picture;
use seemore::models::checkpoint::{self, CheckpointError};

use super::{Event, Worker};
use crate::hint;
use crate::pictures::{PictureSource, fitted};

/// Longest side of the picture that heat maps are drawn over, in pixels.
const LONGEST: usize = 1600;

/// A caption whose attention is computed. Its result is an [`Event::Attention`].
#[derive(Debug, Clone)]
pub struct AttentionJob {
    /// Number of the job, repeated in the result so that outdated results are recognized.
    pub number: u64,
    /// Where the picture can be read.
    pub source: Arc<PictureSource>,
    /// Text that the caption starts with, or the question that it answers.
    pub prompt: String,
    /// Tokens of the caption.
    pub tokens: Vec<u32>,
}

/// Attention and relevance of a caption.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Number of the job.
    pub number: u64,
    /// The part of the picture that the model sees.
    pub input: Picture,
    /// Attention of every layer and head.
    pub maps: AttentionMaps,
    /// Relevance of every patch for each token; empty if the model has none.
    pub relevance: Vec<Vec<f32>>,
    /// Number of tokens before the caption's first one, including the begin token.
    pub prompt: usize,
    /// Entropy of each head of the encoder's layers, then of the decoder's, in nats.
    entropies: Vec<Vec<f64>>,
}

impl AttentionJob {
    /// Computes the attention.
    pub(super) fn run(&self, worker: &mut Worker) {
        let computed = self
            .compute(worker)
            .map(Arc::new)
            .map_err(|error| hint::explain(error.as_ref()));
        worker.events.send(Event::Attention(computed));
    }

    fn compute(&self, worker: &mut Worker) -> anyhow::Result<Attention> {
        let picture = worker.picture(&self.source)?;
        let session = worker.model(0)?;
        let (maps, relevance) = session.attention(&picture, &self.prompt, &self.tokens)?;
        let length = maps.decoder.first().map_or(0, |map| map.shape[2]) - maps.front;
        // the last token is not a query
        let prompt = (length + 1).saturating_sub(self.tokens.len());
        let input = fitted(session.visible_part(&picture), LONGEST);
        Ok(Attention::new(self.number, input, maps, relevance, prompt))
    }
}

impl Attention {
    /// Returns the attention with the entropy of every head, which takes too long to compute for
    /// every frame.
    pub fn new(
        number: u64,
        input: Picture,
        maps: AttentionMaps,
        relevance: Vec<Vec<f32>>,
        prompt: usize,
    ) -> Attention {
        let of = |map: &AttentionMap| {
            let heads = 0..map.shape[1];
            // the maximum of -0.0 and 0.0 may be either
            let entropy = |head| Matrix::new(map, Heads::One(head)).entropy().max(0.0) + 0.0;
            heads.map(entropy).collect()
        };
        let entropies = maps.encoder.iter().chain(&maps.decoder).map(of).collect();
        Attention {
            number,
            input,
            maps,
            relevance,
            prompt,
            entropies,
        }
    }

    /// Returns the entropy of each head of a layer, in nats. The layers of the encoder come first.
    pub fn entropies(&self, layer: usize) -> &[f64] {
        &self.entropies[layer]
    }

    /// Writes all values as safetensors: the map of each layer, `[heads, queries, keys]`, under its
    /// path in the model, and `relevance`, `[tokens, patches]`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let value = |map: &AttentionMap| {
            let shape = map.shape[1..].to_vec();
            (map.layer.clone(), (shape, map.values.clone()))
        };
        let maps = self.maps.encoder.iter().chain(&self.maps.decoder);
        let mut values: BTreeMap<_, _> = maps.map(value).collect();
        if let Some(first) = self.relevance.first() {
            let shape = vec![self.relevance.len(), first.len()];
            values.insert("relevance".into(), (shape, self.relevance.concat()));
        }
        checkpoint::write_values(path, &values, None)
    }
}
