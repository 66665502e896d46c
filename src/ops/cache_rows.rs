//! Writing of rows into a cache of keys and values.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::rows_with_cost;

static CACHE_ROWS: Kernel = kernel!("cache_rows").native(&[("forward", forward)]);

impl Tape {
    /// Records writing the last `c` columns of `rows: [b, t, ..]` into the persistent `cache: [b,
    /// capacity, c]` at rows `past[b]..past[b] + t`, in place. `past: [b]`, or `[1]` for the whole
    /// batch, holds `u32`s. Rows past the capacity are dropped. No gradient flows through a cache.
    #[track_caller]
    pub fn cache_rows(&mut self, cache: Var, rows: Var, past: Var) {
        let shapes = || format!("cache {:?}, rows {:?}", self.shape(cache), self.shape(rows));
        let (&[b, capacity, c], &[rows_b, t, stride]) = (self.shape(cache), self.shape(rows))
        else {
            panic!(
                "cache_rows: {} are not [b, capacity, c] and [b, t, ..]",
                shapes()
            )
        };
        assert!(
            b == rows_b && c <= stride && t <= capacity,
            "cache_rows: {} do not fit",
            shapes()
        );
        assert!(
            self.len(past) == 1 || self.len(past) == b,
            "cache_rows: past {:?}, want [1] or [{b}]",
            self.shape(past)
        );
        assert!(
            !self.needs_grad(cache),
            "cache_rows: a cache has no gradient"
        );
        let n = b * t * c;
        let past_stride = (self.len(past) == b) as usize;
        self.call(&CACHE_ROWS, "forward")
            .bind("rows", rows)
            .bind("past", past)
            .bind("cache", cache)
            .param("n", n)
            .param("t", t)
            .param("capacity", capacity)
            .param("c", c)
            .param("stride", stride)
            .param("past_stride", past_stride)
            .elements(n);
    }
}

fn forward(call: &NativeCall) {
    let (rows, past) = (call.read::<f32>("rows"), call.read::<u32>("past"));
    let cache = call.write::<f32>("cache");
    let [t, capacity, c, stride] = ["t", "capacity", "c", "stride"].map(|name| call.size(name));
    let past_stride = call.size("past_stride");
    rows_with_cost(
        call,
        cache,
        capacity * c,
        t * c,
        #[inline(always)]
        |batch, cache| {
            let past = past[batch * past_stride] as usize;
            let rows = rows[batch * t * stride..][..t * stride].chunks_exact(stride);
            for (cached, row) in cache.chunks_exact_mut(c).skip(past).zip(rows) {
                cached.copy_from_slice(&row[stride - c..]);
            }
        },
    );
}

pub(super) mod checks {

    use crate::device::{Device, Plan};
    use crate::ops::check::{Outcome, checks, ensure_eq, random_f32};

    checks![writes_only_its_rows];

    fn writes_only_its_rows(device: &Device) -> Outcome {
        for (b, t, capacity, c, stride, pasts) in [
            (1, 1, 1, 1, 1, [&[0][..], &[0]]),
            (3, 1, 33, 37, 37, [&[0], &[32]]),
            (2, 5, 8, 128, 192, [&[3], &[1]]),
            (2, 3, 7, 2, 3, [&[4], &[0]]),
            (3, 2, 9, 5, 6, [&[7, 0, 3], &[1, 7, 0]]),
        ] {
            let mut want: Vec<f32> = random_f32(b * capacity * c, 1);
            let mut tape = device.tape();
            let (cache, rows, past) = (
                tape.input(&[b, capacity, c]),
                tape.input(&[b, t, stride]),
                tape.input(&[pasts[0].len()]),
            );
            tape.cache_rows(cache, rows, past);
            let plan = Plan::new(device, tape)?;
            plan.write(cache, &want);
            for (run, at) in pasts.into_iter().enumerate() {
                let new: Vec<f32> = random_f32(b * t * stride, 2 + run as u64);
                plan.write(rows, &new);
                plan.write(past, at);
                plan.run()?;
                for (row, new) in new.chunks(stride).enumerate() {
                    let first = at[row / t % at.len()] as usize;
                    want[(row / t * capacity + first + row % t) * c..][..c]
                        .copy_from_slice(&new[stride - c..]);
                }
                ensure_eq!(
                    plan.read::<f32>(cache)?,
                    want,
                    "{b} {t} {capacity} {c} of {stride} {at:?}"
                );
            }
        }
        Ok(())
    }
}
