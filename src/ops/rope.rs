//! Rotary position embeddings, counted from a past for each element of a batch.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::rows;
use crate::ops::vector_width::{VectorWidth, vector_width};

static ROPE: VectorWidth = vector_width!("rope"; native: &[("forward", forward)]);

/// Operands of a recorded rotation, for its gradient.
#[derive(Clone, Copy)]
struct Rotation {
    table: Var,
    past: Var,
    heads: usize,
    head_width: usize,
}

impl Tape {
    /// Records rotary position embeddings (Su et al. 2021) of the first `heads` heads of each row
    /// of `x: [b, t, cols]`, whose remaining columns are copied.
    ///
    /// Heads are `head_width` columns wide, which must be even: columns `i` and `i + head_width /
    /// 2` of a head are a pair, rotated by the angle whose cosine and sine are `table[past[b] +
    /// row, i]`. `table: [positions, head_width / 2, 2]` has no gradient. `past: [b]`, or `[1]` for
    /// the whole batch, holds `u32`s. `past + t` must not exceed `positions`: rows past the table
    /// take its last angles.
    #[track_caller]
    pub fn rope(&mut self, x: Var, table: Var, past: Var, heads: usize, head_width: usize) -> Var {
        let (&[batch, length, cols], &[positions, half, 2]) = (self.shape(x), self.shape(table))
        else {
            panic!(
                "rope: x {:?} and table {:?}, want [b, t, cols] and [positions, head width / 2, 2]",
                self.shape(x),
                self.shape(table)
            )
        };
        assert!(
            head_width == 2 * half && heads * head_width <= cols,
            "rope: {heads} heads of {head_width} columns in x {:?} with table {:?}",
            self.shape(x),
            self.shape(table)
        );
        assert!(
            length <= positions && (self.len(past) == 1 || self.len(past) == batch),
            "rope: x {:?} with table {:?} and past {:?}",
            self.shape(x),
            self.shape(table),
            self.shape(past)
        );
        assert!(
            !self.needs_grad(table),
            "rope: the table of angles has no gradient"
        );
        let rotation = Rotation {
            table,
            past,
            heads,
            head_width,
        };
        let y = self.rotated(x, rotation, 1.0);
        self.record(y, &[x], move |t, dy| {
            let dx = t.rotated(dy, rotation, -1.0);
            t.add_grad(x, dx);
        });
        y
    }

    /// Records the rotation of `x` by angles times `sign`.
    fn rotated(&mut self, x: Var, rotation: Rotation, sign: f32) -> Var {
        let &[batch, length, width] = self.shape(x) else {
            unreachable!("checked by `rope`")
        };
        let Rotation {
            table,
            past,
            heads,
            head_width,
        } = rotation;
        // halves of heads and whole rows are read as lanes
        let (kernel, lanes) = match head_width.is_multiple_of(8) && width.is_multiple_of(4) {
            true => (&ROPE.wide, 4),
            false => (&ROPE.narrow, 1),
        };
        let (half, cols) = (head_width / 2 / lanes, width / lanes);
        let (positions, past_stride) = (self.shape(table)[0], self.len(past) == batch);
        let y = self.like(x);
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("table", table)
            .bind("past", past)
            .bind("y", y)
            .param("rows", batch * length)
            .param("length", length)
            .param("cols", cols)
            .param("heads", heads)
            .param("half", half)
            .param("positions", positions)
            .param("past_stride", past_stride)
            .param("sign", sign)
            .elements(batch * length * (cols - heads * half));
        y
    }
}

/// Pairs whose cosines and sines the Rust body separates at a time.
const PAIRS: usize = 64;

fn forward(call: &NativeCall) {
    let (x, table) = (call.read::<f32>("x"), call.read::<f32>("table"));
    let (past, stride) = (call.read::<u32>("past"), call.size("past_stride"));
    let y = call.write::<f32>("y");
    let (length, heads) = (call.size("length"), call.size("heads"));
    let (last, sign) = (call.size("positions") - 1, call.float("sign"));
    let cols = y.len() / call.size("rows");
    let half = call.shape("table")[1];
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |row, y| {
            let x = &x[row * cols..][..cols];
            let first = past[row / length * stride];
            let place = (first.wrapping_add((row % length) as u32) as usize).min(last);
            let angles = &table[2 * place * half..][..2 * half];
            for (part, angles) in angles.chunks(2 * PAIRS).enumerate() {
                let (start, count) = (part * PAIRS, angles.len() / 2);
                let (mut cosines, mut sines) = ([0.0; PAIRS], [0.0; PAIRS]);
                let places = cosines.iter_mut().zip(&mut sines);
                for ((cosine, sine), angle) in places.zip(angles.as_chunks::<2>().0) {
                    (*cosine, *sine) = (angle[0], sign * angle[1]);
                }
                for head in 0..heads {
                    let at = head * 2 * half;
                    let (low, high) = (&x[at..][..half], &x[at + half..][..half]);
                    let (y_low, y_high) = y[at..][..2 * half].split_at_mut(half);
                    rotate(
                        [&low[start..][..count], &high[start..][..count]],
                        [&cosines[..count], &sines[..count]],
                        [&mut y_low[start..][..count], &mut y_high[start..][..count]],
                    );
                }
            }
            let rest = heads * 2 * half;
            y[rest..].copy_from_slice(&x[rest..]);
        },
    );
}

/// Rotates pairs of elements.
#[inline(always)]
fn rotate([a, b]: [&[f32]; 2], [cosines, sines]: [&[f32]; 2], [y_a, y_b]: [&mut [f32]; 2]) {
    let angles = cosines.iter().zip(sines);
    let outputs = y_a.iter_mut().zip(y_b);
    for (((y_a, y_b), (a, b)), (cosine, sine)) in outputs.zip(a.iter().zip(b)).zip(angles) {
        *y_a = a * cosine - b * sine;
        *y_b = b * cosine + a * sine;
    }
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan};
    use crate::ops::check::{Array, Outcome, checks, close, forward, gradients, random_f32};

    checks![
        agrees_with_its_reference,
        scores_depend_on_distances_alone,
        positions_past_the_table_take_its_last_angles
    ];

    /// Returns the table `[positions, half, 2]` of angles `position / theta^(pair / half)`.
    fn angles(positions: usize, half: usize) -> Vec<f32> {
        let angle = |at: usize| {
            let (position, pair) = (at / half, at % half);
            position as f64 * 1e4f64.powf(-(pair as f64) / half as f64)
        };
        (0..positions * half)
            .flat_map(|at| [angle(at).cos() as f32, angle(at).sin() as f32])
            .collect()
    }

    fn record(
        t: &mut Tape,
        x: Var,
        table: &[f32],
        past: &[u32],
        [heads, width]: [usize; 2],
    ) -> Var {
        let positions = table.len() / width;
        let (table, past) = (t.constant(table), t.constant(past));
        let table = t.view(table, &[positions, width / 2, 2]);
        t.rope(x, table, past, heads, width)
    }

    fn reference(x: &Array, table: &[f32], past: &[u32], [heads, width]: [usize; 2]) -> Vec<f64> {
        let (length, half) = (x.shape[1], width / 2);
        let mut y = x.data.clone();
        for (row, y) in y.chunks_mut(x.shape[2]).enumerate() {
            let first = past[row / length % past.len()] as usize;
            let position = (first + row % length).min(table.len() / width - 1);
            for head in y.chunks_mut(width).take(heads) {
                for pair in 0..half {
                    let at = 2 * (position * half + pair);
                    let (cosine, sine) = (table[at] as f64, table[at + 1] as f64);
                    let (a, b) = (head[pair], head[pair + half]);
                    head[pair] = a * cosine - b * sine;
                    head[pair + half] = b * cosine + a * sine;
                }
            }
        }
        y
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (shape, sizes, past) in [
            ([1, 1, 2], [1, 2], &[0][..]),
            ([2, 3, 8], [1, 8], &[5]),
            ([3, 4, 64], [2, 16], &[3, 0, 11]),
            // all columns, and none
            ([2, 5, 48], [3, 16], &[2]),
            ([2, 5, 48], [0, 16], &[2]),
            // halves or rows that are no multiples of four
            ([2, 7, 40], [2, 12], &[1]),
            ([2, 7, 35], [2, 16], &[1, 6]),
            ([1, 9, 33], [5, 6], &[4]),
            ([2, 3, 960], [12, 64], &[7]),
            ([1, 2, 600], [2, 264], &[1]),
            ([1, 2, 270], [1, 262], &[1]),
        ] {
            let table = angles(16, sizes[1] / 2);
            gradients(
                device,
                &[[&shape]],
                |t, [x]| record(t, x, &table, past, sizes),
                |[x]| reference(x, &table, past, sizes),
            )?;
        }
        let table = angles(70_003, 2);
        forward(
            device,
            &[[&[1, 70_000, 8]], [&[70_000, 1, 8]]],
            |t, [x]| record(t, x, &table, &[3], [1, 4]),
            |[x]| reference(x, &table, &[3], [1, 4]),
        )
    }

    /// Products of rotated queries and keys are those of other rows as far apart.
    fn scores_depend_on_distances_alone(device: &Device) -> Outcome {
        const WIDTH: usize = 16;
        let table = angles(40, WIDTH / 2);
        let row: Vec<f32> = random_f32(2 * WIDTH, 1);
        let mut scores = vec![];
        for past in [0u32, 7, 30] {
            let mut t = device.tape();
            let x = t.input(&[1, 6, 2 * WIDTH]);
            let y = record(&mut t, x, &table, &[past], [2, WIDTH]);
            t.hold(y);
            let plan = Plan::new(device, t)?;
            plan.write(x, &row.repeat(6));
            plan.run()?;
            let y: Vec<f32> = plan.read(y)?;
            let (query, keys) = (&y[5 * 2 * WIDTH..][..WIDTH], y.chunks(2 * WIDTH));
            let score = |key: &[f32]| -> f64 {
                let products = query.iter().zip(&key[WIDTH..]);
                products.map(|(q, k)| *q as f64 * *k as f64).sum()
            };
            scores.push(keys.map(score).collect::<Vec<_>>());
        }
        for other in &scores[1..] {
            let got: Vec<f32> = other.iter().map(|&score| score as f32).collect();
            close("scores of later rows", &got, &scores[0], 0..got.len())?;
        }
        Ok(())
    }

    fn positions_past_the_table_take_its_last_angles(device: &Device) -> Outcome {
        let table = angles(5, 4);
        for past in [&[3][..], &[9, 1]] {
            forward(
                device,
                &[[&[2, 4, 24]]],
                |t, [x]| record(t, x, &table, past, [2, 8]),
                |[x]| reference(x, &table, past, [2, 8]),
            )?;
        }
        Ok(())
    }

    #[test]
    #[should_panic(expected = "rope: 3 heads of 8 columns in x [1, 2, 20] with table [4, 4, 2]")]
    fn rejects_heads_that_do_not_fit() {
        let mut tape = crate::ops::check::device().tape();
        let (x, table, past) = (
            tape.input(&[1, 2, 20]),
            tape.input(&[4, 4, 2]),
            tape.input(&[1]),
        );
        tape.rope(x, table, past, 3, 8);
    }
}
