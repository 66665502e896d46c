//! Where a model looked while it wrote a caption: all layers and heads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use seemore::explain::AttentionMaps;
use seemore::image::Picture;
use seemore::models::checkpoint::{self, CheckpointError};

use super::captioning::SHOWN;
use crate::worker::Bench;

/// A caption that was written.
#[derive(Debug, Clone)]
pub struct Look {
    pub picture: Arc<Picture>,
    pub prompt: String,
    pub tokens: Vec<u32>,
    /// Comes back with the report, so that an old one is known.
    pub number: u64,
}

#[derive(Debug, Clone)]
pub struct Looked {
    pub number: u64,
    /// The part of the picture that the model sees, [`SHOWN`] pixels wide and high.
    pub shown: Picture,
    pub maps: AttentionMaps,
    /// Of each token the relevance of every patch; empty where a model has none.
    pub relevance: Vec<Vec<f32>>,
    /// Tokens of the prompt, the begin of the text among them.
    pub prompt: usize,
}

pub fn look(bench: &mut Bench, look: Look) -> anyhow::Result<Looked> {
    let Look {
        picture,
        prompt,
        tokens,
        number,
    } = look;
    let Some(captioner) = &mut bench.captioners[0] else {
        anyhow::bail!("no model is loaded: choose a checkpoint folder first")
    };
    let (maps, relevance) = captioner.attention(&picture, &prompt, &tokens)?;
    let length = maps.decoder.first().map_or(0, |map| map.shape[2]) - maps.visual;
    // the last token is no query
    let prompt = (length + 1).saturating_sub(tokens.len());
    Ok(Looked {
        number,
        shown: captioner.shown(&picture).resize(SHOWN),
        maps,
        relevance,
        prompt,
    })
}

impl Looked {
    /// Writes all numbers as safetensors: each layer's map by its path `[heads, queries, keys]`, and `relevance` `[tokens, patches]`.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let map = |map: &seemore::caption::Map| {
            (
                map.layer.clone(),
                (map.shape[1..].to_vec(), map.values.clone()),
            )
        };
        let mut values: BTreeMap<_, _> = self
            .maps
            .encoder
            .iter()
            .chain(&self.maps.decoder)
            .map(map)
            .collect();
        if let Some(first) = self.relevance.first() {
            values.insert(
                "relevance".into(),
                (
                    vec![self.relevance.len(), first.len()],
                    self.relevance.concat(),
                ),
            );
        }
        checkpoint::write_values(path, &values, None)
    }
}
