//! Prompts with pictures.

use crate::image::TileGrid;

fn advice(placeholders: usize, pictures: usize) -> &'static str {
    match placeholders > pictures {
        true => "leave the model's image token out of the text",
        false => "the model's chat template has none for some of them",
    }
}

/// Reason why pictures cannot be put into a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The prompt and the pictures do not fit together.
    #[error(
        "the prompt has {placeholders} places for pictures, and {pictures} pictures were given: {}",
        advice(*placeholders, *pictures)
    )]
    Pictures {
        /// Number of places in the prompt.
        placeholders: usize,
        /// Number of pictures.
        pictures: usize,
    },
    /// The model has no token that prompts with pictures need.
    #[error(
        "the model's vocabulary has no token {token}, which its prompts about pictures need: the tokenizer belongs to another model"
    )]
    NoToken {
        /// Name of the token.
        token: String,
    },
    /// The model has no token for a tile.
    #[error(
        "the picture becomes {} rows and {} columns of tiles, and the model's vocabulary has no token {token} for one of them: cut it into fewer tiles",
        grid.rows,
        grid.columns
    )]
    NoTile {
        /// Name of the token.
        token: String,
        /// Tiles of the picture.
        grid: TileGrid,
    },
}
