//! Activation functions: ReLU, and GELU in its exact, tanh and logistic forms.

use crate::graph::{Kernel, NativeCall};
use crate::graph::{Tape, Var};
use crate::kernel;
use crate::ops::native::activation::{activate_slice, differentiate_slice};
use crate::ops::native::elements;
use crate::ops::shared;

static ACTIVATION: Kernel = kernel!("activation", shared::ACTIVATION)
    .native(&[("forward", forward), ("backward", backward)]);

/// An elementwise activation function. Its number is the override constant `ACTIVATION` of the
/// kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Identity.
    #[default]
    None = 0,
    /// `max(x, 0)`.
    Relu = 1,
    /// `x * Phi(x)` with the normal distribution function `Phi` (Hendrycks & Gimpel 2016);
    /// PyTorch's default GELU.
    Gelu = 2,
    /// GELU's tanh approximation, as in GPT-2 and SigLIP; PyTorch's `approximate="tanh"`.
    GeluTanh = 3,
    /// `x * sigmoid(1.702 x)`: GELU's logistic approximation (Hendrycks & Gimpel 2016), as in CLIP.
    QuickGelu = 4,
}

impl Activation {
    /// Returns the activation that a dispatch sets as its constant `ACTIVATION`.
    pub(crate) fn of(call: &NativeCall) -> Activation {
        use Activation::{Gelu, GeluTanh, None, QuickGelu, Relu};
        let number = call.constant("ACTIVATION");
        [None, Relu, Gelu, GeluTanh, QuickGelu]
            .into_iter()
            .find(|&activation| activation as u32 as f64 == number)
            .unwrap_or_else(|| panic!("no activation has the number {number}"))
    }
}

impl Tape {
    /// Records `y = activation(x)`, elementwise, for `x` of any shape. Returns `x` itself for
    /// [`Activation::None`].
    #[track_caller]
    pub fn activation(&mut self, x: Var, activation: Activation) -> Var {
        if activation == Activation::None {
            return x;
        }
        let (n, y) = (self.len(x), self.like(x));
        self.call(&ACTIVATION, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("n", n)
            .constant("ACTIVATION", activation as u32)
            .elements(n.div_ceil(4));
        self.record(y, &[x], move |t, dy| {
            let dx = t.activation_backward(x, dy, activation);
            t.add_grad(x, dx);
        });
        y
    }

    /// Records `dx = dy * activation'(x)`.
    pub(crate) fn activation_backward(&mut self, x: Var, dy: Var, activation: Activation) -> Var {
        let (n, dx) = (self.len(x), self.like(x));
        self.call(&ACTIVATION, "backward")
            .bind("x", x)
            .bind("dy", dy)
            .bind("dx", dx)
            .param("n", n)
            .constant("ACTIVATION", activation as u32)
            .elements(n.div_ceil(4));
        dx
    }

    /// Records `y = max(x, 0)`.
    #[track_caller]
    pub fn relu(&mut self, x: Var) -> Var {
        self.activation(x, Activation::Relu)
    }

    /// Records `y = x * Phi(x)` with the normal distribution function `Phi`: exact GELU.
    #[track_caller]
    pub fn gelu(&mut self, x: Var) -> Var {
        self.activation(x, Activation::Gelu)
    }

    /// Records `y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`: GELU's tanh
    /// approximation.
    #[track_caller]
    pub fn gelu_tanh(&mut self, x: Var) -> Var {
        self.activation(x, Activation::GeluTanh)
    }

    /// Records `y = x * sigmoid(1.702 x)`: GELU's logistic approximation.
    #[track_caller]
    pub fn quick_gelu(&mut self, x: Var) -> Var {
        self.activation(x, Activation::QuickGelu)
    }
}

fn forward(call: &NativeCall) {
    let activation = Activation::of(call);
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    elements(
        call,
        y,
        #[inline(always)]
        |start, y| activate_slice(activation, &x[start..][..y.len()], y),
    );
}

fn backward(call: &NativeCall) {
    let activation = Activation::of(call);
    let (x, dy) = (call.read::<f32>("x"), call.read::<f32>("dy"));
    let dx = call.write::<f32>("dx");
    elements(
        call,
        dx,
        #[inline(always)]
        |start, dx| {
            let (x, dy) = (&x[start..][..dx.len()], &dy[start..][..dx.len()]);
            differentiate_slice(activation, x, dy, dx);
        },
    );
}

pub(super) mod checks {
    use std::f64::consts::PI;

    use super::*;
    use crate::device::{Device, Plan};
    use crate::ops::check::{Failure, Outcome, checks, ensure, forward, gradients};

    checks![
        agrees_with_its_reference,
        gelu_is_accurate_in_its_tails,
        large_values_do_not_overflow_and_nan_stays_nan
    ];

    /// Exact GELU in f64.
    pub(crate) fn gelu(x: f64) -> f64 {
        x * 0.5 * libm::erfc(-x / 2f64.sqrt())
    }

    /// GELU's tanh approximation in f64.
    pub(crate) fn gelu_tanh(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
    }

    /// GELU's logistic approximation in f64.
    pub(crate) fn quick_gelu(x: f64) -> f64 {
        x / (1.0 + (-1.702 * x).exp())
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        let shapes: [[&[usize]; 1]; 5] = [[&[1]], [&[1023]], [&[1024]], [&[1025]], [&[3, 37]]];
        gradients(
            device,
            &shapes,
            |t, [x]| t.relu(x),
            |[x]| x.map(|x| x.max(0.0)),
        )?;
        gradients(device, &shapes, |t, [x]| t.gelu(x), |[x]| x.map(gelu))?;
        gradients(
            device,
            &shapes,
            |t, [x]| t.gelu_tanh(x),
            |[x]| x.map(gelu_tanh),
        )?;
        gradients(
            device,
            &shapes,
            |t, [x]| t.quick_gelu(x),
            |[x]| x.map(quick_gelu),
        )?;
        forward(
            device,
            &[[&[70_000, 3]]],
            |t, [x]| t.gelu(x),
            |[x]| x.map(gelu),
        )
    }

    /// Returns y and dy/dx at each `x`.
    fn curve(
        device: &Device,
        activation: Activation,
        x: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        let mut tape = device.tape();
        let input = tape.variable(&[x.len()]);
        let y = tape.activation(input, activation);
        let ones = tape.input(&[x.len()]);
        tape.backward(y, ones);
        let slope = tape.grad(input).unwrap();
        tape.hold(y);
        tape.hold(slope);
        let plan = Plan::new(device, tape)?;
        plan.write(input, x);
        plan.write(ones, &vec![1f32; x.len()]);
        plan.run()?;
        Ok((plan.read(y)?, plan.read(slope)?))
    }

    fn gelu_is_accurate_in_its_tails(device: &Device) -> Outcome {
        let x: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 400.0).collect();
        let (y, slope) = curve(device, Activation::Gelu, &x)?;
        let mut worst = (0f64, 0f64);
        for ((x, y), slope) in x.iter().map(|&x| x as f64).zip(&y).zip(&slope) {
            let (phi, density) = (
                0.5 * libm::erfc(-x / 2f64.sqrt()),
                (-0.5 * x * x).exp() / (2.0 * PI).sqrt(),
            );
            // rounding of the exponent grows with x^2; below 1e-30 results are subnormal
            let allowed = 4e-7 * (1.0 + x * x) * (x * phi).abs() + 1e-30;
            ensure!(
                (*y as f64 - x * phi).abs() <= allowed,
                "gelu({x}) = {y}, want {}",
                x * phi
            );
            if x > -5.0 {
                worst.0 = worst.0.max((*y as f64 - x * phi).abs());
                worst.1 = worst.1.max((*slope as f64 - phi - x * density).abs());
            }
        }
        ensure!(worst.0 < 1e-6 && worst.1 < 5e-7, "{worst:?}");
        Ok(())
    }

    fn large_values_do_not_overflow_and_nan_stays_nan(device: &Device) -> Outcome {
        let x = [-1e30f32, -1e4, -15.0, 15.0, 1e4, 1e30, f32::NAN, 0.0];
        for activation in [
            Activation::Relu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
        ] {
            let (y, slope) = curve(device, activation, &x)?;
            for i in 0..6 {
                ensure!(
                    (y[i] - x[i].max(0.0)).abs() <= 1e-7,
                    "{activation:?} of {} is {}",
                    x[i],
                    y[i]
                );
                ensure!(
                    (slope[i] - (x[i] > 0.0) as u32 as f32).abs() <= 1e-7,
                    "{activation:?} at {} has slope {}",
                    x[i],
                    slope[i]
                );
            }
            ensure!(y[6].is_nan() && y[7] == 0.0, "{activation:?}: {y:?}");
        }
        Ok(())
    }
}
