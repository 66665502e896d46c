//! Attention probabilities of one layer.

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

/// Attention of one query to `patches` keys from `first` on, as a mean over the heads of the first
/// batch element.
pub(crate) fn token_heat(
    map: &AttentionMap,
    query: usize,
    first: usize,
    patches: usize,
) -> Vec<f32> {
    let (heads, queries, keys) = (map.shape[1], map.shape[2], map.shape[3]);
    (first..first + patches)
        .map(|key| {
            (0..heads)
                .map(|head| map.values[(head * queries + query) * keys + key])
                .sum::<f32>()
                / heads as f32
        })
        .collect()
}
