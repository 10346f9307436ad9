//! The portable vector: an array, which the compiler maps onto whatever registers there are.

use super::Vector;
use crate::element::Float;

/// `N` floats as an array. float32 on machines without AVX2, and float64 everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Wide<T, const N: usize>([T; N]);

/// What [`Wide`] needs of its element, beyond [`Float`].
pub(crate) trait Scalar: Float {
    fn div(self, b: Self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn trunc(self) -> Self;
    fn round(self) -> Self;
    fn copysign(self, sign: Self) -> Self;
    fn exp2_int(self) -> Self;
    fn mantissa_exponent(self) -> (Self, Self);
}

macro_rules! scalar {
    ($t:ident, $bits:ident, $mantissa:expr, $bias:expr) => {
        impl Scalar for $t {
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                self / b
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $t::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                $t::ceil(self)
            }
            #[inline(always)]
            fn trunc(self) -> Self {
                $t::trunc(self)
            }
            #[inline(always)]
            fn round(self) -> Self {
                $t::round_ties_even(self)
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                $t::copysign(self, sign)
            }
            #[inline(always)]
            fn exp2_int(self) -> Self {
                // Adding 1.5 * 2^mantissa leaves the integer in the low bits.
                let shifted = self + (1.5 * (1u64 << $mantissa) as $t);
                $t::from_bits((shifted.to_bits().wrapping_add($bias)) << $mantissa)
            }
            #[inline(always)]
            fn mantissa_exponent(self) -> (Self, Self) {
                const ONE: $bits = ($t::to_bits(1.0)) as $bits;
                let bits = self.to_bits();
                let exponent = (bits >> $mantissa) as i32 - $bias;
                ($t::from_bits((bits & ((1 << $mantissa) - 1)) | ONE), exponent as $t)
            }
        }
    };
}
scalar!(f32, u32, 23, 127);
scalar!(f64, u64, 52, 1023);

impl<T: Scalar, const N: usize> Wide<T, N> {
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(T, T) -> T) -> Self {
        Wide(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
    #[inline(always)]
    fn each(self, f: impl Fn(T) -> T) -> Self {
        Wide(self.0.map(f))
    }
    #[inline(always)]
    fn compare(self, b: Self, f: impl Fn(T, T) -> bool) -> [bool; N] {
        std::array::from_fn(|i| f(self.0[i], b.0[i]))
    }
    #[inline(always)]
    fn tree(self, f: impl Fn(T, T) -> T) -> T {
        let mut lanes = self.0;
        let mut half = N / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = f(lanes[i], lanes[i + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

impl<T: Scalar, const N: usize> Vector for Wide<T, N> {
    type Scalar = T;
    type Mask = [bool; N];
    const LEN: usize = N;

    #[inline(always)]
    fn splat(x: T) -> Self {
        Wide([x; N])
    }
    #[inline(always)]
    unsafe fn load(ptr: *const T) -> Self {
        // SAFETY: the caller promises N readable elements; arrays need no more alignment than T,
        // and the read is unaligned in any case.
        Wide(unsafe { ptr.cast::<[T; N]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_partial(ptr: *const T, n: usize) -> Self {
        let mut lanes = [T::ZERO; N];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller promises n readable elements.
            *lane = unsafe { ptr.add(i).read() };
        }
        Wide(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut T) {
        // SAFETY: the caller promises N writable elements.
        unsafe { ptr.cast::<[T; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_partial(self, ptr: *mut T, n: usize) {
        for (i, &lane) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller promises n writable elements.
            unsafe { ptr.add(i).write(lane) };
        }
    }

    #[inline(always)]
    unsafe fn store_places(right: [Self::Mask; 2], below: Self::Mask, closed: Self::Mask, ptr: *mut u8) {
        let byte = |i: usize| {
            let right = if below[i] { right[1][i] } else { right[0][i] };
            u8::from(right) | u8::from(below[i]) << 1 | u8::from(closed[i]) << 2
        };
        // SAFETY: the caller promises N writable bytes.
        unsafe { ptr.cast::<[u8; N]>().write(std::array::from_fn(byte)) }
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.zip(b, T::add)
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.zip(b, T::sub)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.zip(b, T::mul)
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        self.zip(b, T::div)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Wide(std::array::from_fn(|i| self.0[i].mul(b.0[i]).add(c.0[i])))
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        self.zip(b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        self.zip(b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.each(T::sqrt)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.each(T::abs)
    }
    #[inline(always)]
    fn neg(self) -> Self {
        self.each(|x| -x)
    }
    #[inline(always)]
    fn floor(self) -> Self {
        self.each(T::floor)
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        self.each(T::ceil)
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        self.each(T::trunc)
    }
    #[inline(always)]
    fn round(self) -> Self {
        self.each(T::round)
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        self.zip(sign, T::copysign)
    }

    #[inline(always)]
    fn lt(self, b: Self) -> [bool; N] {
        self.compare(b, |a, b| a < b)
    }
    #[inline(always)]
    fn le(self, b: Self) -> [bool; N] {
        self.compare(b, |a, b| a <= b)
    }
    #[inline(always)]
    fn eq(self, b: Self) -> [bool; N] {
        self.compare(b, |a, b| a == b)
    }
    #[inline(always)]
    fn select(mask: [bool; N], a: Self, b: Self) -> Self {
        Wide(std::array::from_fn(|i| if mask[i] { a.0[i] } else { b.0[i] }))
    }
    #[inline(always)]
    fn mask_and(a: [bool; N], b: [bool; N]) -> [bool; N] {
        std::array::from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn mask_or(a: [bool; N], b: [bool; N]) -> [bool; N] {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn mask_not(a: [bool; N]) -> [bool; N] {
        a.map(|x| !x)
    }

    #[inline(always)]
    fn exp2_int(self) -> Self {
        self.each(T::exp2_int)
    }
    #[inline(always)]
    fn mantissa_exponent(self) -> (Self, Self) {
        let parts = self.0.map(T::mantissa_exponent);
        (Wide(parts.map(|p| p.0)), Wide(parts.map(|p| p.1)))
    }
    #[inline(always)]
    fn map(self, f: impl Fn(T) -> T) -> Self {
        self.each(f)
    }

    #[inline(always)]
    fn reduce_add(self) -> T {
        self.tree(T::add)
    }
    #[inline(always)]
    fn reduce_maximum(self) -> T {
        self.tree(T::maximum)
    }
    #[inline(always)]
    fn reduce_minimum(self) -> T {
        self.tree(T::minimum)
    }
}
