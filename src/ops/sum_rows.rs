//! Sum over all leading axes.

use crate::graph::{Tape, Var};
use crate::ops::vector_width::{VectorWidth, vector_width};

static SUM_ROWS: VectorWidth = vector_width!("sum_rows"; native: &[]);

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
        let (kernel, lanes) = SUM_ROWS.of(cols);
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
            self.call(kernel, "forward")
                .bind("x", partial)
                .bind("y", y)
                .param("rows", rows)
                .param("cols", lanes)
                .param("chunk", CHUNK)
                .param("chunks", chunks)
                .elements(chunks * lanes);
            if chunks == 1 {
                return y;
            }
            partial = y;
        }
    }
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
        )
    }
}
