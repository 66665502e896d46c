//! Packed weights as f32: whole matrices, and rows chosen by ids.

use super::encoding::{
    BLOCK, Format, PackedKernels, Row, bind_packed, decode_blocks, packed_kernels, packed_words,
};
use crate::graph::{Kernel, Native, NativeCall, Tape, Var};
use crate::ops::native::Parts;
use crate::ops::native::blocks;
use crate::ops::native::vectors::{VectorWork, Vectors, with_vectors};
use crate::ops::{Encoding, TablePart};

static UNPACK: PackedKernels = packed_kernels!("unpack", bodies);

impl Tape {
    /// Records the `rows` by `cols` weights that `weight` holds packed,
    /// [`row_words(cols)`](Encoding::row_words) words each row, as f32 of shape `[rows, cols]`.
    /// Weights in F32 are not copied. No gradient flows to the weights.
    ///
    /// # Panics
    /// If the sizes do not match.
    #[track_caller]
    pub fn unpack(&mut self, weight: Var, encoding: Encoding, rows: usize, cols: usize) -> Var {
        let row_words = self.check_packed(weight, encoding, rows, cols);
        let Some(kernel) = UNPACK.of(encoding) else {
            return self.view(weight, &[rows, cols]);
        };
        let y = self.output(&[rows, cols]);
        let size = [rows, rows, cols, row_words];
        self.unpack_rows(kernel, size, weight, None, y);
        y
    }

    /// Records `y[.., i] = W[ids[.., i]]` with `ids: [..]` of `u32` and `y: [.., cols]`, for weights
    /// `W` of which `weight` holds the rows of a part packed,
    /// [`row_words(cols)`](Encoding::row_words) words each row. Ids past the last row of the table
    /// select the last row. What rows of other parts are selected for is zero: the sum over all
    /// parts is the embedding. No gradient flows to the weights.
    ///
    /// # Panics
    /// If `weight` is not a whole number of rows, or none.
    #[track_caller]
    pub fn packed_embedding(
        &mut self,
        weight: Var,
        encoding: Encoding,
        cols: usize,
        ids: Var,
        part: TablePart,
    ) -> Var {
        let rows = match encoding.row_words(cols) {
            Ok(row_words) => self.len(weight) / row_words.max(1),
            Err(error) => panic!("packed_embedding: {error}"),
        };
        assert!(rows > 0, "packed_embedding: no rows");
        let row_words = self.check_packed(weight, encoding, rows, cols);
        let Some(kernel) = UNPACK.of(encoding) else {
            let table = self.view(weight, &[rows, cols]);
            return self.embedding_part(table, ids, part);
        };
        let n = self.len(ids);
        let shape = [self.shape(ids), &[cols]].concat();
        let y = self.output(&shape);
        let size = [n, rows, cols, row_words];
        self.unpack_rows(kernel, size, weight, Some((ids, part)), y);
        y
    }

    fn unpack_rows(
        &mut self,
        kernel: &'static Kernel,
        [n, rows, cols, row_words]: [usize; 4],
        weight: Var,
        chosen: Option<(Var, TablePart)>,
        y: Var,
    ) {
        let blocks = cols.div_ceil(BLOCK);
        let entry = if chosen.is_some() { "chosen" } else { "all" };
        let part = chosen.map_or(TablePart::whole(rows), |(_, part)| part);
        let mut call = bind_packed(self.call(kernel, entry), weight)
            .bind("y", y)
            .param("n", n)
            .param("rows", rows)
            .param("first", part.first)
            .param("last", part.total - 1)
            .param("cols", cols)
            .param("blocks", blocks)
            .param("row_quads", row_words / 4)
            .constant("FOURS", cols.is_multiple_of(4) as u32);
        if let Some((ids, _)) = chosen {
            call = call.bind("ids", ids);
        }
        call.elements(n * blocks);
    }
}

const fn bodies<F: Format>() -> &'static [(&'static str, Native)] {
    const { &[("all", all::<F>), ("chosen", chosen::<F>)] }
}

fn all<F: Format>(call: &NativeCall) {
    run::<F>(call, None);
}

fn chosen<F: Format>(call: &NativeCall) {
    run::<F>(call, Some(call.read("ids")));
}

/// Weights of a task.
const WORK: usize = 32 * 1024;

fn run<F: Format>(call: &NativeCall, ids: Option<&[u32]>) {
    let words = packed_words(call);
    let y = Parts::new(call.write::<f32>("y"));
    let [n, rows, cols] = ["n", "rows", "cols"].map(|name| call.size(name));
    let part = TablePart {
        first: call.size("first"),
        total: call.size("last") + 1,
    };
    let row_words = 4 * call.size("row_quads");
    blocks(call, n, WORK / cols.max(1), |range| {
        // SAFETY: no other task has these rows
        #[allow(unsafe_code)]
        let y = unsafe { y.slice(range.start * cols, range.len() * cols) };
        with_vectors(Rows {
            words,
            row_words,
            cols,
            y,
            row: |at: usize| match ids {
                Some(ids) => part.row(ids[range.start + at], rows),
                None => Some(range.start + at),
            },
            format: std::marker::PhantomData::<F>,
        });
    });
}

/// Rows of a task.
struct Rows<'a, F, R> {
    words: &'a [u32],
    row_words: usize,
    cols: usize,
    y: &'a mut [f32],
    row: R,
    format: std::marker::PhantomData<F>,
}

impl<F: Format, R: Fn(usize) -> Option<usize>> VectorWork for Rows<'_, F, R> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, v: V) {
        for (at, y) in self.y.chunks_exact_mut(self.cols).enumerate() {
            let Some(row) = (self.row)(at) else {
                y.fill(0.0);
                continue;
            };
            let words = &self.words[row * self.row_words..][..self.row_words];
            decode_blocks::<F, V>(v, Row::new(words, self.cols), 0, y);
        }
    }
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan};
    use crate::ops::check::{Outcome, checks, ensure, ensure_eq};

    checks![
        whole_matrices_are_exact,
        chosen_rows_are_exact,
        ids_are_clamped_to_the_last_row,
        parts_of_a_table_add_up
    ];

    /// Widths that a format can have.
    fn widths(encoding: Encoding) -> Vec<usize> {
        let widths = [1, 3, 33, 48, 70, 32, 64, 96, 256, 512, 576, 1536];
        let fits = |cols: &usize| encoding.row_words(*cols).is_ok();
        widths.into_iter().filter(fits).collect()
    }

    fn same(got: &[f32], want: &[f32], what: &str) -> Outcome {
        ensure_eq!(got.len(), want.len(), "{what}: number of elements");
        for (at, (got, want)) in got.iter().zip(want).enumerate() {
            // a driver may flush subnormal halves
            let flushed = *got == 0.0 && want.abs() < 2f32.powi(-14);
            ensure!(
                got == want || flushed,
                "{what}: at {at} got {got:e}, want {want:e}"
            );
        }
        Ok(())
    }

    fn whole_matrices_are_exact(device: &Device) -> Outcome {
        for encoding in Encoding::ALL {
            for (cols, rows) in widths(encoding).into_iter().zip([1, 5, 33].iter().cycle()) {
                let words = encoding.sample(*rows, cols, 3)?;
                let mut t = device.tape();
                let weight = t.constant(&words);
                let y = t.unpack(weight, encoding, *rows, cols);
                let y = t.scale(y, 1.0);
                t.hold(y);
                let plan = Plan::new(device, t)?;
                plan.run()?;
                let mut want = vec![0.0; rows * cols];
                encoding.decode(&words, cols, &mut want)?;
                let what = format!("{encoding} {rows}x{cols}");
                same(&plan.read::<f32>(y)?, &want, &what)?;
            }
        }
        Ok(())
    }

    fn lookup(
        device: &Device,
        encoding: Encoding,
        [rows, cols]: [usize; 2],
        ids: &[u32],
    ) -> Outcome {
        let words = encoding.sample(rows, cols, 4)?;
        let mut t = device.tape();
        let (weight, places) = (t.constant(&words), t.constant(ids));
        let y = t.packed_embedding(weight, encoding, cols, places, TablePart::whole(rows));
        t.hold(y);
        let plan = Plan::new(device, t)?;
        plan.run()?;
        let mut table = vec![0.0; rows * cols];
        encoding.decode(&words, cols, &mut table)?;
        let row = |&id: &u32| &table[(id as usize).min(rows - 1) * cols..][..cols];
        let want: Vec<f32> = ids.iter().flat_map(row).copied().collect();
        same(
            &plan.read::<f32>(y)?,
            &want,
            &format!("{encoding} {rows}x{cols}"),
        )
    }

    fn chosen_rows_are_exact(device: &Device) -> Outcome {
        let ids: Vec<u32> = (0..77).map(|at| at * at * 7 % 41).collect();
        for encoding in Encoding::ALL {
            for cols in widths(encoding) {
                lookup(device, encoding, [41, cols], &ids)?;
                lookup(device, encoding, [1, cols], &[0])?;
            }
        }
        Ok(())
    }

    fn ids_are_clamped_to_the_last_row(device: &Device) -> Outcome {
        for encoding in Encoding::ALL {
            lookup(device, encoding, [4, 256], &[0, 9, 3, u32::MAX, 1])?;
        }
        Ok(())
    }

    fn parts_of_a_table_add_up(device: &Device) -> Outcome {
        let (total, cols) = (9, 256);
        let ids = [0, 3, 8, 4, u32::MAX, 5, 2, 9];
        for encoding in Encoding::ALL {
            let words = encoding.sample(total, cols, 4)?;
            let row_words = encoding.row_words(cols)?;
            let mut t = device.tape();
            let places = t.constant(&ids);
            let mut sum = None;
            for range in [0..4, 4..5, 5..9] {
                let weight = t.constant(&words[range.start * row_words..range.end * row_words]);
                let part = TablePart {
                    first: range.start,
                    total,
                };
                let y = t.packed_embedding(weight, encoding, cols, places, part);
                sum = Some(sum.map_or(y, |sum| t.add(sum, y)));
            }
            let sum = sum.expect("there are parts");
            t.hold(sum);
            let plan = Plan::new(device, t)?;
            plan.run()?;
            let mut table = vec![0.0; total * cols];
            encoding.decode(&words, cols, &mut table)?;
            let row = |&id: &u32| &table[(id as usize).min(total - 1) * cols..][..cols];
            let want: Vec<f32> = ids.iter().flat_map(row).copied().collect();
            same(&plan.read::<f32>(sum)?, &want, &format!("{encoding}"))?;
        }
        Ok(())
    }
}
