//! Colours of heat.

use serde::{Deserialize, Serialize};

/// A colour scale whose lightness increases monotonically, so that it is readable without colour
/// vision.
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
    /// All colour maps, in the order of menus.
    pub const ALL: [ColorMap; 3] = [ColorMap::Viridis, ColorMap::Inferno, ColorMap::Gray];

    /// The name under which matplotlib knows it.
    pub fn name(self) -> &'static str {
        match self {
            ColorMap::Viridis => "viridis",
            ColorMap::Inferno => "inferno",
            ColorMap::Gray => "gray",
        }
    }

    /// Red, green and blue, each from 0 to 255, for a value from 0 (coldest) to 1 (hottest).
    /// Interpolates linearly between five colours of matplotlib's map of that name.
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
    fn lightness_increases_along_every_map() {
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
