//! Harness of the op checks: results of a device against an f64 reference, and its gradients
//! against central differences of that reference.
//!
//! Every op file has a module `checks` with functions of a [`Device`] that return an [`Outcome`].
//! They run as tests and, on a user's adapter, in `seemore doctor`, so they report a failure
//! instead of panicking. Ops of other crates can use the same functions in their tests;
//! `examples/custom_op` is one.

use std::fmt;
use std::panic::Location;

use crate::device::{Device, Plan};
use crate::graph::{Tape, Var};

/// A named check of an op.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Name of the function.
    pub name: &'static str,
    /// Runs the check on a device.
    pub run: fn(&Device) -> Outcome,
}

/// `Ok` if a device computes what the reference does.
pub type Outcome = Result<(), Failure>;

/// The first disagreement that a check found, or the error that kept it from running.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
    at: &'static Location<'static>,
}

impl Failure {
    /// A failure at the caller's place in the source.
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            at: Location::caller(),
        }
    }
}

/// The message alone, for users.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The message with its place in the source, for test output.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.at)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Failure {
        Failure::new(error.to_string())
    }
}

/// Lists the checks of an op's module `checks` as `CHECKS`, and makes a test of each on the CPU and
/// one on a graphics adapter.
macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        pub const CHECKS: &[$crate::ops::check::Check] =
            &[$($crate::ops::check::Check { name: stringify!($name), run: $name }),+];

        #[cfg(test)]
        mod tests {
            mod cpu {
                $(
                    #[test]
                    fn $name() -> $crate::ops::check::Outcome {
                        super::super::$name(&$crate::ops::check::cpu())
                    }
                )+
            }

            mod graphics {
                $(
                    #[test]
                    fn $name() -> $crate::ops::check::Outcome {
                        super::super::$name(&$crate::ops::check::graphics())
                    }
                )+
            }
        }
    };
}
pub(crate) use checks;

/// `assert!` for checks: returns a [`Failure`] unless the condition holds.
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        $crate::ops::check::ensure!($condition, "{} is false", stringify!($condition))
    };
    ($condition:expr, $($message:tt)+) => {
        // bound first: `!(a < b)` of floats would be linted
        {
            let holds: bool = $condition;
            if !holds {
                return Err($crate::ops::check::Failure::new(format!($($message)+)));
            }
        }
    };
}
pub(crate) use ensure;

/// `assert_eq!` for checks: returns a [`Failure`] unless both sides are equal.
macro_rules! ensure_eq {
    ($got:expr, $want:expr $(,)?) => {
        $crate::ops::check::ensure_eq!($got, $want, "{}", stringify!($got))
    };
    ($got:expr, $want:expr, $($what:tt)+) => {
        match (&$got, &$want) {
            (got, want) => {
                if got != want {
                    let what = format!($($what)+);
                    let message = format!("{what}: got {got:?}, want {want:?}");
                    return Err($crate::ops::check::Failure::new(message));
                }
            }
        }
    };
}
pub(crate) use ensure_eq;

/// Runs `checks`, usually [`CHECKS`](crate::ops::CHECKS), on a device. Calls `after` for each op
/// with the number of checks that passed and a line for each that failed.
pub fn self_test(
    device: &Device,
    checks: &[(&'static str, &[Check])],
    mut after: impl FnMut(&'static str, usize, &[String]),
) {
    for (op, checks) in checks {
        let failures: Vec<String> = checks
            .iter()
            .filter_map(|check| {
                let failure = (check.run)(device).err()?;
                Some(format!("{}: {failure}", check.name))
            })
            .collect();
        after(op, checks.len() - failures.len(), &failures);
    }
}

/// The device that `SEEMORE_DEVICE` names, else the best, shared by all tests of this crate.
#[cfg(test)]
pub(crate) fn device() -> Device {
    static DEVICE: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    DEVICE
        .get_or_init(|| Device::best().unwrap_or_else(|error| panic!("{error}")))
        .clone()
}

/// The CPU, shared by all tests of this crate.
#[cfg(test)]
pub(crate) fn cpu() -> Device {
    static DEVICE: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    DEVICE
        .get_or_init(|| Device::open(Some("cpu")).unwrap())
        .clone()
}

/// The best graphics adapter, software included, shared by all tests of this crate. Tests fail,
/// never skip, without one.
#[cfg(test)]
pub(crate) fn graphics() -> Device {
    static DEVICE: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    DEVICE
        .get_or_init(|| Device::open(Some("0")).unwrap_or_else(|error| panic!("{error}")))
        .clone()
}

/// An operand as a reference sees it: row-major f64, exactly the values that the device gets as
/// f32.
#[derive(Debug, Clone)]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<f64>,
}

impl Array {
    /// Iterates over the rows along the last axis.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks(self.shape[self.shape.len() - 1])
    }

    /// Returns `f` of every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Vec<f64> {
        self.data.iter().map(|&value| f(value)).collect()
    }
}

/// Returns `count` reproducible values, uniform in [-2, 2), that f32 represents exactly.
pub fn random(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u32 << 24) as f32 * 4.0 - 2.0) as f64
    };
    (0..count).map(|_| next()).collect()
}

/// Returns the values of [`random`] as f32.
pub fn random_f32(count: usize, seed: u64) -> Vec<f32> {
    f32s(&random(count, seed))
}

/// Rounds to f32.
pub fn f32s(data: &[f64]) -> Vec<f32> {
    data.iter().map(|&value| value as f32).collect()
}

/// Checks the output of `op` for inputs of each case's shapes.
///
/// For ops without a gradient, and for sizes at which finite differences take too long.
///
/// # Errors
/// Returns the first element that [disagrees](close), or the error of the device.
pub fn forward<const N: usize>(
    device: &Device,
    cases: &[[&[usize]; N]],
    op: impl Fn(&mut Tape, [Var; N]) -> Var,
    reference: impl Fn([&Array; N]) -> Vec<f64>,
) -> Outcome {
    run(device, cases, op, reference, false)
}

/// Checks the output of `op` like [`forward`], and its gradient with respect to every input.
///
/// Up to 49 elements of each gradient are compared with central differences of the reference, for a
/// random cotangent.
///
/// # Errors
/// Returns the first element that [disagrees](close), or the error of the device.
pub fn gradients<const N: usize>(
    device: &Device,
    cases: &[[&[usize]; N]],
    op: impl Fn(&mut Tape, [Var; N]) -> Var,
    reference: impl Fn([&Array; N]) -> Vec<f64>,
) -> Outcome {
    run(device, cases, op, reference, true)
}

fn run<const N: usize>(
    device: &Device,
    cases: &[[&[usize]; N]],
    op: impl Fn(&mut Tape, [Var; N]) -> Var,
    reference: impl Fn([&Array; N]) -> Vec<f64>,
    gradients: bool,
) -> Outcome {
    for shapes in cases {
        let mut tape = device.tape();
        let inputs = shapes.map(|shape| tape.variable(shape));
        let output = op(&mut tape, inputs);
        tape.hold(output);
        let shape = tape.shape(output).to_vec();
        let cotangent = tape.input(&shape);
        let mut grads = vec![];
        if gradients {
            tape.backward(output, cotangent);
            for (index, &input) in inputs.iter().enumerate() {
                let Some(grad) = tape.grad(input) else {
                    return Err(Failure::new(format!(
                        "{shapes:?}: no gradient of input {index}"
                    )));
                };
                tape.hold(grad);
                grads.push(grad);
            }
        }
        let plan = Plan::new(device, tape)?;

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
        plan.run()?;
        let got: Vec<f32> = plan.read(output)?;
        let want = reference(arrays.each_ref());
        close(&format!("{shapes:?} forward"), &got, &want, 0..got.len())?;

        for (input, grad) in grads.iter().enumerate() {
            let got: Vec<f32> = plan.read(*grad)?;
            let (places, want) = differences(&mut arrays, input, &dy, &reference);
            let what = format!("{shapes:?} gradient of input {input}");
            close(&what, &got, &want, places)?;
        }
    }
    Ok(())
}

/// Central differences of `sum of dy * reference(arrays)` with respect to one input, at places
/// spread over it. All other elements of the result are 0.
fn differences<const N: usize>(
    arrays: &mut [Array; N],
    input: usize,
    dy: &[f64],
    reference: &impl Fn([&Array; N]) -> Vec<f64>,
) -> (Vec<usize>, Vec<f64>) {
    const STEP: f64 = 1e-5;
    let count = arrays[input].data.len();
    let places: Vec<usize> = (0..count)
        .step_by(count.div_ceil(48).max(1))
        .chain([count - 1])
        .collect();
    let mut slopes = vec![0.0; count];
    for &place in &places {
        let at = arrays[input].data[place];
        let mut y = |value: f64| {
            arrays[input].data[place] = value;
            reference(arrays.each_ref())
        };
        let (above, below) = (y(at + STEP), y(at - STEP));
        arrays[input].data[place] = at;
        // differences before the sum: outputs that do not depend on this element cancel exactly
        slopes[place] = above
            .iter()
            .zip(&below)
            .zip(dy)
            .map(|((above, below), dy)| (above - below) * dy)
            .sum::<f64>()
            / (2.0 * STEP);
    }
    (places, slopes)
}

/// Compares the elements at `places` with a reference, up to f32 rounding: 1e-4 of the element's
/// value, or 2e-5 of the reference's largest absolute value where terms cancel.
///
/// A reference of zeros therefore wants exact zeros; use [`close_to_scale`] if it is a sum of terms
/// that cancel.
///
/// # Errors
/// Returns the first element that is farther off. NaN is close to nothing.
#[track_caller]
pub fn close(
    what: &str,
    got: &[f32],
    want: &[f64],
    places: impl IntoIterator<Item = usize>,
) -> Outcome {
    close_to_scale(what, got, want, places, 0.0)
}

/// Compares like [`close`], for results whose terms may all cancel: allows 2e-5 of `scale`, the
/// magnitude of the terms.
///
/// # Errors
/// Returns the first element that is farther off. NaN is close to nothing.
#[track_caller]
pub fn close_to_scale(
    what: &str,
    got: &[f32],
    want: &[f64],
    places: impl IntoIterator<Item = usize>,
    scale: f64,
) -> Outcome {
    ensure_eq!(got.len(), want.len(), "{what}: number of elements");
    let largest = want
        .iter()
        .fold(scale, |largest, value| largest.max(value.abs()));
    ensure!(largest.is_finite(), "{what}: the reference is not finite");
    for i in places {
        let (got, want) = (got[i] as f64, want[i]);
        ensure!(
            (got - want).abs() <= 1e-4 * want.abs() + 2e-5 * largest,
            "{what}: at {i} got {got}, want {want}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Check, Failure, close, cpu, self_test};

    #[test]
    fn self_test_reports_what_a_failed_check_says() {
        const PASSES: Check = Check {
            name: "passes",
            run: |_| Ok(()),
        };
        const FAILS: Check = Check {
            name: "fails",
            run: |_| Err(Failure::new("at 1 got 2")),
        };
        let mut reported = vec![];
        let checks: [(&str, &[Check]); 2] = [("good", &[PASSES]), ("bad", &[FAILS, PASSES])];
        self_test(&cpu(), &checks, |op, passed, failures| {
            reported.push((op, passed, failures.to_vec()))
        });
        assert_eq!(
            reported,
            [
                ("good", 1, vec![]),
                ("bad", 1, vec!["fails: at 1 got 2".to_owned()])
            ]
        );
    }

    fn message(got: &[f32], want: &[f64]) -> String {
        close("values", got, want, 0..2).unwrap_err().to_string()
    }

    #[test]
    fn nan_is_close_to_nothing() {
        assert_eq!(
            message(&[1.0, f32::NAN], &[1.0, 2.0]),
            "values: at 1 got NaN, want 2"
        );
        assert_eq!(
            message(&[1.0, 2.0], &[f64::NAN, 2.0]),
            "values: at 0 got 1, want NaN"
        );
    }

    #[test]
    fn tolerance_follows_the_scale_of_the_reference() {
        assert!(close("values", &[1.0, 1e-5], &[1.0, 0.0], 0..2).is_ok());
        assert!(close("values", &[1e-9, 1e-5], &[1e-9, 0.0], 0..2).is_err());
        assert!(close("values", &[1e-9, 1e-15], &[1e-9, 0.0], 0..2).is_ok());
    }

    #[test]
    fn reference_of_zeros_wants_zeros() {
        assert!(close("values", &[0.0, -0.0], &[0.0, 0.0], 0..2).is_ok());
        assert!(close("values", &[0.0, 1e-30], &[0.0, 0.0], 0..2).is_err());
    }

    #[test]
    fn infinite_reference_is_refused() {
        assert!(close("values", &[1.0, 2.0], &[1.0, f64::INFINITY], 0..2).is_err());
    }
}
