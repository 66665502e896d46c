//! Sum of squares, for the norm of all gradients.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::{math, rows_with_cost};
use crate::ops::shared;

static SUM_SQUARES: Kernel =
    kernel!("sum_squares", shared::REDUCE).native(&[("squares", squares), ("sum", sum)]);

/// Workgroups of the first stage at most; the second stage sums their results in one workgroup.
const PARTS: usize = 1024;

impl Tape {
    /// Records the sum `[1]` of the squares of the elements of `x: [n]`, padding excluded: `filled:
    /// [n / 64]`, modulo 256, is the number of elements that count in each block of 64. The order
    /// of summation is fixed.
    #[track_caller]
    pub fn sum_squares(&mut self, x: Var, filled: Var) -> Var {
        let n = self.len(x);
        assert!(
            n == 64 * self.len(filled),
            "sum_squares: filled of shape {:?} for {:?}",
            self.shape(filled),
            self.shape(x)
        );
        let vectors = n / 4;
        let workgroup = self.row_workgroup(vectors.div_ceil(PARTS));
        // at least 16 vectors an invocation: small sums need no second stage
        let parts = vectors.div_ceil(16 * workgroup as usize).min(PARTS);
        let partials = self.output(&[parts]);
        let call = self
            .call(&SUM_SQUARES, "squares")
            .bind("x", x)
            .bind("filled", filled)
            .bind("partials", partials);
        call.param("n", n)
            .constant("WG", workgroup)
            .groups([parts, 1, 1]);
        if parts == 1 {
            return partials;
        }
        let sum = self.output(&[1]);
        let workgroup = self.row_workgroup(parts);
        let call = self
            .call(&SUM_SQUARES, "sum")
            .bind("sums", partials)
            .bind("result", sum);
        call.param("n", parts)
            .constant("WG", workgroup)
            .groups([1, 1, 1]);
        sum
    }
}

fn squares(call: &NativeCall) {
    const BLOCK: usize = 64;
    let (x, filled) = (call.read::<f32>("x"), call.read::<u32>("filled"));
    let partials = call.write::<f32>("partials");
    let part = filled.len().div_ceil(partials.len());
    rows_with_cost(
        call,
        partials,
        1,
        part * BLOCK,
        #[inline(always)]
        |index, partial| {
            let range = (index * part).min(filled.len())..filled.len().min((index + 1) * part);
            let x = &x[range.start * BLOCK..range.end * BLOCK];
            let mut sum = 0.0;
            // blocks without padding in one go
            let filled = &filled[range];
            let mut at = 0;
            while at < filled.len() {
                let is_full = |filled: &&u32| **filled as usize % 256 == BLOCK;
                let full = filled[at..].iter().take_while(is_full).count();
                let (length, blocks) = match full {
                    0 => (filled[at] as usize % 256, 1),
                    full => (full * BLOCK, full),
                };
                let x = &x[at * BLOCK..][..length];
                sum += math::dot(x, x);
                at += blocks;
            }
            partial[0] = sum;
        },
    );
}

fn sum(call: &NativeCall) {
    let sums = call.read::<f32>("sums");
    call.write::<f32>("result")[0] = math::sum([sums], |[sum]| sum);
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Outcome, checks, forward};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for blocks in [1, 3, 8, 9, 1100, 33_000] {
            let filled: Vec<u32> = (0..blocks as u32)
                .map(|block| {
                    if block % 5 == 2 {
                        block % 65
                    } else {
                        64 + 256 * (block % 2)
                    }
                })
                .collect();
            let want = |x: &[f64]| {
                let sum = |(x, &filled): (&[f64], &u32)| {
                    x[..filled as usize % 256]
                        .iter()
                        .map(|x| x * x)
                        .sum::<f64>()
                };
                x.chunks(64).zip(&filled).map(sum).sum::<f64>()
            };
            forward(
                device,
                &[[&[64 * blocks]]],
                |t, [x]| {
                    let filled = t.constant(&filled);
                    t.sum_squares(x, filled)
                },
                |[x]| vec![want(&x.data)],
            )?;
        }
        Ok(())
    }
}
