//! Benchmark of layers with packed weights.

use super::measure::{Case, Effort, Failure, Measurement, bytes_of, expect, noise, time};
use crate::device::{Device, Plan};
use crate::ops::{Activation, Encoding};

/// Output and input widths of a decoder of 135 million parameters: its MLP and its head.
const LAYERS: [(usize, usize); 3] = [(1536, 576), (576, 1536), (49_280, 576)];

/// Measures layers in every format: one row, as in decoding, and the MLP with the rows of a prompt.
pub fn measure(device: &Device, effort: Effort) -> Result<Vec<Measurement>, Failure> {
    let mut measurements = vec![];
    for encoding in Encoding::ALL {
        for (n, k) in LAYERS {
            if encoding.row_words(k).is_err() {
                continue;
            }
            for m in [1, 4, 8, 81, 1024] {
                if m == 1 || n < 10_000 {
                    measurements.push(layer(device, encoding, [m, n, k], effort)?);
                }
            }
        }
    }
    Ok(measurements)
}

fn layer(
    device: &Device,
    encoding: Encoding,
    [m, n, k]: [usize; 3],
    effort: Effort,
) -> Result<Measurement, Failure> {
    let row_words = encoding.row_words(k)?;
    let mut tape = device.tape();
    let (x, weight) = (tape.input(&[m, k]), tape.input(&[n * row_words]));
    let y = match encoding {
        Encoding::F32 => {
            let weight = tape.view(weight, &[n, k]);
            tape.linear(x, weight, None, Activation::None)
        }
        _ => tape.packed_linear(x, weight, encoding, n, None, Activation::None),
    };
    tape.hold(y);
    let plan = Plan::new(device, tape)?;
    let (words, values) = (encoding.sample(n, k, 1)?, noise(m * k, 2));
    plan.write(x, &values);
    plan.write(weight, &words);
    plan.run()?;
    let got: Vec<f32> = plan.read(y)?;
    let mut row = vec![0.0; k];
    for at in (0..m * n).step_by((m * n).div_ceil(97)) {
        let (i, j) = (at / n, at % n);
        encoding.decode(&words[j * row_words..][..row_words], k, &mut row)?;
        let terms = row.iter().zip(&values[i * k..]);
        let terms = terms.map(|(w, x)| f64::from(*w) * f64::from(*x));
        expect(encoding.name(), got[at], terms.sum(), 1e-5 * k as f64)?;
    }
    let times = time(effort, || Ok(plan.run().and_then(|()| device.wait())?))?;
    let case = Case {
        device,
        bench: "packed",
        case: format!("{m}x{n}x{k}"),
        variant: encoding.name().into(),
        flops: Some(2.0 * (m * n * k) as f64),
        bytes: Some(4.0 * (words.len() + m * k + m * n) as f64),
        peak_gpu_bytes: bytes_of(&plan),
    };
    Ok(case.measured(times))
}
