//! Checks of attention, its gradients and caches.

use super::*;
use crate::device::{Device, Plan, Tensor};
use crate::graph::Capabilities;
use crate::ops::Activation;
use crate::ops::check::{
    Array, Failure, Outcome, checks, close, ensure, ensure_eq, f32s, forward, gradients, random,
    random_f32,
};
use crate::ops::half::checks::nearest;
use crate::ops::native::random::random_bits;

checks![
    agrees_with_its_reference,
    few_queries_attend_to_many_keys,
    heads_of_any_width_agree,
    heads_that_share_keys_agree,
    dropout_is_equal_forward_and_backward,
    large_scores_do_not_overflow,
    long_sequences_and_large_batches_agree,
    append_equals_writing_the_cache_first,
    decodes_with_a_cache,
    decodes_long_caches,
    half_precision_rounds_only_the_operands,
    half_precision_handles_few_queries_and_many_keys,
    half_precision_decodes_with_a_cache,
    operands_are_converted_to_halves_once,
    two_runs_are_equal_bit_for_bit,
    both_sums_over_lanes_agree,
    largest_number_of_keys_agrees,
    gradients_of_many_queries_agree,
    rounded_operands_change_little,
    rounded_weights_of_equal_scores_are_exact
];

pub(super) fn spec(heads: usize, causal: bool) -> Attention {
    grouped(heads, heads, causal)
}

pub(super) fn grouped(heads: usize, kv_heads: usize, causal: bool) -> Attention {
    Attention {
        heads,
        kv_heads,
        scale: 0.4,
        causal,
        dropout: 0.0,
        rounded: false,
    }
}

/// Returns the probabilities [b, heads, tq, capacity].
fn probabilities(q: &Array, k: &Array, past: &[usize], spec: &Attention) -> Vec<f64> {
    let &[b, tq, c] = &q.shape[..] else {
        unreachable!()
    };
    let (capacity, width, k_columns) = (k.shape[1], c / spec.heads, k.shape[2]);
    let mut p = Vec::with_capacity(b * spec.heads * tq * capacity);
    for (n, h, i) in
        (0..b * spec.heads * tq).map(|at| (at / tq / spec.heads, at / tq % spec.heads, at % tq))
    {
        let query = &q.data[(n * tq + i) * c + h * width..][..width];
        let keys = if spec.causal {
            past[n % past.len()] + i + 1
        } else {
            capacity
        };
        let score = |j: usize| {
            let key = (n * capacity + j) * k_columns + h / spec.group() * width;
            let key = &k.data[key..][..width];
            spec.scale as f64 * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>()
        };
        let scores: Vec<f64> = (0..keys).map(score).collect();
        let top = scores.iter().fold(f64::MIN, |top, &s| top.max(s));
        let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        p.extend(
            scores
                .iter()
                .map(|s| (s - top).exp() / sum)
                .chain((keys..capacity).map(|_| 0.0)),
        );
    }
    p
}

/// Dropout factor, as `keep` in shaders/shared/random.wgsl.
fn keep(seed: u32, site: u32, index: u32, p: f32) -> f64 {
    if (random_bits(seed, site, index) >> 8) as f32 / (1 << 24) as f32 >= p {
        1.0 / (1.0 - p as f64)
    } else {
        0.0
    }
}

fn reference(q: &Array, k: &Array, v: &Array, past: &[usize], spec: &Attention) -> Vec<f64> {
    let &[b, tq, c] = &q.shape[..] else {
        unreachable!()
    };
    let (capacity, width, v_columns) = (k.shape[1], c / spec.heads, v.shape[2]);
    let mut out = vec![0.0; b * tq * c];
    for (at, row) in probabilities(q, k, past, spec).chunks(capacity).enumerate() {
        let (n, h, i) = (at / tq / spec.heads, at / tq % spec.heads, at % tq);
        let out = &mut out[(n * tq + i) * c + h * width..][..width];
        for (j, p) in row.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            let p = if spec.dropout > 0.0 {
                p * keep(0, 1, (at * capacity + j) as u32, spec.dropout)
            } else {
                *p
            };
            let value = (n * capacity + j) * v_columns + h / spec.group() * width;
            let value = &v.data[value..][..width];
            out.iter_mut().zip(value).for_each(|(out, v)| *out += p * v);
        }
    }
    out
}

/// With `past` and `seed` zero, as inputs are until they are written.
fn record(t: &mut Tape, q: Var, kv: Var, spec: &Attention) -> Var {
    let (past, seed) = (t.input(&[1]), t.input(&[1]));
    t.attention(q, kv, past, seed, spec)
}

/// Splits rows into parts of these numbers of columns.
fn split<const N: usize>(x: &Array, columns: [usize; N]) -> [Array; N] {
    let (stride, mut first) = (x.shape[2], 0);
    assert_eq!(columns.iter().sum::<usize>(), stride);
    columns.map(|columns| {
        let rows = x.data.chunks(stride);
        let data = rows.flat_map(|row| row[first..][..columns].to_vec());
        let part = Array {
            shape: vec![x.shape[0], x.shape[1], columns],
            data: data.collect(),
        };
        first += columns;
        part
    })
}

/// Returns the columns of queries, keys and values of heads of this width.
fn columns(spec: &Attention, width: usize) -> [usize; 3] {
    [spec.heads, spec.kv_heads, spec.kv_heads].map(|heads| heads * width)
}

/// Splits packed rows into queries, keys and values.
fn unpacked(qkv: &Array, spec: &Attention) -> [Array; 3] {
    split(qkv, columns(spec, qkv.shape[2] / spec.packed_heads()))
}

/// Splits rows into keys and values.
fn keys_and_values(kv: &Array) -> [Array; 2] {
    split(kv, [kv.shape[2] / 2; 2])
}

fn reference_packed(qkv: &Array, spec: &Attention) -> Vec<f64> {
    let [q, k, v] = unpacked(qkv, spec);
    reference(&q, &k, &v, &[0], spec)
}

fn reference_separate(q: &Array, kv: &Array, spec: &Attention) -> Vec<f64> {
    let [k, v] = keys_and_values(kv);
    reference(q, &k, &v, &[0], spec)
}

#[track_caller]
pub(super) fn checked(
    device: &Device,
    b: usize,
    t: usize,
    width: usize,
    spec: &Attention,
) -> Outcome {
    let shape: &[usize] = &[b, t, spec.packed_heads() * width];
    gradients(
        device,
        &[[shape]],
        |t, [qkv]| record(t, qkv, qkv, spec),
        |[qkv]| reference_packed(qkv, spec),
    )?;
    Ok(())
}

fn agrees_with_its_reference(device: &Device) -> Outcome {
    for causal in [false, true] {
        for (b, t, heads, width) in [
            (2, 1, 1, 4),
            (3, 2, 2, 16),
            (2, 8, 4, 4),
            (2, 17, 3, 20),
            (1, 32, 2, 16),
            (2, 33, 3, 16),
        ] {
            checked(device, b, t, width, &spec(heads, causal))?;
        }
        for (b, t, heads, width) in [(2, 37, 2, 64), (1, 65, 1, 128), (1, 65, 2, 4)] {
            checked(device, b, t, width, &spec(heads, causal))?;
        }
    }
    Ok(())
}

fn few_queries_attend_to_many_keys(device: &Device) -> Outcome {
    for (tq, capacity, width) in [(1, 37, 64), (1, 5, 16), (6, 33, 4), (3, 9, 3)] {
        let (few, many): (&[usize], &[usize]) = (&[2, tq, 2 * width], &[2, capacity, 4 * width]);
        for dropout in [0.0, 0.3] {
            let spec = Attention {
                dropout,
                ..spec(2, false)
            };
            gradients(
                device,
                &[[few, many]],
                |t, [q, kv]| record(t, q, kv, &spec),
                |[q, kv]| reference_separate(q, kv, &spec),
            )?;
        }
    }
    Ok(())
}

fn heads_of_any_width_agree(device: &Device) -> Outcome {
    for (b, t, heads, width) in [(2, 1, 1, 1), (2, 17, 4, 1), (2, 33, 3, 3), (1, 9, 2, 127)] {
        checked(device, b, t, width, &spec(heads, true))?;
    }
    Ok(())
}

fn heads_that_share_keys_agree(device: &Device) -> Outcome {
    for (heads, kv_heads) in [(6, 2), (9, 3), (4, 1)] {
        for (b, t, width, causal, dropout) in [
            (2, 1, 8, true, 0.0),
            (2, 17, 8, true, 0.0),
            (1, 33, 64, true, 0.0),
            (1, 37, 20, false, 0.0),
            (2, 9, 5, true, 0.0),
            (2, 6, 3, false, 0.0),
            (1, 5, 128, true, 0.0),
            (2, 18, 12, true, 0.3),
            (2, 7, 3, false, 0.3),
        ] {
            let spec = Attention {
                dropout,
                ..grouped(heads, kv_heads, causal)
            };
            checked(device, b, t, width, &spec)?;
        }
        for (tq, capacity, width, dropout) in [
            (1, 37, 16, 0.0),
            (6, 33, 4, 0.3),
            (3, 9, 3, 0.0),
            (40, 70, 8, 0.0),
        ] {
            let spec = Attention {
                dropout,
                ..grouped(heads, kv_heads, false)
            };
            let few: &[usize] = &[2, tq, heads * width];
            let many: &[usize] = &[2, capacity, 2 * kv_heads * width];
            gradients(
                device,
                &[[few, many]],
                |t, [q, kv]| record(t, q, kv, &spec),
                |[q, kv]| reference_separate(q, kv, &spec),
            )?;
        }
    }
    Ok(())
}

fn dropout_is_equal_forward_and_backward(device: &Device) -> Outcome {
    for causal in [false, true] {
        for (b, t, heads, width) in [(2, 33, 2, 16), (2, 7, 2, 64), (2, 5, 3, 3)] {
            checked(
                device,
                b,
                t,
                width,
                &Attention {
                    dropout: 0.3,
                    ..spec(heads, causal)
                },
            )?;
        }
    }
    Ok(())
}

fn large_scores_do_not_overflow(device: &Device) -> Outcome {
    for scale in [40.0, -40.0] {
        let spec = Attention {
            scale,
            ..spec(2, true)
        };
        forward(
            device,
            &[[&[2, 33, 96]]],
            |t, [qkv]| record(t, qkv, qkv, &spec),
            |[qkv]| reference_packed(qkv, &spec),
        )?;
    }
    Ok(())
}

fn long_sequences_and_large_batches_agree(device: &Device) -> Outcome {
    for shape in [[1, 2049, 12], [16_400, 2, 48], [140_000, 1, 48]] {
        let spec = spec(if shape[0] == 1 { 1 } else { 4 }, true);
        forward(
            device,
            &[[&shape]],
            |t, [qkv]| record(t, qkv, qkv, &spec),
            |[qkv]| reference_packed(qkv, &spec),
        )?;
    }
    Ok(())
}

/// Output and probabilities of queries, in packed rows or alone, against a cache, and the arrays
/// they come from. `held` is the number of cached rows of each batch element, or of all.
fn cached(
    device: &Device,
    [b, tq, capacity, width]: [usize; 4],
    packed: bool,
    held: &[usize],
    spec: &Attention,
    precision: Precision,
) -> Result<([Vec<f32>; 2], [Array; 3]), Failure> {
    let [c, k_columns, v_columns] = columns(spec, width);
    let kv_columns = k_columns + v_columns;
    let q_columns = c + if packed { kv_columns } else { 0 };
    let mut t = device.tape();
    t.set_precision(precision);
    let (q, kv) = (
        t.input(&[b, tq, q_columns]),
        t.input(&[b, capacity, kv_columns]),
    );
    let (past, seed) = (t.input(&[held.len()]), t.input(&[1]));
    let out = t.attention(q, kv, past, seed, spec);
    let p = t.attention_probabilities(q, kv, past, spec);
    t.hold(out);
    t.hold(p);
    let plan = Plan::new(device, t)?;
    let [queries, mut rows] =
        [(q, tq, q_columns), (kv, capacity, kv_columns)].map(|(var, rows, columns)| {
            let array = Array {
                shape: vec![b, rows, columns],
                data: random(b * rows * columns, 1 + rows as u64),
            };
            plan.write(var, &f32s(&array.data));
            array
        });
    // the contents of a cache behind its last row must not matter
    let mut unused: Vec<f32> = f32s(&rows.data);
    for element in 0..b {
        let used = if spec.causal {
            held[element % held.len()] + tq
        } else {
            capacity
        };
        let behind =
            (element * capacity + used) * kv_columns..(element + 1) * capacity * kv_columns;
        unused[behind.clone()].fill(f32::NAN);
        rows.data[behind].fill(0.0);
    }
    plan.write(kv, &unused);
    plan.write(
        past,
        &held.iter().map(|&rows| rows as u32).collect::<Vec<_>>(),
    );
    plan.run()?;
    let [queries, _] = split(&queries, [c, q_columns - c]);
    let [k, v] = keys_and_values(&rows);
    Ok(([plan.read(out)?, plan.read(p)?], [queries, k, v]))
}

fn append_equals_writing_the_cache_first(device: &Device) -> Outcome {
    for causal in [false, true] {
        for (b, t, capacity, heads, kv_heads, width) in [
            (1, 1, 5, 8, 8, 16),
            (3, 1, 9, 2, 2, 4),
            (2, 1, 7, 3, 3, 20),
            (1, 1, 6, 2, 2, 128),
            (2, 2, 8, 2, 2, 8),
            (2, 1, 6, 2, 2, 3),
            (2, 1, 9, 6, 2, 20),
            (1, 1, 7, 9, 3, 64),
            (2, 1, 5, 4, 1, 128),
            (2, 3, 9, 4, 1, 8),
            (2, 1, 6, 6, 2, 3),
        ] {
            let spec = grouped(heads, kv_heads, causal);
            let (c, all) = (2 * kv_heads * width, spec.packed_heads() * width);
            let empty: Vec<f32> = random_f32(b * capacity * c, 5);
            let run = |append: bool, ragged: bool| -> Result<_, Failure> {
                let cache = Tensor::new(device, &[b, capacity, c], &empty)?;
                let mut tape = device.tape();
                let (qkv, past, seed) = (
                    tape.input(&[b, t, all]),
                    tape.input(&[if ragged { b } else { 1 }]),
                    tape.input(&[1]),
                );
                let bound = tape.bind(&cache);
                let out = if append {
                    tape.attention_append(qkv, bound, past, seed, &spec)
                } else {
                    tape.cache_rows(bound, qkv, past);
                    tape.attention(qkv, bound, past, seed, &spec)
                };
                tape.hold(out);
                let plan = Plan::new(device, tape)?;
                let mut outputs = vec![];
                for row in (0..capacity).step_by(t) {
                    let rows = (0..plan.shape(past)[0])
                        .map(|element| ((row + element * t) % (capacity - t + 1)) as u32);
                    plan.write(past, &rows.collect::<Vec<_>>());
                    plan.write(qkv, &random_f32(b * t * all, 10 + row as u64));
                    plan.run()?;
                    outputs.extend(plan.read::<u32>(out)?);
                }
                Ok((outputs, cache.read::<u32>()?, plan.dispatches()))
            };
            for ragged in [false, true] {
                let (appended, written) = (run(true, ragged)?, run(false, ragged)?);
                ensure_eq!(
                    (&appended.0, &appended.1),
                    (&written.0, &written.1),
                    "{b} {t} {heads} heads of {width}, {kv_heads} of keys"
                );
                ensure_eq!(written.2 - appended.2, (t == 1 && width % 4 == 0) as usize);
            }
        }
    }
    Ok(())
}

fn decodes_with_a_cache(device: &Device) -> Outcome {
    for causal in [false, true] {
        for (b, tq, capacity, width, past) in [
            (2, 1, 33, 16, &[0][..]),
            (1, 1, 33, 16, &[17]),
            (2, 1, 33, 16, &[32]),
            (2, 5, 40, 64, &[8]),
            (1, 5, 19, 3, &[14]),
            (3, 37, 37, 20, &[0]),
            // ragged batches
            (2, 1, 33, 16, &[0, 32]),
            (7, 1, 33, 4, &[5, 0, 32, 1, 17, 9, 30]),
            (3, 5, 40, 64, &[35, 0, 8]),
            (5, 3, 19, 3, &[14, 2, 16, 0, 7]),
            (9, 6, 21, 20, &[0, 15, 3, 9, 1, 12, 7, 2, 14]),
        ] {
            for (heads, kv_heads, packed) in
                [(2, 2, false), (2, 2, true), (6, 2, true), (4, 1, false)]
            {
                let spec = grouped(heads, kv_heads, causal);
                let ([out, p], [q, k, v]) = cached(
                    device,
                    [b, tq, capacity, width],
                    packed,
                    past,
                    &spec,
                    Precision::F32,
                )?;
                let what = format!(
                    "{causal} {b} {tq} {capacity} {width} {past:?} {heads} {kv_heads} {packed}"
                );
                close(
                    &what,
                    &out,
                    &reference(&q, &k, &v, past, &spec),
                    0..out.len(),
                )?;
                close(&what, &p, &probabilities(&q, &k, past, &spec), 0..p.len())?;
                ensure!(
                    p.chunks(capacity)
                        .all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5),
                    "{what}: a row does not sum to 1"
                );
            }
        }
    }
    Ok(())
}

/// Caches of several chunks and blocks of keys, which meet in every query.
fn decodes_long_caches(device: &Device) -> Outcome {
    for (heads, kv_heads, tq, capacity, width, past) in [
        (9, 3, 1, 700, 64, &[640, 129][..]),
        (9, 3, 1, 700, 64, &[699]),
        (12, 12, 1, 300, 64, &[255, 0]),
        (2, 2, 3, 1500, 20, &[1200, 3]),
        (4, 1, 2, 400, 16, &[390]),
        (6, 2, 30, 300, 16, &[200, 0]),
        (2, 2, 100, 300, 36, &[17, 200]),
    ] {
        for (causal, dropout) in [(true, 0.0), (false, 0.0), (true, 0.3)] {
            let spec = Attention {
                dropout,
                ..grouped(heads, kv_heads, causal)
            };
            let sizes = [2, tq, capacity, width];
            let ([out, p], [q, k, v]) = cached(device, sizes, true, past, &spec, Precision::F32)?;
            let what = format!("{heads} {kv_heads} {tq} {capacity} {width} {past:?} {causal}");
            let want = reference(&q, &k, &v, past, &spec);
            close(&what, &out, &want, 0..out.len())?;
            close(&what, &p, &probabilities(&q, &k, past, &spec), 0..p.len())?;
        }
    }
    Ok(())
}

fn halved(x: &Array) -> Array {
    Array {
        shape: x.shape.clone(),
        data: x.map(nearest),
    }
}

/// Packs one row of each part, of these numbers of columns, into a row.
fn packed<const N: usize>(parts: [Vec<f64>; N], columns: [usize; N]) -> Vec<f64> {
    let rows = parts[0].len() / columns[0];
    let of_row = |row: usize| {
        let parts = parts.iter().zip(columns);
        parts.flat_map(move |(part, columns)| &part[row * columns..][..columns])
    };
    (0..rows).flat_map(of_row).copied().collect()
}

/// Returns the gradients of `q`, `k` and `v`.
fn reference_gradients([q, k, v, dout]: [&Array; 4], spec: &Attention) -> [Vec<f64>; 3] {
    let &[_, tq, c] = &q.shape[..] else {
        unreachable!()
    };
    let (capacity, width, k_columns) = (k.shape[1], c / spec.heads, k.shape[2]);
    let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![0.0; x.data.len()]);
    for (at, row) in probabilities(q, k, &[0], spec).chunks(capacity).enumerate() {
        let (n, h, i) = (at / tq / spec.heads, at / tq % spec.heads, at % tq);
        let (query, key) = ((n * tq + i) * c + h * width, |j: usize| {
            (n * capacity + j) * k_columns + h / spec.group() * width
        });
        let kept = |j: usize| {
            if spec.dropout > 0.0 {
                keep(0, 1, (at * capacity + j) as u32, spec.dropout)
            } else {
                1.0
            }
        };
        let dp = |j: usize| {
            kept(j)
                * (0..width)
                    .map(|x| dout.data[query + x] * v.data[key(j) + x])
                    .sum::<f64>()
        };
        let delta: f64 = row.iter().enumerate().map(|(j, p)| p * dp(j)).sum();
        for (j, p) in row.iter().enumerate() {
            let ds = spec.scale as f64 * p * (dp(j) - delta);
            for x in 0..width {
                dq[query + x] += ds * k.data[key(j) + x];
                dk[key(j) + x] += ds * q.data[query + x];
                dv[key(j) + x] += p * kept(j) * dout.data[query + x];
            }
        }
    }
    [dq, dk, dv]
}

/// In half precision queries, keys, values and the output's gradient are rounded and nothing else:
/// against a reference of the same operands the tolerance is that of f32.
fn half_precision_rounds_only_the_operands(device: &Device) -> Outcome {
    for (b, t, heads, kv_heads, width) in [
        (2, 1, 1, 1, 4),
        (2, 17, 3, 3, 20),
        (2, 33, 2, 2, 16),
        (1, 37, 2, 2, 64),
        (1, 21, 1, 1, 128),
        (2, 9, 3, 3, 3),
        (1, 18, 6, 2, 20),
        (1, 9, 4, 1, 3),
    ] {
        for (causal, dropout) in [(false, 0.0), (true, 0.0), (true, 0.3)] {
            let spec = Attention {
                dropout,
                ..grouped(heads, kv_heads, causal)
            };
            let (c, all) = (heads * width, spec.packed_heads() * width);
            let op = |t: &mut Tape, qkv: Var| {
                t.set_precision(Precision::F16);
                record(t, qkv, qkv, &spec)
            };
            forward(
                device,
                &[[&[b, t, all]]],
                |t, [qkv]| op(t, qkv),
                |[qkv]| reference_packed(&halved(qkv), &spec),
            )?;
            let gradient = |t: &mut Tape, [qkv, dout]: [Var; 2]| {
                let out = op(t, qkv);
                t.backward(out, dout);
                t.grad(qkv).unwrap()
            };
            let want = |[qkv, dout]: [&Array; 2]| {
                let [q, k, v] = unpacked(&halved(qkv), &spec);
                let parts = reference_gradients([&q, &k, &v, &halved(dout)], &spec);
                packed(parts, columns(&spec, width))
            };
            forward(device, &[[&[b, t, all], &[b, t, c]]], gradient, want)?;
        }
    }
    Ok(())
}

fn half_precision_handles_few_queries_and_many_keys(device: &Device) -> Outcome {
    for (tq, capacity, width) in [(1, 37, 64), (6, 33, 4), (3, 9, 3)] {
        let (c, spec) = (
            2 * width,
            Attention {
                dropout: 0.3,
                ..spec(2, false)
            },
        );
        let (few, many): (&[usize], &[usize]) = (&[2, tq, c], &[2, capacity, 2 * c]);
        let gradient = |t: &mut Tape, [q, kv, dout]: [Var; 3], of: usize| {
            t.set_precision(Precision::F16);
            let out = record(t, q, kv, &spec);
            t.backward(out, dout);
            t.grad([q, kv][of]).unwrap()
        };
        let want = |[q, kv, dout]: [&Array; 3]| {
            let [k, v] = keys_and_values(&halved(kv));
            reference_gradients([&halved(q), &k, &v, &halved(dout)], &spec)
        };
        forward(
            device,
            &[[few, many, few]],
            |t, v| gradient(t, v, 0),
            |v| want(v)[0].clone(),
        )?;
        forward(
            device,
            &[[few, many, few]],
            |t, v| gradient(t, v, 1),
            |v| {
                let [_, dk, dv] = want(v);
                packed([dk, dv], [c; 2])
            },
        )?;
    }
    Ok(())
}

fn half_precision_decodes_with_a_cache(device: &Device) -> Outcome {
    for (b, tq, capacity, width, past) in [
        (2, 1, 33, 16, &[17][..]),
        (2, 5, 40, 64, &[8]),
        (1, 3, 19, 128, &[4]),
        (1, 5, 19, 3, &[14]),
        (3, 5, 19, 16, &[14, 0, 6]),
    ] {
        for (heads, kv_heads, packed) in [(2, 2, false), (2, 2, true), (6, 2, true)] {
            let spec = grouped(heads, kv_heads, true);
            let ([out, p], arrays) = cached(
                device,
                [b, tq, capacity, width],
                packed,
                past,
                &spec,
                Precision::F16,
            )?;
            let [q, k, v] = arrays.each_ref().map(halved);
            let what = format!("{b} {tq} {capacity} {width} {past:?} {heads} {packed}");
            close(
                &what,
                &out,
                &reference(&q, &k, &v, past, &spec),
                0..out.len(),
            )?;
            close(&what, &p, &probabilities(&q, &k, past, &spec), 0..p.len())?;
        }
    }
    Ok(())
}

fn operands_are_converted_to_halves_once(device: &Device) -> Outcome {
    let mut t = device.tape();
    t.set_precision(Precision::F16);
    let (x, weight, past) = (t.variable(&[2, 5, 24]), t.input(&[8, 24]), t.input(&[1]));
    let out = record(&mut t, x, x, &spec(2, true));
    let p = t.attention_probabilities(x, x, past, &spec(2, true));
    t.hold(p);
    let y = t.linear(x, weight, None, Activation::None);
    let sum = t.add(out, y);
    let dout = t.input(&[2, 5, 8]);
    t.backward(sum, dout);
    // x, the weight, and the gradient that the product and the attention share
    ensure_eq!(
        t.dispatches
            .iter()
            .filter(|dispatch| dispatch.kernel.name == "half")
            .count(),
        3
    );
    Ok(())
}

/// Output and gradients on the shared device with kernels recorded for `capabilities`.
fn everything(
    device: &Device,
    capabilities: Capabilities,
    width: usize,
) -> Result<Vec<Vec<f32>>, Failure> {
    let mut t = Tape::new(capabilities);
    let qkv = t.variable(&[2, 21, 6 * width]);
    let out = record(
        &mut t,
        qkv,
        qkv,
        &Attention {
            dropout: 0.2,
            ..spec(2, true)
        },
    );
    let cotangent = t.input(&[2, 21, 2 * width]);
    t.backward(out, cotangent);
    let results = [out, t.grad(qkv).unwrap()];
    results.iter().for_each(|&v| t.hold(v));
    let plan = Plan::new(device, t)?;
    for (seed, v) in [qkv, cotangent].into_iter().enumerate() {
        let count = plan.shape(v).iter().product();
        plan.write(v, &random_f32(count, 1 + seed as u64));
    }
    plan.run()?;
    results.iter().map(|&v| Ok(plan.read(v)?)).collect()
}

fn two_runs_are_equal_bit_for_bit(device: &Device) -> Outcome {
    let bits = || -> Result<Vec<u32>, Failure> {
        let results = everything(device, device.capabilities(), 64)?;
        Ok(results.concat().into_iter().map(f32::to_bits).collect())
    };
    ensure_eq!(bits()?, bits()?);
    Ok(())
}

fn both_sums_over_lanes_agree(device: &Device) -> Outcome {
    let here = device.capabilities();
    for width in [4, 16, 64, 128] {
        let with = |software, subgroup| {
            everything(
                device,
                Capabilities {
                    software,
                    subgroup,
                    ..here
                },
                width,
            )
        };
        let want: Vec<Vec<f64>> = with(false, None)?
            .iter()
            .map(|v| v.iter().map(|&x| x as f64).collect())
            .collect();
        for got in [with(true, None)?, with(here.software, here.subgroup)?] {
            for (got, want) in got.iter().zip(&want) {
                close(&format!("{width}"), got, want, 0..got.len())?;
            }
        }
    }
    Ok(())
}

fn largest_number_of_keys_agrees(device: &Device) -> Outcome {
    let software = Capabilities {
        software: true,
        ..device.capabilities()
    };
    let keys = max_keys(&software);
    let (few, many): (&[usize], &[usize]) = (&[1, 3, 256], &[1, keys, 512]);
    let spec = spec(2, false);
    forward(
        device,
        &[[few, many]],
        |t, [q, kv]| record(t, q, kv, &spec),
        |[q, kv]| reference_separate(q, kv, &spec),
    )?;
    Ok(())
}

/// Gradients of keys that many queries of several heads use, which an adapter that ends long loops
/// sums in several dispatches.
fn gradients_of_many_queries_agree(device: &Device) -> Outcome {
    const QUERIES: usize = 2500;
    let spec = grouped(3, 1, false);
    let run = |software| -> Result<(usize, Vec<Vec<f32>>), Failure> {
        let mut t = Tape::new(Capabilities {
            software,
            ..device.capabilities()
        });
        let qkv = t.variable(&[1, QUERIES, 5 * 4]);
        let out = record(&mut t, qkv, qkv, &spec);
        let dout = t.input(&[1, QUERIES, 3 * 4]);
        t.backward(out, dout);
        let grad = t.grad(qkv).unwrap();
        t.hold(grad);
        let dispatches = t.dispatches();
        let plan = Plan::new(device, t)?;
        plan.write(qkv, &random_f32(QUERIES * 20, 1));
        plan.write(dout, &random_f32(QUERIES * 12, 2));
        plan.run()?;
        let grad: Vec<f32> = plan.read(grad)?;
        // sums of queries and of keys and values differ in magnitude
        let part = |range: std::ops::Range<usize>| {
            let rows = grad.chunks(20);
            rows.flat_map(|row| row[range.clone()].to_vec()).collect()
        };
        Ok((dispatches, vec![part(0..12), part(12..16), part(16..20)]))
    };
    let (several, got) = run(true)?;
    let (one, want) = run(false)?;
    ensure_eq!(several - one, 1);
    for (got, want) in got.iter().zip(&want) {
        let want: Vec<f64> = want.iter().map(|&x| x as f64).collect();
        close("gradient", got, &want, 0..got.len())?;
    }
    Ok(())
}

#[test]
#[should_panic(expected = "attention: 5 heads do not divide into groups for 2 heads of keys")]
fn rejects_heads_that_do_not_divide_into_groups() {
    let device = crate::ops::check::device();
    let mut t = device.tape();
    let qkv = t.input(&[1, 4, 36]);
    record(&mut t, qkv, qkv, &grouped(5, 2, true));
}

#[test]
#[should_panic(expected = "do not fit 4 heads of queries and 2 of keys and values")]
fn rejects_a_cache_for_more_heads_than_there_are() {
    let device = crate::ops::check::device();
    let mut t = device.tape();
    let (q, kv) = (t.input(&[1, 1, 16]), t.input(&[1, 4, 32]));
    record(&mut t, q, kv, &grouped(4, 2, true));
}

#[test]
#[should_panic(expected = "attention: 6001 keys, this adapter takes 6000")]
fn rejects_more_keys_than_the_adapter_takes() {
    let device = crate::ops::check::device();
    let mut t = Tape::new(Capabilities {
        software: true,
        ..device.capabilities()
    });
    let (q, kv) = (t.input(&[1, 1, 8]), t.input(&[1, 6001, 16]));
    record(&mut t, q, kv, &spec(2, false));
}

#[test]
#[should_panic(expected = "attention: a causal gradient needs as many keys as queries")]
fn rejects_a_gradient_through_a_cache() {
    let device = crate::ops::check::device();
    let mut t = device.tape();
    let (q, kv) = (t.variable(&[1, 1, 8]), t.input(&[1, 4, 16]));
    record(&mut t, q, kv, &spec(2, true));
}

#[test]
#[should_panic(expected = "attention: a gradient needs q with its own keys and values or alone")]
fn rejects_a_gradient_of_packed_queries_with_other_keys() {
    let device = crate::ops::check::device();
    let mut t = device.tape();
    let (q, kv) = (t.variable(&[1, 4, 24]), t.input(&[1, 4, 16]));
    record(&mut t, q, kv, &spec(2, true));
}

/// Returns the attention of queries to the keys and values of a cache, with operands rounded where
/// the device does that, or exact.
fn rounded(
    device: &Device,
    [q, kv]: [&Array; 2],
    past: &[u32],
    spec: &Attention,
    rounded: bool,
) -> Result<Vec<f32>, Failure> {
    let mut t = device.tape();
    t.round_operands(true);
    let (queries, keys) = (t.input(&q.shape), t.input(&kv.shape));
    let (past_var, seed) = (t.input(&[past.len()]), t.input(&[1]));
    let spec = Attention {
        rounded,
        ..spec.clone()
    };
    let out = t.attention(queries, keys, past_var, seed, &spec);
    t.hold(out);
    let plan = Plan::new(device, t)?;
    plan.write(queries, &f32s(&q.data));
    plan.write(keys, &f32s(&kv.data));
    plan.write(past_var, past);
    Ok(plan.run_and_read(out)?)
}

/// Heads of queries, of keys, queries, keys and width, and the keys before the first query of each
/// of two batch elements.
fn rounded_sizes() -> [([usize; 5], [u32; 2]); 6] {
    [
        ([2, 2, 64, 64, 64], [0, 0]),
        ([3, 3, 70, 131, 64], [0, 0]),
        ([9, 3, 81, 200, 64], [119, 7]),
        ([2, 1, 33, 65, 20], [32, 0]),
        ([1, 1, 300, 333, 128], [33, 1]),
        ([4, 4, 7, 1000, 72], [990, 0]),
    ]
}

fn rounded_operands_change_little(device: &Device) -> Outcome {
    for ([heads, kv_heads, tq, capacity, width], past) in rounded_sizes() {
        for causal in [false, true] {
            let spec = Attention {
                scale: (width as f32).powf(-0.5),
                ..grouped(heads, kv_heads, causal)
            };
            // below 1
            let drawn = |shape: [usize; 3], seed: u64| Array {
                data: random(shape.iter().product(), seed)
                    .into_iter()
                    .map(|value| value / 2.0)
                    .collect(),
                shape: shape.to_vec(),
            };
            let q = drawn([2, tq, heads * width], 1);
            let kv = drawn([2, capacity, 2 * kv_heads * width], 2);
            let exact = rounded(device, [&q, &kv], &past, &spec, false)?;
            let got = rounded(device, [&q, &kv], &past, &spec, true)?;
            // a value is rounded by up to 1/512, and the score of each weight by less than that
            for (at, (got, exact)) in got.iter().zip(&exact).enumerate() {
                ensure!(
                    (got - exact).abs() <= 6e-3,
                    "{heads} {kv_heads} {tq} {capacity} {width} {causal}: at {at} got {got}, want {exact}"
                );
            }
        }
    }
    Ok(())
}

fn rounded_weights_of_equal_scores_are_exact(device: &Device) -> Outcome {
    for ([heads, kv_heads, tq, capacity, width], past) in rounded_sizes() {
        let spec = grouped(heads, kv_heads, true);
        let q = Array {
            shape: vec![2, tq, heads * width],
            data: vec![0.0; 2 * tq * heads * width],
        };
        // exact in bf16, and all different among neighbours
        let columns = 2 * kv_heads * width;
        let value = |at: usize| ((at % columns * 3 + at / columns * 7) % 61) as f64 / 4.0 - 7.0;
        let kv = Array {
            shape: vec![2, capacity, columns],
            data: (0..2 * capacity * columns).map(value).collect(),
        };
        let got = rounded(device, [&q, &kv], &past, &spec, true)?;
        for (at, got) in got.iter().enumerate() {
            let (row, column) = (at / (heads * width), at % (heads * width));
            let (element, i) = (row / tq, row % tq);
            let head = column / width / (heads / kv_heads);
            let keys = (past[element] as usize + i + 1).min(capacity);
            let from = |j: usize| {
                let value = (kv_heads + head) * width + column % width;
                kv.data[(element * capacity + j) * columns + value]
            };
            let want = (0..keys).map(from).sum::<f64>() / keys as f64;
            ensure!(
                (f64::from(*got) - want).abs() < 1e-5 * (1.0 + want.abs()),
                "{heads} {kv_heads} {tq} {capacity} {width}: at {at} got {got}, want {want}"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::{checked, grouped};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn attention_of_any_size_agrees(batch in 1..3usize, tokens in 1..50usize, kv_heads in 1..4usize, group in 1..4usize, width in 1..40usize, causal: bool) {
            let spec = grouped(kv_heads * group, kv_heads, causal);
            checked(&crate::ops::check::device(), batch, tokens, width, &spec).unwrap();
        }
    }
}
