//! Product with a constant.

use crate::graph::Kernel;
use crate::graph::{Tape, Var};
use crate::kernel;

static SCALE: Kernel = kernel!("scale");

impl Tape {
    /// `y = factor * x`
    #[track_caller]
    pub fn scale(&mut self, x: Var, factor: f32) -> Var {
        let y = self.detach(x, factor);
        self.record(y, &[x], move |t, dy| {
            let dx = t.scale(dy, factor);
            t.add_grad(x, dx);
        });
        y
    }

    /// `y = factor * x` as a number of its own: no gradient flows back to `x`.
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

pub(super) mod tests {
    use crate::graph::{Tape, Var};
    use crate::ops::check::{Check, check, forward};

    /// What `seemore doctor` does on the adapter at hand.
    pub const CHECKS: &[Check] = &[
        (
            "nothing_flows_back_through_what_is_detached",
            nothing_flows_back_through_what_is_detached,
        ),
        ("agrees_with_its_reference", agrees_with_its_reference),
    ];

    #[cfg_attr(test, test)]
    fn nothing_flows_back_through_what_is_detached() {
        let op = |t: &mut Tape, [x]: [Var; 1]| {
            let still = t.detach(x, 2.0);
            assert!(!t.needs_grad(still));
            t.add(x, still)
        };
        forward(&[[&[5, 7]]], op, |[x]| x.map(|x| 3.0 * x));
    }

    #[cfg_attr(test, test)]
    fn agrees_with_its_reference() {
        let shapes: [[&[usize]; 1]; 5] = [[&[1]], [&[1023]], [&[1024]], [&[1025]], [&[3, 37]]];
        check(
            &shapes,
            |t, [x]| t.scale(x, -0.25),
            |[x]| x.map(|x| -0.25 * x),
        );
        forward(
            &[[&[70_000, 5]]],
            |t, [x]| t.scale(x, 3.0),
            |[x]| x.map(|x| 3.0 * x),
        );
    }
}
