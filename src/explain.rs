//! Where a model looked: attention maps, rollout, relevance, heat maps.

mod attention_maps;
mod color_map;
pub mod heatmap;
mod relevance;

pub use attention_maps::{AttentionMaps, AttentionPass, Heads, Matrix, SINK, without_sinks};
pub use color_map::ColorMap;
pub use relevance::Relevance;
