//! Vectors of floats: one trait, one type for each instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod wide;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::F32x8;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::F32x16;
pub(crate) use wide::Wide;

use crate::element::{Float, Number};

/// A vector of `LEN` floats.
///
/// The types that implement it are private to this crate and only ever named by [`crate::isa`],
/// inside functions compiled for, and reached only on machines with, their instruction set. That is
/// why methods which execute special instructions can be safe to call.
///
/// Comparisons are false where an operand is NaN. `max(a, b)` and `min(a, b)` return `b` where either
/// is NaN (the instruction's rule); [`Vector::maximum`] and [`Vector::minimum`] return NaN.
pub trait Vector: Copy {
    /// The element type.
    type Scalar: Float;
    /// One truth value per lane.
    type Mask: Copy;
    /// The number of lanes.
    const LEN: usize;

    /// `x` in every lane.
    fn splat(x: Self::Scalar) -> Self;
    /// The `LEN` elements at `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for reads of `LEN` elements; no alignment is needed.
    unsafe fn load(ptr: *const Self::Scalar) -> Self;
    /// The first `n` (at most `LEN`) elements at `ptr`, and 0 in the other lanes.
    ///
    /// # Safety
    /// `ptr` is valid for reads of `n` elements, and `n <= LEN`.
    unsafe fn load_partial(ptr: *const Self::Scalar, n: usize) -> Self;
    /// Writes all lanes to `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for writes of `LEN` elements; no alignment is needed.
    unsafe fn store(self, ptr: *mut Self::Scalar);
    /// Writes the first `n` lanes to `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for writes of `n` elements, and `n <= LEN`.
    unsafe fn store_partial(self, ptr: *mut Self::Scalar, n: usize);

    /// The `LEN` bytes at `ptr` as numbers.
    ///
    /// # Safety
    /// `ptr` is valid for reads of `LEN` bytes.
    #[inline(always)]
    unsafe fn load_bytes(ptr: *const u8) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Self::load_bytes_partial(ptr, Self::LEN) }
    }
    /// The first `n` bytes at `ptr` as numbers, and 0 in the other lanes.
    ///
    /// # Safety
    /// `ptr` is valid for reads of `n` bytes, and `n <= LEN`.
    #[inline(always)]
    unsafe fn load_bytes_partial(ptr: *const u8, n: usize) -> Self {
        let mut lanes = [Self::Scalar::ZERO; 16];
        const { assert!(Self::LEN <= 16) };
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: promised by the caller.
            *lane = Self::Scalar::from_f64(f64::from(unsafe { *ptr.add(i) }));
        }
        // SAFETY: there are at least LEN lanes.
        unsafe { Self::load(lanes.as_ptr()) }
    }
    /// Writes a byte for each lane to `ptr`, the place of an element in a window of four and what is to be known
    /// of it: 2 if it is `below`, 1 more if it is on the `right` (of the upper two, or of the lower two where it is
    /// below), and 4 more if it is `closed`.
    ///
    /// # Safety
    /// `ptr` is valid for writes of `LEN` bytes.
    unsafe fn store_places(right: [Self::Mask; 2], below: Self::Mask, closed: Self::Mask, ptr: *mut u8);

    /// `self + b`.
    fn add(self, b: Self) -> Self;
    /// `self - b`.
    fn sub(self, b: Self) -> Self;
    /// `self * b`.
    fn mul(self, b: Self) -> Self;
    /// `self / b`.
    fn div(self, b: Self) -> Self;
    /// `self * b + c`: one rounding on AVX2 and AVX-512, two on the others.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The larger of each lane; `b` where either is NaN.
    fn max(self, b: Self) -> Self;
    /// The smaller of each lane; `b` where either is NaN.
    fn min(self, b: Self) -> Self;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The absolute value (clears the sign bit).
    fn abs(self) -> Self;
    /// The negation (flips the sign bit).
    fn neg(self) -> Self;
    /// Toward minus infinity.
    fn floor(self) -> Self;
    /// Toward plus infinity.
    fn ceil(self) -> Self;
    /// Toward zero.
    fn trunc(self) -> Self;
    /// To the nearest integer, ties to even.
    fn round(self) -> Self;
    /// The magnitude of `self` with the sign bit of `sign`.
    fn copysign(self, sign: Self) -> Self;

    /// `self < b`.
    fn lt(self, b: Self) -> Self::Mask;
    /// `self <= b`.
    fn le(self, b: Self) -> Self::Mask;
    /// `self == b`.
    fn eq(self, b: Self) -> Self::Mask;
    /// Lanes of `a` where the mask is set, of `b` elsewhere.
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// Both.
    fn mask_and(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Either.
    fn mask_or(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Not.
    fn mask_not(a: Self::Mask) -> Self::Mask;

    /// `2^n` for integral `n` in the exponent range of normal numbers (-126 to 127 for float32).
    fn exp2_int(self) -> Self;
    /// `self * 2^n` for `self` in [1/2, 2] and integral `n`; infinite beyond the normal numbers of float32,
    /// and 0 (in float32 kernels, which flush subnormals) below them.
    #[inline(always)]
    fn mul_exp2(self, n: Self) -> Self {
        // In two factors: with n = 128 the result may be a number, and a product of 0 is 0.
        let normal = n.max(Self::constant(-126.0)).min(Self::constant(127.0));
        // 0 is made, not computed: an underflow may cost the processor 150 cycles, and the minus infinities
        // of masks and padding would each meet it.
        let rest = Self::select(n.lt(Self::constant(-149.0)), Self::zero(), n.sub(normal).exp2_int());
        self.mul(rest).mul(normal.exp2_int())
    }
    /// For positive normal `x`: `m` in [1, 2) and integral `e` with `x = m * 2^e`.
    fn mantissa_exponent(self) -> (Self, Self);

    /// The side of the squares that [`Vector::transpose`] transposes.
    const SQUARE: usize = 1;
    /// `to[j * to_row + i] = from[i * from_row + j]` for `i < rows`, which is at most `SQUARE`, and
    /// `j < SQUARE`.
    ///
    /// # Safety
    /// Those elements are valid for reads and writes, and `rows > 0`.
    #[inline(always)]
    unsafe fn transpose(
        from: *const Self::Scalar,
        _from_row: isize,
        _rows: usize,
        to: *mut Self::Scalar,
        _to_row: usize,
    ) {
        // SAFETY: promised by the caller: one element.
        unsafe { *to = *from }
    }

    /// For each lane the element that it numbers: 0 for `top[0]`, 1 for `top[APART]`, 2 and 3 for those of
    /// `bottom`, and the same again for 4 to 7.
    ///
    /// # Safety
    /// Elements 0 to `APART`, which is 1 to `MOST_APART`, are valid for reads; the lanes are whole numbers
    /// below 8.
    #[inline(always)]
    unsafe fn pick<const APART: usize>(self, top: *const Self::Scalar, bottom: *const Self::Scalar) -> Self {
        // SAFETY: promised by the caller.
        let element = |row: *const Self::Scalar, i: usize| Self::splat(unsafe { *row.add(i) });
        let four = Self::constant(4.0);
        let place = Self::select(self.lt(four), self, self.sub(four));
        let pick = Self::select(place.eq(Self::constant(2.0)), element(bottom, 0), element(bottom, APART));
        let pick = Self::select(place.eq(Self::one()), element(top, APART), pick);
        Self::select(place.eq(Self::zero()), element(top, 0), pick)
    }

    /// Each lane through a scalar function: for rare functions only.
    fn map(self, f: impl Fn(Self::Scalar) -> Self::Scalar) -> Self;

    /// The sum of the lanes, in a fixed order: a binary tree over the lanes' numbers (lane `i` with
    /// lane `i + n/2`, and so on).
    fn reduce_add(self) -> Self::Scalar;
    /// The largest lane, NaN if any is NaN.
    fn reduce_maximum(self) -> Self::Scalar;
    /// The smallest lane, NaN if any is NaN.
    fn reduce_minimum(self) -> Self::Scalar;

    /// 0 in every lane.
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(Self::Scalar::ZERO)
    }
    /// 1 in every lane.
    #[inline(always)]
    fn one() -> Self {
        Self::splat(Self::Scalar::ONE)
    }
    /// The nearest value to `x` in every lane.
    #[inline(always)]
    fn constant(x: f64) -> Self {
        Self::splat(Self::Scalar::from_f64(x))
    }
    /// `self > b`.
    #[inline(always)]
    fn gt(self, b: Self) -> Self::Mask {
        b.lt(self)
    }
    /// `self >= b`.
    #[inline(always)]
    fn ge(self, b: Self) -> Self::Mask {
        b.le(self)
    }
    /// Lanes that are NaN.
    #[inline(always)]
    fn is_nan(self) -> Self::Mask {
        Self::mask_not(self.eq(self))
    }
    /// The larger of each lane; NaN where either is NaN.
    #[inline(always)]
    fn maximum(self, b: Self) -> Self {
        // `max` already returns `b`, so only a NaN in `self` needs care.
        Self::select(self.is_nan(), self, self.max(b))
    }
    /// The smaller of each lane; NaN where either is NaN.
    #[inline(always)]
    fn minimum(self, b: Self) -> Self {
        Self::select(self.is_nan(), self, self.min(b))
    }
}

/// The largest distance in a row of the elements of [`Vector::pick`]: four are read at once.
pub(crate) const MOST_APART: usize = 3;

/// How far ahead, in bytes, a pass over long operands calls [`prefetch`].
pub(crate) const AHEAD: usize = 2048;

/// Asks for the memory `ahead` bytes from `ptr` in the nearest cache. Where a vector takes tens of
/// instructions, the processor's own window reaches only a few cache lines ahead, and its memory waits.
#[inline(always)]
pub(crate) fn prefetch<T>(ptr: *const T, ahead: usize) {
    let ahead = ptr.cast::<i8>().wrapping_add(ahead);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction, and it does nothing for an address that is not
    // mapped, or not the process's own.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(ahead)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = ahead;
}

/// Asks for the cache line at `ptr` in the second-level cache: what is read only after much else has passed
/// through the first one.
#[inline(always)]
pub(crate) fn prefetch_l2<T>(ptr: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `prefetch`.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(ptr.cast())
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = ptr;
}

/// Asks for the cache line at `ptr`, in order to write to it.
#[inline(always)]
pub(crate) fn prefetch_for_write<T>(ptr: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `prefetch`; processors without the instruction skip it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(ptr.cast())
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = ptr;
}

#[cfg(test)]
mod tests;
