//! 16 floats in a 512-bit register.

use std::arch::x86_64::*;

use super::avx2::first_of_row;
use super::{F32x8, Vector};

/// 16 float32 in one AVX-512 register.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

/// The mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

impl Vector for F32x16 {
    type Scalar = f32;
    type Mask = __mmask16;
    const LEN: usize = 16;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const f32) -> Self {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { F32x16(_mm512_loadu_ps(ptr)) }
    }
    #[inline(always)]
    unsafe fn load_partial(ptr: *const f32, n: usize) -> Self {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { F32x16(_mm512_maskz_loadu_ps(first(n), ptr)) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut f32) {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { _mm512_storeu_ps(ptr, self.0) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, ptr: *mut f32, n: usize) {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { _mm512_mask_storeu_ps(ptr, first(n), self.0) }
    }
    #[inline(always)]
    unsafe fn load_bytes(ptr: *const u8) -> Self {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { F32x16(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(ptr.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_bytes_partial(ptr: *const u8, n: usize) -> Self {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe {
            let bytes = _mm_maskz_loadu_epi8(first(n), ptr.cast());
            F32x16(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)))
        }
    }
    #[inline(always)]
    unsafe fn store_places(right: [Self::Mask; 2], below: Self::Mask, closed: Self::Mask, ptr: *mut u8) {
        // SAFETY: the caller promises writable memory of that length; the instruction set is available (see
        // `Vector`).
        unsafe {
            let upper = _mm_maskz_set1_epi8(right[0], 1);
            let lower = _mm_mask_blend_epi8(right[1], _mm_set1_epi8(2), _mm_set1_epi8(3));
            let place = _mm_mask_blend_epi8(below, upper, lower);
            _mm_storeu_si128(ptr.cast(), _mm_mask_add_epi8(place, closed, place, _mm_set1_epi8(4)));
        }
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_div_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_min_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0)) }
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_xor_ps(_mm512_set1_ps(-0.0), self.0)) }
    }
    #[inline(always)]
    fn floor(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe {
            let bit = _mm512_set1_ps(-0.0);
            F32x16(_mm512_or_ps(_mm512_and_ps(bit, sign.0), _mm512_andnot_ps(bit, self.0)))
        }
    }

    #[inline(always)]
    fn lt(self, b: Self) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn le(self, b: Self) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn eq(self, b: Self) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_mask_blend_ps(mask, b.0, a.0)) }
    }
    #[inline(always)]
    fn mask_and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a & b
    }
    #[inline(always)]
    fn mask_or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        a | b
    }
    #[inline(always)]
    fn mask_not(a: Self::Mask) -> Self::Mask {
        !a
    }

    #[inline(always)]
    fn exp2_int(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            F32x16(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased)))
        }
    }
    #[inline(always)]
    fn mul_exp2(self, n: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x16(_mm512_scalef_ps(self.0, n.0)) }
    }
    #[inline(always)]
    fn mantissa_exponent(self) -> (Self, Self) {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let exponent = _mm512_sub_epi32(_mm512_srli_epi32::<23>(bits), _mm512_set1_epi32(127));
            let fraction = _mm512_and_si512(bits, _mm512_set1_epi32(0x007F_FFFF));
            let mantissa = _mm512_or_si512(fraction, _mm512_set1_epi32(0x3F80_0000));
            (F32x16(_mm512_castsi512_ps(mantissa)), F32x16(_mm512_cvtepi32_ps(exponent)))
        }
    }
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        let lanes = self.lanes().map(f);
        // SAFETY: the array has `LEN` elements.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn pick<const APART: usize>(self, top: *const f32, bottom: *const f32) -> Self {
        let a = APART as i32;
        // SAFETY: the caller promises what is read; the instruction set is available (see `Vector`).
        unsafe {
            let row = |row| _mm512_castps128_ps512(first_of_row::<APART>(row));
            // The elements' numbers in the two rows' registers, of 16 each.
            let lanes = _mm512_setr_epi32(0, a, 16, 16 + a, 0, a, 16, 16 + a, 0, 0, 0, 0, 0, 0, 0, 0);
            let index = _mm512_permutexvar_epi32(_mm512_cvtps_epi32(self.0), lanes);
            F32x16(_mm512_permutex2var_ps(row(top), index, row(bottom)))
        }
    }

    const SQUARE: usize = F32x8::SQUARE;
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_row: isize, rows: usize, to: *mut f32, to_row: usize) {
        // SAFETY: promised by the caller; AVX-512 machines have AVX2.
        unsafe { F32x8::transpose(from, from_row, rows, to, to_row) }
    }

    #[inline(always)]
    fn reduce_add(self) -> f32 {
        let (low, high) = self.halves();
        low.add(high).reduce_add()
    }
    #[inline(always)]
    fn reduce_maximum(self) -> f32 {
        let (low, high) = self.halves();
        low.maximum(high).reduce_maximum()
    }
    #[inline(always)]
    fn reduce_minimum(self) -> f32 {
        let (low, high) = self.halves();
        low.minimum(high).reduce_minimum()
    }
}

impl F32x16 {
    #[inline(always)]
    fn lanes(self) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        // SAFETY: the array has `LEN` elements.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    #[inline(always)]
    fn halves(self) -> (F32x8, F32x8) {
        // SAFETY: AVX-512 machines have AVX2, and this type is only used on the former.
        unsafe {
            let low = _mm512_castps512_ps256(self.0);
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            (F32x8::from_register(low), F32x8::from_register(high))
        }
    }
}
