//! Benchmark of attention.

use super::measure::{Case, Effort, Failure, Measurement, bytes_of, expect, noise, time};
use crate::device::{Device, Plan};
use crate::ops::Attention;

/// Measures attention of packed queries, keys and values, `shape` being `[batch, length, width]`:
/// forward, and forward with backward.
pub fn measure(
    device: &Device,
    shape: [usize; 3],
    spec: &Attention,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let [batch, length, width] = shape;
    let mut measurements = vec![];
    for backward in [false, true] {
        let mut tape = device.tape();
        let qkv = tape.variable(&[batch, length, 3 * width]);
        let (past, seed) = (tape.input(&[1]), tape.input(&[1]));
        let out = tape.attention(qkv, qkv, past, seed, spec);
        tape.hold(out);
        let cotangent = backward.then(|| tape.input(&shape));
        let mut grads = vec![];
        if let Some(cotangent) = cotangent {
            tape.backward(out, cotangent);
            if let Some(grad) = tape.grad(qkv) {
                tape.hold(grad);
                grads.push(grad);
            }
        }
        let plan = Plan::new(device, tape)?;
        let packed = noise(batch * length * 3 * width, 1);
        plan.write(qkv, &packed);
        let dout = noise(shape.iter().product(), 4);
        if let Some(cotangent) = cotangent {
            plan.write(cotangent, &dout);
        }
        plan.run()?;
        if spec.dropout == 0.0 {
            let mut got = vec![plan.read(out)?];
            for &grad in &grads {
                got.extend(unpacked(&plan.read(grad)?, width));
            }
            let [q, k, v] = unpacked(&packed, width);
            check_attention(&got, &[q, k, v, dout], shape, spec)?;
        }
        let times = time(effort, || Ok(plan.run().and_then(|()| device.wait())?))?;
        // two products forward, five backward; half of each if later keys are masked
        let products = if backward { 7.0 } else { 2.0 } * if spec.causal { 0.5 } else { 1.0 };
        let elements = (batch * length * width) as f64;
        let case = Case {
            device,
            bench: "attention",
            case: format!(
                "{batch}x{length}x{width} {} heads{}",
                spec.heads,
                if spec.causal { " causal" } else { "" }
            ),
            variant: if backward {
                "forward + backward"
            } else {
                "forward"
            }
            .into(),
            flops: Some(2.0 * products * elements * length as f64),
            bytes: Some(4.0 * elements * if backward { 12.0 } else { 4.0 }),
            peak_gpu_bytes: bytes_of(&plan),
        };
        measurements.push(case.measured(times));
    }
    Ok(measurements)
}

/// Splits rows of `query | key | value` into three arrays.
fn unpacked(rows: &[f32], width: usize) -> [Vec<f32>; 3] {
    [0, 1, 2].map(|part| {
        rows.chunks(3 * width)
            .flat_map(|row| &row[part * width..][..width])
            .copied()
            .collect()
    })
}

/// Checks the last head of the first batch element against f64: the output and, if given, the
/// gradients of q, k and v.
fn check_attention(
    got: &[Vec<f32>],
    [q, k, v, cotangent]: &[Vec<f32>; 4],
    [_, length, width]: [usize; 3],
    spec: &Attention,
) -> Result<(), Failure> {
    let (head, scale) = (width / spec.heads, spec.scale as f64);
    let row = |of: &[f32], at: usize| -> Vec<f64> {
        of[(at + 1) * width - head..(at + 1) * width]
            .iter()
            .map(|&v| v as f64)
            .collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let add = |sum: &mut [f64], weight: f64, term: &[f64]| {
        sum.iter_mut()
            .zip(term)
            .for_each(|(sum, term)| *sum += weight * term)
    };
    // the output, then the gradients of q, k and v
    let mut want = [(); 4].map(|()| vec![vec![0.0; head]; length]);
    for query in 0..length {
        let keys = if spec.causal { query + 1 } else { length };
        let (q_row, dy) = (row(q, query), row(cotangent, query));
        let scores: Vec<f64> = (0..keys)
            .map(|key| (scale * dot(&q_row, &row(k, key))).exp())
            .collect();
        let total: f64 = scores.iter().sum();
        for (key, score) in scores.iter().enumerate() {
            add(&mut want[0][query], score / total, &row(v, key));
        }
        let mean = dot(&want[0][query], &dy);
        for (key, score) in scores.iter().enumerate() {
            let p = score / total;
            let dscore = scale * p * (dot(&row(v, key), &dy) - mean);
            add(&mut want[1][query], dscore, &row(k, key));
            add(&mut want[2][key], dscore, &q_row);
            add(&mut want[3][key], p, &dy);
        }
    }
    for (got, (want, what)) in got.iter().zip(want.iter().zip([
        "attention",
        "attention dq",
        "attention dk",
        "attention dv",
    ])) {
        for (at, want) in want.iter().enumerate() {
            row(got, at)
                .iter()
                .zip(want)
                .try_for_each(|(got, want)| expect(what, *got as f32, *want, 1e-4))?;
        }
    }
    Ok(())
}
