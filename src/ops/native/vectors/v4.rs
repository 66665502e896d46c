//! AVX-512.

use std::arch::x86_64::{__m512, __m512i};

use pulp::cast;
use pulp::x86::V4;

use super::{LANES, Vectors};

impl Vectors for V4 {
    type Floats = __m512;
    type Ints = __m512i;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        self.avx512f._mm512_set1_ps(value)
    }

    #[inline(always)]
    fn floats(self, values: &[f32; LANES]) -> __m512 {
        cast(*values)
    }

    #[inline(always)]
    fn store(self, values: __m512, to: &mut [f32; LANES]) {
        *to = cast(values);
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_add_ps(a, b)
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_mul_ps(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        self.avx512f._mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        pulp::Simd::reduce_sum_f32s(self, cast(a))
    }

    #[inline(always)]
    fn to_floats(self, a: __m512i) -> __m512 {
        self.avx512f._mm512_cvtepi32_ps(a)
    }

    #[inline(always)]
    fn of_bits(self, a: __m512i) -> __m512 {
        cast(a)
    }

    #[inline(always)]
    fn halves(self, halves: &[u16; LANES]) -> __m512 {
        self.avx512f._mm512_cvtph_ps(cast(*halves))
    }

    #[inline(always)]
    fn splat_int(self, value: u32) -> __m512i {
        self.avx512f._mm512_set1_epi32(value as i32)
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; LANES]) -> __m512i {
        self.avx512f._mm512_cvtepu8_epi32(cast(*bytes))
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[i8; LANES]) -> __m512i {
        self.avx512f._mm512_cvtepi8_epi32(cast(*bytes))
    }

    #[inline(always)]
    fn shorts(self, shorts: &[u16; LANES]) -> __m512i {
        self.avx512f._mm512_cvtepu16_epi32(cast(*shorts))
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        self.avx512f._mm512_and_si512(a, b)
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        self.avx512f._mm512_or_si512(a, b)
    }

    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        self.avx512f._mm512_sub_epi32(a, b)
    }

    #[inline(always)]
    fn shl<const BY: u32>(self, a: __m512i) -> __m512i {
        self.avx512f._mm512_slli_epi32::<BY>(a)
    }

    #[inline(always)]
    fn shr<const BY: u32>(self, a: __m512i) -> __m512i {
        self.avx512f._mm512_srli_epi32::<BY>(a)
    }

    #[inline(always)]
    fn lookup(self, table: &[f32; LANES], a: __m512i) -> __m512 {
        // the instruction ignores all but four bits
        self.avx512f._mm512_permutexvar_ps(a, cast(*table))
    }

    #[inline(always)]
    fn shr_each(self, a: __m512i, by: &[u32; LANES]) -> __m512i {
        self.avx512f._mm512_srlv_epi32(a, cast(*by))
    }
}
