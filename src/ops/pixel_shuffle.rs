//! Pixel shuffle: squares of image tokens become one token each, with all of their columns.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::rows;
use crate::ops::vector_width::{VectorWidth, vector_width};

static PIXEL_SHUFFLE: VectorWidth = vector_width!("pixel_shuffle"; native: &[("forward", forward)]);

impl Tape {
    /// Records the rearrangement of `x: [b, side * side, c]`, rows of a square image, to `[b, (side
    /// / factor)^2, factor * factor * c]`: space to depth, as Idefics3 (Laurençon et al. 2024)
    /// shortens image tokens. Row `(r, q)` holds the rows `(factor * r + dr, factor * q + dc)` of
    /// `x`, `dc` varying fastest.
    ///
    /// # Panics
    /// If the rows of `x` are no square, or its side does not divide into squares.
    #[track_caller]
    pub fn pixel_shuffle(&mut self, x: Var, factor: usize) -> Var {
        let &[batch, tokens, width] = self.shape(x) else {
            panic!(
                "pixel_shuffle: {:?}, want [b, side * side, c]",
                self.shape(x)
            )
        };
        let side = tokens.isqrt();
        assert!(
            side * side == tokens && factor > 0 && side.is_multiple_of(factor),
            "pixel_shuffle: {tokens} rows of {:?} are no square that divides into squares of {factor} by {factor}",
            self.shape(x)
        );
        let across = side / factor;
        let y = self.output(&[batch, across * across, factor * factor * width]);
        let sizes = [batch * across, factor, across, factor * width];
        self.exchanged(x, y, sizes);
        self.record(y, &[x], move |t, dy| {
            let dx = t.like(x);
            let [n, down, across, line] = sizes;
            t.exchanged(dy, dx, [n, across, down, line]);
            t.add_grad(x, dx);
        });
        y
    }

    /// Records `y: [n, across, down, line]` as `x: [n, down, across, line]` with two axes
    /// exchanged.
    fn exchanged(&mut self, x: Var, y: Var, [n, down, across, line]: [usize; 4]) {
        let (kernel, cols) = PIXEL_SHUFFLE.of(line);
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("n", n)
            .param("down", down)
            .param("across", across)
            .param("cols", cols)
            .elements(n * down * across * cols);
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let [n, down, across] = ["n", "down", "across"].map(|name| call.size(name));
    let cols = y.len() / (n * down * across);
    rows(
        call,
        y,
        down * cols,
        #[inline(always)]
        |row, y| {
            let (block, q) = (row / across, row % across);
            for (dr, y) in y.chunks_exact_mut(cols).enumerate() {
                let from = (block * down + dr) * across + q;
                y.copy_from_slice(&x[from * cols..][..cols]);
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference];

    fn reference(x: &Array, factor: usize) -> Vec<f64> {
        let &[batch, tokens, width] = x.shape.as_slice() else {
            unreachable!()
        };
        let side = tokens.isqrt();
        let mut y = vec![];
        for b in 0..batch {
            for r in 0..side / factor {
                for q in 0..side / factor {
                    for dr in 0..factor {
                        for dc in 0..factor {
                            let row = (factor * r + dr) * side + factor * q + dc;
                            y.extend(&x.data[(b * tokens + row) * width..][..width]);
                        }
                    }
                }
            }
        }
        y
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (batch, side, width, factor) in [
            (1, 1, 1, 1),
            (2, 4, 3, 1),
            (2, 4, 3, 2),
            (3, 4, 5, 4),
            (1, 6, 8, 3),
            (2, 8, 16, 4),
            (1, 14, 6, 2),
        ] {
            gradients(
                device,
                &[[&[batch, side * side, width]]],
                |t, [x]| t.pixel_shuffle(x, factor),
                |[x]| reference(x, factor),
            )?;
        }
        forward(
            device,
            &[[&[20_000, 4, 2]], [&[1, 512 * 512, 1]]],
            |t, [x]| t.pixel_shuffle(x, 2),
            |[x]| reference(x, 2),
        )
    }

    #[test]
    #[should_panic(expected = "pixel_shuffle: 12 rows of [1, 12, 4] are no square")]
    fn rejects_rows_that_are_no_square() {
        let mut tape = crate::ops::check::device().tape();
        let x = tape.input(&[1, 12, 4]);
        tape.pixel_shuffle(x, 2);
    }

    #[test]
    #[should_panic(expected = "are no square that divides into squares of 4 by 4")]
    fn rejects_a_side_that_the_factor_does_not_divide() {
        let mut tape = crate::ops::check::device().tape();
        let x = tape.input(&[1, 36, 4]);
        tape.pixel_shuffle(x, 4);
    }
}
