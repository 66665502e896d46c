//! Sum of squares: what the norm of all gradients is made of.

use crate::kernel;
use crate::kernel::Kernel;
use crate::tape::{Tape, Var};

static SUM_SQUARES: Kernel = kernel!("sum_squares", "reduce");

/// Most workgroups of the first stage of a sum, which the second stage adds up in one.
const PARTS: usize = 1024;

impl Tape {
    /// The sum of the squares of all elements of `x`, `[1]`. The order of summation is fixed.
    #[track_caller]
    pub fn sum_squares(&mut self, x: Var) -> Var {
        let vectors = self.len(x).div_ceil(4);
        let workgroup = self.row_workgroup(vectors.div_ceil(PARTS));
        // at least 16 vectors an invocation, so that small values need no second stage
        let parts = vectors.div_ceil(16 * workgroup as usize).min(PARTS);
        let partials = self.output(&[parts]);
        self.squares("squares", workgroup, ("x", x), ("partials", partials), parts);
        if parts == 1 {
            return partials;
        }
        let sum = self.output(&[1]);
        let workgroup = self.row_workgroup(parts);
        self.squares("sum", workgroup, ("sums", partials), ("result", sum), 1);
        sum
    }

    #[track_caller]
    fn squares(&mut self, entry: &str, workgroup: u32, x: (&'static str, Var), y: (&'static str, Var), groups: usize) {
        let n = self.len(x.1);
        let call = self.call(&SUM_SQUARES, entry).bind(x.0, x.1).bind(y.0, y.1);
        call.param("n", n).constant("WG", workgroup).groups([groups, 1, 1]);
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::check::forward;

    #[test]
    fn sum_squares_agrees_with_its_reference() {
        for n in [1, 3, 4, 63, 64, 65, 511, 512, 513, 525, 70_001, 2_100_001] {
            forward(&[[&[n]]], |t, [x]| t.sum_squares(x), |[x]| vec![x.data.iter().map(|x| x * x).sum()]);
        }
    }

    #[test]
    fn sum_squares_ignores_what_lies_behind_the_last_element() {
        // filling five elements fills the padding too
        forward(
            &[[&[5]], [&[4098]]],
            |t, [x]| {
                let x = t.fill(&[t.len(x)], 3.0);
                t.sum_squares(x)
            },
            |[x]| vec![9.0 * x.data.len() as f64],
        );
    }
}
