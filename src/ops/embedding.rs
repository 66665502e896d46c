//! Embedding: rows of a table chosen by ids.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{rows, rows_with_cost};
use crate::ops::vector_width::{VectorWidth, vector_width};

static EMBEDDING: VectorWidth = vector_width!("embedding";
    native: &[("forward", forward), ("link", link), ("backward", backward)]);

/// Place of a tensor that holds some rows of a larger table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TablePart {
    /// Row of the table that is the tensor's first.
    pub first: usize,
    /// Rows of the whole table.
    pub total: usize,
}

impl TablePart {
    /// A tensor of `rows` rows that is the whole table.
    pub fn whole(rows: usize) -> TablePart {
        TablePart {
            first: 0,
            total: rows,
        }
    }

    /// Returns the row of the tensor that an id selects, if it is among its `rows` rows. Ids past
    /// the last row of the table select the last row.
    #[inline(always)]
    pub(super) fn row(self, id: u32, rows: usize) -> Option<usize> {
        let row = (id as usize).min(self.total - 1).checked_sub(self.first);
        row.filter(|&row| row < rows)
    }
}

impl Tape {
    /// Records `y[.., i] = table[ids[.., i]]` with `table: [v, c]`, `ids: [..]` of `u32` and `y:
    /// [.., c]`. Ids past the last row select the last row.
    #[track_caller]
    pub fn embedding(&mut self, table: Var, ids: Var) -> Var {
        let rows = self.shape(table)[0];
        self.embedding_part(table, ids, TablePart::whole(rows))
    }

    /// Like [`embedding`](Self::embedding) of a table of which `table` holds some rows. What other
    /// rows are selected for is zero: the sum over all parts is the embedding.
    ///
    /// # Panics
    /// If the table is not whole and may need a gradient.
    #[track_caller]
    pub(super) fn embedding_part(&mut self, table: Var, ids: Var, part: TablePart) -> Var {
        let &[rows, width] = self.shape(table) else {
            panic!("embedding: table {:?}, want [v, c]", self.shape(table))
        };
        assert!(
            part == TablePart::whole(rows) || !self.needs_grad(table),
            "embedding: the gradient of a part of a table"
        );
        let n = self.len(ids);
        let shape = [self.shape(ids), &[width]].concat();
        // The gradient of a row is summed over chunks of ids: chunks spread the sum of a frequent
        // row over invocations and keep loops below lavapipe's limit of 65,535 rounds. Each costs a
        // table of partial sums, so a large table has few.
        let chunk = rows.clamp(512, 32_768).min(n);
        let chunks = n.div_ceil(chunk);
        let (kernel, cols) = EMBEDDING.of(width);
        let params = [
            ("n", n.into()),
            ("rows", rows.into()),
            ("first", part.first.into()),
            ("last", (part.total - 1).into()),
            ("cols", cols.into()),
            ("chunk", chunk.into()),
            ("chunks", chunks.into()),
        ];
        let y = self.output(&shape);
        self.call(kernel, "forward")
            .bind("table", table)
            .bind("ids", ids)
            .bind("y", y)
            .params(&params)
            .elements(n * cols);
        self.record(y, &[table], move |t, dy| {
            let links = t.output(&[chunks, rows + chunk]);
            t.call(kernel, "link")
                .bind("ids", ids)
                .bind("links", links)
                .params(&params)
                .elements(chunks * (rows + chunk));
            let partial = t.output(&[chunks, rows, width]);
            t.call(kernel, "backward")
                .bind("dy", dy)
                .bind("linked", links)
                .bind("dtable", partial)
                .params(&params)
                .elements(chunks * rows * cols);
            let dtable = if chunks == 1 {
                partial
            } else {
                t.sum_rows(partial, rows * width)
            };
            let dtable = t.view(dtable, &[rows, width]);
            t.add_grad(table, dtable);
        });
        y
    }
}

/// End of a chain of links.
const NONE: u32 = u32::MAX;

fn forward(call: &NativeCall) {
    let (table, ids) = (call.read::<f32>("table"), call.read::<u32>("ids"));
    let (y, count) = (call.write::<f32>("y"), call.size("rows"));
    let part = TablePart {
        first: call.size("first"),
        total: call.size("last") + 1,
    };
    let cols = y.len() / ids.len();
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |i, y| match part.row(ids[i], count) {
            Some(row) => y.copy_from_slice(&table[row * cols..][..cols]),
            None => y.fill(0.0),
        },
    );
}

fn link(call: &NativeCall) {
    let (ids, links) = (call.read::<u32>("ids"), call.write::<u32>("links"));
    let (count, chunk) = (call.size("rows"), call.size("chunk"));
    rows(
        call,
        links,
        count + chunk,
        #[inline(always)]
        |index, links| {
            links.fill(NONE);
            let (heads, nexts) = links.split_at_mut(count);
            let first = index * chunk;
            let ids = &ids[first..ids.len().min(first + chunk)];
            for (at, (id, next)) in ids.iter().zip(nexts).enumerate().rev() {
                let head = &mut heads[(count - 1).min(*id as usize)];
                *next = std::mem::replace(head, (first + at) as u32);
            }
        },
    );
}

fn backward(call: &NativeCall) {
    let (dy, linked) = (call.read::<f32>("dy"), call.read::<u32>("linked"));
    let dtable = call.write::<f32>("dtable");
    let [n, count, chunk, chunks] = ["n", "rows", "chunk", "chunks"].map(|name| call.size(name));
    let cols = dtable.len() / (chunks * count);
    rows_with_cost(
        call,
        dtable,
        cols,
        cols + n * cols / (chunks * count),
        #[inline(always)]
        |row, dtable| {
            let (index, row) = (row / count, row % count);
            let links = &linked[index * (count + chunk)..][..count + chunk];
            dtable.fill(0.0);
            let mut at = links[row];
            while at != NONE {
                let dy = &dy[at as usize * cols..][..cols];
                for (sum, dy) in dtable.iter_mut().zip(dy) {
                    *sum += dy;
                }
                at = links[count + at as usize - index * chunk];
            }
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan};
    use crate::ops::check::{Array, Outcome, checks, ensure_eq, gradients};

    checks![
        agrees_with_its_reference,
        gradients_hold_for_many_ids_of_one_row,
        ids_are_clamped_to_the_last_row,
        rows_outside_of_a_part_are_zero
    ];

    fn lookup(device: &Device, rows: usize, cols: usize, ids: &[u32]) -> Outcome {
        let op = |t: &mut Tape, [table]: [Var; 1]| {
            let ids = t.constant(ids);
            t.embedding(table, ids)
        };
        let reference = |[table]: [&Array; 1]| {
            ids.iter()
                .flat_map(|&id| &table.data[(id as usize).min(rows - 1) * cols..][..cols])
                .copied()
                .collect()
        };
        gradients(device, &[[&[rows, cols]]], op, reference)
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        let ids = |n: usize, rows: usize| {
            (0..n)
                .map(|i| (i * i * 7 + i / 3) as u32 % rows as u32)
                .collect::<Vec<_>>()
        };
        for n in [1, 2, 255, 256, 257, 511, 512, 513, 1500] {
            lookup(device, 1, 4, &ids(n, 1))?;
            lookup(device, 5, 8, &ids(n, 5))?;
            lookup(device, 65, 6, &ids(n, 60))?;
        }
        lookup(device, 600, 5, &ids(1300, 600))
    }

    fn gradients_hold_for_many_ids_of_one_row(device: &Device) -> Outcome {
        lookup(
            device,
            3,
            1,
            &(0..70_000).map(|i| i % 2).collect::<Vec<_>>(),
        )?;
        // a large table has long chunks, all of whose ids here select one row
        lookup(device, 10_000, 1, &vec![9_999; 20_001])
    }

    fn ids_are_clamped_to_the_last_row(device: &Device) -> Outcome {
        lookup(device, 4, 4, &[0, 9, 3, u32::MAX, 1])
    }

    fn rows_outside_of_a_part_are_zero(device: &Device) -> Outcome {
        let (total, cols) = (7, 3);
        let ids = [0, 1, 2, 3, 4, 5, 6, 7, u32::MAX];
        let table: Vec<f32> = (0..total * cols).map(|at| at as f32 + 0.5).collect();
        for range in [0..3, 3..5, 5..7] {
            let mut t = device.tape();
            let values = t.constant(&table[range.start * cols..range.end * cols]);
            let values = t.view(values, &[range.len(), cols]);
            let places = t.constant(&ids);
            let part = TablePart {
                first: range.start,
                total,
            };
            let y = t.embedding_part(values, places, part);
            t.hold(y);
            let plan = Plan::new(device, t)?;
            plan.run()?;
            let want = ids.iter().flat_map(|&id| {
                let row = (id as usize).min(total - 1);
                let inside = range.contains(&row);
                let values = table[row * cols..][..cols].iter();
                values.map(move |value| if inside { *value } else { 0.0 })
            });
            ensure_eq!(plan.read::<f32>(y)?, want.collect::<Vec<_>>(), "{range:?}");
        }
        Ok(())
    }
}
