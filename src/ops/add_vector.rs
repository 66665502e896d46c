//! Addition of one vector per batch element to all of its rows.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{rows, rows_with_cost};
use crate::ops::vector_width::{VectorWidth, vector_width};

static ADD_VECTOR: VectorWidth = vector_width!("add_vector";
    native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records `y[b, i] = x[b, i] + v[b]` with `x: [b, t, c]` and `v` of `b * c` elements, such as
    /// an image vector added to every position of its caption.
    #[track_caller]
    pub fn add_vector(&mut self, x: Var, v: Var) -> Var {
        let &[batch, length, width] = self.shape(x) else {
            panic!("add_vector: x {:?}, want [b, t, c]", self.shape(x))
        };
        assert!(
            self.len(v) == batch * width,
            "add_vector: {:?} to {:?}",
            self.shape(v),
            self.shape(x)
        );
        let (kernel, cols) = ADD_VECTOR.of(width);
        let y = self.like(x);
        let params = [
            ("batch", batch.into()),
            ("length", length.into()),
            ("cols", cols.into()),
        ];
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("v", v)
            .bind("y", y)
            .params(&params)
            .elements(batch * length * cols);
        self.record(y, &[x, v], move |t, dy| {
            t.add_grad(x, dy);
            if t.needs_grad(v) {
                let dv = t.like(v);
                t.call(kernel, "backward")
                    .bind("dy", dy)
                    .bind("dv", dv)
                    .params(&params)
                    .elements(batch * cols);
                t.add_grad(v, dv);
            }
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, v, y) = (
        call.read::<f32>("x"),
        call.read::<f32>("v"),
        call.write::<f32>("y"),
    );
    let (cols, length) = (v.len() / call.size("batch"), call.size("length"));
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |row, y| {
            let (x, v) = (&x[row * cols..][..cols], &v[row / length * cols..][..cols]);
            for ((y, x), v) in y.iter_mut().zip(x).zip(v) {
                *y = x + v;
            }
        },
    );
}

fn backward(call: &NativeCall) {
    let (dy, dv) = (call.read::<f32>("dy"), call.write::<f32>("dv"));
    let (cols, length) = (dv.len() / call.size("batch"), call.size("length"));
    rows_with_cost(
        call,
        dv,
        cols,
        length * cols,
        #[inline(always)]
        |batch, dv| {
            dv.fill(0.0);
            for dy in dy[batch * length * cols..][..length * cols].chunks_exact(cols) {
                for (dv, dy) in dv.iter_mut().zip(dy) {
                    *dv += dy;
                }
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference];

    fn reference([x, v]: [&Array; 2]) -> Vec<f64> {
        let (length, cols) = (x.shape[1], x.shape[2]);
        x.data
            .iter()
            .enumerate()
            .map(|(i, x)| x + v.data[i / (length * cols) * cols + i % cols])
            .collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        gradients(
            device,
            &[
                [&[1, 1, 1], &[1, 1]],
                [&[3, 5, 4], &[3, 4]],
                [&[2, 7, 33], &[2, 1, 33]],
                [&[5, 1, 192], &[5, 192]],
            ],
            |t, [x, v]| t.add_vector(x, v),
            reference,
        )?;
        forward(
            device,
            &[[&[70_000, 2, 3], &[70_000, 3]], [&[2, 70_000, 4], &[2, 4]]],
            |t, [x, v]| t.add_vector(x, v),
            reference,
        )
    }
}
