//! Addition of one vector per batch element to all of its rows.

use crate::graph::{Tape, Var};
use crate::ops::vector_width::{VectorWidth, vector_width};

static ADD_VECTOR: VectorWidth = vector_width!("add_vector"; native: &[]);

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
