//! Where a model looked: attention maps, rollout, heat maps and their colours.
//!
//! The maps are read by [`Session::attention`](crate::caption::Session::attention) and
//! [`AttentionPass`](crate::caption::AttentionPass); gradient-based relevance by
//! [`RelevancePass`](crate::caption::RelevancePass).

mod attention_map;
mod attention_maps;
mod color_map;
pub mod heatmap;
mod matrix;
mod row_layout;

pub use attention_map::AttentionMap;
pub(crate) use attention_map::token_heat;
pub use attention_maps::AttentionMaps;
pub use color_map::ColorMap;
pub use matrix::{Heads, Matrix, SINK, without_sinks};
pub use row_layout::RowLayout;
