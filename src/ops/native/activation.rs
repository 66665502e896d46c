//! Activations on slices of f32, as `shaders/shared/activation.wgsl` computes them.

use super::math::exp;
use crate::ops::Activation;

/// Runs `y = activation(x)` for slices of one length. NaN stays NaN.
#[inline(always)]
pub fn activate_slice(activation: Activation, x: &[f32], y: &mut [f32]) {
    match activation {
        Activation::None => y.copy_from_slice(x),
        Activation::Relu => map(x, y, relu),
        Activation::Gelu => map(x, y, gelu),
        Activation::GeluTanh => map(x, y, gelu_tanh),
        Activation::QuickGelu => map(x, y, quick_gelu),
    }
}

/// Runs `x = activation(x)`. NaN stays NaN.
#[inline(always)]
pub fn activate_in_place(activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::None => (),
        Activation::Relu => x.iter_mut().for_each(|x| *x = relu(*x)),
        Activation::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)),
        Activation::GeluTanh => x.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
        Activation::QuickGelu => x.iter_mut().for_each(|x| *x = quick_gelu(*x)),
    }
}

/// Runs `dx = dy * activation'(x)` for slices of one length. The derivative of relu at 0 is 0.
#[inline(always)]
pub fn differentiate_slice(activation: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    match activation {
        Activation::None => dx.copy_from_slice(dy),
        Activation::Relu => chain(x, dy, dx, relu_derivative),
        Activation::Gelu => chain(x, dy, dx, gelu_derivative),
        Activation::GeluTanh => chain(x, dy, dx, gelu_tanh_derivative),
        Activation::QuickGelu => chain(x, dy, dx, quick_gelu_derivative),
    }
}

#[inline(always)]
fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = f(*x);
    }
}

#[inline(always)]
fn chain(x: &[f32], dy: &[f32], dx: &mut [f32], derivative: impl Fn(f32) -> f32) {
    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
        *dx = dy * derivative(*x);
    }
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn relu_derivative(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * normal_distribution(x).0
}

#[inline(always)]
fn gelu_derivative(x: f32) -> f32 {
    let (distribution, gaussian) = normal_distribution(x);
    distribution + x * gaussian * 0.398_942_3
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    x * tanh_gate(x).0
}

#[inline(always)]
fn gelu_tanh_derivative(x: f32) -> f32 {
    let (gate, x) = tanh_gate(x);
    gate + x * gate * (1.0 - gate) * 1.595_769 * (1.0 + 0.134_145 * x * x)
}

#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x * logistic(1.702 * x)
}

#[inline(always)]
fn quick_gelu_derivative(x: f32) -> f32 {
    let gate = logistic(1.702 * x);
    gate + 1.702 * x * gate * (1.0 - gate)
}

/// Returns the logistic function `1 / (1 + exp(-x))`; 0 below -88.8.
#[inline(always)]
pub fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Returns Phi(x) of the normal distribution, and exp(-x*x/2).
#[inline(always)]
fn normal_distribution(x: f32) -> (f32, f32) {
    // past 14 the Gaussian is 0 in f32, and clamping keeps the square finite; a comparison is one
    // instruction, `min` with its rules for NaN three
    let a = if x.abs() < 14.0 { x.abs() } else { 14.0 };
    let gaussian = exp(-0.5 * a * a);
    let t = 1.0 / (1.0 + a * 0.353_553_38);
    let u = t - 0.5;
    // coefficients as in the WGSL, which says where they are from
    let mut p = -2.982_300_7e-2;
    p = p * u + 2.442_937e-2;
    p = p * u + 4.765_663e-2;
    p = p * u - 5.155_201_6e-2;
    p = p * u - 8.592_634e-2;
    p = p * u + 7.287_338_4e-2;
    p = p * u + 2.794_692e-1;
    p = p * u + 3.435_804_5e-1;
    p = p * u + 2.553_956_8e-1;
    let tail = p * t * gaussian;
    (if x >= 0.0 { 1.0 - tail } else { tail }, gaussian)
}

/// Returns (1 + tanh(u)) / 2 with u = sqrt(2/pi) (a + 0.044715 a^3), and a, which is x clamped to
/// [-10, 10] to keep exp finite.
#[inline(always)]
fn tanh_gate(x: f32) -> (f32, f32) {
    let a = if x < 10.0 { x } else { 10.0 };
    let a = if a > -10.0 { a } else { -10.0 };
    let gate = 1.0 / (1.0 + exp(-1.595_769 * a * (1.0 + 0.044_715 * a * a)));
    (gate, a)
}
