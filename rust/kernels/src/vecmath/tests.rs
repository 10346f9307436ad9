//! Every function against float64 references, in units in the last place.

use super::*;
use crate::elementwise::{Binary, Unary, binary, unary};
use crate::isa::{Isa, on_every_isa};
use crate::view::View;

/// Dispatches a function by its number, so that one type serves all tests.
#[derive(Clone, Copy)]
struct Function(usize);

type Row = (&'static str, fn(f64) -> f64, f64);

/// Name, reference, bound in ulp for float32.
const TABLE: [Row; 21] = [
    ("exp", f64::exp, 1.5),
    ("expm1", f64::exp_m1, 2.0),
    ("log", f64::ln, 1.5),
    ("log1p", f64::ln_1p, 1.5),
    ("tanh", f64::tanh, 3.0),
    ("sigmoid", |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }, 3.0),
    ("softplus", |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 2.0),
    ("erf", libm::erf, 1.5),
    ("log2", f64::log2, 0.501),
    ("log10", f64::log10, 0.501),
    ("sin", f64::sin, 0.501),
    ("cos", f64::cos, 0.501),
    ("tan", f64::tan, 0.501),
    ("sinh", f64::sinh, 0.501),
    ("cosh", f64::cosh, 0.501),
    ("asin", f64::asin, 0.501),
    ("acos", f64::acos, 0.501),
    ("atan", f64::atan, 0.501),
    ("asinh", libm::asinh, 0.501),
    ("acosh", libm::acosh, 0.501),
    ("atanh", libm::atanh, 0.501),
];

impl<T: Float> Unary<T> for Function {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, x: V) -> V {
        match self.0 {
            0 => exp(x),
            1 => expm1(x),
            2 => log(x),
            3 => log1p(x),
            4 => tanh(x),
            5 => sigmoid(x),
            6 => softplus(x),
            7 => erf(x),
            8 => log2(x),
            9 => log10(x),
            10 => sin(x),
            11 => cos(x),
            12 => tan(x),
            13 => sinh(x),
            14 => cosh(x),
            15 => asin(x),
            16 => acos(x),
            17 => atan(x),
            18 => asinh(x),
            19 => acosh(x),
            _ => atanh(x),
        }
    }
}

fn apply<T: Float>(function: usize, x: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; x.len()];
    unary(Function(function), View::new(x, 0, &[x.len()], &[1]), &mut y);
    y
}

/// The distance of `got` from `want` in float32 units in the last place of `want`.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if got == rounded || (got.is_nan() && rounded.is_nan()) {
        return if got.is_finite() { (f64::from(got) - want).abs() / ulp(want) } else { 0.0 };
    }
    if !rounded.is_finite() || !got.is_finite() {
        // Beside the largest number, infinity is one step away.
        let step = |x: f32| i64::from(x.abs().to_bits());
        return if got.is_nan() || rounded.is_nan() {
            f64::INFINITY
        } else {
            (step(got) - step(rounded)).abs() as f64
        };
    }
    (f64::from(got) - want).abs() / ulp(want)
}

fn ulp(x: f64) -> f64 {
    let exponent = ((x.to_bits() >> 52) & 0x7FF) as i32 - 1023;
    f64::from(exponent.clamp(-126, 127) - 23).exp2()
}

/// The largest error over float32 numbers `step` apart, and where, on each instruction set.
fn worst(function: usize, step: usize) -> Vec<(Isa, f64, f32)> {
    let (_, reference, _) = TABLE[function];
    let mut worst = Vec::new();
    let mut batch: Vec<f32> = Vec::with_capacity(1 << 16);
    let mut numbers = (0..=u32::MAX).step_by(step);
    loop {
        batch.clear();
        batch.extend(numbers.by_ref().take(1 << 16).map(f32::from_bits));
        if batch.is_empty() {
            return worst;
        }
        let want: Vec<f64> = batch.iter().map(|&x| reference(f64::from(x))).collect();
        let mut set = 0;
        on_every_isa(|isa| {
            if worst.len() == set {
                worst.push((isa, 0.0, 0.0));
            }
            let (_, largest, at) = &mut worst[set];
            set += 1;
            for ((&x, y), &want) in batch.iter().zip(apply(function, &batch)).zip(&want) {
                // Subnormal operands and results, those within a function too, are flushed to zero (see
                // `crate::subnormal`): near zero the error is absolute.
                let flushed = (f64::from(y) - want).abs() <= 4.0 * f64::from(f32::MIN_POSITIVE);
                // log(x) of a subnormal is that of zero.
                let zero = x.is_subnormal() && ulps(y, reference(0.0f64.copysign(f64::from(x)))) == 0.0;
                let error = if flushed || zero { 0.0 } else { ulps(y, want) };
                if error > *largest {
                    (*largest, *at) = (error, x);
                }
            }
        });
    }
}

fn check_bound(function: usize, step: usize) {
    let (name, _, bound) = TABLE[function];
    for (isa, error, x) in worst(function, step) {
        println!("{:8} {name:8} {error:.3} ulp at {x:e}", isa.name());
        assert!(error <= bound, "{name} on {}: {error} ulp at {x:e}", isa.name());
    }
}

#[test]
fn float32_functions_keep_their_bounds() {
    (0..TABLE.len())
        .for_each(|function| check_bound(function, if function < 8 { 10_007 } else { 1_000_003 }));
}

#[test]
#[ignore = "four thousand million numbers for each function: minutes"]
fn float32_functions_keep_their_bounds_everywhere() {
    (0..8).for_each(|function| check_bound(function, 1));
}

#[test]
fn float64_functions_are_the_references() {
    let mut random = crate::testing::Random(7);
    let mut x: Vec<f64> = (0..1000).map(|i| random.unit() * [0.9, 30.0, 1e-9, 1e3][i % 4]).collect();
    x.extend([0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.0, -1.0]);
    for (function, (name, reference, _)) in TABLE.iter().enumerate() {
        for (&x, y) in x.iter().zip(apply(function, &x)) {
            let want = reference(x);
            let close = (y - want).abs() <= 8.0 * f64::EPSILON * want.abs();
            assert!(y == want || close || (y.is_nan() && want.is_nan()), "{name}({x}) = {y}, not {want}");
        }
    }
}

#[test]
fn special_values_are_exact() {
    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;
    on_every_isa(|isa| {
        for (function, cases) in [
            (
                0,
                vec![
                    (0.0, 1.0),
                    (-0.0, 1.0),
                    (-INF, 0.0),
                    (INF, INF),
                    (89.0, INF),
                    (-104.0, 0.0),
                    (NAN, NAN),
                ],
            ),
            (1, vec![(0.0, 0.0), (-0.0, -0.0), (-INF, -1.0), (INF, INF), (89.0, INF), (NAN, NAN)]),
            (
                2,
                vec![(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN), (NAN, NAN)],
            ),
            (
                3,
                vec![
                    (0.0, 0.0),
                    (-0.0, -0.0),
                    (-1.0, -INF),
                    (INF, INF),
                    (-1.5, NAN),
                    (-INF, NAN),
                    (NAN, NAN),
                ],
            ),
            (4, vec![(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (10.0, 1.0), (NAN, NAN)]),
            (5, vec![(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN)]),
            (6, vec![(INF, INF), (-INF, 0.0), (1e4, 1e4), (NAN, NAN)]),
            (7, vec![(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (5.0, 1.0), (NAN, NAN)]),
        ] {
            for (x, want) in cases {
                for y in apply(function, &[x; 19]) {
                    let same = y.to_bits() == want.to_bits() || (y.is_nan() && want.is_nan());
                    assert!(same, "{}({x}) = {y}, not {want} on {}", TABLE[function].0, isa.name());
                }
            }
        }
    });
}

#[test]
fn a_result_does_not_depend_on_its_lane() {
    let x: Vec<f32> = (0..200).map(|i| (i as f32 - 100.0) * 0.37).collect();
    on_every_isa(|_| {
        for function in 0..TABLE.len() {
            let whole = apply(function, &x);
            for (i, &x) in x.iter().enumerate() {
                assert_eq!(apply(function, &[x])[0].to_bits(), whole[i].to_bits());
            }
        }
    });
}

#[derive(Clone, Copy)]
struct Pow;
impl<T: Float> Binary<T> for Pow {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, a: V, b: V) -> V {
        pow(a, b)
    }
}

#[derive(Clone, Copy)]
struct Atan2;
impl<T: Float> Binary<T> for Atan2 {
    #[inline(always)]
    fn eval<V: Vector<Scalar = T>>(self, a: V, b: V) -> V {
        atan2(a, b)
    }
}

fn pairwise<T: Float>(bound: f64, ulp: impl Fn(f64) -> f64) {
    let values =
        [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, -3.0, 1e10, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let mut random = crate::testing::Random(11);
    let mut a: Vec<T> = values.iter().flat_map(|&v| [T::from_f64(v); 13]).collect();
    let mut b: Vec<T> = (0..a.len()).map(|i| T::from_f64(values[i % 13])).collect();
    for _ in 0..1000 {
        a.push(T::from_f64(random.unit() + 1.0));
        b.push(T::from_f64(random.unit() * 10.0));
    }
    let shape = [a.len()];
    let mut y = vec![T::ZERO; a.len()];
    let references: [fn(f64, f64) -> f64; 2] = [f64::powf, f64::atan2];
    for (function, reference) in references.into_iter().enumerate() {
        let (x1, x2) = (View::new(&a, 0, &shape, &[1]), View::new(&b, 0, &shape, &[1]));
        if function == 0 {
            binary(Pow, x1, x2, &mut y)
        } else {
            binary(Atan2, x1, x2, &mut y)
        }
        for i in 0..y.len() {
            let (a, b, y) = (a[i].to_f64(), b[i].to_f64(), y[i].to_f64());
            let want = reference(a, b);
            let same = y == want || (y.is_nan() && want.is_nan()) || (y - want).abs() <= bound * ulp(want);
            assert!(same, "f({a}, {b}) = {y}, not {want}");
        }
    }
}

#[test]
fn pow_and_atan2_agree_with_the_standard_library() {
    on_every_isa(|isa| {
        pairwise::<f32>(1.0, ulp);
        if isa == Isa::Portable {
            pairwise::<f64>(1.0, |x| x.abs() * f64::EPSILON);
        }
    });
}
