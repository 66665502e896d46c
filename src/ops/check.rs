//! The one harness of op tests: the GPU against an f64 reference, and GPU gradients against central differences of
//! that reference. The tests are in the program, too: `seemore doctor` does them on the adapter of the user.

use std::sync::OnceLock;

use crate::device::Plan;
use crate::device::{Device, Tensor};
use crate::graph::{Tape, Var};

/// A test by its name. It panics where it fails.
pub type Check = (&'static str, fn());

static GPU: OnceLock<Device> = OnceLock::new();

/// The device that all op tests share. They fail, never skip, where there is no adapter.
pub(crate) fn device() -> Device {
    GPU.get_or_init(|| Device::open(None).unwrap_or_else(|error| panic!("{error}")))
        .clone()
}

/// Makes all op tests from here on use a device, unless one was used already.
pub(crate) fn on(device: &Device) {
    // the first one stays
    let _ = GPU.set(device.clone());
}

/// The reference's view of an input.
pub(crate) struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    /// Rows along the last axis.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks(self.shape[self.shape.len() - 1])
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Vec<f64> {
        self.data.iter().map(|&value| f(value)).collect()
    }
}

/// Reproducible numbers in [-2, 2), as f32 and f64 alike.
pub(crate) fn random(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u32 << 24) as f32 * 4.0 - 2.0) as f64
    };
    (0..count).map(|_| next()).collect()
}

fn f32s(data: &[f64]) -> Vec<f32> {
    data.iter().map(|&value| value as f32).collect()
}

/// Forward only: for sizes where finite differences would take too long, and ops without a gradient.
#[track_caller]
pub(crate) fn forward<const N: usize>(
    cases: &[[&[usize]; N]],
    op: impl Fn(&mut Tape, [Var; N]) -> Var,
    reference: impl Fn([&Array; N]) -> Vec<f64>,
) {
    run(cases, op, reference, false);
}

/// Forward, and the gradient with respect to every input at up to 48 places spread over it.
#[track_caller]
pub(crate) fn check<const N: usize>(
    cases: &[[&[usize]; N]],
    op: impl Fn(&mut Tape, [Var; N]) -> Var,
    reference: impl Fn([&Array; N]) -> Vec<f64>,
) {
    run(cases, op, reference, true);
}

#[track_caller]
fn run<const N: usize>(
    cases: &[[&[usize]; N]],
    op: impl Fn(&mut Tape, [Var; N]) -> Var,
    reference: impl Fn([&Array; N]) -> Vec<f64>,
    gradients: bool,
) {
    let device = device();
    for shapes in cases {
        let mut tape = Tape::new(device.capabilities());
        let inputs = shapes.map(|shape| tape.variable(shape));
        let output = op(&mut tape, inputs);
        tape.hold(output);
        let shape = tape.shape(output).to_vec();
        let cotangent = tape.input(&shape);
        let mut grads = vec![];
        if gradients {
            tape.backward(output, cotangent);
            grads = inputs
                .iter()
                .map(|&v| {
                    tape.grad(v)
                        .unwrap_or_else(|| panic!("{shapes:?}: no gradient recorded"))
                })
                .collect();
            grads.iter().for_each(|&grad| tape.hold(grad));
        }
        let plan = Plan::new(&device, tape).unwrap_or_else(|error| panic!("{shapes:?}: {error}"));

        let mut index = 0;
        let mut arrays = shapes.map(|shape| {
            index += 1;
            Array {
                shape: shape.to_vec(),
                data: random(shape.iter().product(), index),
            }
        });
        for (v, array) in inputs.iter().zip(&arrays) {
            plan.write(*v, &f32s(&array.data));
        }
        let dy = random(shape.iter().product(), 99);
        plan.write(cotangent, &f32s(&dy));
        plan.run()
            .unwrap_or_else(|error| panic!("{shapes:?}: {error}"));
        let got: Vec<f32> = plan
            .read(output)
            .unwrap_or_else(|error| panic!("{shapes:?}: {error}"));
        close(
            &format!("{shapes:?} forward"),
            &got,
            &reference(arrays.each_ref()),
            0..got.len(),
        );

        for (input, grad) in grads.iter().enumerate() {
            let got: Vec<f32> = plan
                .read(*grad)
                .unwrap_or_else(|error| panic!("{shapes:?}: {error}"));
            let stride = got.len().div_ceil(48).max(1);
            let places: Vec<usize> = (0..got.len())
                .step_by(stride)
                .chain([got.len() - 1])
                .collect();
            let mut want = vec![0.0; got.len()];
            for &place in &places {
                const STEP: f64 = 1e-5;
                let at = arrays[input].data[place];
                let mut loss = |value: f64| {
                    arrays[input].data[place] = value;
                    reference(arrays.each_ref())
                        .iter()
                        .zip(&dy)
                        .map(|(y, dy)| y * dy)
                        .sum::<f64>()
                };
                let slope = (loss(at + STEP) - loss(at - STEP)) / (2.0 * STEP);
                arrays[input].data[place] = at;
                want[place] = slope;
            }
            close(
                &format!("{shapes:?} gradient of input {input}"),
                &got,
                &want,
                places,
            );
        }
    }
}

/// Equal up to f32 rounding of sums: 1e-4 of the value, or 2e-5 of the largest value around it where terms cancel.
/// Nothing is equal to NaN.
#[track_caller]
pub(crate) fn close(
    what: &str,
    got: &[f32],
    want: &[f64],
    places: impl IntoIterator<Item = usize>,
) {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    let largest = want
        .iter()
        .fold(1.0f64, |largest, value| largest.max(value.abs()));
    assert!(
        largest.is_finite(),
        "{what}: an infinite reference would allow everything"
    );
    for i in places {
        let (got, want) = (got[i] as f64, want[i]);
        assert!(
            (got - want).abs() <= 1e-4 * want.abs() + 2e-5 * largest,
            "{what}: at {i} got {got}, want {want}"
        );
    }
}

/// Numbers that no gradient is wanted for: ids, targets, seeds.
pub(crate) fn constant<T: bytemuck::Pod>(t: &mut Tape, data: &[T]) -> Var {
    let tensor =
        Tensor::new(&device(), &[data.len()], data).unwrap_or_else(|error| panic!("{error}"));
    t.bind(&tensor)
}

#[cfg(test)]
mod tests {
    use super::close;

    #[test]
    #[should_panic(expected = "at 1 got NaN, want 2")]
    fn not_a_number_is_not_close() {
        close("values", &[1.0, f32::NAN], &[1.0, 2.0], 0..2);
    }

    #[test]
    #[should_panic(expected = "at 0 got 1, want NaN")]
    fn nothing_is_close_to_not_a_number() {
        close("values", &[1.0, 2.0], &[f64::NAN, 2.0], 0..2);
    }
}
