//! Vectors of sixteen lanes, for loops that compilers do not vectorise by themselves, such as those
//! that unpack bits.

mod portable;
#[cfg(target_arch = "x86_64")]
mod v3;
#[cfg(target_arch = "x86_64")]
mod v4;

/// Lanes of a vector.
pub const LANES: usize = 16;

/// Instructions of a processor on vectors of sixteen lanes.
///
/// Mark everything that uses them `#[inline(always)]`, as for
/// [`vectorized`](super::vectorized).
pub trait Vectors: Copy {
    /// Floats.
    type Floats: Copy;
    /// Integers of 32 bits.
    type Ints: Copy;

    /// Returns zeros.
    #[inline(always)]
    fn zero(self) -> Self::Floats {
        self.splat(0.0)
    }

    /// Returns a value in all lanes.
    fn splat(self, value: f32) -> Self::Floats;

    /// Loads floats.
    fn floats(self, values: &[f32; LANES]) -> Self::Floats;

    /// Stores floats.
    fn store(self, values: Self::Floats, to: &mut [f32; LANES]);

    /// Returns `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// Returns `a * b`.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// Returns `a * b + c`, rounded once where the processor does so in one instruction.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// Returns the sum of all lanes.
    fn sum(self, a: Self::Floats) -> f32;

    /// Converts signed integers.
    fn to_floats(self, a: Self::Ints) -> Self::Floats;

    /// Returns floats of the given bits.
    fn of_bits(self, a: Self::Ints) -> Self::Floats;

    /// Converts 16-bit IEEE floats.
    fn halves(self, halves: &[u16; LANES]) -> Self::Floats;

    /// Returns an integer in all lanes.
    fn splat_int(self, value: u32) -> Self::Ints;

    /// Loads bytes, which become integers of 32 bits.
    fn bytes(self, bytes: &[u8; LANES]) -> Self::Ints;

    /// Loads signed bytes, which become integers of 32 bits.
    fn signed_bytes(self, bytes: &[i8; LANES]) -> Self::Ints;

    /// Loads integers of 16 bits, which become integers of 32 bits.
    fn shorts(self, shorts: &[u16; LANES]) -> Self::Ints;

    /// Returns the bits that both have.
    fn and(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// Returns the bits that either has.
    fn or(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// Returns `a - b`.
    fn sub(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// Shifts all lanes left by less than 32 bits.
    fn shl<const BY: u32>(self, a: Self::Ints) -> Self::Ints;

    /// Shifts all lanes right by less than 32 bits, filling with zeros.
    fn shr<const BY: u32>(self, a: Self::Ints) -> Self::Ints;

    /// Returns the values of a table that the lower four bits of each lane choose.
    fn lookup(self, table: &[f32; LANES], a: Self::Ints) -> Self::Floats;

    /// Shifts each lane right by bits of its own, filling with zeros: 32 or more leave nothing.
    fn shr_each(self, a: Self::Ints, by: &[u32; LANES]) -> Self::Ints;
}

/// Cache that a line is wanted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// The first, for use at once.
    First,
    /// The second, for use soon.
    Second,
}

/// Asks the processor for the cache line that holds a byte of `memory`, or one behind it, ahead of
/// its use.
///
/// Processors see streams coming, but not across the borders of pages.
#[inline(always)]
pub fn prefetch(memory: &[u32], byte: usize, cache: Cache) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let place = memory.as_ptr().cast::<i8>().wrapping_add(byte);
        // SAFETY: it is no access to the memory, which need not exist
        #[allow(unsafe_code)]
        unsafe {
            match cache {
                Cache::First => _mm_prefetch::<_MM_HINT_T0>(place),
                Cache::Second => _mm_prefetch::<_MM_HINT_T1>(place),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (memory, byte, cache);
}

/// Work on vectors.
pub trait VectorWork {
    /// Result.
    type Output;

    /// Does the work with the instructions of `v`. Mark it `#[inline(always)]`.
    fn run<V: Vectors>(self, v: V) -> Self::Output;
}

/// Runs work with the widest vectors that the processor has.
#[inline(always)]
pub fn with_vectors<W: VectorWork>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(v4) = pulp::x86::V4::try_new() {
            return v4.vectorize(
                #[inline(always)]
                || work.run(v4),
            );
        }
        if let Some(v3) = pulp::x86::V3::try_new() {
            return v3.vectorize(
                #[inline(always)]
                || work.run(v3),
            );
        }
    }
    super::vectorized(
        #[inline(always)]
        || work.run(portable::Portable),
    )
}

#[cfg(test)]
mod tests {
    use super::portable::Portable;
    use super::*;

    /// All operations on given inputs.
    struct All {
        floats: [[f32; LANES]; 3],
        bytes: [u8; LANES],
        shorts: [u16; LANES],
        by: [u32; LANES],
    }

    impl VectorWork for &All {
        type Output = Vec<[u32; LANES]>;

        #[inline(always)]
        fn run<V: Vectors>(self, v: V) -> Vec<[u32; LANES]> {
            let [a, b, c] = self.floats.map(
                #[inline(always)]
                |floats| v.floats(&floats),
            );
            let bytes = v.bytes(&self.bytes);
            let signed = v.signed_bytes(&self.bytes.map(|byte| byte as i8));
            let shorts = v.shorts(&self.shorts);
            let mask = v.splat_int(0x00f0_0ff3);
            let wide = v.or(v.shl::<16>(shorts), bytes);
            let floats = [
                v.zero(),
                v.splat(-1.5),
                v.add(a, b),
                v.mul(a, b),
                v.mul_add(a, b, c),
                v.to_floats(signed),
                v.to_floats(shorts),
                v.of_bits(v.shl::<16>(shorts)),
                v.halves(&self.shorts),
                v.splat(v.sum(v.to_floats(bytes))),
                v.of_bits(v.and(wide, mask)),
                v.of_bits(v.sub(bytes, mask)),
                v.of_bits(v.shr::<7>(wide)),
                v.of_bits(v.shr_each(wide, &self.by)),
                v.of_bits(signed),
                v.lookup(&self.floats[0], wide),
            ];
            let bits = |floats| {
                let mut to = [0.0; LANES];
                v.store(floats, &mut to);
                to.map(f32::to_bits)
            };
            floats.map(bits).to_vec()
        }
    }

    #[track_caller]
    fn check(got: &[[u32; LANES]], want: &[[u32; LANES]]) {
        for (op, (got, want)) in got.iter().zip(want).enumerate() {
            let same = |(got, want): (&u32, &u32)| {
                let [a, b] = [*got, *want].map(f32::from_bits);
                got == want || a.is_nan() && b.is_nan()
            };
            assert!(
                got.iter().zip(want).all(same),
                "operation {op}: {got:x?}, want {want:x?}"
            );
        }
    }

    #[test]
    fn all_processors_compute_the_same() {
        for round in 0..4096 {
            let number = |at: usize, salt: usize| (at * 977 + round * 131 + salt * 7919) % 1009;
            // sums of few bits are exact, whether they are rounded once or twice
            let float = |at, salt| number(at, salt) as f32 / 64.0 - 8.0;
            let inputs = All {
                floats: [1, 2, 3].map(|salt| std::array::from_fn(|at| float(at, salt))),
                bytes: std::array::from_fn(|at| number(at, 4) as u8),
                // all halves in 4096 rounds
                shorts: std::array::from_fn(|at| (round * LANES + at) as u16),
                by: std::array::from_fn(|at| (number(at, 5) % 40) as u32),
            };
            let (got, want) = (with_vectors(&inputs), inputs.run(Portable));
            check(&got, &want);
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                let got = v3.vectorize(|| inputs.run(v3));
                check(&got, &want);
            }
        }
    }

    #[test]
    fn portable_operations_are_what_they_say() {
        let v = Portable;
        let lanes: [u8; LANES] = std::array::from_fn(|at| 13 * at as u8 + 60);
        assert_eq!(v.bytes(&lanes)[15], 255);
        assert_eq!(v.signed_bytes(&lanes.map(|byte| byte as i8))[15], u32::MAX);
        assert_eq!(v.to_floats(v.splat_int(-3i32 as u32))[3], -3.0);
        assert_eq!(v.shr_each(v.splat_int(256), &[8; LANES])[0], 1);
        assert_eq!(v.shr_each(v.splat_int(u32::MAX), &[32; LANES])[0], 0);
        assert_eq!(v.sum(std::array::from_fn(|at| at as f32)), 120.0);
        // 60 is 48 and 12
        let table = std::array::from_fn(|at| at as f32);
        assert_eq!(v.lookup(&table, v.bytes(&lanes))[0], 12.0);
        assert_eq!(v.halves(&[0x3c00; LANES])[7], 1.0);
        assert_eq!(v.halves(&[0x8001; LANES])[7], -2f32.powi(-24));
    }
}
