//! Elementary functions over vectors.
//!
//! The float32 functions that networks spend their time in are polynomials, each with
//! a stated error bound that the tests sample (and, when asked to, check on all float32 numbers).
//! float64, which is for checking, and the rare functions go lane by lane through the standard
//! library; rare float32 functions are computed in float64 and rounded once. All are lane-wise: a
//! lane's result depends on nothing but its argument.

mod single;

use crate::element::{Float, Number};
use crate::simd::Vector;

#[inline(always)]
fn is_f32<V: Vector>() -> bool {
    size_of::<V::Scalar>() == 4
}

/// Lane by lane in float64.
#[inline(always)]
fn in_f64<V: Vector>(x: V, f: impl Fn(f64) -> f64) -> V {
    x.map(|x| V::Scalar::from_f64(f(x.to_f64())))
}

/// Lane by lane, two arguments.
#[inline(always)]
fn pairs<V: Vector>(a: V, b: V, f: impl Fn(V::Scalar, V::Scalar) -> V::Scalar) -> V {
    const { assert!(V::LEN <= 16) };
    let mut lanes = ([V::Scalar::ZERO; 16], [V::Scalar::ZERO; 16]);
    // SAFETY: no vector has more than 16 lanes.
    unsafe {
        a.store(lanes.0.as_mut_ptr());
        b.store(lanes.1.as_mut_ptr());
        for i in 0..V::LEN {
            lanes.0[i] = f(lanes.0[i], lanes.1[i]);
        }
        V::load(lanes.0.as_ptr())
    }
}

macro_rules! polynomial {
    ($($(#[$doc:meta])* $name:ident = $double:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<V: Vector>(x: V) -> V {
            if is_f32::<V>() { single::$name(x) } else { in_f64(x, $double) }
        }
    )*};
}

polynomial! {
    /// e^x; float32 within 1.5 ulp.
    exp = f64::exp;
    /// e^x - 1 without cancellation; float32 within 2 ulp.
    expm1 = f64::exp_m1;
    /// The natural logarithm; float32 within 1.5 ulp.
    log = f64::ln;
    /// log(1 + x) without cancellation; float32 within 1.5 ulp.
    log1p = f64::ln_1p;
    /// The hyperbolic tangent; float32 within 3 ulp.
    tanh = f64::tanh;
    /// The error function; float32 within 1.5 ulp.
    erf = libm::erf;
}

macro_rules! rare {
    ($($(#[$doc:meta])* $name:ident = $double:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<V: Vector>(x: V) -> V {
            in_f64(x, $double)
        }
    )*};
}

rare! {
    /// The logarithm to base 2.
    log2 = f64::log2;
    /// The logarithm to base 10.
    log10 = f64::log10;
    /// The sine, in radians.
    sin = f64::sin;
    /// The cosine, in radians.
    cos = f64::cos;
    /// The tangent, in radians.
    tan = f64::tan;
    /// The hyperbolic sine.
    sinh = f64::sinh;
    /// The hyperbolic cosine.
    cosh = f64::cosh;
    /// The inverse sine; NaN outside of [-1, 1].
    asin = f64::asin;
    /// The inverse cosine; NaN outside of [-1, 1].
    acos = f64::acos;
    /// The inverse tangent.
    atan = f64::atan;
    /// The inverse hyperbolic sine.
    asinh = libm::asinh;
    /// The inverse hyperbolic cosine; NaN below 1.
    acosh = libm::acosh;
    /// The inverse hyperbolic tangent; NaN outside of [-1, 1].
    atanh = libm::atanh;
}

/// The logistic function 1 / (1 + e^-x); float32 within 3 ulp.
#[inline(always)]
pub fn sigmoid<V: Vector>(x: V) -> V {
    // e^-|x| never overflows, and keeps tiny results accurate.
    let e = exp(x.abs().neg());
    V::select(x.lt(V::zero()), e, V::one()).div(e.add(V::one()))
}

/// log(1 + e^x); float32 within 2 ulp.
#[inline(always)]
pub fn softplus<V: Vector>(x: V) -> V {
    // `max` returns its second operand where that is NaN.
    log1p(exp(x.abs().neg())).add(V::zero().max(x))
}

/// `x`, with zeros for the subnormals that are equal to zero (see [`crate::subnormal`]): for functions of
/// the standard library, which read the bits.
#[inline(always)]
fn flushed<V: Vector>(x: V) -> V {
    V::select(x.eq(V::zero()), V::zero().copysign(x), x)
}

/// x to the power y, lane by lane, with the special values of C's `pow`.
#[inline(always)]
pub fn pow<V: Vector>(x: V, y: V) -> V {
    if is_f32::<V>() {
        let (x, y) = (flushed(x), flushed(y));
        pairs(x, y, |x, y| V::Scalar::from_f64(f64::from((x.to_f64() as f32).powf(y.to_f64() as f32))))
    } else {
        pairs(x, y, |x, y| V::Scalar::from_f64(x.to_f64().powf(y.to_f64())))
    }
}

/// The angle of the point (x, y) in (-pi, pi].
#[inline(always)]
pub fn atan2<V: Vector>(y: V, x: V) -> V {
    pairs(y, x, |y, x| V::Scalar::from_f64(y.to_f64().atan2(x.to_f64())))
}

/// The remainder of the division with the sign of the divisor, without rounding but for the last
/// addition (Python's `%`); NaN for a division by 0.
#[inline(always)]
pub fn floor_mod<V: Vector>(x: V, y: V) -> V {
    pairs(x, y, |x, y| V::Scalar::from_f64(floor_div_mod(x.to_f64(), y.to_f64()).1))
}

/// The quotient rounded toward minus infinity (Python's `//`); that of IEEE division for a divisor of 0.
#[inline(always)]
pub fn floor_div<V: Vector>(x: V, y: V) -> V {
    pairs(x, y, |x, y| V::Scalar::from_f64(floor_div_mod(x.to_f64(), y.to_f64()).0))
}

fn floor_div_mod(x: f64, y: f64) -> (f64, f64) {
    let r = x % y;
    if y == 0.0 {
        return (x / y, r);
    }
    let q = (x - r) / y;
    let (q, r) = if r == 0.0 {
        (q, 0.0f64.copysign(y))
    } else if (r < 0.0) != (y < 0.0) {
        (q - 1.0, r + y)
    } else {
        (q, r)
    };
    (if q == 0.0 { q.copysign(x / y) } else { q.round() }, r)
}

#[cfg(test)]
mod tests;
