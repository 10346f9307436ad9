//! Every elementwise function at the values that trip functions, in every lane, on every instruction set.
//!
//! float32 is held against the same function in float64, which goes through the standard library: a NaN,
//! an infinity or the sign of a zero is the same in both, whatever the lane, the length or the set.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use autodan_core::autograd;
use autodan_core::ops::{self, binary::BINARY, unary::UNARY};
use autodan_core::{DType, Result, Tensor};
use autodan_kernels::isa::{self, Isa};

const VALUES: [f32; 26] = [
    0.0,
    f32::from_bits(1),
    1e-40,
    f32::MIN_POSITIVE,
    1e-30,
    1e-10,
    1e-4,
    0.25,
    0.5,
    0.999_999_94,
    1.0,
    1.000_000_1,
    1.5,
    2.0,
    2.5,
    3.0,
    6.0,
    10.0,
    30.0,
    88.7,
    104.5,
    1e4,
    16_777_216.0,
    1e20,
    f32::MAX,
    f32::INFINITY,
];

/// All of them with both signs, and NaN.
fn specials() -> Vec<f32> {
    let both = VALUES.iter().flat_map(|&x| [x, -x]);
    both.chain([f32::NAN, -f32::NAN]).collect()
}

type Unary = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// Every function of one tensor, those with parameters included.
fn functions() -> Vec<(String, Unary)> {
    let mut all: Vec<(String, Unary)> = Vec::new();
    for row in UNARY {
        all.push((row.name.to_owned(), Box::new(row.function)));
    }
    all.push(("elu".into(), Box::new(|x| ops::elu(x, 0.7))));
    all.push(("celu".into(), Box::new(|x| ops::celu(x, 0.7))));
    all.push(("leaky_relu".into(), Box::new(|x| ops::leaky_relu(x, 0.3))));
    all.push(("gelu".into(), Box::new(|x| ops::gelu(x, 0.0))));
    all.push(("gelu_tanh".into(), Box::new(|x| ops::gelu(x, 1.0))));
    all.push(("clip".into(), Box::new(|x| ops::clip(x, -1.0, 2.0))));
    all
}

/// Runs `f` on each instruction set; forcing one is global, so tests take turns.
fn on_every_isa(mut f: impl FnMut(Isa)) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = isa::active();
    for set in Isa::ALL.into_iter().filter(|&set| isa::force(set)) {
        f(set);
    }
    isa::force(before);
}

fn tensor(x: &[f32]) -> Tensor {
    Tensor::from_slice(x, &[x.len()]).unwrap()
}

fn values(y: &Tensor) -> Vec<f32> {
    y.to_vec::<f32>().unwrap()
}

/// The same numbers in float64; `flushed`, with zeros of their sign for subnormals.
fn doubles(x: &[f32], flushed: bool) -> Tensor {
    let seen = |x: f32| if flushed && x.is_subnormal() { 0.0f32.copysign(x) } else { x };
    let x: Vec<f64> = x.iter().map(|&x| f64::from(seen(x))).collect();
    Tensor::from_slice(&x, &[x.len()]).unwrap()
}

/// What float64 gives, with subnormals as zeros and with subnormals as they are: float32 may do either.
fn references(f: impl Fn(bool) -> Tensor) -> [Vec<f64>; 2] {
    [true, false].map(|flushed| f(flushed).to_vec::<f64>().unwrap())
}

fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Whether float32's `got` at `x` is `want` with a few roundings, of the result or of an intermediate as
/// large as the operand; exact when it is no number, infinite or zero.
fn close(got: f32, want: f64, scale: f64) -> bool {
    if got.is_nan() || want.is_nan() {
        return got.is_nan() && want.is_nan();
    }
    if got.is_infinite() || (want as f32).is_infinite() {
        // Within a few roundings of the largest number either is right.
        let edge = f64::from(f32::MAX) * 0.999_999;
        return f64::from(got) == f64::from(want as f32)
            || (f64::from(got) * want > 0.0 && f64::from(got).abs().min(want.abs()) > edge);
    }
    if want == 0.0 && got == 0.0 {
        return got.is_sign_negative() == want.is_sign_negative();
    }
    let error = (f64::from(got) - want).abs();
    error <= 1e-6 * want.abs() + 1e-6 * scale + 4.0 * f64::from(f32::MIN_POSITIVE)
}

#[test]
fn no_lane_and_no_length_changes_a_result() {
    let x: Vec<f32> = specials().into_iter().cycle().take(67 + 54).collect();
    on_every_isa(|set| {
        for (name, f) in functions() {
            let whole = values(&f(&tensor(&x)).unwrap());
            for n in 1..=67 {
                // Each value meets each lane as the start moves.
                let start = n % 54;
                let part = values(&f(&tensor(&x[start..start + n])).unwrap());
                for (i, &y) in part.iter().enumerate() {
                    let want = whole[start + i];
                    assert!(
                        same_bits(y, want),
                        "{name}({}) is {y} or {want} on {}",
                        x[start + i],
                        set.name()
                    );
                }
            }
        }
    });
}

#[test]
fn special_values_are_those_of_float64() {
    let x = specials();
    on_every_isa(|set| {
        for (name, f) in functions() {
            let got = values(&f(&tensor(&x)).unwrap());
            let want = references(|flushed| f(&doubles(&x, flushed)).unwrap());
            for (i, &x) in x.iter().enumerate() {
                let fits = want.iter().any(|want| close(got[i], want[i], f64::from(x).abs().min(1.0)));
                assert!(fits, "{name}({x:e}) = {:e}, not {:e} on {}", got[i], want[0][i], set.name());
            }
        }
    });
}

/// The gradient of the function's sum.
fn gradient(f: &Unary, x: &Tensor) -> Tensor {
    let x = x.with_grad().unwrap();
    let y = ops::sum(&f(&x).unwrap(), None, false).unwrap();
    let gradients = autograd::grad(&[y], &[x], None, Default::default()).unwrap();
    gradients.into_iter().next().flatten().unwrap()
}

#[test]
fn gradients_at_special_values_are_those_of_float64() {
    let x = specials();
    on_every_isa(|set| {
        for (name, f) in functions() {
            let got = values(&gradient(&f, &tensor(&x)));
            let want = references(|flushed| gradient(&f, &doubles(&x, flushed)));
            for (i, &x) in x.iter().enumerate() {
                let zero = |want: &Vec<f64>| got[i] == 0.0 && want[i] == 0.0;
                let fits = want.iter().any(|want| close(got[i], want[i], 1.0) || zero(want));
                assert!(fits, "d {name}({x:e}) = {:e}, not {:e} on {}", got[i], want[0][i], set.name());
            }
        }
    });
}

#[test]
fn pairs_of_special_values_are_those_of_float64() {
    let x = specials();
    let a: Vec<f32> = x.iter().flat_map(|&a| x.iter().map(move |_| a)).collect();
    let b: Vec<f32> = x.iter().flat_map(|_| x.iter().copied()).collect();
    on_every_isa(|set| {
        for row in BINARY {
            let f = row.function;
            let got = values(&f(&tensor(&a), &tensor(&b)).unwrap());
            let want = references(|flushed| f(&doubles(&a, flushed), &doubles(&b, flushed)).unwrap());
            for i in 0..a.len() {
                let (a, b) = (a[i], b[i]);
                // A target is a probability.
                if row.name == "sigmoid_cross_entropy" && !(0.0..=1.0).contains(&b) {
                    continue;
                }
                let scale = f64::from(a.abs().max(b.abs()));
                let fits = want.iter().any(|want| close(got[i], want[i], scale));
                assert!(
                    fits,
                    "{}({a:e}, {b:e}) = {:e}, not {:e} on {}",
                    row.name,
                    got[i],
                    want[0][i],
                    set.name()
                );
            }
            for n in 1..=67 {
                let start = n * 37;
                let range = start..start + n;
                let part = values(&f(&tensor(&a[range.clone()]), &tensor(&b[range.clone()])).unwrap());
                assert!(part.iter().zip(&got[range]).all(|(&y, &want)| same_bits(y, want)), "{}", row.name);
            }
        }
    });
}

#[test]
fn float64_has_the_same_bits_on_every_instruction_set() {
    let x = doubles(&specials(), false);
    let mut first: Option<Vec<Vec<u64>>> = None;
    on_every_isa(|_| {
        let bits = |y: Tensor| y.to_vec::<f64>().unwrap().into_iter().map(f64::to_bits).collect();
        let all: Vec<Vec<u64>> = functions().iter().map(|(_, f)| bits(f(&x).unwrap())).collect();
        assert_eq!(first.get_or_insert(all.clone()), &all);
    });
    assert_eq!(x.dtype(), DType::Float64);
}
