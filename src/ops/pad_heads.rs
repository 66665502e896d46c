//! Padding or truncation of the width of attention heads.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::rows;

static PAD_HEADS: Kernel = kernel!("pad_heads").native(&[("forward", forward)]);

impl Tape {
    /// Records `x: [.., heads * from]` as `[.., heads * to]`: each head is truncated or padded with
    /// zeros to `to` columns.
    #[track_caller]
    pub(crate) fn pad_heads(&mut self, x: Var, heads: usize, to: usize) -> Var {
        let (rows, c) = self.rows_cols(x);
        assert!(
            c.is_multiple_of(heads),
            "pad_heads: {:?} does not divide into {heads} heads",
            self.shape(x)
        );
        let from = c / heads;
        let mut shape = self.shape(x).to_vec();
        shape[self.shape(x).len() - 1] = heads * to;
        let (n, y) = (rows * heads * to, self.output(&shape));
        self.call(&PAD_HEADS, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("n", n)
            .param("from_width", from)
            .param("to_width", to)
            .elements(n);
        self.record(y, &[x], move |t, dy| {
            let dx = t.pad_heads(dy, heads, from);
            t.add_grad(x, dx);
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let (from, to) = (call.size("from_width"), call.size("to_width"));
    let kept = from.min(to);
    rows(
        call,
        y,
        to,
        #[inline(always)]
        |head, y| {
            y[..kept].copy_from_slice(&x[head * from..][..kept]);
            y[kept..].fill(0.0);
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Outcome, checks, gradients};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (heads, from, to) in [(1, 1, 4), (3, 5, 8), (2, 8, 3), (4, 6, 6)] {
            gradients(
                device,
                &[[&[2, 7, heads * from]], [&[1025, heads * from]]],
                |t, [x]| t.pad_heads(x, heads, to),
                |[x]| {
                    x.data
                        .chunks(from)
                        .flat_map(|head| (0..to).map(|d| *head.get(d).unwrap_or(&0.0)))
                        .collect()
                },
            )?;
        }
        Ok(())
    }
}
