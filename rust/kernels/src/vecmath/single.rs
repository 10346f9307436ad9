//! float32 functions as polynomials.
//!
//! Coefficients: Remez fits, computed with 40 digits and then rounded, of the expressions named at
//! each table, minimising the relative error of the function.

use crate::simd::Vector;

/// log(2) in two parts: the first has 9 bits, so its products with exponents are exact.
const LN2_HIGH: f64 = 0.693359375;
const LN2_LOW: f64 = std::f64::consts::LN_2 - LN2_HIGH;

/// Adding 1.5 * 2^23 leaves no bits for fractions: the sum is rounded to an integer.
const ROUNDER: f64 = 12_582_912.0;

/// (e^r - 1 - r) / r^2 on [-log(2)/2, log(2)/2], relative error of e^r - 1: 2^-26.
const EXP: [f64; 5] = [0.5000000062, 0.1666654268, 0.04166628104, 0.008366631396, 0.001394653327];

/// (log(1 + f) - f + f^2/2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1], relative error of log(1 + f):
/// 2^-27.
const LOG: [f64; 8] = [
    0.3333331678,
    -0.2500079658,
    0.2000228266,
    -0.1662496963,
    0.1418141864,
    -0.1312529643,
    0.1287920582,
    -0.07865450418,
];

/// erf(x) / x - 1 in x^2 on [0, 1], relative error of erf: 2^-29.
const ERF: [f64; 7] = [
    0.128379166,
    -0.3761262582,
    0.1128358515,
    -0.02685381199,
    0.005188327729,
    -0.0008010193659,
    7.853860632e-5,
];

/// -log(1 - erf(x)) on [1, 4], error of erf: 2^-29.
const ERFC: [f64; 7] = [
    0.0003537268421,
    1.127040004,
    0.6382257343,
    0.1030373159,
    -0.02180529133,
    0.002939600097,
    -0.000185573223,
];

/// c[0] + c[1] * x + c[2] * x^2 + ..
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(x: V, c: [f64; N]) -> V {
    let mut y = V::constant(c[N - 1]);
    for i in (0..N - 1).rev() {
        y = y.mul_add(x, V::constant(c[i]));
    }
    y
}

/// `n` and `e^r - 1` with `x = n * log(2) + r`, for |x| of at most a few hundred.
#[inline(always)]
fn reduce_exp<V: Vector>(x: V) -> (V, V) {
    let rounder = V::constant(ROUNDER);
    let n = x.mul_add(V::constant(std::f64::consts::LOG2_E), rounder).sub(rounder);
    let r = n.mul_add(V::constant(-LN2_HIGH), x);
    let r = n.mul_add(V::constant(-LN2_LOW), r);
    (n, r.mul(r).mul_add(polynomial(r, EXP), r))
}

#[inline(always)]
pub(super) fn exp<V: Vector>(x: V) -> V {
    // Beyond these the result is 0 or infinite; `max` and `min` return their second operand where
    // that is NaN.
    let lowest = V::constant(-104.0);
    let (n, p) = reduce_exp(V::constant(89.0).min(lowest.max(x)));
    p.add(V::one()).mul_exp2(n)
}

/// e^x - 1 for x in [-80, 80] or NaN.
#[inline(always)]
fn expm1_bounded<V: Vector>(x: V) -> V {
    let (n, p) = reduce_exp(x);
    let scale = n.exp2_int();
    p.mul_add(scale, scale.sub(V::one()))
}

#[inline(always)]
pub(super) fn expm1<V: Vector>(x: V) -> V {
    let bounded = V::constant(89.0).min(V::constant(-50.0).max(x));
    let (n, p) = reduce_exp(bounded);
    // At half the size, 2^n with n = 128 is a number.
    let scale = n.sub(V::one()).exp2_int();
    let half = p.mul_add(scale, scale.sub(V::constant(0.5)));
    half.add(half).copysign(x)
}

/// log(u) + c for positive normal `u` and a small correction `c`.
#[inline(always)]
fn log_normal<V: Vector>(u: V, c: V) -> V {
    let (m, e) = u.mantissa_exponent();
    let large = m.gt(V::constant(std::f64::consts::SQRT_2));
    let m = V::select(large, m.mul(V::constant(0.5)), m);
    let e = V::select(large, e.add(V::one()), e);
    let f = m.sub(V::one());
    let square = f.mul(f);
    let y = f.mul(square).mul_add(polynomial(f, LOG), e.mul_add(V::constant(LN2_LOW), c));
    let y = square.mul_add(V::constant(-0.5), y);
    e.mul_add(V::constant(LN2_HIGH), f.add(y))
}

/// The logarithm's values at 0, infinity, negative numbers and NaN; `y` elsewhere.
#[inline(always)]
fn log_special<V: Vector>(u: V, y: V) -> V {
    let infinity = V::constant(f64::INFINITY);
    let y = V::select(u.eq(infinity), infinity, y);
    let y = V::select(u.eq(V::zero()), infinity.neg(), y);
    V::select(u.ge(V::zero()), y, V::constant(f64::NAN))
}

#[inline(always)]
pub(super) fn log<V: Vector>(x: V) -> V {
    let subnormal = x.lt(V::constant(f64::from(f32::MIN_POSITIVE)));
    let u = V::select(subnormal, x.mul(V::constant(f64::from(1 << 24))), x);
    let shift = V::select(subnormal, V::constant(-24.0 * std::f64::consts::LN_2), V::zero());
    log_special(x, log_normal(u, V::zero()).add(shift))
}

#[inline(always)]
pub(super) fn log1p<V: Vector>(x: V) -> V {
    let one = V::one();
    let u = x.add(one);
    // What rounding took from 1 + x: for x below 1, u - 1 is exact, else u - x is.
    let lost = V::select(x.lt(one), x.sub(u.sub(one)), one.sub(u.sub(x)));
    log_special(u, log_normal(u, lost.div(u))).copysign(x)
}

#[inline(always)]
pub(super) fn tanh<V: Vector>(x: V) -> V {
    // tanh(x) = t / (t + 2) with t = e^2x - 1; beyond 10 the result is 1.
    let bounded = V::constant(10.0).min(x.abs());
    let t = expm1_bounded(bounded.add(bounded));
    t.div(t.add(V::constant(2.0))).copysign(x)
}

#[inline(always)]
pub(super) fn erf<V: Vector>(x: V) -> V {
    let size = x.abs();
    let small = x.mul_add(polynomial(x.mul(x), ERF), x);
    // Beyond 4 the result is 1.
    let bounded = V::constant(4.0).min(size);
    let large = expm1_bounded(polynomial(bounded, ERFC).neg()).neg().copysign(x);
    V::select(size.lt(V::one()), small, large)
}
