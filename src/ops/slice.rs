//! A range of rows of every batch element.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::rows;
use crate::ops::vector_width::{VectorWidth, vector_width};

static SLICE: VectorWidth =
    vector_width!("slice"; native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records `y[b, i] = x[b, start + i]` with `x: [b, t, c]` and `y: [b, len, c]`.
    #[track_caller]
    pub fn slice_rows(&mut self, x: Var, start: usize, len: usize) -> Var {
        let &[batch, rows, width] = self.shape(x) else {
            panic!("slice_rows: {:?}, want [b, t, c]", self.shape(x))
        };
        assert!(
            len > 0 && start + len <= rows,
            "slice_rows: rows {start}..{} of {:?}",
            start + len,
            self.shape(x)
        );
        let (kernel, cols) = SLICE.of(width);
        let y = self.output(&[batch, len, width]);
        let params = [
            ("batch", batch.into()),
            ("rows", rows.into()),
            ("cols", cols.into()),
            ("start", start.into()),
            ("length", len.into()),
        ];
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("y", y)
            .params(&params)
            .elements(batch * len * cols);
        self.record(y, &[x], move |t, dy| {
            let dx = t.like(x);
            t.call(kernel, "backward")
                .bind("dy", dy)
                .bind("dx", dx)
                .params(&params)
                .elements(batch * rows * cols);
            t.add_grad(x, dx);
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let (all, start, length) = (call.size("rows"), call.size("start"), call.size("length"));
    let cols = x.len() / (call.size("batch") * all);
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |row, y| {
            let place = row / length * all + start + row % length;
            y.copy_from_slice(&x[place * cols..][..cols]);
        },
    );
}

fn backward(call: &NativeCall) {
    let (dy, dx) = (call.read::<f32>("dy"), call.write::<f32>("dx"));
    let (all, start, length) = (call.size("rows"), call.size("start"), call.size("length"));
    let cols = dx.len() / (call.size("batch") * all);
    rows(
        call,
        dx,
        cols,
        #[inline(always)]
        |row, dx| match (row % all).checked_sub(start) {
            Some(place) if place < length => {
                let place = row / all * length + place;
                dx.copy_from_slice(&dy[place * cols..][..cols]);
            }
            _ => dx.fill(0.0),
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (start, len) in [(0, 1), (1, 1), (1, 2), (0, 3), (2, 1)] {
            let reference = |[x]: [&Array; 1]| {
                let cols = x.shape[2];
                x.data
                    .chunks(3 * cols)
                    .flat_map(|x| &x[start * cols..][..len * cols])
                    .copied()
                    .collect()
            };
            gradients(
                device,
                &[
                    [&[1, 3, 1]],
                    [&[2, 3, 4]],
                    [&[5, 3, 7]],
                    [&[2, 3, 1023]],
                    [&[2, 3, 1024]],
                    [&[2, 3, 1028]],
                ],
                |t, [x]| t.slice_rows(x, start, len),
                reference,
            )?;
            forward(
                device,
                &[[&[70_000, 3, 2]]],
                |t, [x]| t.slice_rows(x, start, len),
                reference,
            )?;
        }
        Ok(())
    }

    #[test]
    #[should_panic(expected = "slice_rows: rows 2..4 of [1, 3, 4]")]
    fn rejects_rows_past_the_last() {
        let mut tape = crate::ops::check::device().tape();
        let x = tape.input(&[1, 3, 4]);
        tape.slice_rows(x, 2, 2);
    }
}
