//! An op defined outside of seemore: squared ReLU (So et al. 2021, "Primer").
//!
//! An op is a kernel in `shaders/`, a method that records it on a [`Tape`] with its gradient, and a
//! check against an f64 reference. Nothing of it is registered anywhere: bindings and parameters
//! are read from the WGSL.

use seemore::graph::{Kernel, Tape, Var};
use seemore::kernel;
use seemore::ops::shared;

static SQUARED_RELU: Kernel = kernel!("squared_relu", shared::ACTIVATION);

/// Adds squared ReLU to [`Tape`].
pub trait SquaredRelu {
    /// Records `y = max(x, 0)^2`, elementwise, for `x` of any shape.
    fn squared_relu(&mut self, x: Var) -> Var;
}

impl SquaredRelu for Tape {
    fn squared_relu(&mut self, x: Var) -> Var {
        let (n, y) = (self.len(x), self.like(x));
        self.call(&SQUARED_RELU, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("n", n)
            // an invocation computes four elements
            .elements(n.div_ceil(4));
        // called by `backward` only if a gradient with respect to x is wanted
        self.record(y, &[x], move |t, dy| {
            let dx = t.like(x);
            t.call(&SQUARED_RELU, "backward")
                .bind("x", x)
                .bind("dy", dy)
                .bind("dx", dx)
                .param("n", n)
                .elements(n.div_ceil(4));
            t.add_grad(x, dx);
        });
        y
    }
}

#[cfg(test)]
mod tests {
    use seemore::device::Device;
    use seemore::ops::check::{Outcome, gradients};

    use super::*;

    #[test]
    fn squared_relu_agrees_with_its_reference() -> Outcome {
        let device = Device::open(None)?;
        gradients(
            &device,
            // one element, around a workgroup's 1024, and more than one axis
            &[[&[1]], [&[1023]], [&[1024]], [&[1025]], [&[3, 37]]],
            |t, [x]| t.squared_relu(x),
            |[x]| x.map(|x| x.max(0.0).powi(2)),
        )
    }
}
