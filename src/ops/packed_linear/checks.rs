//! Checks of products with packed weights against products with the decoded weights in f64.

use super::*;
use crate::device::{Device, DeviceError, Plan};
use crate::ops::check::{
    Array, Outcome, checks, ensure, ensure_eq, forward, gradients, random_f32,
};

checks![
    agrees_with_its_reference,
    gradients_agree_with_their_reference,
    rows_of_any_number_agree,
    rounded_products_are_close,
    rounded_gradients_are_close,
    activations_are_applied,
    large_layers_agree,
    rows_do_not_depend_on_their_number
];

/// Operands rounded to bf16 are at most 1/512 off each, and so is a sum of their products to the sum
/// of the products' magnitudes.
fn rounded_products_are_close(device: &Device) -> Outcome {
    for encoding in [
        Encoding::Bf16,
        Encoding::F16,
        Encoding::Q8_0,
        Encoding::Q4_0,
    ] {
        for (m, rows, cols) in [(5, 33, 64), (33, 32, 96), (81, 130, 576), (70, 64, 800)] {
            let weights = Weights::new(encoding, rows, cols)?;
            let mut tape = device.tape();
            tape.round_operands(true);
            let (x, words) = (tape.input(&[m, cols]), tape.input(&[weights.words.len()]));
            let bias = tape.input(&[rows]);
            let y = tape.packed_linear(x, words, encoding, rows, Some(bias), Activation::None);
            tape.hold(y);
            let plan = Plan::new(device, tape)?;
            let values = random_f32(m * cols, 3);
            let biases = random_f32(rows, 4);
            plan.write(x, &values);
            plan.write(words, &weights.words);
            plan.write(bias, &biases);
            let got: Vec<f32> = plan.run_and_read(y)?;
            for (at, got) in got.into_iter().enumerate() {
                let (i, j) = (at / rows, at % rows);
                let terms = values[i * cols..][..cols]
                    .iter()
                    .zip(&weights.values[j * cols..]);
                let terms: Vec<f64> = terms.map(|(x, w)| *x as f64 * w).collect();
                let want = terms.iter().sum::<f64>() + biases[j] as f64;
                let size: f64 = terms.iter().map(|term| term.abs()).sum();
                ensure!(
                    (got as f64 - want).abs() <= size / 250.0 + 1e-6,
                    "{encoding} {m}x{rows}x{cols}: y[{i}, {j}] is {got}, want {want}"
                );
            }
        }
    }
    Ok(())
}

fn rounded_gradients_are_close(device: &Device) -> Outcome {
    for encoding in [Encoding::Bf16, Encoding::F16, Encoding::Q8_0] {
        for (m, rows, cols) in [(5, 33, 64), (33, 31, 96), (81, 130, 576), (70, 64, 800)] {
            let weights = Weights::new(encoding, rows, cols)?;
            let mut tape = device.tape();
            tape.round_operands(true);
            let (x, words) = (tape.input(&[m, cols]), tape.input(&[weights.words.len()]));
            tape.want_grad(x);
            let y = tape.packed_linear(x, words, encoding, rows, None, Activation::None);
            let dy = tape.input(&[m, rows]);
            tape.backward(y, dy);
            let dx = tape.grad(x).expect("it is wanted");
            tape.hold(dx);
            let plan = Plan::new(device, tape)?;
            let values = random_f32(m * rows, 6);
            plan.write(x, &random_f32(m * cols, 3));
            plan.write(words, &weights.words);
            plan.write(dy, &values);
            let got: Vec<f32> = plan.run_and_read(dx)?;
            for (at, got) in got.into_iter().enumerate() {
                let (i, j) = (at / cols, at % cols);
                let column = weights.values[j..].iter().step_by(cols);
                let terms = values[i * rows..][..rows].iter().zip(column);
                let terms: Vec<f64> = terms.map(|(dy, w)| *dy as f64 * w).collect();
                let want: f64 = terms.iter().sum();
                let size: f64 = terms.iter().map(|term| term.abs()).sum();
                ensure!(
                    (got as f64 - want).abs() <= size / 250.0 + 1e-6,
                    "{encoding} {m}x{rows}x{cols}: dx[{i}, {j}] is {got}, want {want}"
                );
            }
        }
    }
    Ok(())
}

fn activations_are_applied(device: &Device) -> Outcome {
    for (m, rounded) in [(1, false), (40, false), (40, true)] {
        let weights = Weights::new(Encoding::Bf16, 48, 64)?;
        let run = |fused: bool| -> Result<Vec<f32>, DeviceError> {
            let mut tape = device.tape();
            tape.round_operands(rounded);
            let (x, words) = (tape.input(&[m, 64]), tape.input(&[weights.words.len()]));
            let inside = if fused {
                Activation::GeluTanh
            } else {
                Activation::None
            };
            let y = tape.packed_linear(x, words, Encoding::Bf16, 48, None, inside);
            let y = if fused { y } else { tape.gelu_tanh(y) };
            tape.hold(y);
            let plan = Plan::new(device, tape)?;
            plan.write(x, &random_f32(m * 64, 5));
            plan.write(words, &weights.words);
            plan.run_and_read(y)
        };
        ensure_eq!(run(true)?, run(false)?);
    }
    Ok(())
}

/// Packed weights, and the same decoded.
struct Weights {
    words: Vec<u32>,
    values: Vec<f64>,
}

impl Weights {
    fn new(
        encoding: Encoding,
        rows: usize,
        cols: usize,
    ) -> Result<Weights, crate::ops::EncodingError> {
        let words = encoding.sample(rows, cols, (rows * cols) as u64)?;
        let mut values = vec![0.0; rows * cols];
        encoding.decode(&words, cols, &mut values)?;
        Ok(Weights {
            words,
            values: values.into_iter().map(f64::from).collect(),
        })
    }

    /// Product in f64.
    fn product(&self, x: &Array, rows: usize) -> Vec<f64> {
        let dot = |x: &[f64], w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        let cols = self.values.len() / rows;
        x.rows()
            .flat_map(|x| {
                self.values
                    .chunks(cols)
                    .map(|w| dot(x, w))
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Widths that a format can have.
fn widths(encoding: Encoding) -> Vec<usize> {
    let widths = [32, 64, 256, 576, 5, 33, 48, 70];
    let fits = |cols: &usize| encoding.row_words(*cols).is_ok();
    widths.into_iter().filter(fits).collect()
}

/// Checks a layer with and without a bias, and their gradients if asked.
fn agrees(
    device: &Device,
    encoding: Encoding,
    x: &[usize],
    rows: usize,
    with_gradients: bool,
) -> Outcome {
    let cols = x[x.len() - 1];
    let weights = Weights::new(encoding, rows, cols)?;
    let layer = |t: &mut Tape, x: Var, bias: Option<Var>| {
        let words = t.constant(&weights.words);
        t.packed_linear(x, words, encoding, rows, bias, Activation::None)
    };
    let plain = |t: &mut Tape, [x]: [Var; 1]| layer(t, x, None);
    let plain_reference = |[x]: [&Array; 1]| weights.product(x, rows);
    let biased = |t: &mut Tape, [x, bias]: [Var; 2]| layer(t, x, Some(bias));
    let biased_reference = |[x, bias]: [&Array; 2]| {
        let y = weights.product(x, rows).into_iter();
        y.zip(bias.data.iter().cycle())
            .map(|(y, b)| y + b)
            .collect()
    };
    if with_gradients {
        gradients(device, &[[x]], plain, plain_reference)?;
        gradients(device, &[[x, &[rows]]], biased, biased_reference)
    } else {
        forward(device, &[[x]], plain, plain_reference)?;
        forward(device, &[[x, &[rows]]], biased, biased_reference)
    }
}

fn agrees_with_its_reference(device: &Device) -> Outcome {
    for encoding in Encoding::ALL {
        for cols in widths(encoding) {
            for m in [1, 2, 5, 33] {
                agrees(device, encoding, &[m, cols], 7, false)?;
            }
        }
    }
    Ok(())
}

fn gradients_agree_with_their_reference(device: &Device) -> Outcome {
    for encoding in Encoding::ALL {
        agrees(device, encoding, &[1, 256], 3, true)?;
        agrees(device, encoding, &[3, 256], 67, true)?;
        agrees(device, encoding, &[2, 5, 256], 130, true)?;
    }
    for encoding in [Encoding::F16, Encoding::Bf16] {
        agrees(device, encoding, &[2, 70], 9, true)?;
        agrees(device, encoding, &[11, 33], 9, true)?;
    }
    Ok(())
}

fn rows_of_any_number_agree(device: &Device) -> Outcome {
    for m in 1..12 {
        for encoding in [Encoding::Bf16, Encoding::Q8_0, Encoding::Q6K] {
            agrees(device, encoding, &[m, 256], 5, false)?;
        }
    }
    agrees(device, Encoding::Q4_0, &[600, 64], 70, false)?;
    agrees(device, Encoding::Q4_0, &[3, 2, 64], 1, false)
}

/// Layers of several tasks, whose last one is not whole.
fn large_layers_agree(device: &Device) -> Outcome {
    for encoding in Encoding::ALL {
        let cols = if encoding.block() > 32 { 768 } else { 576 };
        for m in [1, 3, 40] {
            agrees(device, encoding, &[m, cols], 333, false)?;
        }
    }
    Ok(())
}

/// A token's logits must not depend on how many others are computed with it.
fn rows_do_not_depend_on_their_number(device: &Device) -> Outcome {
    if !device.capabilities().native {
        return agrees(device, Encoding::Q8_0, &[4, 64], 9, false);
    }
    let (cols, rows) = (576, 13);
    let weights = Weights::new(Encoding::Q8_0, rows, cols)?;
    let data = crate::ops::check::random_f32(4 * cols, 8);
    let mut whole: Vec<f32> = vec![];
    for m in [4, 3, 2, 1] {
        let mut t = device.tape();
        let (x, words) = (t.input(&[m, cols]), t.constant(&weights.words));
        let y = t.packed_linear(x, words, Encoding::Q8_0, rows, None, Activation::None);
        t.hold(y);
        let plan = crate::device::Plan::new(device, t)?;
        plan.write(x, &data[..m * cols]);
        plan.run()?;
        let y: Vec<f32> = plan.read(y)?;
        if whole.is_empty() {
            whole = y;
        } else {
            ensure_eq!(y, whole[..m * rows], "{m} rows");
        }
    }
    Ok(())
}

#[test]
#[should_panic(expected = "2 rows of 64 columns in Q8_0 are 40 words, not [39]")]
fn words_of_another_size_are_refused() {
    let device = crate::ops::check::device();
    let mut t = device.tape();
    let (x, weight) = (t.input(&[2, 64]), t.input(&[39]));
    t.packed_linear(x, weight, Encoding::Q8_0, 2, None, Activation::None);
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::check::device;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn layers_of_any_size_agree(
            index in 0..Encoding::ALL.len(), m in 1..40usize, rows in 1..150usize, blocks in 1..5usize,
        ) {
            let encoding = Encoding::ALL[index];
            let cols = blocks * encoding.block().max(24);
            agrees(&device(), encoding, &[m, cols], rows, false).unwrap();
        }
    }
}
