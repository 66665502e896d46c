//! The AdamW optimizer step with moments in 8 bits.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::AdamW;
use crate::ops::adamw::{Rates, record};
use crate::ops::grad_scaler::Verdict;
use crate::ops::native::rows_of_three;
use crate::ops::shared;

static ADAMW_8BIT: Kernel = kernel!("adamw_8bit", shared::VERDICT).native(&[("step", step)]);

/// Number of elements that share a scale.
const BLOCK: usize = 64;
/// Words of the moments of a block: four codes each, and the bits of the largest value.
const ROW: usize = BLOCK / 4 + 1;

impl AdamW {
    /// Number of 32-bit words that one 8-bit moment of `n` elements takes, for `n` a multiple of 64.
    pub const fn words_of_8_bit_moments(n: usize) -> usize {
        n / BLOCK * ROW
    }
}

impl Tape {
    /// Records [`adamw`](Self::adamw) with moments that are kept in 8 bits, with a scale for every 64
    /// elements (Dettmers et al. 2022, arXiv:2110.02861), of
    /// [`words_of_8_bit_moments`](AdamW::words_of_8_bit_moments) words each. Zeros are moments of 0.
    ///
    /// Codes are rounded at random, which depends on the element and the number of steps taken:
    /// equal trainings give equal moments.
    #[track_caller]
    #[expect(
        clippy::too_many_arguments,
        reason = "the update rule has this many operands"
    )]
    pub fn adamw_8bit(
        &mut self,
        param: Var,
        grad: Var,
        m: Var,
        v: Var,
        filled: Var,
        verdict: Var,
        rate: Var,
        hyper: AdamW,
    ) {
        let n = self.len(param);
        for (name, moment) in [("m", m), ("v", v)] {
            assert!(
                self.len(moment) == AdamW::words_of_8_bit_moments(n),
                "adamw_8bit: {name} of shape {:?} for {:?}",
                self.shape(moment),
                self.shape(param)
            );
        }
        let values = [param, grad, m, v, filled, verdict, rate];
        record(self, &ADAMW_8BIT, values, hyper).groups([
            n.div_ceil(BLOCK * 16).clamp(1, 65_535),
            1,
            1,
        ]);
    }
}

/// A number in 0 to 1, by the element, the step and the moment.
#[inline(always)]
fn chance(element: u32, step: u32, salt: u32) -> f32 {
    let bits = element
        .wrapping_mul(747_796_405)
        .wrapping_add(step.wrapping_mul(2_891_336_453))
        .wrapping_add(salt);
    let bits = (bits ^ (bits >> 16)).wrapping_mul(0x7feb_352d);
    let bits = (bits ^ (bits >> 15)).wrapping_mul(0x846c_a68b);
    ((bits ^ (bits >> 16)) >> 8) as f32 / 16_777_216.0
}

/// Code of a part of the largest first moment, without its sign.
#[inline(always)]
fn first_code(part: f32, chance: f32) -> i32 {
    let x = 127.0 * part.sqrt();
    let low = x.floor().min(126.0);
    let up = (x * x - low * low) / (2.0 * low + 1.0);
    low as i32 + (chance < up) as i32
}

/// Code of a part of the largest second moment.
#[inline(always)]
fn second_code(part: f32, chance: f32) -> u32 {
    let x = 255.0 * part.sqrt().sqrt();
    let low = x.floor().min(254.0);
    let next = low + 1.0;
    let below = low * low * low * low;
    let up = (x * x * x * x - below) / (next * next * next * next - below);
    low as u32 + (chance < up) as u32
}

/// First moment of a code, as a part of the largest.
#[inline(always)]
fn first_part(code: i8) -> f32 {
    let q = code as f32 / 127.0;
    q * q.abs()
}

/// Second moment of a code, as a part of the largest.
#[inline(always)]
fn second_part(code: u8) -> f32 {
    let r = code as f32 / 255.0;
    r * r * r * r
}

fn step(call: &NativeCall) {
    let (p, m, v) = (call.write("p"), call.write("m"), call.write("v"));
    let (g, filled) = (call.read::<f32>("g"), call.read::<u32>("filled"));
    let verdict = Verdict::read(call);
    let rates = Rates::of(call, &verdict);
    if !verdict.take {
        return;
    }
    let Rates {
        beta1,
        beta2,
        rest1,
        rest2,
        eps,
        pace,
        root,
        ..
    } = rates;
    rows_of_three(
        call,
        (p, BLOCK),
        (m, ROW),
        (v, ROW),
        #[inline(always)]
        |block, p: &mut [f32], m: &mut [u32], v: &mut [u32]| {
            let trained = filled[block] as usize % 256;
            let shrink = rates.shrink(filled[block] >= 256);
            let g = &g[block * BLOCK..][..BLOCK];
            let p = &mut p[..BLOCK];
            let [old_m, old_v] = [m[ROW - 1], v[ROW - 1]].map(f32::from_bits);
            let (mut firsts, mut seconds) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
            for i in 0..BLOCK {
                // 0 in the padding, where m, v and p then stay 0
                let grad = if i < trained {
                    verdict.factor * g[i]
                } else {
                    0.0
                };
                let [q, r] = [m[i / 4], v[i / 4]].map(|word| (word >> (8 * (i % 4))) as u8);
                firsts[i] = beta1 * (first_part(q as i8) * old_m) + rest1 * grad;
                seconds[i] = beta2 * (second_part(r) * old_v) + rest2 * grad * grad;
                p[i] = p[i] * shrink - pace * firsts[i] / (seconds[i].sqrt() / root + eps);
            }
            let largest_m = firsts.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let largest_v = seconds.iter().fold(0.0f32, |most, x| most.max(*x));
            let part = |value: f32, largest: f32| {
                if largest > 0.0 { value / largest } else { 0.0 }
            };
            for word in 0..ROW - 1 {
                let (mut first_word, mut second_word) = (0, 0);
                for byte in 0..4 {
                    let i = 4 * word + byte;
                    let element = (BLOCK * block + i) as u32;
                    let chance = |salt| chance(element, verdict.taken, salt);
                    let first = first_code(part(firsts[i].abs(), largest_m), chance(1));
                    let first = if firsts[i] < 0.0 { -first } else { first };
                    let second = second_code(part(seconds[i], largest_v), chance(2));
                    first_word |= (first as u8 as u32) << (8 * byte);
                    second_word |= second << (8 * byte);
                }
                (m[word], v[word]) = (first_word, second_word);
            }
            (m[ROW - 1], v[ROW - 1]) = (largest_m.to_bits(), largest_v.to_bits());
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, DeviceError, Plan, Tensor};
    use crate::ops::GradScaler;
    use crate::ops::check::{Outcome, checks, ensure, random};

    checks![
        the_first_step_and_its_codes_agree_with_the_reference,
        many_steps_end_near_those_with_moments_in_32_bits
    ];

    /// Number of elements: blocks that are full and one that is not.
    const N: usize = 64 * 37;
    const TRAINED: usize = N - 5;

    /// A recorded step on its own parameters.
    struct Stepper {
        plan: Plan,
        tensors: [Tensor; 3],
        rate: Var,
        input: Var,
    }

    impl Stepper {
        fn new(device: &Device, start: &[f32], eight: bool) -> Result<Stepper, DeviceError> {
            let hyper = AdamW::default();
            let words = if eight {
                AdamW::words_of_8_bit_moments(N)
            } else {
                N
            };
            let make = |values: &[f32]| Tensor::new(device, &[values.len()], values);
            let zeros = vec![0.0f32; words];
            let tensors = [make(start)?, make(&zeros)?, make(&zeros)?];
            let mut filled = vec![64 + 256u32; N / 64];
            *filled.last_mut().expect("blocks") -= (N - TRAINED) as u32;
            let mut tape = device.tape();
            let (rate, input) = (tape.input(&[1]), tape.input(&[N]));
            let filled = tape.constant(&filled);
            let norm_squared = tape.sum_squares(input, filled);
            let scaler = GradScaler::default();
            let state = tape.constant(&scaler.start());
            let loss = tape.constant(&[1.0f32]);
            let verdict = tape.grad_scaler(norm_squared, loss, state, scaler);
            let [param, m, v] = tensors.each_ref().map(|tensor| tape.bind(tensor));
            match eight {
                true => tape.adamw_8bit(param, input, m, v, filled, verdict, rate, hyper),
                false => tape.adamw(param, input, m, v, filled, verdict, rate, hyper),
            }
            let plan = Plan::new(device, tape)?;
            Ok(Stepper {
                plan,
                tensors,
                rate,
                input,
            })
        }

        fn step(&self, gradient: &[f32], rate: f32) -> Result<(), DeviceError> {
            self.plan.write(self.rate, &[rate]);
            self.plan.write(self.input, gradient);
            self.plan.run()
        }

        fn read<T: crate::graph::Element>(&self, index: usize) -> Result<Vec<T>, DeviceError> {
            self.tensors[index].read()
        }
    }

    fn start() -> Vec<f32> {
        let mut start: Vec<f32> = random(N, 3).iter().map(|&x| x as f32).collect();
        start[TRAINED..].fill(0.0);
        start
    }

    /// Gradients whose sizes differ within a block by up to a factor of 10.
    fn gradient(step: u64, scales: &[f64]) -> Vec<f32> {
        let noise = random(N, 50 + step);
        let values = noise.iter().zip(scales);
        values.map(|(&x, scale)| (x * scale) as f32).collect()
    }

    fn scales() -> Vec<f64> {
        random(N, 9)
            .iter()
            .map(|x| 10f64.powf(0.5 * (x.clamp(-1.0, 1.0) - 1.0)))
            .collect()
    }

    fn the_first_step_and_its_codes_agree_with_the_reference(device: &Device) -> Outcome {
        let (start, gradient) = (start(), gradient(1, &scales()));
        let stepper = Stepper::new(device, &start, true)?;
        stepper.step(&gradient, 0.01)?;
        let after = stepper.read::<f32>(0)?;
        let (m, v) = (stepper.read::<u32>(1)?, stepper.read::<u32>(2)?);
        for i in 0..N {
            let g = if i < TRAINED { gradient[i] as f64 } else { 0.0 };
            let want = start[i] as f64 * (1.0 - 0.01 * 0.01) - 0.01 * g / (g.abs() + 1e-8);
            let want = if i < TRAINED { want } else { 0.0 };
            let got = after[i] as f64;
            ensure!(
                (got - want).abs() < 2e-6,
                "parameter {i}: {got}, want {want}"
            );
            let row = i / BLOCK * ROW;
            let code = |words: &[u32]| (words[row + i % BLOCK / 4] >> (8 * (i % 4))) as u8;
            let [large_m, large_v] =
                [&m, &v].map(|words| f32::from_bits(words[row + ROW - 1]) as f64);
            let (q, r) = (code(&m) as i8 as f64, code(&v) as f64);
            // within one code of the moment
            let x = 127.0 * (0.1 * g.abs() / large_m).sqrt();
            ensure!(
                (q.abs() - x).abs() < 1.001 && q * g >= 0.0,
                "m {i}: code {q} for {x}"
            );
            let y = 255.0 * (0.001 * g * g / large_v).sqrt().sqrt();
            ensure!((r - y).abs() < 1.001, "v {i}: code {r} for {y}");
        }
        Ok(())
    }

    fn many_steps_end_near_those_with_moments_in_32_bits(device: &Device) -> Outcome {
        let (start, scales) = (start(), scales());
        let eight = Stepper::new(device, &start, true)?;
        let exact = Stepper::new(device, &start, false)?;
        for step in 1..=60 {
            // a direction that stays, and noise
            let mut gradient = gradient(step, &scales);
            for (i, value) in gradient.iter_mut().enumerate() {
                *value += (scales[i] * (i as f64).sin()) as f32;
            }
            for stepper in [&eight, &exact] {
                stepper.step(&gradient, 0.01)?;
            }
        }
        let (eight, exact) = (eight.read::<f32>(0)?, exact.read::<f32>(0)?);
        let distance = |a: &[f32], b: &[f32]| {
            let squares = a.iter().zip(b).map(|(a, b)| ((a - b) as f64).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let (apart, moved) = (distance(&eight, &exact), distance(&exact, &start));
        ensure!(apart < 0.05 * moved, "{apart} apart after a way of {moved}");
        ensure!(
            eight[TRAINED..].iter().all(|x| *x == 0.0),
            "the padding changed"
        );
        Ok(())
    }
}
