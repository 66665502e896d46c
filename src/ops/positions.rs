//! Position embeddings, from a start that changes with every step of generation.

use crate::graph::{Tape, Var};
use crate::ops::vector_width::{VectorWidth, vector_width};

static POSITIONS: VectorWidth = vector_width!("positions");

impl Tape {
    /// `y[b, i] = x[b, i] + table[start + i]` with `x: [b, t, c]`, `table: [max, c]` and `start: [1]` of `u32`, written by
    /// the host. `start + t` must not pass `max`: positions past the table take its last row, without a gradient.
    #[track_caller]
    pub fn positions(&mut self, x: Var, table: Var, start: Var) -> Var {
        let (shape, &[rows, table_width]) = (self.shape(x), self.shape(table)) else {
            panic!("positions: table {:?}, want [max, c]", self.shape(table))
        };
        let &[batch, length, width] = shape else {
            panic!("positions: x {shape:?}, want [b, t, c]")
        };
        assert!(
            width == table_width && length <= rows && self.len(start) == 1,
            "positions: x {shape:?} with table {:?} and start {:?}",
            self.shape(table),
            self.shape(start)
        );
        let (kernel, cols) = POSITIONS.of(width);
        let y = self.like(x);
        let params = [
            ("batch", batch.into()),
            ("length", length.into()),
            ("rows", rows.into()),
            ("cols", cols.into()),
        ];
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("table", table)
            .bind("start", start)
            .bind("y", y)
            .params(&params)
            .elements(batch * length * cols);
        self.record(y, &[x, table], move |t, dy| {
            t.add_grad(x, dy);
            if t.needs_grad(table) {
                let dtable = t.like(table);
                t.call(kernel, "backward")
                    .bind("dy", dy)
                    .bind("start", start)
                    .bind("dtable", dtable)
                    .params(&params)
                    .elements(rows * cols);
                t.add_grad(table, dtable);
            }
        });
        y
    }
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for start in [0, 1, 5] {
            let reference = |[x, table]: [&Array; 2]| {
                let (length, cols) = (x.shape[1], x.shape[2]);
                let place = |i: usize| (start as usize + i / cols % length) * cols + i % cols;
                x.data
                    .iter()
                    .enumerate()
                    .map(|(i, x)| x + table.data[place(i)])
                    .collect()
            };
            gradients(
                device,
                &[
                    [&[1, 1, 1], &[6, 1]],
                    [&[3, 2, 4], &[9, 4]],
                    [&[2, 31, 33], &[36, 33]],
                    [&[5, 16, 64], &[21, 64]],
                    [&[2, 511, 2], &[516, 2]],
                ],
                |t, [x, table]| {
                    let start = t.constant(&[start]);
                    t.positions(x, table, start)
                },
                reference,
            )?;
            forward(
                device,
                &[[&[70_000, 1, 4], &[6, 4]], [&[1, 70_000, 1], &[70_005, 1]]],
                |t, [x, table]| {
                    let start = t.constant(&[start]);
                    t.positions(x, table, start)
                },
                reference,
            )?;
        }
        Ok(())
    }
}
