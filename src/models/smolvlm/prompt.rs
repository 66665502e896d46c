//! Places of pictures in the prompts of SmolVLM.

use crate::image::TileGrid;

/// Token whose places in a text the rows of a picture take.
pub const PLACEHOLDER: &str = "<image>";

/// Token around each tile.
const AROUND: &str = "<fake_token_around_image>";

/// Token in front of the tile of the whole picture.
const WHOLE: &str = "<global-img>";

/// Returns the tokens of a picture: those of its tiles, row by row, then of the whole picture. Each
/// tile has `rows` places.
pub fn places(grid: TileGrid, rows: usize) -> String {
    let places = PLACEHOLDER.repeat(rows);
    let mut text = String::new();
    for row in 1..=grid.rows {
        for column in 1..=grid.columns {
            text += &format!("{AROUND}<row_{row}_col_{column}>{places}");
        }
        text.push('\n');
    }
    if grid.rows > 0 {
        text.push('\n');
    }
    text + &format!("{AROUND}{WHOLE}{places}{AROUND}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_pictures_are_the_recorded_ones() {
        let text = std::fs::read("tests/golden/hf/prompts/prompts.json").unwrap();
        let recorded: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let sizes = recorded["smolvlm_sizes"].as_array().unwrap();
        let cases = recorded["smolvlm_prompts"].as_array().unwrap();
        let mut held = 0;
        for case in cases {
            let split = case["do_image_splitting"].as_bool().unwrap();
            let size = sizes.iter().find(|size| size["image_wh"] == case["image_wh"]);
            let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
            let tiles = number(&case["tiles"]);
            let grid = match size {
                _ if !split => TileGrid::default(),
                Some(size) if number(&size["tiles"]) == tiles => TileGrid {
                    rows: number(&size["rows"]),
                    columns: number(&size["cols"]),
                },
                // of another longest edge
                _ => continue,
            };
            let rows = number(&case["image_tokens"]) / tiles;
            let want = case["string"].as_str().unwrap();
            let runs = format!("{PLACEHOLDER}*{rows}");
            let got = places(grid, rows).replace(&PLACEHOLDER.repeat(rows), &runs);
            assert!(want.contains(&got), "{got} in {want}");
            held += 1;
        }
        assert!(held > 2, "{held} prompts held");
    }
}
