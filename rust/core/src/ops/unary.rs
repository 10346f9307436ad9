//! Elementwise functions of one tensor: the table, and the op that its rows share.
//!
//! A row is a name, its documentation, a few of its values (to four decimals) and three expressions
//! over vectors: the function, its derivative and the derivative of that. The derivatives are functions of one saved value, the
//! input (`x`) or, where that is cheaper, the output (`y`): for `y = exp(x)` the derivative is `y`.
//! Everything else (struct, op, fused gradient, gradient of the gradient, the public function, its
//! place in [`UNARY`], from which the Python bindings follow) is expanded from the row. A row may
//! name parameters, and `integer` what it does to integers; without that, integers are converted to
//! float32 first, as NumPy would to its default float.
//!
//! At kinks the derivative is one of the subgradients, the same everywhere: 0 for `relu`, `abs` and
//! `sign` at 0, the left one for `leaky_relu` and `elu`, 1 for `clip` at its bounds, and 0 for
//! `relu6`, `hard_sigmoid`, `hard_silu` and `hard_tanh` at theirs.

use std::any::Any;

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LN_2, LN_10, PI};
use std::fmt::Debug;

use autodan_kernels::element::{Float, Number};
use autodan_kernels::elementwise::{self, Binary, Ternary, Unary};
use autodan_kernels::simd::Vector;
use autodan_kernels::vecmath;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::cast;
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// One row of the table: a function of one vector and its derivatives.
trait Rule: Copy + Debug + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether the derivatives are functions of the output rather than of the input.
    const OF_OUTPUT: bool;
    /// Whether integers stay integers.
    const KEEPS_INTEGERS: bool;

    fn f<V: Vector>(self, x: V) -> V;
    fn df<V: Vector>(self, value: V) -> V;
    fn ddf<V: Vector>(self, value: V) -> V;
    fn integer<T: Number>(self, x: T) -> T;
}

/// A row by name, for bindings and documentation.
pub struct UnaryInfo {
    /// The public name.
    pub name: &'static str,
    /// What it computes.
    pub doc: &'static str,
    /// Some inputs, and the function's values there to four decimals.
    pub example: (&'static [f64], &'static [f64]),
    /// The function.
    pub function: fn(&Tensor) -> Result<Tensor>,
}

/// Expands the rows of the table.
macro_rules! unary {
    ($(
        #[doc = $doc:literal]
        $name:ident: $rule:ident $({ $($field:ident),+ })?,
        $([$($at:literal),+] => [$($value:literal),+],)?
        f($x:ident $(, $s0:ident)?) = $f:expr,
        df($dv:ident $(, $s1:ident)?) = $df:expr,
        ddf($ddv:ident $(, $s2:ident)?) = $ddf:expr
        $(, integer($i:ident) = $integer:expr)?;
    )+) => {
        $(
            #[derive(Clone, Copy, Debug)]
            struct $rule {
                $($($field: f64),+)?
            }

            impl Rule for $rule {
                const NAME: &'static str = stringify!($name);
                const OF_OUTPUT: bool = is_output!($dv);
                const KEEPS_INTEGERS: bool = present!($($integer)?);

                #[inline(always)]
                fn f<V: Vector>(self, $x: V) -> V {
                    $(let $s0 = self;)?
                    $f
                }
                #[inline(always)]
                fn df<V: Vector>(self, $dv: V) -> V {
                    $(let $s1 = self;)?
                    $df
                }
                #[inline(always)]
                fn ddf<V: Vector>(self, $ddv: V) -> V {
                    $(let $s2 = self;)?
                    $ddf
                }
                #[inline(always)]
                fn integer<T: Number>(self, x: T) -> T {
                    $(let $i = x; return $integer;)?
                    #[allow(unreachable_code)]
                    x
                }
            }

            #[doc = $doc]
            ///
            /// # Errors
            /// [`Error::Memory`]; [`Error::DType`] for bool where a number is needed.
            pub fn $name(x: &Tensor $($(, $field: f64)+)?) -> Result<Tensor> {
                run($rule { $($($field),+)? }, x)
            }
        )+

        /// The rows without parameters.
        // The examples are what is printed: constants to four decimals.
        #[allow(clippy::approx_constant)]
        pub const UNARY: &[UnaryInfo] = &info![$([$name, $doc $(, [$($at),+] => [$($value),+])? $($(, $field)+)?])+];
    };
}

macro_rules! is_output {
    (y) => {
        true
    };
    (x) => {
        false
    };
}

macro_rules! present {
    () => {
        false
    };
    ($($tokens:tt)+) => {
        true
    };
}

/// Collects the rows without parameters into a slice.
macro_rules! info {
    (@ [$($done:expr,)*]) => { [$($done),*] };
    (@ [$($done:expr,)*] [$name:ident, $doc:literal, $at:tt => $value:tt] $($rest:tt)*) => {
        info!(@ [$($done,)* UnaryInfo {
            name: stringify!($name), doc: $doc, example: (&$at, &$value), function: $name
        },] $($rest)*)
    };
    (@ [$($done:expr,)*] [$name:ident, $doc:literal $(, $field:ident)+] $($rest:tt)*) => {
        info!(@ [$($done,)*] $($rest)*)
    };
    ($($rows:tt)*) => { info!(@ [] $($rows)*) };
}

#[inline(always)]
fn c<V: Vector>(x: f64) -> V {
    V::constant(x)
}

/// `a` where `mask`, else `b`.
#[inline(always)]
fn pick<V: Vector>(mask: V::Mask, a: V, b: V) -> V {
    V::select(mask, a, b)
}

#[inline(always)]
fn signum<V: Vector>(x: V) -> V {
    // Not `x` itself: subnormals are equal to zero, too.
    let magnitude = pick(x.eq(V::zero()), V::zero(), V::one()).copysign(x);
    pick(x.is_nan(), x, magnitude)
}

/// `y`, but zero where `x` is: subnormals count as zero on every instruction set or on none.
#[inline(always)]
fn beside_zero<V: Vector>(x: V, y: V) -> V {
    pick(x.eq(V::zero()), V::zero().copysign(x), y)
}

/// 1 for `low < x < high`, else 0.
#[inline(always)]
fn inside<V: Vector>(x: V, low: f64, high: f64) -> V {
    pick(V::mask_and(x.gt(c(low)), x.lt(c(high))), V::one(), V::zero())
}

/// `min(max(x, low), high)`; NaN stays NaN.
#[inline(always)]
fn clamp<V: Vector>(x: V, low: f64, high: f64) -> V {
    x.maximum(c(low)).minimum(c(high))
}

/// The density of the standard normal distribution.
#[inline(always)]
fn normal_density<V: Vector>(x: V) -> V {
    vecmath::exp(x.mul(x).mul(c(-0.5))).mul(c(FRAC_2_SQRT_PI * FRAC_1_SQRT_2 / 2.0))
}

/// The cumulative distribution of the standard normal distribution.
#[inline(always)]
fn normal_cdf<V: Vector>(x: V) -> V {
    vecmath::erf(x.mul(c(FRAC_1_SQRT_2))).mul_add(c(0.5), c(0.5))
}

/// `tanh` of the cubic in the approximate GELU, and the cubic's first and second derivative.
#[inline(always)]
fn gelu_parts<V: Vector>(x: V) -> (V, V, V) {
    let k = (2.0 / PI).sqrt();
    // Beyond 100 all is constant, and squares would overflow; `max` and `min` return their second operand
    // where that is NaN.
    let x = c::<V>(100.0).min(c::<V>(-100.0).max(x));
    let x2 = x.mul(x);
    let u = x.mul(x2.mul_add(c(0.044715 * k), c(k)));
    (vecmath::tanh(u), x2.mul_add(c(3.0 * 0.044715 * k), c(k)), x.mul(c(6.0 * 0.044715 * k)))
}

const SELU_SCALE: f64 = 1.0507009873554804934193349852946;
const SELU_ALPHA: f64 = 1.6732632423543772848170429916717;

unary! {
    /// `-x`.
    negative: Negative, [1.0, -2.0] => [-1.0, 2.0],
        f(x) = x.neg(), df(x) = { let _ = x; c(-1.0) }, ddf(x) = { let _ = x; V::zero() },
        integer(i) = T::ZERO.sub(i);
    /// The absolute value `|x|`.
    abs: Abs, [-1.5, 2.0] => [1.5, 2.0],
        f(x) = x.abs(), df(x) = signum(x), ddf(x) = { let _ = x; V::zero() },
        integer(i) = if i < T::ZERO { T::ZERO.sub(i) } else { i };
    /// The sign of `x`: -1, 0 or 1.
    sign: Sign, [-3.0, 0.0, 2.0] => [-1.0, 0.0, 1.0],
        f(x) = signum(x), df(x) = { let _ = x; V::zero() }, ddf(x) = { let _ = x; V::zero() },
        integer(i) = if i < T::ZERO { T::ZERO.sub(T::ONE) } else if i > T::ZERO { T::ONE } else { i };
    /// `x * x`.
    square: Square, [-3.0, 0.5] => [9.0, 0.25],
        f(x) = x.mul(x), df(x) = x.add(x), ddf(x) = { let _ = x; c(2.0) }, integer(i) = i.mul(i);
    /// The square root; NaN for negative `x`.
    sqrt: Sqrt, [4.0, 2.0] => [2.0, 1.4142],
        f(x) = x.sqrt(), df(y) = c::<V>(0.5).div(y), ddf(y) = c::<V>(-0.5).div(y.mul(y));
    /// `1 / sqrt(x)`.
    rsqrt: Rsqrt, [4.0, 0.25] => [0.5, 2.0],
        f(x) = V::one().div(x.sqrt()), df(y) = y.mul(y).mul(y).mul(c(-0.5)), ddf(y) = y.mul(y).mul(c(-1.5));
    /// `1 / x`.
    reciprocal: Reciprocal, [2.0, -4.0] => [0.5, -0.25],
        f(x) = V::one().div(x), df(y) = y.mul(y).neg(), ddf(y) = y.mul(c(-2.0));
    /// The exponential `e^x`.
    exp: Exp, [0.0, 1.0] => [1.0, 2.7183],
        f(x) = vecmath::exp(x), df(y) = y, ddf(y) = { let _ = y; V::one() };
    /// 2 to the power `x`.
    exp2: Exp2, [0.0, 3.0] => [1.0, 8.0],
        f(x) = vecmath::pow(c(2.0), x), df(y) = y.mul(c(LN_2)), ddf(y) = { let _ = y; c(LN_2) };
    /// `e^x - 1`, accurate near 0.
    expm1: Expm1, [0.0, 1.0] => [0.0, 1.7183],
        f(x) = vecmath::expm1(x), df(y) = y.add(V::one()), ddf(y) = { let _ = y; V::one() };
    /// The natural logarithm; -inf at 0, NaN for negative `x`.
    log: Log, [1.0, 10.0] => [0.0, 2.3026],
        f(x) = vecmath::log(x), df(x) = V::one().div(x), ddf(x) = c::<V>(-1.0).div(x.mul(x));
    /// `log(1 + x)`, accurate near 0.
    log1p: Log1p, [0.0, 1.0] => [0.0, 0.6931],
        f(x) = vecmath::log1p(x), df(x) = V::one().div(x.add(V::one())),
        ddf(x) = { let r = V::one().div(x.add(V::one())); r.mul(r).neg() };
    /// The logarithm to base 2.
    log2: Log2, [1.0, 8.0] => [0.0, 3.0],
        f(x) = vecmath::log2(x), df(x) = c::<V>(1.0 / LN_2).div(x), ddf(x) = c::<V>(-1.0 / LN_2).div(x.mul(x));
    /// The logarithm to base 10.
    log10: Log10, [1.0, 1000.0] => [0.0, 3.0],
        f(x) = vecmath::log10(x), df(x) = c::<V>(1.0 / LN_10).div(x),
        ddf(x) = c::<V>(-1.0 / LN_10).div(x.mul(x));
    /// The sine of `x` in radians.
    sin: Sin, [0.0, 1.0] => [0.0, 0.8415],
        f(x) = vecmath::sin(x), df(x) = vecmath::cos(x), ddf(x) = vecmath::sin(x).neg();
    /// The cosine of `x` in radians.
    cos: Cos, [0.0, 1.0] => [1.0, 0.5403],
        f(x) = vecmath::cos(x), df(x) = vecmath::sin(x).neg(), ddf(x) = vecmath::cos(x).neg();
    /// The tangent of `x` in radians.
    tan: Tan, [0.0, 1.0] => [0.0, 1.5574],
        f(x) = vecmath::tan(x), df(y) = y.mul_add(y, V::one()), ddf(y) = y.add(y);
    /// The hyperbolic sine.
    sinh: Sinh, [0.0, 1.0] => [0.0, 1.1752],
        f(x) = vecmath::sinh(x), df(x) = vecmath::cosh(x), ddf(x) = vecmath::sinh(x);
    /// The hyperbolic cosine.
    cosh: Cosh, [0.0, 1.0] => [1.0, 1.5431],
        f(x) = vecmath::cosh(x), df(x) = vecmath::sinh(x), ddf(x) = vecmath::cosh(x);
    /// The hyperbolic tangent.
    tanh: Tanh, [0.0, 1.0] => [0.0, 0.7616],
        f(x) = vecmath::tanh(x), df(y) = V::one().sub(y.mul(y)), ddf(y) = y.mul(c(-2.0));
    /// The inverse sine, in radians; NaN outside [-1, 1].
    arcsin: Arcsin, [0.0, 1.0] => [0.0, 1.5708],
        f(x) = vecmath::asin(x), df(x) = V::one().div(V::one().sub(x.mul(x)).sqrt()),
        ddf(x) = { let q = V::one().sub(x.mul(x)); x.div(q.mul(q.sqrt())) };
    /// The inverse cosine, in radians; NaN outside [-1, 1].
    arccos: Arccos, [0.0, 1.0] => [1.5708, 0.0],
        f(x) = vecmath::acos(x), df(x) = c::<V>(-1.0).div(V::one().sub(x.mul(x)).sqrt()),
        ddf(x) = { let q = V::one().sub(x.mul(x)); x.neg().div(q.mul(q.sqrt())) };
    /// The inverse tangent, in radians.
    arctan: Arctan, [0.0, 1.0] => [0.0, 0.7854],
        f(x) = vecmath::atan(x), df(x) = V::one().div(x.mul_add(x, V::one())),
        ddf(x) = { let r = V::one().div(x.mul_add(x, V::one())); x.mul(r).mul(r).mul(c(-2.0)) };
    /// The inverse hyperbolic sine.
    arcsinh: Arcsinh, [0.0, 1.0] => [0.0, 0.8814],
        f(x) = vecmath::asinh(x), df(x) = V::one().div(x.mul_add(x, V::one()).sqrt()),
        ddf(x) = { let q = x.mul_add(x, V::one()); x.neg().div(q.mul(q.sqrt())) };
    /// The inverse hyperbolic cosine; NaN below 1.
    arccosh: Arccosh, [1.0, 2.0] => [0.0, 1.317],
        f(x) = vecmath::acosh(x), df(x) = V::one().div(x.mul_add(x, c(-1.0)).sqrt()),
        ddf(x) = { let q = x.mul_add(x, c(-1.0)); x.neg().div(q.mul(q.sqrt())) };
    /// The inverse hyperbolic tangent; NaN outside [-1, 1].
    arctanh: Arctanh, [0.0, 0.5] => [0.0, 0.5493],
        f(x) = vecmath::atanh(x), df(x) = V::one().div(V::one().sub(x.mul(x))),
        ddf(x) = { let r = V::one().div(V::one().sub(x.mul(x))); x.add(x).mul(r).mul(r) };
    /// The error function.
    erf: Erf, [0.0, 1.0] => [0.0, 0.8427],
        f(x) = vecmath::erf(x), df(x) = vecmath::exp(x.mul(x).neg()).mul(c(FRAC_2_SQRT_PI)),
        ddf(x) = vecmath::exp(x.mul(x).neg()).mul(x).mul(c(-2.0 * FRAC_2_SQRT_PI));
    /// The largest integer not above `x`.
    floor: Floor, [1.7, -1.2] => [1.0, -2.0],
        f(x) = beside_zero(x, x.floor()), df(x) = { let _ = x; V::zero() }, ddf(x) = { let _ = x; V::zero() }, integer(i) = i;
    /// The smallest integer not below `x`.
    ceil: Ceil, [1.2, -1.7] => [2.0, -1.0],
        f(x) = beside_zero(x, x.ceil()), df(x) = { let _ = x; V::zero() }, ddf(x) = { let _ = x; V::zero() }, integer(i) = i;
    /// The nearest integer, ties to even.
    round: Round, [0.5, 1.5, -1.7] => [0.0, 2.0, -2.0],
        f(x) = x.round(), df(x) = { let _ = x; V::zero() }, ddf(x) = { let _ = x; V::zero() }, integer(i) = i;
    /// The integer part: `x` rounded toward zero.
    trunc: Trunc, [1.7, -1.7] => [1.0, -1.0],
        f(x) = x.trunc(), df(x) = { let _ = x; V::zero() }, ddf(x) = { let _ = x; V::zero() }, integer(i) = i;
    /// The logistic function `1 / (1 + e^-x)`.
    sigmoid: Sigmoid, [0.0, 2.0] => [0.5, 0.8808],
        f(x) = vecmath::sigmoid(x), df(y) = y.mul(V::one().sub(y)), ddf(y) = y.mul_add(c(-2.0), V::one());
    /// The rectified linear unit `max(x, 0)`.
    relu: Relu, [-1.0, 2.0] => [0.0, 2.0],
        f(x) = x.maximum(V::zero()), df(y) = pick(y.gt(V::zero()), V::one(), V::zero()),
        ddf(y) = { let _ = y; V::zero() }, integer(i) = i.maximum(T::ZERO);
    /// `min(max(x, 0), 6)`.
    relu6: Relu6, [-1.0, 2.0, 7.0] => [0.0, 2.0, 6.0],
        f(x) = clamp(x, 0.0, 6.0), df(x) = inside(x, 0.0, 6.0), ddf(x) = { let _ = x; V::zero() };
    /// The sigmoid-weighted linear unit (swish) `x * sigmoid(x)`.
    silu: Silu, [0.0, 1.0] => [0.0, 0.7311],
        f(x) = x.mul(vecmath::sigmoid(x)),
        df(x) = { let s = vecmath::sigmoid(x); x.mul(s).mul_add(V::one().sub(s), s) },
        ddf(x) = {
            let s = vecmath::sigmoid(x);
            s.mul(V::one().sub(s)).mul(x.mul_add(s.mul_add(c(-2.0), V::one()), c(2.0)))
        };
    /// `log(1 + e^x)`.
    softplus: Softplus, [0.0, 1.0] => [0.6931, 1.3133],
        f(x) = vecmath::softplus(x), df(x) = vecmath::sigmoid(x),
        ddf(x) = { let s = vecmath::sigmoid(x); s.mul(V::one().sub(s)) };
    /// `x / (1 + |x|)`.
    softsign: Softsign, [-1.0, 3.0] => [-0.5, 0.75],
        f(x) = x.div(x.abs().add(V::one())),
        df(x) = { let r = V::one().div(x.abs().add(V::one())); r.mul(r) },
        ddf(x) = { let r = V::one().div(x.abs().add(V::one())); signum(x).mul(c(-2.0)).mul(r.mul(r).mul(r)) };
    /// `x * tanh(softplus(x))`.
    mish: Mish, [0.0, 1.0] => [0.0, 0.8651],
        f(x) = x.mul(vecmath::tanh(vecmath::softplus(x))),
        df(x) = {
            let (t, s) = (vecmath::tanh(vecmath::softplus(x)), vecmath::sigmoid(x));
            x.mul(s).mul_add(V::one().sub(t.mul(t)), t)
        },
        ddf(x) = {
            let (t, s) = (vecmath::tanh(vecmath::softplus(x)), vecmath::sigmoid(x));
            let dt = V::one().sub(t.mul(t)).mul(s);
            let ddt = dt.mul(V::one().sub(s)).sub(t.mul(s).mul(dt).mul(c(2.0)));
            x.mul_add(ddt, dt.add(dt))
        };
    /// `log(sigmoid(x))`.
    log_sigmoid: LogSigmoid, [0.0, 1.0] => [-0.6931, -0.3133],
        f(x) = vecmath::softplus(x.neg()).neg(), df(x) = vecmath::sigmoid(x.neg()),
        ddf(x) = { let s = vecmath::sigmoid(x); s.mul(s.sub(V::one())) };
    /// `min(max(x / 6 + 0.5, 0), 1)`.
    hard_sigmoid: HardSigmoid, [-3.0, 0.0, 1.5] => [0.0, 0.5, 0.75],
        f(x) = clamp(x.mul_add(c(1.0 / 6.0), c(0.5)), 0.0, 1.0),
        df(x) = inside(x, -3.0, 3.0).mul(c(1.0 / 6.0)), ddf(x) = { let _ = x; V::zero() };
    /// `x * hard_sigmoid(x)` (hard swish).
    hard_silu: HardSilu, [-1.0, 3.0] => [-0.3333, 3.0],
        f(x) = x.mul(clamp(x.mul_add(c(1.0 / 6.0), c(0.5)), 0.0, 1.0)),
        df(x) = {
            let outer = pick(x.gt(V::zero()), V::one(), V::zero());
            pick(inside(x, -3.0, 3.0).gt(V::zero()), x.mul_add(c(1.0 / 3.0), c(0.5)), outer)
        },
        ddf(x) = inside(x, -3.0, 3.0).mul(c(1.0 / 3.0));
    /// `min(max(x, -1), 1)`.
    hard_tanh: HardTanh, [-2.0, 0.5] => [-1.0, 0.5],
        f(x) = clamp(x, -1.0, 1.0), df(x) = inside(x, -1.0, 1.0), ddf(x) = { let _ = x; V::zero() };
    /// `x - tanh(x)`.
    tanh_shrink: TanhShrink, [0.0, 1.0] => [0.0, 0.2384],
        f(x) = x.sub(vecmath::tanh(x)), df(x) = { let t = vecmath::tanh(x); t.mul(t) },
        ddf(x) = { let t = vecmath::tanh(x); t.add(t).mul(V::one().sub(t.mul(t))) };
    /// The scaled exponential linear unit (Klambauer et al. 2017).
    selu: Selu, [-1.0, 1.0] => [-1.1113, 1.0507],
        f(x) = pick(x.gt(V::zero()), x.mul(c(SELU_SCALE)), vecmath::expm1(x).mul(c(SELU_SCALE * SELU_ALPHA))),
        df(x) = pick(x.gt(V::zero()), c(SELU_SCALE), vecmath::exp(x).mul(c(SELU_SCALE * SELU_ALPHA))),
        ddf(x) = pick(x.gt(V::zero()), V::zero(), vecmath::exp(x).mul(c(SELU_SCALE * SELU_ALPHA)));
    /// The exponential linear unit: `x` above 0, `alpha * (e^x - 1)` elsewhere.
    elu: Elu { alpha },
        f(x, s) = pick(x.gt(V::zero()), x, vecmath::expm1(x).mul(c(s.alpha))),
        df(x, s) = pick(x.gt(V::zero()), V::one(), vecmath::exp(x).mul(c(s.alpha))),
        ddf(x, s) = pick(x.gt(V::zero()), V::zero(), vecmath::exp(x).mul(c(s.alpha)));
    /// The continuously differentiable exponential linear unit: `x` above 0, `alpha * (e^(x / alpha) - 1)` elsewhere.
    celu: Celu { alpha },
        f(x, s) = pick(x.gt(V::zero()), x, vecmath::expm1(x.div(c(s.alpha))).mul(c(s.alpha))),
        df(x, s) = pick(x.gt(V::zero()), V::one(), vecmath::exp(x.div(c(s.alpha)))),
        ddf(x, s) = pick(x.gt(V::zero()), V::zero(), vecmath::exp(x.div(c(s.alpha))).div(c(s.alpha)));
    /// `x` above 0, `negative_slope * x` elsewhere.
    leaky_relu: LeakyRelu { negative_slope },
        f(x, s) = pick(x.gt(V::zero()), x, x.mul(c(s.negative_slope))),
        df(x, s) = pick(x.gt(V::zero()), V::one(), c(s.negative_slope)),
        ddf(x) = { let _ = x; V::zero() };
    /// The Gaussian error linear unit `x * P(X <= x)` of a standard normal `X` (Hendrycks and Gimpel 2016), or its approximation by `tanh`.
    gelu: Gelu { approximate },
        f(x, s) = x.mul(if s.approximate == 0.0 { normal_cdf(x) } else { gelu_parts(x).0.mul_add(c(0.5), c(0.5)) }),
        df(x, s) = if s.approximate == 0.0 {
            x.mul_add(normal_density(x), normal_cdf(x))
        } else {
            let (t, du, _) = gelu_parts(x);
            x.mul(V::one().sub(t.mul(t))).mul(du).add(t).add(V::one()).mul(c(0.5))
        },
        ddf(x, s) = if s.approximate == 0.0 {
            // Not through x^2, which overflows where the density is 0.
            let density = normal_density(x);
            density.add(density).sub(density.mul(x).mul(x))
        } else {
            let (t, du, ddu) = gelu_parts(x);
            let dt = V::one().sub(t.mul(t)).mul(du);
            let ddt = V::one().sub(t.mul(t)).mul(ddu).sub(t.mul(dt).mul(du).mul(c(2.0)));
            x.mul(c(0.5)).mul_add(ddt, dt)
        };
    /// `min(max(x, x_min), x_max)`.
    clip: Clip { x_min, x_max },
        f(x, s) = clamp(x, s.x_min, s.x_max),
        df(x, s) = pick(V::mask_and(x.ge(c(s.x_min)), x.le(c(s.x_max))), V::one(), V::zero()),
        ddf(x) = { let _ = x; V::zero() };
}

/// Applies a row: integers as the row says, floats in their own dtype.
fn run<R: Rule>(rule: R, x: &Tensor) -> Result<Tensor> {
    let dtype = x.dtype();
    if dtype.is_float() || (R::KEEPS_INTEGERS && dtype.is_integer()) {
        apply(Forward(rule), &[x])
    } else {
        apply(Forward(rule), &[&cast(x, DType::Float32)?])
    }
}

/// The gradient of `relu`, `tanh` or `sigmoid` from the function's value and that value's gradient, for ops
/// that the function is a part of.
///
/// # Errors
/// [`Error::Internal`] for another function, [`Error::Memory`].
pub(crate) fn gradient_of_output(name: &str, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    match name {
        Relu::NAME => apply(First(Relu {}), &[y, dy]),
        Tanh::NAME => apply(First(Tanh {}), &[y, dy]),
        Sigmoid::NAME => apply(First(Sigmoid {}), &[y, dy]),
        _ => Err(Error::internal(format!("{name} has no gradient of its value"))),
    }
}

/// Whether an op is `relu`, whose derivative is a function of its output.
pub(crate) fn is_relu(op: &dyn Op) -> bool {
    (op as &dyn Any).is::<Forward<Relu>>()
}

/// `f(x)`.
#[derive(Debug)]
struct Forward<R>(R);

#[derive(Clone, Copy)]
struct F<R>(R);
#[derive(Clone, Copy)]
struct Df<R>(R);
#[derive(Clone, Copy)]
struct Ddf<R>(R);

impl<T: Float, R: Rule> Unary<T> for F<R> {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, x: V) -> V {
        self.0.f(x)
    }
}

impl<T: Float, R: Rule> Binary<T> for Df<R> {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, value: V, dy: V) -> V {
        self.0.df(value).mul(dy)
    }
}

impl<T: Float, R: Rule> Ternary<T> for Ddf<R> {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, value: V, dy: V, ddy: V) -> V {
        self.0.ddf(value).mul(dy).mul(ddy)
    }
}

impl<R: Rule> Op for Forward<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let rule = self.0;
        if inputs[0].dtype().is_integer() {
            crate::with_number!(R::NAME, inputs[0].dtype(), T => {
                elementwise::map(inputs[0].view::<T>()?, outputs[0].get::<T>()?, |x| rule.integer(x));
            });
        } else {
            with_float!(R::NAME, inputs[0].dtype(), T => {
                elementwise::unary(F(rule), inputs[0].view::<T>()?, outputs[0].get::<T>()?);
            });
        }
        Ok(())
    }

    fn saves(&self) -> Saves {
        if R::OF_OUTPUT { Saves::OUTPUTS } else { Saves::INPUTS }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let value = if R::OF_OUTPUT { context.output(0)? } else { context.input(0)? };
        let dx = apply(First(self.0), &[&value, context.grad()?])?;
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// `f'(value) * dy`, in one pass.
#[derive(Debug)]
struct First<R>(R);

impl<R: Rule> Op for First<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_float!(R::NAME, inputs[0].dtype(), T => {
            elementwise::binary(Df(self.0), inputs[0].view::<T>()?, inputs[1].view()?, outputs[0].get()?);
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (value, dy, g) = (context.input(0)?, context.input(1)?, context.grad()?);
        Ok(Gradients::from_iter([
            context.when(0, || apply(Second(self.0), &[&value, &dy, g]))?,
            context.when(1, || apply(First(self.0), &[&value, g]))?,
        ]))
    }
}

/// `f''(value) * dy * ddy`, in one pass.
#[derive(Debug)]
struct Second<R>(R);

impl<R: Rule> Op for Second<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_float!(R::NAME, inputs[0].dtype(), T => {
            let (value, dy, ddy) = (inputs[0].view::<T>()?, inputs[1].view()?, inputs[2].view()?);
            elementwise::ternary(Ddf(self.0), value, dy, ddy, outputs[0].get()?);
        });
        Ok(())
    }

    fn vjp(&self, _context: &Backward<'_>) -> Result<Gradients> {
        Err(Error::Gradient(format!("{}: third derivatives are not available", R::NAME)))
    }
}
