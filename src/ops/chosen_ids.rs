//! Ids that a table lists in some of its rows, such as the tokens of a name.
//!
//! A table is a parameter like others, stored in whatever floats a file has. An id is two digits in
//! it, `256 * a + b`: 16-bit floats hold whole numbers up to 2,048 exactly, and so ids of any
//! vocabulary.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::rows;

static CHOSEN_IDS: Kernel = kernel!("chosen_ids").native(&[("forward", forward)]);

/// Base of the digits of an id.
const BASE: u32 = 256;

/// The two digits of an id in a table.
pub fn id_digits(id: u32) -> [f32; 2] {
    [(id / BASE) as f32, (id % BASE) as f32]
}

/// The id of two digits in a table.
pub fn id_of(digits: [f32; 2]) -> u32 {
    BASE * digits[0] as u32 + digits[1] as u32
}

impl Tape {
    /// Records `y[n, i] = 256 * table[rows[n], i, 0] + table[rows[n], i, 1]` as `u32`, with `table:
    /// [count, width, 2]` of [`id_digits`], `rows: [n]` of `u32` and `y: [n, width]`. Rows past the
    /// last select the last. It has no gradient.
    #[track_caller]
    pub fn chosen_ids(&mut self, table: Var, chosen: Var) -> Var {
        let (&[count, width, 2], &[n]) = (self.shape(table), self.shape(chosen)) else {
            panic!(
                "chosen_ids: table {:?} and rows {:?}, want [count, width, 2] and [n]",
                self.shape(table),
                self.shape(chosen)
            )
        };
        let y = self.output(&[n, width]);
        self.call(&CHOSEN_IDS, "forward")
            .bind("table", table)
            .bind("rows", chosen)
            .bind("y", y)
            .param("n", n)
            .param("count", count)
            .param("cols", width)
            .elements(n * width);
        y
    }
}

fn forward(call: &NativeCall) {
    let (table, chosen) = (call.read::<f32>("table"), call.read::<u32>("rows"));
    let (y, count, cols) = (
        call.write::<u32>("y"),
        call.size("count"),
        call.size("cols"),
    );
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |i, y| {
            let row = (chosen[i] as usize).min(count - 1);
            let (digits, _) = table[2 * row * cols..].as_chunks();
            for (y, [high, low]) in y.iter_mut().zip(digits) {
                *y = BASE * *high as u32 + *low as u32;
            }
        },
    );
}

pub(super) mod checks {
    use super::id_digits;
    use crate::device::{Device, Plan};
    use crate::ops::check::{Outcome, checks, ensure_eq};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (count, cols, n) in [(1, 1, 1), (3, 4, 7), (1024, 6, 33), (5, 3, 70_000)] {
            // up to 500,000, the largest among them
            let id = |row: usize, col: usize| 500_000 - (row * cols + col) as u32 * 7919 % 500_001;
            let all = (0..count).flat_map(|row| (0..cols).map(move |col| (row, col)));
            let table: Vec<f32> = all.flat_map(|(row, col)| id_digits(id(row, col))).collect();
            // some are past the last row
            let chosen: Vec<u32> = (0..n as u32).map(|i| i * 7 % (count as u32 + 2)).collect();
            let mut tape = device.tape();
            let (from, at) = (tape.input(&[count, cols, 2]), tape.input(&[n]));
            let y = tape.chosen_ids(from, at);
            tape.hold(y);
            let plan = Plan::new(device, tape)?;
            plan.write(from, &table);
            plan.write(at, &chosen);
            plan.run()?;
            let want = chosen.iter().flat_map(|&row| {
                let row = (row as usize).min(count - 1);
                (0..cols).map(move |col| id(row, col))
            });
            ensure_eq!(
                plan.read::<u32>(y)?,
                want.collect::<Vec<u32>>(),
                "{n} of {count} rows of {cols}"
            );
        }
        Ok(())
    }
}
