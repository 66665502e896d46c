//! Attention probabilities of one layer.

use super::Heads;
use crate::nn::Part;

/// Attention probabilities of one layer: each row is a distribution over the keys.
#[derive(Debug, Clone)]
pub struct AttentionMap {
    /// Module path of the layer, such as `vit.blocks.2.attn`.
    pub layer: String,
    /// Part of the model that the layer belongs to.
    pub part: Part,
    /// `[batch, heads, queries, keys]`.
    pub shape: Vec<usize>,
    /// Probabilities in row-major order.
    pub values: Vec<f32>,
}

impl AttentionMap {
    /// Whether the layer is part of the image encoder.
    pub fn is_encoder(&self) -> bool {
        self.part == Part::Encoder
    }

    /// The attention of one query over all keys, of some heads of the first batch element.
    pub fn row(&self, query: usize, heads: Heads) -> Vec<f32> {
        let (count, queries, keys) = (self.shape[1], self.shape[2], self.shape[3]);
        let of = |head: usize, key: usize| self.values[(head * queries + query) * keys + key];
        let all = |key: usize| (0..count).map(move |head| of(head, key));
        let value = |key: usize| match heads {
            Heads::One(head) => of(head, key),
            Heads::Mean => all(key).sum::<f32>() / count as f32,
            Heads::Max => all(key).fold(0.0, f32::max),
        };
        (0..keys).map(value).collect()
    }

    /// The first `length` queries and keys of a map of one batch element.
    pub(crate) fn cut(&self, length: usize) -> AttentionMap {
        let (heads, queries, keys) = (self.shape[1], self.shape[2], self.shape[3]);
        let rows = (0..heads)
            .flat_map(|head| (0..length).map(move |query| (head * queries + query) * keys));
        let values = rows
            .flat_map(|at| self.values[at..at + length].iter().copied())
            .collect();
        AttentionMap {
            layer: self.layer.clone(),
            part: self.part,
            shape: vec![1, heads, length, length],
            values,
        }
    }
}

/// Attention of one query to some keys, as a mean over the heads of the first batch element.
pub(crate) fn token_heat(
    map: &AttentionMap,
    query: usize,
    keys: impl IntoIterator<Item = usize>,
) -> Vec<f32> {
    let (heads, queries, row) = (map.shape[1], map.shape[2], map.shape[3]);
    keys.into_iter()
        .map(|key| {
            (0..heads)
                .map(|head| map.values[(head * queries + query) * row + key])
                .sum::<f32>()
                / heads as f32
        })
        .collect()
}
