//! Places of encoded rows on a picture.

use crate::image::TiledPicture;

/// Places on a picture of the rows that an image encoder makes of its tiles.
///
/// Each tile gives a square of rows, row by row, and may give more behind them for the tile as a
/// whole, which lie nowhere unless it is [known](Self::with_whole) which parts of the tile they speak
/// of. The tile of the whole picture lies over all others.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLayout {
    /// Number of rows along a side of a tile.
    side: usize,
    /// Number of rows of a tile.
    each: usize,
    /// Number of cells along a side of the map.
    cells: usize,
    /// Left, top, width and height of each tile, in cells.
    tiles: Vec<[f64; 4]>,
    /// Share of each part of each tile in its rows for the whole, row by row; none where they lie
    /// nowhere.
    whole: Vec<Vec<f32>>,
}

impl RowLayout {
    /// Returns the places of the rows of a picture's tiles, `side` along each side of a tile, and
    /// `whole` more for the tile as a whole.
    pub fn new(picture: &TiledPicture, side: usize, whole: usize) -> RowLayout {
        let areas = || picture.tiles.iter().map(|tile| tile.area);
        let width = areas().fold(0f32, |most, area| most.max(area.left + area.width));
        let height = areas().fold(0f32, |most, area| most.max(area.top + area.height));
        let along = picture.grid.rows.max(picture.grid.columns).max(1);
        let cells = side * along;
        let scaled = |value: f32, whole: f32| value as f64 / whole as f64 * cells as f64;
        RowLayout {
            side,
            each: side * side + whole,
            cells,
            tiles: areas()
                .map(|area| {
                    [
                        scaled(area.left, width),
                        scaled(area.top, height),
                        scaled(area.width, width),
                        scaled(area.height, height),
                    ]
                })
                .collect(),
            whole: vec![],
        }
    }

    /// Spreads rows for a tile as a whole over the tile: `shares` are those of each tile's parts,
    /// row by row in a square of any number of parts, and sum to 1. Without shares they lie nowhere.
    /// Parts that are smaller than cells make the cells as small.
    ///
    /// # Panics
    /// With another number of tiles, or parts that are no square.
    #[must_use]
    pub fn with_whole(self, shares: Vec<Vec<f32>>) -> RowLayout {
        let Some(parts) = shares.first().map(|shares| shares.len().isqrt()) else {
            return self;
        };
        assert_eq!(shares.len(), self.tiles.len(), "the shares of each tile");
        let square = |shares: &Vec<f32>| shares.len() == parts * parts;
        assert!(shares.iter().all(square), "shares of a square of parts");
        let along = self.cells / self.side.max(1);
        let cells = self.cells.max(parts * along);
        let scale = cells as f64 / self.cells as f64;
        RowLayout {
            cells,
            tiles: self
                .tiles
                .iter()
                .map(|tile| tile.map(|edge| scale * edge))
                .collect(),
            whole: shares,
            ..self
        }
    }

    /// Number of rows of all tiles.
    pub fn rows(&self) -> usize {
        self.tiles.len() * self.each
    }

    /// Number of cells along a side of the map that [`spread`](Self::spread) returns: rows of a tile,
    /// or parts of it if they are more, times tiles along the longer side of the grid.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Spreads the share of each row over the part of the picture that it stands for. Returns a
    /// square map over the picture stretched to a square, row by row, whose values have the same sum
    /// as the shares of rows that lie somewhere.
    ///
    /// # Panics
    /// With another number of shares than rows.
    pub fn spread(&self, shares: &[f32]) -> Vec<f32> {
        assert_eq!(shares.len(), self.rows(), "one share for each row");
        let mut map = vec![0f64; self.cells * self.cells];
        for (tile, shares) in shares.chunks(self.each.max(1)).enumerate() {
            let (rows, whole) = shares.split_at(self.side.pow(2).min(shares.len()));
            for (row, &share) in rows.iter().enumerate() {
                self.add(&mut map, tile, (row, self.side), share as f64);
            }
            let whole: f64 = whole.iter().map(|&share| share as f64).sum();
            let parts = self.whole.get(tile).map_or(&[][..], Vec::as_slice);
            for (part, &share) in parts.iter().enumerate() {
                let part = (part, parts.len().isqrt());
                self.add(&mut map, tile, part, whole * share as f64);
            }
        }
        map.into_iter().map(|value| value as f32).collect()
    }

    /// Adds the share of a part of a tile, one of `side` along each side, to the cells that it covers.
    fn add(&self, map: &mut [f64], tile: usize, (part, side): (usize, usize), share: f64) {
        let [left, top, width, height] = self.tiles[tile];
        let columns = self.covered(left, width, (part % side, side));
        for (y, high) in self.covered(top, height, (part / side, side)) {
            for &(x, wide) in &columns {
                map[y * self.cells + x] += share * high * wide;
            }
        }
    }

    /// Cells along one axis that one of `side` parts of a tile covers, each with its share of the
    /// part. The shares sum to 1. `start` and `length` are those of the tile.
    fn covered(&self, start: f64, length: f64, (part, side): (usize, usize)) -> Vec<(usize, f64)> {
        let edge = |part: usize| start + part as f64 * length / side as f64;
        // areas are 32-bit: an edge may lie a little beside that of its cell
        let aligned = |edge: f64| match (edge - edge.round()).abs() < 1e-4 {
            true => edge.round(),
            false => edge,
        };
        let (from, to) = (aligned(edge(part)), aligned(edge(part + 1)));
        let first = (from as usize).min(self.cells - 1);
        let last = (to.ceil() as usize).clamp(first + 1, self.cells);
        let covered = |cell: usize| to.min((cell + 1) as f64) - from.max(cell as f64);
        (first..last)
            .map(|cell| (cell, covered(cell) / (to - from)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Area, PictureTile, TileGrid};

    fn tile(left: f32, top: f32, width: f32, height: f32) -> PictureTile {
        PictureTile {
            input: vec![],
            picture: None,
            area: Area {
                left,
                top,
                width,
                height,
            },
        }
    }

    /// A picture cut into a grid, with the whole picture as the last tile.
    fn cut(rows: usize, columns: usize, width: f32, height: f32) -> TiledPicture {
        let (wide, high) = (width / columns as f32, height / rows as f32);
        let part = |index: usize| {
            let (row, column) = ((index / columns) as f32, (index % columns) as f32);
            tile(column * wide, row * high, wide, high)
        };
        let whole = tile(0.0, 0.0, width, height);
        TiledPicture {
            tiles: (0..rows * columns).map(part).chain([whole]).collect(),
            grid: TileGrid { rows, columns },
            side: 8,
        }
    }

    /// Shares of which one row has all.
    fn one(layout: &RowLayout, row: usize) -> Vec<f32> {
        (0..layout.rows())
            .map(|i| (i == row) as u8 as f32)
            .collect()
    }

    /// Cells that are not 0, as row, column and value.
    fn hot(layout: &RowLayout, map: &[f32]) -> Vec<(usize, usize, f32)> {
        let cells = map.iter().enumerate().filter(|(_, value)| **value > 0.0);
        cells
            .map(|(i, &value)| (i / layout.cells(), i % layout.cells(), value))
            .collect()
    }

    #[test]
    fn rows_of_a_whole_picture_are_its_cells() {
        let picture = TiledPicture {
            tiles: vec![tile(0.0, 0.0, 121.0, 51.0)],
            grid: TileGrid::default(),
            side: 8,
        };
        let layout = RowLayout::new(&picture, 3, 0);
        let shares: Vec<f32> = (0..9).map(|i| i as f32 / 50.0).collect();
        assert_eq!((layout.cells(), layout.rows()), (3, 9));
        assert_eq!(layout.spread(&shares), shares);
    }

    #[test]
    fn rows_lie_where_their_tile_is() {
        // 1 row and 2 columns of tiles with 2 x 2 rows each: 4 x 4 cells
        let layout = RowLayout::new(&cut(1, 2, 121.0, 51.0), 2, 0);
        assert_eq!((layout.cells(), layout.rows()), (4, 12));
        // the first row of the second tile: the third column, the upper half
        let map = layout.spread(&one(&layout, 4));
        assert_eq!(hot(&layout, &map), [(0, 2, 0.5), (1, 2, 0.5)]);
        // the last row of the first tile
        let map = layout.spread(&one(&layout, 3));
        assert_eq!(hot(&layout, &map), [(2, 1, 0.5), (3, 1, 0.5)]);
        // the last row of the whole picture: its lower right quarter
        let map = layout.spread(&one(&layout, 11));
        let quarter = [(2, 2), (2, 3), (3, 2), (3, 3)].map(|(y, x)| (y, x, 0.25));
        assert_eq!(hot(&layout, &map), quarter);
    }

    #[test]
    fn rows_of_whole_tiles_lie_nowhere() {
        let picture = cut(1, 2, 121.0, 51.0);
        let patches = RowLayout::new(&picture, 2, 0);
        let layout = RowLayout::new(&picture, 2, 2);
        assert_eq!((layout.cells(), layout.rows()), (4, 18));
        for (row, of_patches) in [(0, Some(0)), (4, None), (5, None), (6, Some(4)), (17, None)] {
            let map = layout.spread(&one(&layout, row));
            let want = match of_patches {
                Some(row) => patches.spread(&one(&patches, row)),
                None => vec![0.0; 16],
            };
            assert_eq!(map, want, "row {row}");
        }
    }

    #[test]
    fn rows_of_whole_tiles_lie_where_their_shares_are() {
        let picture = TiledPicture {
            tiles: vec![tile(0.0, 0.0, 121.0, 51.0)],
            grid: TileGrid::default(),
            side: 8,
        };
        // 2 x 2 rows and two more, whose parts are 4 x 4
        let mut shares = vec![0.0; 16];
        (shares[1], shares[15]) = (0.25, 0.75);
        let layout = RowLayout::new(&picture, 2, 2).with_whole(vec![shares]);
        assert_eq!((layout.cells(), layout.rows()), (4, 6));
        let map = layout.spread(&[0.0, 0.0, 0.0, 0.0, 0.25, 0.5]);
        assert_eq!(hot(&layout, &map), [(0, 1, 0.1875), (3, 3, 0.5625)]);
        // the others cover four cells each
        let map = layout.spread(&one(&layout, 2));
        let lower_left = [(2, 0), (2, 1), (3, 0), (3, 1)].map(|(y, x)| (y, x, 0.25));
        assert_eq!(hot(&layout, &map), lower_left);
        let unknown = RowLayout::new(&picture, 2, 2);
        assert_eq!(unknown.clone().with_whole(vec![]), unknown);
    }

    #[test]
    fn rows_that_cut_cells_are_shared_by_area() {
        // 3 rows and 4 columns of tiles of one row each: a tile is 4/3 cells high
        let layout = RowLayout::new(&cut(3, 4, 2048.0, 1536.0), 1, 0);
        assert_eq!(layout.cells(), 4);
        let map = layout.spread(&one(&layout, 5));
        let found = hot(&layout, &map);
        // from 4/3 to 8/3
        assert_eq!(
            found
                .iter()
                .map(|cell| (cell.0, cell.1))
                .collect::<Vec<_>>(),
            [(1, 1), (2, 1)]
        );
        assert!(
            found.iter().all(|cell| (cell.2 - 0.5).abs() < 1e-6),
            "{found:?}"
        );
    }

    #[test]
    fn the_sum_of_the_shares_stays() {
        for (rows, columns, side) in [(1, 1, 4), (1, 4, 3), (4, 3, 8), (3, 4, 8), (5, 2, 7)] {
            let layout = RowLayout::new(&cut(rows, columns, 997.0, 601.0), side, 0);
            let shares: Vec<f32> = (0..layout.rows()).map(|i| (i % 7) as f32 * 1e-4).collect();
            let map = layout.spread(&shares);
            let sum = |values: &[f32]| values.iter().map(|&value| value as f64).sum::<f64>();
            assert!(
                (sum(&map) - sum(&shares)).abs() < 1e-6,
                "{rows} x {columns}: {} is not {}",
                sum(&map),
                sum(&shares)
            );
            assert!(map.iter().all(|value| *value >= 0.0));
        }
    }
}
