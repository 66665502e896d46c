//! An op defined outside of seemore: squared ReLU (So et al. 2021, "Primer").
//!
//! An op is a kernel in `shaders/`, Rust bodies of its entry points for devices that are CPUs, a
//! method that records it on a [`Tape`] with its gradient, and a check against an f64 reference.
//! Nothing of it is registered anywhere: bindings and parameters are read from the WGSL.

use seemore::graph::{Kernel, NativeCall, Tape, Var};
use seemore::kernel;
use seemore::ops::native::elements;
use seemore::ops::shared;

static SQUARED_RELU: Kernel = kernel!("squared_relu", shared::ACTIVATION)
    .native(&[("forward", forward), ("backward", backward)]);

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

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    elements(
        call,
        y,
        // what is inlined is compiled for the processor's widest vectors
        #[inline(always)]
        |start, y| {
            for (y, x) in y.iter_mut().zip(&x[start..]) {
                let positive = relu(*x);
                *y = positive * positive;
            }
        },
    );
}

fn backward(call: &NativeCall) {
    let (x, dy) = (call.read::<f32>("x"), call.read::<f32>("dy"));
    let dx = call.write::<f32>("dx");
    elements(
        call,
        dx,
        #[inline(always)]
        |start, dx| {
            for ((dx, x), dy) in dx.iter_mut().zip(&x[start..]).zip(&dy[start..]) {
                *dx = 2.0 * dy * relu(*x);
            }
        },
    );
}

/// NaN stays NaN, as in the WGSL.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[cfg(test)]
mod tests {
    use seemore::device::Device;
    use seemore::ops::check::{Outcome, gradients};

    use super::*;

    #[test]
    fn squared_relu_agrees_with_its_reference() -> Outcome {
        // the Rust bodies, and the WGSL on the first graphics adapter
        for device in ["cpu", "0"] {
            gradients(
                &Device::open(Some(device))?,
                // one element, around a workgroup's 1024, and more than one axis
                &[[&[1]], [&[1023]], [&[1024]], [&[1025]], [&[3, 37]]],
                |t, [x]| t.squared_relu(x),
                |[x]| x.map(|x| x.max(0.0).powi(2)),
            )?;
        }
        Ok(())
    }
}
