//! Prompts of nanoVLM: pictures in front of a conversation, as in its own code.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::image::TileGrid;
use crate::models::processor::{self, ProcessorError};
use crate::models::prompt::PromptError;
use crate::text::chat::{Message, Part};

/// Token whose places in a text the rows of a picture take; the first release has none.
pub const PLACEHOLDER: &str = "<|image|>";

/// Token in front of the tile of the whole picture, in releases with tiles.
pub const GLOBAL: &str = "<|global_image|>";

/// What a model's `config.json` says about prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptConfig {
    /// Tokens that stand for pictures; `None` for models whose features stand in front of all
    /// tokens.
    pub tokens: Option<TileTokens>,
    /// Number of tokens of a tile.
    pub tokens_per_tile: Option<usize>,
    /// Source of the chat template; `None` for models that are asked with [`question`].
    pub chat_template: Option<String>,
}

/// Names of the tokens that stand for pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileTokens {
    /// Place of one feature of a tile.
    pub image: String,
    /// Mark of the tile that shows the whole picture.
    pub global: Option<String>,
    /// Marks of tiles in a grid, by names such as `r1c2`.
    pub places: BTreeMap<String, String>,
}

/// Fields of `config.json` about prompts.
#[derive(Debug, Deserialize)]
struct Fields {
    vlm_extra_tokens: Option<BTreeMap<String, String>>,
    mp_image_token_length: Option<usize>,
    lm_chat_template: Option<String>,
}

impl PromptConfig {
    /// Reads `config.json` of a model's folder.
    ///
    /// # Errors
    /// A file that cannot be read, or a field of the wrong type.
    pub fn load(folder: &Path) -> Result<PromptConfig, ProcessorError> {
        let fields: Fields = processor::read(&folder.join("config.json"))?;
        let tokens = |mut names: BTreeMap<String, String>| {
            let image = names.remove("image_token")?;
            let global = names.remove("global_image_token");
            Some(TileTokens {
                image,
                global,
                places: names,
            })
        };
        Ok(PromptConfig {
            tokens: fields.vlm_extra_tokens.and_then(tokens),
            tokens_per_tile: fields.mp_image_token_length,
            chat_template: fields.lm_chat_template,
        })
    }
}

impl TileTokens {
    /// Writes the tokens of pictures. Several pictures are numbered.
    ///
    /// # Errors
    /// A grid with a tile that has no token.
    pub fn pictures(
        &self,
        grids: &[TileGrid],
        tokens_per_tile: usize,
    ) -> Result<String, PromptError> {
        let features = self.image.repeat(tokens_per_tile);
        let mut text = String::new();
        for (number, grid) in grids.iter().enumerate() {
            if grids.len() > 1 {
                text += &format!("<image: {number}>");
            }
            if let Some(global) = &self.global {
                text += global;
                text += &features;
            }
            // the only tile shows the whole picture
            if grid.count() <= 1 {
                if self.global.is_none() {
                    text += &features;
                }
                continue;
            }
            for tile in 0..grid.count() {
                let (row, column) = (tile / grid.columns + 1, tile % grid.columns + 1);
                let place = self.places.get(&format!("r{row}c{column}"));
                text += place.ok_or_else(|| PromptError::NoTile {
                    token: format!("<row_{row}_col_{column}>"),
                    grid: *grid,
                })?;
                text += &features;
            }
        }
        Ok(text)
    }

    /// Replaces the pictures of a conversation by their tokens. Those of all pictures stand in
    /// front of the first message that has one: the model's template takes text only.
    ///
    /// # Errors
    /// More or fewer pictures than places, or a grid with a tile that has no token.
    pub fn expand(
        &self,
        messages: &[Message],
        grids: &[TileGrid],
        tokens_per_tile: usize,
    ) -> Result<Vec<Message>, PromptError> {
        let is_picture = |part: &&Part| matches!(part, Part::Image);
        let parts = messages.iter().flat_map(|message| &message.content);
        let placeholders = parts.filter(is_picture).count();
        if placeholders != grids.len() {
            return Err(PromptError::Pictures {
                placeholders,
                pictures: grids.len(),
            });
        }
        let mut pictures = Some(self.pictures(grids, tokens_per_tile)?);
        let expanded = messages.iter().map(|message| {
            let tokens = if message.has_pictures() {
                pictures.take()
            } else {
                None
            };
            let texts = message
                .content
                .iter()
                .filter(|part| !is_picture(part))
                .cloned();
            Message {
                role: message.role,
                content: tokens.map(Part::text).into_iter().chain(texts).collect(),
            }
        });
        Ok(expanded.collect())
    }
}

/// Writes the prompt of models without a chat template, whose picture stands in front of it.
pub fn question(text: &str) -> String {
    format!("Question: {text} Answer:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::chat::Role;

    fn tokens() -> TileTokens {
        let places = [("r1c1", "<1>"), ("r1c2", "<2>")];
        TileTokens {
            image: "<i>".to_owned(),
            global: Some("<g>".to_owned()),
            places: places
                .map(|(name, token)| (name.to_owned(), token.to_owned()))
                .into(),
        }
    }

    #[test]
    fn pictures_stand_in_front_of_the_conversation() {
        let chat = [
            Message::new(
                Role::User,
                vec![Part::text("a"), Part::Image, Part::text("b")],
            ),
            Message::text(Role::Assistant, "c"),
            Message::about_picture("d"),
        ];
        let grids = [
            TileGrid {
                rows: 1,
                columns: 1,
            },
            TileGrid {
                rows: 1,
                columns: 2,
            },
        ];
        let expanded = tokens().expand(&chat, &grids, 2).unwrap();
        let pictures = "<image: 0><g><i><i><image: 1><g><i><i><1><i><i><2><i><i>";
        let first = vec![Part::text(pictures), Part::text("a"), Part::text("b")];
        assert_eq!(expanded[0].content, first);
        assert_eq!(
            expanded[1..],
            [chat[1].clone(), Message::text(Role::User, "d")]
        );
        let error = tokens().expand(&chat, &grids[..1], 2).unwrap_err();
        let (placeholders, pictures) = (2, 1);
        assert_eq!(
            error,
            PromptError::Pictures {
                placeholders,
                pictures
            }
        );
    }

    #[test]
    fn models_without_a_global_tile_take_the_features_alone() {
        let tokens = TileTokens {
            global: None,
            ..tokens()
        };
        assert_eq!(
            tokens.pictures(&[TileGrid::default()], 3).unwrap(),
            "<i><i><i>"
        );
        let grid = TileGrid {
            rows: 2,
            columns: 1,
        };
        let error = tokens.pictures(&[grid], 1).unwrap_err();
        assert!(error.to_string().contains("<row_2_col_1>"), "{error}");
    }

    #[test]
    fn wrong_types_name_the_file_and_the_field() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), r#"{"lm_chat_template": 1}"#).unwrap();
        let error = PromptConfig::load(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("config.json") && error.contains("lm_chat_template"),
            "{error}"
        );
    }
}
