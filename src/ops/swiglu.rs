//! SwiGLU: the gated activation of Llama's feed-forward layers.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::activation::logistic;
use crate::ops::native::rows;
use crate::ops::vector_width::{VectorWidth, vector_width};

static SWIGLU: VectorWidth =
    vector_width!("swiglu"; native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records SwiGLU (Shazeer 2020): `y = silu(gate) * up` with rows gate | up of `x: [.., 2f]`,
    /// `silu(g) = g * sigmoid(g)` and `y: [.., f]`.
    #[track_caller]
    pub fn swiglu(&mut self, x: Var) -> Var {
        let (rows, columns) = self.rows_cols(x);
        assert!(
            columns.is_multiple_of(2) && columns > 0,
            "swiglu: {:?}, want [.., 2f]",
            self.shape(x)
        );
        let width = columns / 2;
        let mut shape = self.shape(x).to_vec();
        if let Some(last) = shape.last_mut() {
            *last = width;
        }
        let (kernel, cols) = SWIGLU.of(width);
        let y = self.output(&shape);
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("rows", rows)
            .param("cols", cols)
            .elements(rows * cols);
        self.record(y, &[x], move |t, dy| {
            let dx = t.like(x);
            t.call(kernel, "backward")
                .bind("x", x)
                .bind("dy", dy)
                .bind("dx", dx)
                .param("rows", rows)
                .param("cols", cols)
                .elements(rows * cols);
            t.add_grad(x, dx);
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let cols = y.len() / call.size("rows");
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |row, y| {
            let (gate, up) = x[row * 2 * cols..][..2 * cols].split_at(cols);
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                *y = gate * logistic(*gate) * up;
            }
        },
    );
}

fn backward(call: &NativeCall) {
    let (x, dy) = (call.read::<f32>("x"), call.read::<f32>("dy"));
    let cols = dy.len() / call.size("rows");
    rows(
        call,
        call.write::<f32>("dx"),
        2 * cols,
        #[inline(always)]
        |row, dx| {
            let (gate, up) = x[row * 2 * cols..][..2 * cols].split_at(cols);
            let (dgate, dup) = dx.split_at_mut(cols);
            let dy = &dy[row * cols..][..cols];
            let inputs = gate.iter().zip(up).zip(dy);
            for ((dgate, dup), ((gate, up), dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
                let s = logistic(*gate);
                *dgate = dy * up * s * (1.0 + gate * (1.0 - s));
                *dup = dy * gate * s;
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::{Device, Plan};
    use crate::ops::check::{Array, Outcome, checks, close_to_scale, ensure, forward, gradients};

    checks![agrees_with_its_reference, large_gates_do_not_overflow];

    fn reference([x]: [&Array; 1]) -> Vec<f64> {
        let row = |row: &[f64]| {
            let (gate, up) = row.split_at(row.len() / 2);
            let products = gate.iter().zip(up);
            let products = products.map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up);
            products.collect::<Vec<_>>()
        };
        x.rows().flat_map(row).collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        gradients(
            device,
            &[
                [&[2]],
                [&[3, 14]],
                [&[3, 16]],
                [&[2, 5, 72]],
                [&[2, 3072]],
                [&[2, 1022]],
                [&[700, 6]],
            ],
            |t, [x]| t.swiglu(x),
            reference,
        )?;
        forward(
            device,
            &[[&[70_000, 8]], [&[2, 140_002]]],
            |t, [x]| t.swiglu(x),
            reference,
        )
    }

    fn large_gates_do_not_overflow(device: &Device) -> Outcome {
        let gates = [-1e30f32, -1e4, -90.0, 90.0, 1e4, 1e30, 0.0, f32::NAN];
        let mut t = device.tape();
        let x = t.variable(&[2 * gates.len()]);
        let y = t.swiglu(x);
        let ones = t.input(&[gates.len()]);
        t.backward(y, ones);
        let dx = t.grad(x).unwrap();
        [y, dx].into_iter().for_each(|v| t.hold(v));
        let plan = Plan::new(device, t)?;
        plan.write(x, &[gates, [2.0; 8]].concat());
        plan.write(ones, &[1f32; 8]);
        plan.run()?;
        let (y, dx): (Vec<f32>, Vec<f32>) = (plan.read(y)?, plan.read(dx)?);
        let real = gates[..7].iter();
        let (want_y, want_up): (Vec<f64>, Vec<f64>) = real
            .clone()
            .map(|gate| (2.0 * gate.max(0.0) as f64, gate.max(0.0) as f64))
            .unzip();
        let mut want_gate: Vec<f64> = real.map(|&gate| 2.0 * (gate > 0.0) as u32 as f64).collect();
        want_gate[6] = 1.0;
        // each on its own, since the tolerance follows the largest
        for place in 0..7 {
            for (got, want) in [
                (y[place], want_y[place]),
                (dx[place], want_gate[place]),
                (dx[8 + place], want_up[place]),
            ] {
                let what = format!("gate {}", gates[place]);
                close_to_scale(&what, &[got], &[want], [0], 1.0)?;
            }
        }
        ensure!(y[7].is_nan(), "a gate that is NaN gives {}", y[7]);
        Ok(())
    }

    #[test]
    #[should_panic(expected = "swiglu: [2, 3], want [.., 2f]")]
    fn rejects_an_odd_number_of_columns() {
        let mut tape = crate::ops::check::device().tape();
        let x = tape.input(&[2, 3]);
        tape.swiglu(x);
    }
}
