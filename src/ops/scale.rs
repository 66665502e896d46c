//! Multiplication by a constant.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::elements;

static SCALE: Kernel = kernel!("scale").native(&[("forward", forward)]);

impl Tape {
    /// Records `y = factor * x`, elementwise, for `x` of any shape.
    #[track_caller]
    pub fn scale(&mut self, x: Var, factor: f32) -> Var {
        let y = self.detach(x, factor);
        self.record(y, &[x], move |t, dy| {
            let dx = t.scale(dy, factor);
            t.add_grad(x, dx);
        });
        y
    }

    /// Records `y = factor * x` through which no gradient flows to `x`.
    #[track_caller]
    pub fn detach(&mut self, x: Var, factor: f32) -> Var {
        let (n, y) = (self.len(x), self.like(x));
        self.call(&SCALE, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("n", n)
            .param("factor", factor)
            .elements(n.div_ceil(4));
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, factor) = (call.read::<f32>("x"), call.float("factor"));
    elements(
        call,
        call.write::<f32>("y"),
        #[inline(always)]
        |start, y| {
            for (y, x) in y.iter_mut().zip(&x[start..]) {
                *y = factor * x;
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::graph::{Tape, Var};
    use crate::ops::check::{Outcome, checks, ensure, forward, gradients};

    checks![no_gradient_flows_through_detach, agrees_with_its_reference];

    fn no_gradient_flows_through_detach(device: &Device) -> Outcome {
        let op = |t: &mut Tape, [x]: [Var; 1]| {
            let still = t.detach(x, 2.0);
            t.add(x, still)
        };
        forward(device, &[[&[5, 7]]], op, |[x]| x.map(|x| 3.0 * x))?;
        let mut tape = device.tape();
        let x = tape.variable(&[5, 7]);
        let still = tape.detach(x, 2.0);
        ensure!(!tape.needs_grad(still), "a detached value wants a gradient");
        Ok(())
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        let shapes: [[&[usize]; 1]; 5] = [[&[1]], [&[1023]], [&[1024]], [&[1025]], [&[3, 37]]];
        gradients(
            device,
            &shapes,
            |t, [x]| t.scale(x, -0.25),
            |[x]| x.map(|x| -0.25 * x),
        )?;
        forward(
            device,
            &[[&[70_000, 5]]],
            |t, [x]| t.scale(x, 3.0),
            |[x]| x.map(|x| 3.0 * x),
        )
    }
}
