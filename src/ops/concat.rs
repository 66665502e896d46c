//! Concatenation of rows, such as image tokens before text.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::rows;
use crate::ops::vector_width::{VectorWidth, vector_width};

static CONCAT: VectorWidth = vector_width!("concat"; native: &[("forward", forward)]);

impl Tape {
    /// Records the concatenation `[b, ta + tb, c]` of the rows of `a: [b, ta, c]` and `b: [b, tb,
    /// c]`. An `a` of batch 1 is repeated over the batch.
    #[track_caller]
    pub fn concat_rows(&mut self, a: Var, b: Var) -> Var {
        let (&[batch_a, rows_a, width], &[batch, rows_b, width_b]) = (self.shape(a), self.shape(b))
        else {
            panic!(
                "concat_rows: {:?} and {:?}, want [b, ta, c] and [b, tb, c]",
                self.shape(a),
                self.shape(b)
            )
        };
        assert!(
            width == width_b && (batch_a == batch || batch_a == 1),
            "concat_rows: {:?} cannot be concatenated with {:?}",
            self.shape(a),
            self.shape(b)
        );
        let (kernel, cols) = CONCAT.of(width);
        let y = self.output(&[batch, rows_a + rows_b, width]);
        self.call(kernel, "forward")
            .bind("a", a)
            .bind("c", b)
            .bind("y", y)
            .param("batch", batch)
            .param("batch_a", batch_a)
            .param("rows_a", rows_a)
            .param("rows_c", rows_b)
            .param("cols", cols)
            .elements(batch * (rows_a + rows_b) * cols);
        self.record(y, &[a, b], move |t, dy| {
            if t.needs_grad(a) {
                let mut da = t.slice_rows(dy, 0, rows_a);
                if batch_a < batch {
                    da = t.sum_rows(da, rows_a * width);
                    da = t.view(da, &[1, rows_a, width]);
                }
                t.add_grad(a, da);
            }
            if t.needs_grad(b) {
                let db = t.slice_rows(dy, rows_a, rows_b);
                t.add_grad(b, db);
            }
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (a, c, y) = (
        call.read::<f32>("a"),
        call.read::<f32>("c"),
        call.write::<f32>("y"),
    );
    let [batch, batch_a, rows_a, rows_c] =
        ["batch", "batch_a", "rows_a", "rows_c"].map(|name| call.size(name));
    let cols = y.len() / (batch * (rows_a + rows_c));
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |at, y| {
            let (b, row) = (at / (rows_a + rows_c), at % (rows_a + rows_c));
            let (from, row) = if row < rows_a {
                (a, b % batch_a * rows_a + row)
            } else {
                (c, b * rows_c + row - rows_a)
            };
            y.copy_from_slice(&from[row * cols..][..cols]);
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference];

    fn reference([a, b]: [&Array; 2]) -> Vec<f64> {
        let (size_a, size_b) = (a.shape[1] * a.shape[2], b.shape[1] * b.shape[2]);
        let one = |(a, b): (&[f64], &[f64])| [a, b].concat();
        a.data
            .chunks(size_a)
            .cycle()
            .zip(b.data.chunks(size_b))
            .flat_map(one)
            .collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        gradients(
            device,
            &[
                [&[1, 1, 1], &[1, 1, 1]],
                [&[1, 1, 8], &[3, 4, 8]],
                [&[3, 2, 8], &[3, 4, 8]],
                [&[1, 3, 5], &[70, 2, 5]],
                [&[2, 16, 7], &[2, 21, 7]],
                [&[2, 511, 4], &[2, 1, 4]],
            ],
            |t, [a, b]| t.concat_rows(a, b),
            reference,
        )?;
        forward(
            device,
            &[[&[1, 1, 2], &[35_000, 1, 2]], [&[1, 69_999, 4], &[1, 1, 4]]],
            |t, [a, b]| t.concat_rows(a, b),
            reference,
        )
    }
}
