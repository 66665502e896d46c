//! Dropout with a mask that is a pure function of seed, site and index.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::elements;
use crate::ops::native::random::keep;
use crate::ops::shared;

static DROPOUT: Kernel = kernel!("dropout", shared::RANDOM).native(&[("forward", forward)]);

/// Dropout as a part of another op.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Probability of zeroing an element; 0 for none.
    pub p: f32,
    /// A `u32`, `[1]`, that the host changes with every step.
    pub seed: Var,
}

impl Dropout {
    /// Returns a number for the site that draws this mask, or 0 if `p` is 0.
    #[track_caller]
    pub(super) fn site(&self, t: &mut Tape) -> u32 {
        assert!(
            (0.0..1.0).contains(&self.p),
            "dropout: probability {} is not in [0, 1)",
            self.p
        );
        assert!(
            t.len(self.seed) == 1,
            "dropout: seed of shape {:?}, want [1]",
            t.shape(self.seed)
        );
        if self.p == 0.0 { 0 } else { t.site() }
    }
}

impl Tape {
    /// Records dropout (Srivastava et al. 2014): each element of `x` becomes 0 with probability
    /// `p`, else `x / (1 - p)`.
    ///
    /// `seed: [1]` is a `u32` that the host changes with every step; every call draws its own mask
    /// from it. The mask is recomputed in the backward pass, never stored. Returns `x` itself if
    /// `p` is 0.
    #[track_caller]
    pub fn dropout(&mut self, x: Var, p: f32, seed: Var) -> Var {
        let dropout = Dropout { p, seed };
        let site = dropout.site(self);
        if p == 0.0 {
            return x;
        }
        let y = self.masked(x, dropout, site);
        self.record(y, &[x], move |t, dy| {
            let dx = t.masked(dy, dropout, site);
            t.add_grad(x, dx);
        });
        y
    }

    /// Records `x` times the mask of a site.
    pub(super) fn masked(&mut self, x: Var, dropout: Dropout, site: u32) -> Var {
        let (n, y) = (self.len(x), self.like(x));
        self.call(&DROPOUT, "forward")
            .bind("x", x)
            .bind("y", y)
            .bind("seed", dropout.seed)
            .param("n", n)
            .param("site", site)
            .param("p", dropout.p)
            .elements(n.div_ceil(4));
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let (seed, site) = (call.read::<u32>("seed")[0], call.size("site") as u32);
    let p = call.float("p");
    elements(
        call,
        y,
        #[inline(always)]
        |start, y| {
            let x = &x[start..][..y.len()];
            for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                *y = x * keep(seed, site, (start + i) as u32, p);
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::{Device, Plan};
    use crate::ops::check::{Failure, Outcome, checks, ensure, ensure_eq};
    use crate::ops::native::random::random_bits;

    checks![
        masks_follow_the_generator_forward_and_backward,
        equal_seeds_give_equal_masks_and_others_differ,
        fraction_of_zeros_is_p,
        zero_probability_records_nothing,
        neighbouring_counters_are_not_correlated
    ];

    /// Returns the output of two sites and the gradient through the first, for an input and
    /// cotangent of ones.
    fn masks(device: &Device, n: usize, p: f32, seed: u32) -> Result<[Vec<f32>; 3], Failure> {
        let mut tape = device.tape();
        let (x, seed_var, ones) = (tape.variable(&[n]), tape.input(&[1]), tape.input(&[n]));
        let a = tape.dropout(x, p, seed_var);
        let b = tape.dropout(ones, p, seed_var);
        tape.backward(a, ones);
        let dx = tape.grad(x).unwrap();
        [a, b, dx].iter().for_each(|&v| tape.hold(v));
        let plan = Plan::new(device, tape)?;
        plan.write(x, &vec![1f32; n]);
        plan.write(ones, &vec![1f32; n]);
        plan.write(seed_var, &[seed]);
        plan.run()?;
        Ok([plan.read(a)?, plan.read(b)?, plan.read(dx)?])
    }

    fn masks_follow_the_generator_forward_and_backward(device: &Device) -> Outcome {
        for n in [1, 1023, 1024, 1025, 37, 300_000] {
            let [a, b, dx] = masks(device, n, 0.3, 7)?;
            let want = |site: u32| -> Vec<f32> {
                let kept = |i: u32| (random_bits(7, site, i) >> 8) as f32 / (1 << 24) as f32 >= 0.3;
                (0..n as u32)
                    .map(|i| if kept(i) { 1.0 / 0.7 } else { 0.0 })
                    .collect()
            };
            let same = |got: &[f32], want: &[f32]| {
                got.iter()
                    .zip(want)
                    .all(|(got, want)| (got - want).abs() < 1e-6)
            };
            ensure!(same(&a, &want(1)) && same(&b, &want(2)), "{n}");
            ensure_eq!(a, dx, "{n}");
        }
        Ok(())
    }

    fn equal_seeds_give_equal_masks_and_others_differ(device: &Device) -> Outcome {
        let [a, b, _] = masks(device, 4096, 0.5, 1)?;
        let differing = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        ensure_eq!(a, masks(device, 4096, 0.5, 1)?[0]);
        // binomial with standard deviation 32
        ensure!((differing(&a, &b) as f64 - 2048.0).abs() < 160.0);
        ensure!((differing(&a, &masks(device, 4096, 0.5, 2)?[0]) as f64 - 2048.0).abs() < 160.0);
        Ok(())
    }

    fn fraction_of_zeros_is_p(device: &Device) -> Outcome {
        for p in [0.1, 0.5, 0.9] {
            let n = 200_000;
            let zeros = masks(device, n, p, 3)?[0]
                .iter()
                .filter(|&&y| y == 0.0)
                .count();
            let (mean, deviation) = (
                n as f64 * p as f64,
                (n as f64 * p as f64 * (1.0 - p as f64)).sqrt(),
            );
            ensure!(
                (zeros as f64 - mean).abs() < 5.0 * deviation,
                "{zeros} zeros for p = {p}"
            );
        }
        Ok(())
    }

    fn zero_probability_records_nothing(device: &Device) -> Outcome {
        let mut tape = device.tape();
        let (x, seed) = (tape.variable(&[8]), tape.input(&[1]));
        ensure_eq!(tape.dropout(x, 0.0, seed), x);
        ensure_eq!(tape.dispatches(), 0);
        Ok(())
    }

    /// Correlates neighbouring draws along each axis of the counter.
    fn neighbouring_counters_are_not_correlated(_: &Device) -> Outcome {
        let draw = |seed, site, index| random_bits(seed, site, index) as f64 / 2f64.powi(32) - 0.5;
        let count = 200_000;
        for (axis, step) in [
            ("index", [0, 0, 1]),
            ("index", [0, 0, 64]),
            ("site", [0, 1, 0]),
            ("seed", [1, 0, 0]),
            ("both", [1, 1, 0]),
        ] {
            let products = (0..count).map(|i| {
                let (seed, site, index) = (i % 10, i / 10 % 20, i / 200);
                draw(seed, site, index) * draw(seed + step[0], site + step[1], index + step[2])
            });
            let correlation = products.sum::<f64>() / count as f64 * 12.0;
            ensure!(
                correlation.abs() < 5.0 / (count as f64).sqrt(),
                "{axis}: {correlation}"
            );
        }
        Ok(())
    }
}
