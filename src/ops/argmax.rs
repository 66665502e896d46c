//! Index of the largest element of each row: greedy decoding.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{math, rows_with_cost};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static ARGMAX: VectorWidth = vector_width!("argmax", shared::REDUCE;
    native: &[("forward", forward)]);

impl Tape {
    /// Records `y[r]`, the column of the largest element of `x[r]` as `u32`, the lowest column of
    /// equal ones. `x: [n, v]`, `y: [n]`. It has no gradient.
    #[track_caller]
    pub fn argmax(&mut self, x: Var) -> Var {
        let (rows, width) = self.rows_cols(x);
        assert!(
            width <= 1 << 24,
            "argmax: {:?} has more than 2^24 columns",
            self.shape(x)
        );
        let (kernel, cols) = ARGMAX.of(width);
        // the inner loop visits single elements: as many rounds as a row of `width`
        let workgroup = self.row_workgroup(width);
        let y = self.output(&[rows]);
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("rows", rows)
            .param("cols", cols)
            .constant("WG", workgroup)
            .rows(rows);
        y
    }
}

fn forward(call: &NativeCall) {
    /// Elements that are searched at once.
    const PART: usize = 64;
    let (x, y) = (call.read::<f32>("x"), call.write::<u32>("y"));
    let cols = x.len() / y.len();
    rows_with_cost(
        call,
        y,
        1,
        cols,
        #[inline(always)]
        |row, y| {
            let x = &x[row * cols..][..cols];
            let peak = math::max(x);
            let part = x
                .chunks(PART)
                .position(
                    #[inline(always)]
                    |part| part.iter().fold(false, |found, x| found | (*x == peak)),
                )
                .unwrap_or(0);
            let within = x[part * PART..].iter().position(|x| *x == peak);
            // column 0 is the answer for a row of minus infinity
            y[0] = within.map_or(0, |within| part * PART + within) as u32;
        },
    );
}

pub(super) mod checks {

    use crate::device::{Device, Plan};
    use crate::ops::check::{Failure, Outcome, checks, ensure_eq, random};

    checks![
        agrees_with_its_reference_and_takes_the_first_of_equals,
        row_of_minus_infinity_gives_column_zero
    ];

    fn argmax(device: &Device, rows: usize, x: &[f32]) -> Result<Vec<u32>, Failure> {
        let mut tape = device.tape();
        let input = tape.input(&[rows, x.len() / rows]);
        let y = tape.argmax(input);
        tape.hold(y);
        let plan = Plan::new(device, tape)?;
        plan.write(input, x);
        plan.run()?;
        Ok(plan.read(y)?)
    }

    fn agrees_with_its_reference_and_takes_the_first_of_equals(device: &Device) -> Outcome {
        for cols in [1, 2, 4, 31, 32, 33, 65, 512, 513, 70_000] {
            for rows in [1, 3, 65] {
                // 32 different values, so the largest occurs several times in most rows
                let x: Vec<f32> = random(rows * cols, 5)
                    .iter()
                    .map(|x| (x * 8.0).floor() as f32)
                    .collect();
                let want = |row: &[f32]| {
                    let most = row.iter().fold(f32::MIN, |most, &x| most.max(x));
                    row.iter().position(|&x| x == most).unwrap() as u32
                };
                ensure_eq!(
                    argmax(device, rows, &x)?,
                    x.chunks(cols).map(want).collect::<Vec<_>>(),
                    "{rows} rows of {cols}"
                );
            }
        }
        let x: Vec<f32> = (0..70_000 * 3)
            .map(|i| (i / 3 % 3 == i % 3) as u32 as f32)
            .collect();
        ensure_eq!(
            argmax(device, 70_000, &x)?,
            (0..70_000).map(|i| i % 3).collect::<Vec<u32>>()
        );
        Ok(())
    }

    fn row_of_minus_infinity_gives_column_zero(device: &Device) -> Outcome {
        ensure_eq!(
            argmax(
                device,
                2,
                &[
                    f32::NEG_INFINITY,
                    f32::NEG_INFINITY,
                    f32::NEG_INFINITY,
                    -1e38
                ]
            )?,
            [0, 1]
        );
        Ok(())
    }
}
