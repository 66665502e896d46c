//! Checks of matrix products and linear layers, in every variant that the device can run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::device::Device;
use crate::graph::{Candidates, Choose};
use crate::ops::activation::checks::{gelu, gelu_tanh, quick_gelu};
use crate::ops::check::{Array, Outcome, checks, ensure, ensure_eq, forward, gradients};
use crate::ops::half::checks::nearest;

checks![
    agrees_with_its_reference_in_every_layout,
    batches_agree_in_every_layout,
    one_matrix_serves_a_batch,
    sizes_around_the_tiles_agree,
    large_products_agree,
    large_products_of_few_rows_or_columns_agree,
    agrees_past_the_limits_of_grids_and_loops,
    half_precision_rounds_only_the_operands,
    operands_are_converted_to_halves_once,
    linear_agrees_with_its_reference
];

fn side(v: Var, transposed: bool) -> Matrix {
    Matrix { var: v, transposed }
}

/// Returns op(a) · op(b) in f64. Leading axes of `a` are a batch, `b` is one matrix or as many.
fn product(a: &Array, b: &Array, flips: [bool; 2]) -> Vec<f64> {
    let sizes = |array: &Array, flip: bool| {
        let [.., rows, cols] = array.shape[..] else {
            panic!()
        };
        if flip { (cols, rows) } else { (rows, cols) }
    };
    let ((m, k), (_, n)) = (sizes(a, flips[0]), sizes(b, flips[1]));
    let mut c = vec![];
    for (item, a) in a.data.chunks(m * k).enumerate() {
        let b = &b.data[item * k * n % b.data.len()..][..k * n];
        for i in 0..m {
            let mut row = vec![0.0; n];
            for p in 0..k {
                let x = if flips[0] { a[p * m + i] } else { a[i * k + p] };
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum += x * if flips[1] { b[j * k + p] } else { b[p * n + j] };
                }
            }
            c.extend(row);
        }
    }
    c
}

const FLIPS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

fn shape(rows: usize, cols: usize, flip: bool) -> [usize; 2] {
    if flip { [cols, rows] } else { [rows, cols] }
}

/// Chooses one variant wherever it applies, and counts how often.
#[derive(Debug)]
struct Forced {
    name: &'static str,
    taken: AtomicUsize,
}

impl Choose for Forced {
    fn choose(&self, candidates: &Candidates) -> usize {
        let index = candidates.names.iter().position(|name| *name == self.name);
        self.taken
            .fetch_add(index.is_some() as usize, Ordering::Relaxed);
        index.unwrap_or(0)
    }
}

/// Runs `test` once for each variant that can compute this product on this device, with a function
/// that makes a tape use it.
fn in_every_variant(
    device: &Device,
    [m, k, n]: [usize; 3],
    flips: [bool; 2],
    precision: Precision,
    test: impl Fn(&dyn Fn(&mut Tape)) -> Outcome,
) -> Outcome {
    let here = device.capabilities();
    let product = Product {
        m,
        n,
        k,
        batch: 1,
        flips,
        precision,
        whole: true,
    };
    let names = product.names(&here);
    ensure_eq!(
        names.contains(&"cooperative"),
        here.cooperative.is_some() && precision == Precision::F16
    );
    ensure!(
        here.native
            || names.contains(&"tiled")
                && names.contains(&"direct")
                && names.contains(&"vector") == (m <= 4)
    );
    for name in names {
        let forced = Arc::new(Forced {
            name,
            taken: AtomicUsize::new(0),
        });
        test(&|t: &mut Tape| {
            t.choose_by(forced.clone());
            t.set_precision(precision);
        })?;
        ensure!(
            forced.taken.load(Ordering::Relaxed) > 0,
            "{name} was not recorded"
        );
    }
    Ok(())
}

/// Checks `op(a)[m, k] · op(b)[k, n]` in every variant, with its gradients if asked. Both operands
/// get the leading axes.
fn agrees(
    device: &Device,
    [m, k, n]: [usize; 3],
    flips: [bool; 2],
    leading: &[usize],
    with_gradients: bool,
) -> Outcome {
    let a = [leading, &shape(m, k, flips[0])].concat();
    let b = [leading, &shape(k, n, flips[1])].concat();
    in_every_variant(device, [m, k, n], flips, Precision::F32, |with_variant| {
        let op = |t: &mut Tape, [a, b]: [Var; 2]| {
            with_variant(t);
            t.matmul(side(a, flips[0]), side(b, flips[1]))
        };
        let reference = |[a, b]: [&Array; 2]| product(a, b, flips);
        if with_gradients {
            gradients(device, &[[&a, &b]], op, reference)
        } else {
            forward(device, &[[&a, &b]], op, reference)
        }
    })
}

fn agrees_with_its_reference_in_every_layout(device: &Device) -> Outcome {
    for flips in FLIPS {
        for sizes in [
            [1, 1, 1],
            [3, 5, 7],
            [4, 8, 12],
            [33, 20, 36],
            [65, 3, 66],
            [12, 100, 40],
        ] {
            agrees(device, sizes, flips, &[], true)?;
        }
    }
    Ok(())
}

fn batches_agree_in_every_layout(device: &Device) -> Outcome {
    for flips in FLIPS {
        for sizes in [[5, 8, 12], [2, 8, 4]] {
            agrees(device, sizes, flips, &[2, 3], true)?;
        }
    }
    Ok(())
}

fn one_matrix_serves_a_batch(device: &Device) -> Outcome {
    gradients(
        device,
        &[[&[3, 5, 8], &[8, 12]], [&[2, 2, 3, 5], &[5, 7]]],
        |t, [a, b]| t.matmul(a, b),
        |[a, b]| product(a, b, [false; 2]),
    )
}

fn sizes_around_the_tiles_agree(device: &Device) -> Outcome {
    for flips in FLIPS {
        for m in [1, 4, 17, 64, 100] {
            for n in [1, 32, 33, 68] {
                for k in [1, 31, 32, 36, 65] {
                    agrees(device, [m, k, n], flips, &[], false)?;
                }
            }
        }
    }
    Ok(())
}

/// Products large enough for the largest tiles of the shuffle kernel.
fn large_products_agree(device: &Device) -> Outcome {
    for flips in FLIPS {
        agrees(device, [300, 260, 228], flips, &[], false)?;
    }
    Ok(())
}

/// Products that the shuffle kernel computes in 1, 2 and 3 tiles of 16, 32 and 48 rows and one to
/// four vectors of columns, depending on the subgroup size.
fn large_products_of_few_rows_or_columns_agree(device: &Device) -> Outcome {
    for ([m, n], flips) in [[15, 300], [31, 20], [45, 40], [50, 132]]
        .into_iter()
        .zip(FLIPS)
    {
        let k = (1usize << 24).div_ceil(m * n);
        agrees(device, [m, k, n], flips, &[], false)?;
    }
    Ok(())
}

fn agrees_past_the_limits_of_grids_and_loops(device: &Device) -> Outcome {
    for sizes in [
        [70_000, 4, 4],
        [70_000, 3, 5],
        [2, 200_000, 4],
        [3, 70_001, 2],
        [5, 70_001, 3],
        [2_200_000, 4, 4],
    ] {
        agrees(device, sizes, [false; 2], &[], false)?;
    }
    Ok(())
}

/// In half precision only the operands are rounded: against a reference with rounded operands the
/// tolerance is that of f32, forward and in the gradients, which are products of rounded operands
/// too.
fn half_precision_rounds_only_the_operands(device: &Device) -> Outcome {
    let halved = |array: &Array| Array {
        shape: array.shape.clone(),
        data: array.map(nearest),
    };
    for flips in FLIPS {
        for (m, k, n) in [
            (1, 128, 66),
            (3, 5, 7),
            (4, 8, 12),
            (33, 20, 36),
            (65, 3, 66),
            (100, 260, 68),
            (64, 64, 128),
            (17, 31, 130),
        ] {
            let (a, b) = (shape(m, k, flips[0]), shape(k, n, flips[1]));
            in_every_variant(device, [m, k, n], flips, Precision::F16, |with_variant| {
                let op = |t: &mut Tape, [a, b]: [Var; 2]| {
                    with_variant(t);
                    t.matmul(side(a, flips[0]), side(b, flips[1]))
                };
                forward(device, &[[&a, &b]], op, |[a, b]| {
                    product(&halved(a), &halved(b), flips)
                })?;
                let gradient = |t: &mut Tape, [a, b, dc]: [Var; 3], of: usize| {
                    with_variant(t);
                    let c = t.matmul(side(a, flips[0]), side(b, flips[1]));
                    t.backward(c, dc);
                    t.grad([a, b][of]).unwrap()
                };
                let flip = |array: &Array, flip: bool| {
                    if flip {
                        transpose(array)
                    } else {
                        Array {
                            shape: array.shape.clone(),
                            data: array.data.clone(),
                        }
                    }
                };
                let da = |[_, b, dc]: [&Array; 3]| {
                    let da = product(&halved(dc), &flip(&halved(b), flips[1]), [false, true]);
                    flip(
                        &Array {
                            shape: vec![m, k],
                            data: da,
                        },
                        flips[0],
                    )
                    .data
                };
                let db = |[a, _, dc]: [&Array; 3]| {
                    let db = product(&flip(&halved(a), flips[0]), &halved(dc), [true, false]);
                    flip(
                        &Array {
                            shape: vec![k, n],
                            data: db,
                        },
                        flips[1],
                    )
                    .data
                };
                forward(device, &[[&a, &b, &[m, n]]], |t, v| gradient(t, v, 0), da)?;
                forward(device, &[[&a, &b, &[m, n]]], |t, v| gradient(t, v, 1), db)
            })?;
        }
    }
    Ok(())
}

fn transpose(array: &Array) -> Array {
    let [rows, cols] = array.shape[..] else {
        panic!()
    };
    Array {
        shape: vec![cols, rows],
        data: (0..rows * cols)
            .map(|at| array.data[at % rows * cols + at / rows])
            .collect(),
    }
}

fn operands_are_converted_to_halves_once(device: &Device) -> Outcome {
    let mut t = device.tape();
    t.set_precision(Precision::F16);
    let (x, w) = (t.variable(&[8, 8]), t.variable(&[8, 8]));
    let y = t.linear(x, w, None, Activation::None);
    let dy = t.input(&[8, 8]);
    t.backward(y, dy);
    let halves = t
        .dispatches
        .iter()
        .filter(|dispatch| dispatch.kernel.name == "half")
        .count();
    ensure_eq!((halves, t.dispatches()), (3, 6));
    Ok(())
}

fn linear_agrees_with_its_reference(device: &Device) -> Outcome {
    let apply = |activation: Activation, x: f64| match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::QuickGelu => quick_gelu(x),
    };
    let cases: [(&[usize], usize); 6] = [
        (&[2, 5, 8], 12),
        (&[3, 7], 5),
        (&[40, 12], 36),
        (&[1, 8], 4),
        (&[4, 8], 66),
        (&[37, 10], 66),
    ];
    for activation in [
        Activation::None,
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
    ] {
        let function = |x: f64| apply(activation, x);
        for (x, n) in cases {
            let k = x[x.len() - 1];
            let m = x.iter().product::<usize>() / k;
            in_every_variant(
                device,
                [m, k, n],
                [false, true],
                Precision::F32,
                |with_variant| {
                    gradients(
                        device,
                        &[[x, &[n, k], &[n]]],
                        |t, [x, w, b]| {
                            with_variant(t);
                            t.linear(x, w, Some(b), activation)
                        },
                        |[x, w, b]| {
                            product(x, w, [false, true])
                                .iter()
                                .zip(b.data.iter().cycle())
                                .map(|(y, b)| function(y + b))
                                .collect()
                        },
                    )
                },
            )?;
        }
        gradients(
            device,
            &[[&[2, 5, 8], &[12, 8]], [&[3, 7], &[5, 7]]],
            |t, [x, w]| t.linear(x, w, None, activation),
            |[x, w]| {
                product(x, w, [false, true])
                    .into_iter()
                    .map(function)
                    .collect()
            },
        )?;
    }
    Ok(())
}

#[test]
#[should_panic(expected = "linear: x [2, 3] and weight [4, 5]")]
fn shape_mismatch_names_both_shapes() {
    let device = crate::ops::check::device();
    let mut t = device.tape();
    let (x, w) = (t.input(&[2, 3]), t.input(&[4, 5]));
    t.linear(x, w, None, Activation::None);
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::check::device;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn products_of_any_size_agree_in_every_variant(sizes in prop::array::uniform3(1..90usize), flips in any::<[bool; 2]>()) {
            agrees(&device(), sizes, flips, &[], true).unwrap();
        }
    }
}
