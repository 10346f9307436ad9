//! 8 floats in a 256-bit register.

use std::arch::x86_64::*;

use super::Vector;
use crate::element::Number;

/// 8 float32 in one AVX2 register.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// The mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __m256i {
    const LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(n <= 8);
    // SAFETY: lanes 8 - n to 16 - n are within the table, as n <= 8.
    unsafe { _mm256_loadu_si256(LANES.as_ptr().add(8 - n).cast()) }
}

/// The elements 0 to `APART` at `row`; plain loads where there is one of that size, as masks cost the ports of
/// the arithmetic.
///
/// # Safety
/// They are valid for reads, `APART` is 1 to [`super::MOST_APART`], and the machine has AVX2.
#[inline(always)]
pub(super) unsafe fn first_of_row<const APART: usize>(row: *const f32) -> __m128 {
    // SAFETY: promised by the caller.
    unsafe {
        match APART {
            1 => _mm_castpd_ps(_mm_load_sd(row.cast())),
            2 => _mm_maskload_ps(row, _mm256_castsi256_si128(first(3))),
            _ => _mm_loadu_ps(row),
        }
    }
}

impl Vector for F32x8 {
    type Scalar = f32;
    type Mask = __m256;
    const LEN: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const f32) -> Self {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { F32x8(_mm256_loadu_ps(ptr)) }
    }
    #[inline(always)]
    unsafe fn load_partial(ptr: *const f32, n: usize) -> Self {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { F32x8(_mm256_maskload_ps(ptr, first(n))) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut f32) {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { _mm256_storeu_ps(ptr, self.0) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, ptr: *mut f32, n: usize) {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { _mm256_maskstore_ps(ptr, first(n), self.0) }
    }
    #[inline(always)]
    unsafe fn load_bytes(ptr: *const u8) -> Self {
        // SAFETY: the caller promises readable or writable memory of that length; the instruction set is
        // available (see `Vector`).
        unsafe { F32x8(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(ptr.cast())))) }
    }
    #[inline(always)]
    unsafe fn store_places(right: [Self::Mask; 2], below: Self::Mask, closed: Self::Mask, ptr: *mut u8) {
        // SAFETY: the caller promises writable memory of that length; the instruction set is available (see
        // `Vector`).
        unsafe {
            let [one, two, four] = [_mm256_set1_epi32(1), _mm256_set1_epi32(2), _mm256_set1_epi32(4)];
            let right = _mm256_castps_si256(_mm256_blendv_ps(right[0], right[1], below));
            let below = _mm256_and_si256(_mm256_castps_si256(below), two);
            let closed = _mm256_and_si256(_mm256_castps_si256(closed), four);
            let words = _mm256_or_si256(_mm256_or_si256(_mm256_and_si256(right, one), below), closed);
            let halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storel_epi64(ptr.cast(), _mm_packus_epi16(halves, halves));
        }
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_div_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_min_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)) }
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_xor_ps(_mm256_set1_ps(-0.0), self.0)) }
    }
    #[inline(always)]
    fn floor(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_round_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_round_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe {
            let bit = _mm256_set1_ps(-0.0);
            F32x8(_mm256_or_ps(_mm256_and_ps(bit, sign.0), _mm256_andnot_ps(bit, self.0)))
        }
    }

    #[inline(always)]
    fn lt(self, b: Self) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn le(self, b: Self) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm256_cmp_ps::<_CMP_LE_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn eq(self, b: Self) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, b.0) }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { F32x8(_mm256_blendv_ps(b.0, a.0, mask)) }
    }
    #[inline(always)]
    fn mask_and(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm256_and_ps(a, b) }
    }
    #[inline(always)]
    fn mask_or(a: Self::Mask, b: Self::Mask) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm256_or_ps(a, b) }
    }
    #[inline(always)]
    fn mask_not(a: Self::Mask) -> Self::Mask {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe { _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))) }
    }

    #[inline(always)]
    fn exp2_int(self) -> Self {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
        }
    }
    #[inline(always)]
    fn mantissa_exponent(self) -> (Self, Self) {
        // SAFETY: the type is only used where the instruction set is available (see `Vector`).
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let exponent = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(127));
            let fraction = _mm256_and_si256(bits, _mm256_set1_epi32(0x007F_FFFF));
            let mantissa = _mm256_or_si256(fraction, _mm256_set1_epi32(0x3F80_0000));
            (F32x8(_mm256_castsi256_ps(mantissa)), F32x8(_mm256_cvtepi32_ps(exponent)))
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
            let rows = _mm256_set_m128(first_of_row::<APART>(bottom), first_of_row::<APART>(top));
            // The elements' numbers in the register, which has four of each row.
            let lanes = _mm256_setr_epi32(0, a, 4, 4 + a, 0, a, 4, 4 + a);
            let index = _mm256_permutevar8x32_epi32(lanes, _mm256_cvtps_epi32(self.0));
            F32x8(_mm256_permutevar8x32_ps(rows, index))
        }
    }

    const SQUARE: usize = 8;
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_row: isize, rows: usize, to: *mut f32, to_row: usize) {
        // SAFETY: the caller promises readable or writable memory, rows beyond the last being the last again;
        // the instruction set is available (see `Vector`).
        unsafe {
            let mut lines = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                lines[i] = _mm256_loadu_ps(from.offset(i.min(rows - 1) as isize * from_row));
            }
            // Pairs of rows interleaved, then fours, in both halves of the registers.
            let mut fours = lines;
            for i in [0, 4] {
                let low = _mm256_unpacklo_ps(lines[i], lines[i + 1]);
                let high = _mm256_unpackhi_ps(lines[i], lines[i + 1]);
                let next_low = _mm256_unpacklo_ps(lines[i + 2], lines[i + 3]);
                let next_high = _mm256_unpackhi_ps(lines[i + 2], lines[i + 3]);
                fours[i] = _mm256_shuffle_ps::<0x44>(low, next_low);
                fours[i + 1] = _mm256_shuffle_ps::<0xEE>(low, next_low);
                fours[i + 2] = _mm256_shuffle_ps::<0x44>(high, next_high);
                fours[i + 3] = _mm256_shuffle_ps::<0xEE>(high, next_high);
            }
            for j in 0..4 {
                let columns = [
                    (j, _mm256_permute2f128_ps::<0x20>(fours[j], fours[j + 4])),
                    (j + 4, _mm256_permute2f128_ps::<0x31>(fours[j], fours[j + 4])),
                ];
                for (column, elements) in columns {
                    let at = to.add(column * to_row);
                    if rows == 8 {
                        _mm256_storeu_ps(at, elements);
                    } else {
                        F32x8(elements).store_partial(at, rows);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn reduce_add(self) -> f32 {
        tree(self.lanes(), |a, b| a + b)
    }
    #[inline(always)]
    fn reduce_maximum(self) -> f32 {
        tree(self.lanes(), Number::maximum)
    }
    #[inline(always)]
    fn reduce_minimum(self) -> f32 {
        tree(self.lanes(), Number::minimum)
    }
}

impl F32x8 {
    #[inline(always)]
    pub(super) fn from_register(register: __m256) -> Self {
        F32x8(register)
    }

    #[inline(always)]
    fn lanes(self) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        // SAFETY: the array has `LEN` elements.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
}

#[inline(always)]
fn tree(lanes: [f32; 8], f: impl Fn(f32, f32) -> f32) -> f32 {
    let [a, b, c, d, e, g, h, i] = lanes;
    let (p, q, r, s) = (f(a, e), f(b, g), f(c, h), f(d, i));
    f(f(p, r), f(q, s))
}
