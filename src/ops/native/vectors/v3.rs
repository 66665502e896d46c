//! AVX2, two vectors of eight lanes at a time.

use std::arch::x86_64::{__m128i, __m256, __m256i};

use pulp::cast;
use pulp::x86::V3;

use super::{LANES, Vectors};

/// Applies an operation to both vectors.
#[inline(always)]
fn both<T: Copy, U>(a: [T; 2], f: impl Fn(T) -> U) -> [U; 2] {
    let [low, high] = a;
    [f(low), f(high)]
}

/// Applies an operation to both vectors of two operands.
#[inline(always)]
fn pairs<T: Copy, U>(a: [T; 2], b: [T; 2], f: impl Fn(T, T) -> U) -> [U; 2] {
    [f(a[0], b[0]), f(a[1], b[1])]
}

/// Returns eight bytes in the lower half of a vector.
#[inline(always)]
fn low(bytes: [u8; 8]) -> __m128i {
    cast([u64::from_le_bytes(bytes), 0])
}

/// Converts halves as [`f32_of_half`](crate::ops::native::math::f32_of_half) does: the processor may
/// lack the instruction.
#[inline(always)]
fn eight_halves(v: V3, halves: __m128i) -> __m256 {
    let int = |value: i32| v.avx._mm256_set1_epi32(value);
    let bits = v.avx2._mm256_cvtepu16_epi32(halves);
    let magnitude = v
        .avx2
        ._mm256_slli_epi32::<13>(v.avx2._mm256_and_si256(bits, int(0x7fff)));
    let sign = v
        .avx2
        ._mm256_slli_epi32::<16>(v.avx2._mm256_and_si256(bits, int(0x8000)));
    let rebias = int(112 << 23);
    let normal = v.avx2._mm256_add_epi32(magnitude, rebias);
    let least = int(113 << 23);
    let subnormal = v
        .avx
        ._mm256_sub_ps(cast(v.avx2._mm256_add_epi32(magnitude, least)), cast(least));
    let special = v.avx2._mm256_cmpgt_epi32(magnitude, int((31 << 23) - 1));
    let normal = v
        .avx2
        ._mm256_add_epi32(normal, v.avx2._mm256_and_si256(special, rebias));
    let small = v.avx2._mm256_cmpgt_epi32(int(1 << 23), magnitude);
    let value = v.avx._mm256_blendv_ps(cast(normal), subnormal, cast(small));
    v.avx._mm256_or_ps(value, cast(sign))
}

impl Vectors for V3 {
    type Floats = [__m256; 2];
    type Ints = [__m256i; 2];

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        [self.avx._mm256_set1_ps(value); 2]
    }

    #[inline(always)]
    fn floats(self, values: &[f32; LANES]) -> [__m256; 2] {
        cast(*values)
    }

    #[inline(always)]
    fn store(self, values: [__m256; 2], to: &mut [f32; LANES]) {
        *to = cast(values);
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        pairs(
            a,
            b,
            #[inline(always)]
            |a, b| self.avx._mm256_add_ps(a, b),
        )
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        pairs(
            a,
            b,
            #[inline(always)]
            |a, b| self.avx._mm256_mul_ps(a, b),
        )
    }

    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        [
            self.fma._mm256_fmadd_ps(a[0], b[0], c[0]),
            self.fma._mm256_fmadd_ps(a[1], b[1], c[1]),
        ]
    }

    #[inline(always)]
    fn sum(self, a: [__m256; 2]) -> f32 {
        let sum = self.avx._mm256_add_ps(a[0], a[1]);
        pulp::Simd::reduce_sum_f32s(self, cast(sum))
    }

    #[inline(always)]
    fn to_floats(self, a: [__m256i; 2]) -> [__m256; 2] {
        both(
            a,
            #[inline(always)]
            |a| self.avx._mm256_cvtepi32_ps(a),
        )
    }

    #[inline(always)]
    fn of_bits(self, a: [__m256i; 2]) -> [__m256; 2] {
        cast(a)
    }

    #[inline(always)]
    fn halves(self, halves: &[u16; LANES]) -> [__m256; 2] {
        both(
            cast(*halves),
            #[inline(always)]
            |halves| eight_halves(self, halves),
        )
    }

    #[inline(always)]
    fn splat_int(self, value: u32) -> [__m256i; 2] {
        [self.avx._mm256_set1_epi32(value as i32); 2]
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; LANES]) -> [__m256i; 2] {
        both(
            cast(*bytes),
            #[inline(always)]
            |bytes| self.avx2._mm256_cvtepu8_epi32(low(bytes)),
        )
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[i8; LANES]) -> [__m256i; 2] {
        both(
            cast(*bytes),
            #[inline(always)]
            |bytes| self.avx2._mm256_cvtepi8_epi32(low(bytes)),
        )
    }

    #[inline(always)]
    fn shorts(self, shorts: &[u16; LANES]) -> [__m256i; 2] {
        both(
            cast(*shorts),
            #[inline(always)]
            |shorts| self.avx2._mm256_cvtepu16_epi32(shorts),
        )
    }

    #[inline(always)]
    fn and(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        pairs(
            a,
            b,
            #[inline(always)]
            |a, b| self.avx2._mm256_and_si256(a, b),
        )
    }

    #[inline(always)]
    fn or(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        pairs(
            a,
            b,
            #[inline(always)]
            |a, b| self.avx2._mm256_or_si256(a, b),
        )
    }

    #[inline(always)]
    fn sub(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        pairs(
            a,
            b,
            #[inline(always)]
            |a, b| self.avx2._mm256_sub_epi32(a, b),
        )
    }

    #[inline(always)]
    fn shl<const BY: u32>(self, a: [__m256i; 2]) -> [__m256i; 2] {
        let by = self.sse2._mm_cvtsi32_si128(BY as i32);
        both(
            a,
            #[inline(always)]
            |a| self.avx2._mm256_sll_epi32(a, by),
        )
    }

    #[inline(always)]
    fn shr<const BY: u32>(self, a: [__m256i; 2]) -> [__m256i; 2] {
        let by = self.sse2._mm_cvtsi32_si128(BY as i32);
        both(
            a,
            #[inline(always)]
            |a| self.avx2._mm256_srl_epi32(a, by),
        )
    }

    #[inline(always)]
    fn lookup(self, table: &[f32; LANES], a: [__m256i; 2]) -> [__m256; 2] {
        let [low, high]: [__m256; 2] = cast(*table);
        both(
            a,
            #[inline(always)]
            |a| {
                // each half of the table by three bits, then one of them by the fourth as a sign
                let low = self.avx2._mm256_permutevar8x32_ps(low, a);
                let high = self.avx2._mm256_permutevar8x32_ps(high, a);
                let fourth = self.avx2._mm256_slli_epi32::<28>(a);
                self.avx._mm256_blendv_ps(low, high, cast(fourth))
            },
        )
    }

    #[inline(always)]
    fn shr_each(self, a: [__m256i; 2], by: &[u32; LANES]) -> [__m256i; 2] {
        pairs(
            a,
            cast(*by),
            #[inline(always)]
            |a, by| self.avx2._mm256_srlv_epi32(a, by),
        )
    }
}
