//! Computes the attention of all layers and heads for a caption.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use seemore::explain::{AttentionMap, AttentionMaps};
use seemore::image::Picture;
use seemore::models::checkpoint::{self, CheckpointError};

use crate::hint;
use crate::pages::caption::INPUT_SIZE;
use crate::worker::{Command, Worker};

/// Command that computes the attention for a caption. Its result is an [`AttentionEvent`].
#[derive(Debug, Clone)]
pub struct AttentionJob {
    /// Number of the job, repeated in the result so that outdated results are recognized.
    pub number: u64,
    /// The picture at its own size.
    pub picture: Arc<Picture>,
    /// Text that the caption starts with.
    pub prefix: String,
    /// Tokens after the prefix.
    pub tokens: Vec<u32>,
}

/// Result of an [`AttentionJob`], or why there is none and what to do.
pub type AttentionEvent = Result<Box<Attention>, String>;

/// Attention and relevance of a caption.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Number of the job.
    pub number: u64,
    /// The part of the picture that the model sees, [`INPUT_SIZE`] pixels wide and high.
    pub input: Picture,
    /// Attention of every layer and head.
    pub maps: AttentionMaps,
    /// Relevance of every patch for each token; empty if the model has none.
    pub relevance: Vec<Vec<f32>>,
    /// Number of tokens before the caption's first one, including the begin token.
    pub prompt: usize,
}

impl Command for AttentionJob {
    fn run(self: Box<Self>, worker: &mut Worker) {
        let event: AttentionEvent = self
            .compute(worker)
            .map(Box::new)
            .map_err(|error| hint::explain(error.as_ref()));
        worker.events().page(event);
    }
}

impl AttentionJob {
    fn compute(&self, worker: &mut Worker) -> anyhow::Result<Attention> {
        let session = worker.model(0)?;
        let (maps, relevance) = session.attention(&self.picture, &self.prefix, &self.tokens)?;
        let length = maps.decoder.first().map_or(0, |map| map.shape[2]) - maps.front;
        // the last token is not a query
        let prompt = (length + 1).saturating_sub(self.tokens.len());
        Ok(Attention {
            number: self.number,
            input: session.visible_part(&self.picture).resize(INPUT_SIZE),
            maps,
            relevance,
            prompt,
        })
    }
}

impl Attention {
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
