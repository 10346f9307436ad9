//! The element types of buffers and kernels.

use crate::isa::Kernel;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
    impl Sealed for u8 {}
    impl Sealed for super::Bool {}
}

/// A boolean of one byte in which *every* byte is a valid value: zero is false, the rest true.
///
/// Rust's `bool` has 254 invalid bit patterns; with this type a recycled buffer is always valid.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Bool(u8);

impl Bool {
    /// `false`.
    pub const FALSE: Bool = Bool(0);
    /// `true`.
    pub const TRUE: Bool = Bool(1);

    /// The Rust value.
    #[inline(always)]
    pub fn get(self) -> bool {
        self.0 != 0
    }
}

impl From<bool> for Bool {
    #[inline(always)]
    fn from(value: bool) -> Bool {
        Bool(u8::from(value))
    }
}

impl PartialEq for Bool {
    fn eq(&self, other: &Bool) -> bool {
        self.get() == other.get()
    }
}

impl std::fmt::Debug for Bool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// A plain value that buffers hold: any bit pattern is valid, there is nothing to drop.
pub trait Element:
    sealed::Sealed + Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + 'static
{
}

impl Element for f32 {}
impl Element for f64 {}
impl Element for i32 {}
impl Element for i64 {}
impl Element for u8 {}
impl Element for Bool {}

/// Arithmetic shared by the integer and floating-point types. Integers wrap around on overflow,
/// as in NumPy.
pub trait Number: Element + PartialOrd {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The smallest value (minus infinity for floats), from which a maximum starts.
    const LOWEST: Self;
    /// The largest value (infinity for floats), from which a minimum starts.
    const HIGHEST: Self;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// The larger one; NaN if either is NaN.
    fn maximum(self, other: Self) -> Self;
    /// The smaller one; NaN if either is NaN.
    fn minimum(self, other: Self) -> Self;
    /// As a double, rounding if it must.
    fn to_f64(self) -> f64;
    /// As a 64-bit integer, truncating and saturating if it must.
    fn to_i64(self) -> i64;
    /// From a 64-bit integer, wrapping around (floats: rounding).
    fn from_i64(x: i64) -> Self;
}

macro_rules! integer {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$t>::MIN;
            const HIGHEST: Self = <$t>::MAX;
            #[inline(always)]
            fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)]
            fn maximum(self, other: Self) -> Self { self.max(other) }
            #[inline(always)]
            fn minimum(self, other: Self) -> Self { self.min(other) }
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_i64(x: i64) -> Self { x as $t }
        }
    )*};
}
integer!(i32, i64, u8);

macro_rules! float {
    ($($t:ident),*) => {$(
        impl Number for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $t::NEG_INFINITY;
            const HIGHEST: Self = $t::INFINITY;
            #[inline(always)]
            fn add(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { self - other }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self * other }
            #[inline(always)]
            fn maximum(self, other: Self) -> Self {
                if self > other || self != self { self } else { other }
            }
            #[inline(always)]
            fn minimum(self, other: Self) -> Self {
                if self < other || self != self { self } else { other }
            }
            #[inline(always)]
            fn to_f64(self) -> f64 { f64::from(self) }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_i64(x: i64) -> Self { x as $t }
        }
    )*};
}
float!(f32, f64);

/// A floating-point element type: float32 runs on the widest vectors that the machine has, float64
/// on the generic ones.
pub trait Float: Number + std::ops::Neg<Output = Self> {
    /// NaN.
    const NAN: Self;
    /// The nearest value of this type.
    fn from_f64(x: f64) -> Self;
    /// Runs `kernel` with the vector type of the active instruction set for this element type.
    fn dispatch<K: Kernel<Self>>(kernel: K) -> K::Output;
}

impl Float for f32 {
    const NAN: f32 = f32::NAN;
    #[inline(always)]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn dispatch<K: Kernel<f32>>(kernel: K) -> K::Output {
        crate::isa::dispatch_f32(kernel)
    }
}

impl Float for f64 {
    const NAN: f64 = f64::NAN;
    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn dispatch<K: Kernel<f64>>(kernel: K) -> K::Output {
        crate::isa::dispatch_f64(kernel)
    }
}
