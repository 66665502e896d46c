//! Attention of one layer as a matrix, and statistics of it.

use super::AttentionMap;

/// Which of a layer's heads are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heads {
    /// The head of that index.
    One(usize),
    /// The mean over heads.
    Mean,
    /// The greatest of all heads, for each query and key.
    Max,
}

/// Attention of one layer, `[rows, rows]` in row-major order: row `i` is the attention of query `i`
/// over all keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Number of queries and of keys.
    pub rows: usize,
    /// Probabilities, row after row.
    pub values: Vec<f32>,
}

impl Matrix {
    /// Reduces the heads of a self-attention map.
    ///
    /// # Panics
    /// With a map that is not square.
    pub fn new(map: &AttentionMap, heads: Heads) -> Matrix {
        let (rows, keys) = (map.shape[2], map.shape[3]);
        assert_eq!(rows, keys, "self-attention has as many queries as keys");
        Matrix {
            rows,
            values: (0..rows).flat_map(|row| map.row(row, heads)).collect(),
        }
    }

    /// The attention of one query over all keys.
    pub fn row(&self, query: usize) -> &[f32] {
        &self.values[query * self.rows..][..self.rows]
    }

    /// Attention that each key receives, as a mean over queries.
    pub fn received(&self) -> Vec<f32> {
        let mut sums = vec![0.0; self.rows];
        for row in self.values.chunks(self.rows) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
        sums.iter().map(|sum| sum / self.rows as f32).collect()
    }

    /// Attention sinks: keys that receive more than [`SINK`] times an even share as a mean over
    /// queries, whatever these look for (Xiao et al. 2023; the outlier patches that Darcet et al.
    /// 2023 move into registers).
    pub fn sinks(&self) -> Vec<bool> {
        self.received()
            .iter()
            .map(|&share| share > SINK / self.rows as f32)
            .collect()
    }

    /// Entropy of a row in nats, as a mean over queries: 0 for attention on one key, `ln(rows)` for
    /// an even distribution.
    pub fn entropy(&self) -> f64 {
        let term = |&p: &f32| {
            if p > 0.0 {
                -(p as f64) * (p as f64).ln()
            } else {
                0.0
            }
        };
        self.values.iter().map(term).sum::<f64>() / self.rows as f64
    }

    /// Distance between a patch and the patches it attends to, in patch widths, as a mean over
    /// patches (Dosovitskiy et al. 2021, figure 7). Rows before `first` are no patches.
    pub fn distance(&self, first: usize) -> f64 {
        let patches = self.rows - first;
        let grid = (patches as f64).sqrt() as usize;
        let place = |patch: usize| ((patch % grid) as f64, (patch / grid) as f64);
        let mut sum = 0.0;
        for query in 0..patches {
            let (row, (x, y)) = (&self.row(first + query)[first..], place(query));
            let total: f64 = row
                .iter()
                .map(|&p| p as f64)
                .sum::<f64>()
                .max(f64::MIN_POSITIVE);
            let far = |(key, &p): (usize, &f32)| {
                p as f64 / total * (place(key).0 - x).hypot(place(key).1 - y)
            };
            sum += row.iter().enumerate().map(far).sum::<f64>();
        }
        sum / patches as f64
    }
}

/// How many times its even share of attention a key must receive to count as a sink.
pub const SINK: f32 = 5.0;

/// Sets sinks to 0 and scales the other values so that the sum stays the same.
pub fn without_sinks(heat: &[f32], sinks: &[bool]) -> Vec<f32> {
    let total: f32 = heat.iter().sum();
    let kept: f32 = heat
        .iter()
        .zip(sinks)
        .filter(|(_, sink)| !**sink)
        .map(|(value, _)| value)
        .sum();
    let scale = if kept > 0.0 { total / kept } else { 0.0 };
    heat.iter()
        .zip(sinks)
        .map(|(value, sink)| if *sink { 0.0 } else { value * scale })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduces_heads_one_by_one_or_together() {
        let map = AttentionMap {
            layer: "vit.blocks.0.attn".into(),
            part: crate::nn::Part::Encoder,
            shape: vec![1, 2, 2, 2],
            values: vec![1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.75, 0.25],
        };
        assert_eq!(Matrix::new(&map, Heads::One(1)).row(1), [0.75, 0.25]);
        assert_eq!(
            Matrix::new(&map, Heads::Mean).values,
            [0.5, 0.5, 0.625, 0.375]
        );
        assert_eq!(Matrix::new(&map, Heads::Max).values, [1.0, 1.0, 0.75, 0.5]);
    }

    #[test]
    fn measures_entropy_distance_and_sinks() {
        let even = Matrix {
            rows: 4,
            values: vec![0.25; 16],
        };
        assert!((even.entropy() - 4f64.ln()).abs() < 1e-6);
        // from each corner of a 2 x 2 grid: itself, two neighbours at 1, one at the root of 2
        assert!((even.distance(0) - (2.0 + 2f64.sqrt()) / 4.0).abs() < 1e-6);
        let own = Matrix {
            rows: 4,
            values: (0..16).map(|i| (i % 5 == 0) as u8 as f32).collect(),
        };
        assert_eq!((own.entropy(), own.distance(0)), (0.0, 0.0));
        assert_eq!(even.sinks(), [false; 4]);
        let sunk = Matrix {
            rows: 9,
            values: (0..81)
                .map(|i| if i % 9 == 4 { 0.6 } else { 0.05 })
                .collect(),
        };
        assert_eq!(sunk.sinks().iter().position(|&sink| sink), Some(4));
        assert_eq!(
            without_sinks(&[0.2, 0.6, 0.2], &[false, true, false]),
            [0.5, 0.0, 0.5]
        );
    }
}
