//! Benchmark of matrix products.

use std::sync::Arc;

use super::measure::{Case, Effort, Failure, Measurement, bytes_of, expect, noise, time};
use crate::device::{Device, Plan};
use crate::graph::{Always, Precision, Var};
use crate::ops::{MATMUL_VARIANTS, transposed};

/// Measures a product in the three layouts of training, of f32 and of halves (with their
/// conversion), by each variant that the adapter can run.
pub fn measure(
    device: &Device,
    (m, n, k): (usize, usize, usize),
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let mut measurements = vec![];
    let layouts = [
        ("A B", false, false),
        ("A Bt", false, true),
        ("At B", true, false),
    ];
    for (precision, (layout, flip_a, flip_b)) in [Precision::F32, Precision::F16]
        .into_iter()
        .flat_map(|p| layouts.map(|l| (p, l)))
    {
        // the chosen variant first, then the others that apply
        let mut seen: Vec<String> = vec![];
        for device in std::iter::once(device.clone())
            .chain(MATMUL_VARIANTS.map(|name| device.choosing(Arc::new(Always(name)))))
        {
            let device = &device;
            let mut tape = device.tape();
            tape.set_precision(precision);
            let a = tape.input(&if flip_a { [k, m] } else { [m, k] });
            let b = tape.input(&if flip_b { [n, k] } else { [k, n] });
            let side = |v: Var, flip: bool| if flip { transposed(v) } else { v.into() };
            let c = tape.matmul(side(a, flip_a), side(b, flip_b));
            tape.hold(c);
            let plan = Plan::new(device, tape)?;
            let variant = plan
                .kernels()
                .iter()
                .find(|kernel| kernel.starts_with("matmul"))
                .map(|kernel| kernel.to_string())
                .unwrap_or_default();
            if seen.contains(&variant) {
                continue;
            }
            let chosen = seen.is_empty();
            seen.push(variant.clone());
            let (left, right) = (noise(m * k, 1), noise(k * n, 2));
            let (tolerance, halves) = match precision {
                Precision::F32 => (1e-5 * k as f64, ""),
                // each operand is rounded by up to 2^-11 of its value
                Precision::F16 => (1e-3 * (k as f64).sqrt(), " f16"),
            };
            plan.write(a, &left);
            plan.write(b, &right);
            plan.run()?;
            let product: Vec<f32> = plan.read(c)?;
            for at in (0..m * n).step_by((m * n).div_ceil(97)) {
                let (i, j) = (at / n, at % n);
                let term = |p: usize| {
                    let left = left[if flip_a { p * m + i } else { i * k + p }];
                    let right = right[if flip_b { j * k + p } else { p * n + j }];
                    left as f64 * right as f64
                };
                expect(
                    &format!("{variant} {layout}"),
                    product[at],
                    (0..k).map(term).sum(),
                    tolerance,
                )?;
            }
            let times = time(effort, || Ok(plan.run().and_then(|()| device.wait())?))?;
            let case = Case {
                device,
                bench: "matmul",
                case: format!("{m}x{n}x{k} {layout}{halves}"),
                variant,
                flops: Some(2.0 * (m * n * k) as f64),
                bytes: Some(4.0 * (m * k + k * n + m * n) as f64),
                peak_gpu_bytes: bytes_of(&plan),
            };
            measurements.push(Measurement {
                chosen,
                ..case.measured(times)
            });
        }
    }
    Ok(measurements)
}
