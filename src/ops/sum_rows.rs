//! Sums of rows: over all leading axes, or within each matrix of a batch.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{math, rows_with_cost};
use crate::ops::vector_width::{VectorWidth, vector_width};

static SUM_ROWS: VectorWidth = vector_width!("sum_rows"; native: &[("forward", forward)]);

/// Rows that one invocation sums at most. More are summed in chunks first, which spreads the work
/// over the device and keeps loops below lavapipe's limit of 65,535 rounds.
const CHUNK: usize = 64;

impl Tape {
    /// Records `y[c] = sum over r of x[r, c]`, with `x` of any shape read as `[rows, cols]`. The
    /// order of summation is fixed.
    #[track_caller]
    pub fn sum_rows(&mut self, x: Var, cols: usize) -> Var {
        assert!(
            self.len(x).is_multiple_of(cols),
            "sum_rows: {:?} does not divide into rows of {cols}",
            self.shape(x)
        );
        let mut partial = x;
        loop {
            let rows = self.len(partial) / cols;
            let chunks = rows.div_ceil(CHUNK);
            let shape = if chunks == 1 {
                vec![cols]
            } else {
                vec![chunks, cols]
            };
            let y = self.output(&shape);
            self.sum_chunks(partial, y, [rows, cols], CHUNK);
            if chunks == 1 {
                return y;
            }
            partial = y;
        }
    }

    /// Records `y[b, 0, c] = sum over n of x[b, n, c]` for `x: [b, n, c]`, as `[b, 1, c]`. No
    /// gradient flows to `x`.
    ///
    /// # Panics
    /// If `x` has not three axes.
    #[track_caller]
    pub fn sum_each(&mut self, x: Var) -> Var {
        let &[batch, n, cols] = self.shape(x) else {
            panic!("sum_each: {:?}, want [b, n, c]", self.shape(x))
        };
        let y = self.output(&[batch, 1, cols]);
        self.sum_chunks(x, y, [batch * n, cols], n);
        y
    }

    /// Records in `y: [chunks, cols]` the sums of each `chunk` rows of `x: [rows, cols]`.
    fn sum_chunks(&mut self, x: Var, y: Var, [rows, cols]: [usize; 2], chunk: usize) {
        let (kernel, lanes) = SUM_ROWS.of(cols);
        let chunks = rows.div_ceil(chunk);
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("rows", rows)
            .param("cols", lanes)
            .param("chunk", chunk)
            .param("chunks", chunks)
            .elements(chunks * lanes);
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let cols = y.len() / call.size("chunks");
    let chunk = call.size("chunk") * cols;
    rows_with_cost(
        call,
        y,
        cols,
        chunk.min(x.len()),
        #[inline(always)]
        |index, y| {
            let x = &x[index * chunk..x.len().min((index + 1) * chunk)];
            if let [y] = y {
                *y = math::sum(
                    [x],
                    #[inline(always)]
                    |[x]| x,
                );
                return;
            }
            y.fill(0.0);
            // four rows at a time spare three of four loads and stores of the sums
            let mut fours = x.chunks_exact(4 * cols);
            for four in &mut fours {
                let ((a, b), (c, d)) = {
                    let (ab, cd) = four.split_at(2 * cols);
                    (ab.split_at(cols), cd.split_at(cols))
                };
                for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *y += (a + b) + (c + d);
                }
            }
            for row in fours.remainder().chunks_exact(cols) {
                for (y, x) in y.iter_mut().zip(row) {
                    *y += x;
                }
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Outcome, checks, forward};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [1, 4, 37] {
            for rows in [1, 63, 64, 65, 4097] {
                forward(
                    device,
                    &[[&[rows, cols]]],
                    |t, [x]| t.sum_rows(x, cols),
                    |[x]| {
                        (0..cols)
                            .map(|c| x.rows().map(|row| row[c]).sum())
                            .collect()
                    },
                )?;
            }
        }
        forward(
            device,
            &[[&[70_000, 2]]],
            |t, [x]| t.sum_rows(x, 2),
            |[x]| (0..2).map(|c| x.rows().map(|row| row[c]).sum()).collect(),
        )?;
        for (n, cols) in [(1, 1), (5, 4), (196, 37), (300, 8)] {
            forward(
                device,
                &[[&[3, n, cols]]],
                |t, [x]| t.sum_each(x),
                |[x]| {
                    let rows: Vec<&[f64]> = x.rows().collect();
                    let sums = rows.chunks(n).flat_map(|each| {
                        (0..cols).map(move |c| each.iter().map(|row| row[c]).sum::<f64>())
                    });
                    sums.collect()
                },
            )?;
        }
        Ok(())
    }
}
