//! Prompts of SmolVLM: every place of a picture becomes the tokens of its tiles, as in
//! `Idefics3Processor` of Hugging Face's transformers.

use crate::image::TileGrid;
use crate::models::prompt::PromptError;
use crate::text::Pretrained;

/// Names of the tokens that stand for pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileTokens {
    /// Place of one feature of a tile, and in a prompt of a whole picture.
    pub image: String,
    /// Mark around tiles.
    pub around: String,
    /// Mark of the tile that shows the whole picture.
    pub global: String,
}

impl Default for TileTokens {
    fn default() -> TileTokens {
        TileTokens {
            image: "<image>".to_owned(),
            around: "<fake_token_around_image>".to_owned(),
            global: "<global-img>".to_owned(),
        }
    }
}

impl TileTokens {
    /// Returns the name of the mark of a tile in a grid, counted from 0.
    fn place(row: usize, column: usize) -> String {
        format!("<row_{}_col_{}>", row + 1, column + 1)
    }

    /// Writes the tokens of one picture.
    pub fn picture(&self, grid: TileGrid, tokens_per_tile: usize) -> String {
        let TileTokens {
            image,
            around,
            global,
        } = self;
        let features = image.repeat(tokens_per_tile);
        let mut text = String::new();
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                text += &format!("{around}{}{features}", Self::place(row, column));
            }
            text.push('\n');
        }
        // after the break of the last row: a blank line
        if grid.count() > 0 {
            text.push('\n');
        }
        text + &format!("{around}{global}{features}{around}")
    }

    /// Replaces the places of pictures in a rendered conversation by their tokens, in order.
    ///
    /// # Errors
    /// More or fewer pictures than places.
    pub fn expand(
        &self,
        prompt: &str,
        grids: &[TileGrid],
        tokens_per_tile: usize,
    ) -> Result<String, PromptError> {
        let placeholders = prompt.matches(&self.image).count();
        if placeholders != grids.len() {
            return Err(PromptError::Pictures {
                placeholders,
                pictures: grids.len(),
            });
        }
        let mut texts = prompt.split(&self.image);
        let mut expanded = texts.next().unwrap_or_default().to_owned();
        for (text, grid) in texts.zip(grids) {
            expanded += &self.picture(*grid, tokens_per_tile);
            expanded += text;
        }
        Ok(expanded)
    }

    /// Checks that a vocabulary has the tokens of a picture: a model knows grids up to a size only,
    /// and would read the names of other tiles as text.
    ///
    /// # Errors
    /// Names the first token that is absent, a mark of every picture or that of a tile.
    pub fn check(&self, tokenizer: &Pretrained, grid: TileGrid) -> Result<(), PromptError> {
        let mut places =
            (0..grid.count()).map(|tile| Self::place(tile / grid.columns, tile % grid.columns));
        let marks = [&self.image, &self.around, &self.global].map(String::clone);
        let absent = |name: &String| tokenizer.id(name).is_none();
        if let Some(token) = marks.into_iter().find(absent) {
            return Err(PromptError::NoToken { token });
        }
        match places.find(absent) {
            Some(token) => Err(PromptError::NoTile { token, grid }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_tiles_in_order() {
        let tokens = TileTokens::default();
        let (whole, cut) = (
            TileGrid::default(),
            TileGrid {
                rows: 2,
                columns: 1,
            },
        );
        let prompt = tokens
            .expand("a<image>b<image>c", &[whole, cut], 2)
            .unwrap();
        let around = "<fake_token_around_image>";
        let want = format!(
            "a{around}<global-img><image><image>{around}b\
             {around}<row_1_col_1><image><image>\n\
             {around}<row_2_col_1><image><image>\n\n\
             {around}<global-img><image><image>{around}c"
        );
        assert_eq!(prompt, want);
        assert_eq!(tokens.expand("text only", &[], 2).unwrap(), "text only");
        let error = tokens.expand("<image>", &[whole, cut], 2).unwrap_err();
        let (placeholders, pictures) = (1, 2);
        assert_eq!(
            error,
            PromptError::Pictures {
                placeholders,
                pictures
            }
        );
    }
}
