//! From a share of the greatest heat to a colour.

use serde::{Deserialize, Serialize};

/// Colours that grow lighter all the way, and so are readable without colour vision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorMap {
    /// Dark blue over green to yellow.
    #[default]
    Viridis,
    /// Black over red to pale yellow.
    Inferno,
    /// Black to white.
    Gray,
}

impl ColorMap {
    pub const ALL: [ColorMap; 3] = [ColorMap::Viridis, ColorMap::Inferno, ColorMap::Gray];

    pub fn name(self) -> &'static str {
        match self {
            ColorMap::Viridis => "viridis",
            ColorMap::Inferno => "inferno",
            ColorMap::Gray => "gray",
        }
    }

    /// The colour, in 0..=255, of a share from 0 (the coldest patch) to 1 (the hottest); between the quarters, whose colours are those of
    /// matplotlib's maps of these names, in straight lines.
    pub fn color(self, share: f32) -> [f32; 3] {
        let stops: [[u8; 3]; 5] = match self {
            ColorMap::Viridis => [
                [68, 1, 84],
                [59, 82, 139],
                [33, 145, 140],
                [94, 201, 98],
                [253, 231, 37],
            ],
            ColorMap::Inferno => [
                [0, 0, 4],
                [87, 16, 110],
                [188, 55, 84],
                [249, 142, 9],
                [252, 255, 164],
            ],
            ColorMap::Gray => [[0; 3], [64; 3], [128; 3], [191; 3], [255; 3]],
        };
        let at = share.clamp(0.0, 1.0) * 4.0;
        let below = (at as usize).min(3);
        let between = |a: u8, b: u8| a as f32 + (b as f32 - a as f32) * (at - below as f32);
        std::array::from_fn(|i| between(stops[below][i], stops[below + 1][i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_grows_lighter_all_the_way() {
        // luma of ITU-R BT.601
        let light = |[r, g, b]: [f32; 3]| 0.299 * r + 0.587 * g + 0.114 * b;
        for map in ColorMap::ALL {
            let lights: Vec<f32> = (0..=100)
                .map(|i| light(map.color(i as f32 / 100.0)))
                .collect();
            assert!(
                lights.windows(2).all(|pair| pair[0] < pair[1]) && lights[100] - lights[0] > 150.0,
                "{map:?}: {lights:?}"
            );
        }
        assert_eq!(ColorMap::Viridis.color(2.0), [253.0, 231.0, 37.0]);
    }
}
