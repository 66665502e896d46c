//! Addition, with the second operand repeated over leading axes.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::elements;

static ADD: Kernel = kernel!("add").native(&[("forward", forward), ("repeat", repeat)]);

impl Tape {
    /// Records `c = a + b` with `a: [.., d..]` and `b: [d..]`: `b` is repeated over the leading
    /// axes that it lacks.
    ///
    /// # Panics
    /// If the shape of `b` is not a tail of the shape of `a`.
    #[track_caller]
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        assert!(
            self.shape(a).ends_with(self.shape(b)),
            "add: {:?} is not a tail of {:?}",
            self.shape(b),
            self.shape(a)
        );
        let (n, period, c) = (self.len(a), self.len(b), self.like(a));
        let (entry, name) = if n == period || period.is_multiple_of(4) {
            ("forward", "b")
        } else {
            ("repeat", "b_scalar")
        };
        self.call(&ADD, entry)
            .bind("a", a)
            .bind(name, b)
            .bind("c", c)
            .param("n", n)
            .param("period", period)
            .elements(n.div_ceil(4));
        self.record(c, &[a, b], move |t, dc| {
            t.add_grad(a, dc);
            if t.needs_grad(b) {
                let mut db = dc;
                if n != period {
                    db = t.sum_rows(dc, period);
                    // the shape of b, to add to other gradients of b
                    let shape = t.shape(b).to_vec();
                    db = t.view(db, &shape);
                }
                t.add_grad(b, db);
            }
        });
        c
    }
}

fn forward(call: &NativeCall) {
    repeated(call, call.read("b"));
}

fn repeat(call: &NativeCall) {
    repeated(call, call.read("b_scalar"));
}

fn repeated(call: &NativeCall, b: &[f32]) {
    let (a, c) = (call.read::<f32>("a"), call.write::<f32>("c"));
    elements(
        call,
        c,
        #[inline(always)]
        |start, c| {
            let mut at = 0;
            while at < c.len() {
                let b = &b[(start + at) % b.len()..];
                let run = b.len().min(c.len() - at);
                let a = &a[start + at..][..run];
                for ((c, a), b) in c[at..][..run].iter_mut().zip(a).zip(b) {
                    *c = a + b;
                }
                at += run;
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference, repeats_over_leading_axes];

    fn reference(a: &Array, b: &Array) -> Vec<f64> {
        a.data
            .iter()
            .zip(b.data.iter().cycle())
            .map(|(a, b)| a + b)
            .collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        gradients(
            device,
            &[
                [&[1], &[1]],
                [&[1023], &[1023]],
                [&[1025], &[1025]],
                [&[3, 37], &[3, 37]],
            ],
            |t, [a, b]| t.add(a, b),
            |[a, b]| reference(a, b),
        )
    }

    fn repeats_over_leading_axes(device: &Device) -> Outcome {
        gradients(
            device,
            &[
                [&[5, 8], &[8]],
                [&[5, 37], &[37]],
                [&[2, 3, 4], &[3, 4]],
                [&[7, 1], &[1]],
            ],
            |t, [a, b]| t.add(a, b),
            |[a, b]| reference(a, b),
        )?;
        gradients(
            device,
            &[[&[3, 2, 4], &[2, 4]]],
            |t, [a, b]| {
                let once = t.add(a, b);
                t.add(once, b)
            },
            |[a, b]| {
                a.data
                    .iter()
                    .zip(b.data.iter().cycle())
                    .map(|(a, b)| a + 2.0 * b)
                    .collect()
            },
        )?;
        forward(
            device,
            &[[&[70_000, 3], &[3]]],
            |t, [a, b]| t.add(a, b),
            |[a, b]| reference(a, b),
        )
    }
}
