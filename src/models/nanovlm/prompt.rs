//! Places of pictures in the prompts of nanoVLM.

use crate::image::TileGrid;

/// Token whose places in a text the rows of a picture take; the first release has none.
pub const PLACEHOLDER: &str = "<|image|>";

/// Token in front of the tile of the whole picture, in releases with tiles.
pub const WHOLE: &str = "<|global_image|>";

/// Returns the tokens of pictures: of each first the whole picture, then its tiles row by row. Each
/// tile has `rows` places. Releases without tiles have places alone.
pub fn places(grids: &[TileGrid], rows: usize, tiles: bool) -> String {
    let places = PLACEHOLDER.repeat(rows);
    let mut text = String::new();
    for (index, grid) in grids.iter().enumerate() {
        if grids.len() > 1 {
            text += &format!("<image: {index}>");
        }
        if tiles {
            text += WHOLE;
        }
        text += &places;
        // a picture of one tile has no tile beside the whole
        let rows = if grid.count() > 1 { grid.rows } else { 0 };
        for row in 1..=rows {
            for column in 1..=grid.columns {
                text += &format!("<row_{row}_col_{column}>{places}");
            }
        }
    }
    text
}

/// Returns the text of a question in the first release, which was trained on no chat.
pub fn question(text: &str) -> String {
    format!("Question: {text} Answer:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_pictures_are_the_recorded_ones() {
        let text = std::fs::read("tests/golden/hf/prompts/prompts.json").unwrap();
        let recorded: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let cases = recorded["nanovlm_image_strings"].as_array().unwrap();
        assert!(cases.len() > 2);
        for case in cases {
            let grid = |grid: &serde_json::Value| {
                let [rows, columns] = [0, 1].map(|axis| grid[axis].as_u64().unwrap() as usize);
                TileGrid { rows, columns }
            };
            let grids = case["grids_rows_cols"].as_array().unwrap();
            let grids: Vec<TileGrid> = grids.iter().map(grid).collect();
            let runs = format!("{PLACEHOLDER}*64");
            let got = places(&grids, 64, true).replace(&PLACEHOLDER.repeat(64), &runs);
            assert_eq!(got, case["string"].as_str().unwrap());
        }
        assert_eq!(places(&[TileGrid::default()], 2, false), PLACEHOLDER.repeat(2));
    }
}
