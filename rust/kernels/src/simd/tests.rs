//! Every vector type against scalar arithmetic.

use crate::element::Float;
use crate::isa::{self, Kernel};
use crate::simd::{MOST_APART, Vector};

struct Check;

fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

impl<T: Float> Kernel<T> for Check {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        let values = [0.0, -0.0, 1.0, -1.5, 2.5, 3.5, 1e-30, -7e8, f64::INFINITY, f64::NAN, 0.1, -2.5];
        for shift in 0..values.len() {
            let xs: Vec<T> = (0..V::LEN).map(|i| T::from_f64(values[(i + shift) % values.len()])).collect();
            let ys: Vec<T> = (0..V::LEN).map(|i| T::from_f64(values[(i * 5 + 3) % values.len()])).collect();
            // SAFETY: both vectors have LEN elements.
            let (x, y) = unsafe { (V::load(xs.as_ptr()), V::load(ys.as_ptr())) };
            let check = |got: V, want: &dyn Fn(f64, f64) -> f64, name: &str| {
                let mut out = vec![T::ZERO; V::LEN];
                // SAFETY: `out` has LEN elements.
                unsafe { got.store(out.as_mut_ptr()) };
                for i in 0..V::LEN {
                    let (a, b) = (xs[i].to_f64(), ys[i].to_f64());
                    let want = T::from_f64(want(a, b)).to_f64();
                    assert!(same(out[i].to_f64(), want), "{name}({a}, {b}) = {:?}, not {want}", out[i]);
                }
            };
            check(x.add(y), &|a, b| a + b, "add");
            check(x.sub(y), &|a, b| a - b, "sub");
            check(x.mul(y), &|a, b| a * b, "mul");
            check(x.floor(), &|a, _| a.floor(), "floor");
            check(x.ceil(), &|a, _| a.ceil(), "ceil");
            check(x.trunc(), &|a, _| a.trunc(), "trunc");
            check(x.round(), &|a, _| a.round_ties_even(), "round");
            check(x.abs(), &|a, _| a.abs(), "abs");
            check(x.neg(), &|a, _| -a, "neg");
            check(x.copysign(y), &|a, b| a.copysign(b), "copysign");
            check(x.max(y), &|a, b| if a > b { a } else { b }, "max");
            check(x.min(y), &|a, b| if a < b { a } else { b }, "min");
            let nan = |a: f64, b: f64| a.is_nan() || b.is_nan();
            check(x.maximum(y), &|a, b| if nan(a, b) { f64::NAN } else { a.max(b) }, "maximum");
            check(x.minimum(y), &|a, b| if nan(a, b) { f64::NAN } else { a.min(b) }, "minimum");
            check(V::select(x.lt(y), x, y), &|a, b| if a < b { a } else { b }, "lt");
            check(V::select(x.le(y), x, y), &|a, b| if a <= b { a } else { b }, "le");
            check(V::select(x.eq(y), V::one(), V::zero()), &|a, b| f64::from(a == b), "eq");
            check(V::select(x.is_nan(), V::one(), V::zero()), &|a, _| f64::from(a.is_nan()), "is_nan");
        }
        let lanes: Vec<T> = (0..V::LEN).map(|i| T::from_f64(i as f64 - 3.0)).collect();
        for n in 0..=V::LEN {
            // SAFETY: n <= LEN elements of `lanes` and `out` are touched.
            let out = unsafe {
                let mut out = vec![T::from_f64(99.0); V::LEN];
                V::load_partial(lanes.as_ptr(), n).store_partial(out.as_mut_ptr(), n);
                out
            };
            assert!((0..V::LEN).all(|i| out[i] == if i < n { lanes[i] } else { T::from_f64(99.0) }));
        }
        let bytes: Vec<u8> = (0..V::LEN).map(|i| [0, 1, 7, 127, 128, 255][i % 6]).collect();
        let mut numbers = vec![T::NAN; V::LEN];
        // SAFETY: both have LEN elements.
        unsafe { V::load_bytes(bytes.as_ptr()).store(numbers.as_mut_ptr()) };
        assert!(numbers.iter().zip(&bytes).all(|(x, &byte)| x.to_f64() == f64::from(byte)));
        check_places::<V>();
        for n in 0..=V::LEN {
            // SAFETY: n <= LEN bytes are read, and `numbers` has LEN elements.
            unsafe { V::load_bytes_partial(bytes.as_ptr(), n).store(numbers.as_mut_ptr()) };
            let want = |i: usize| if i < n { f64::from(bytes[i]) } else { 0.0 };
            assert!((0..V::LEN).all(|i| numbers[i].to_f64() == want(i)));
        }
        // SAFETY: `lanes` has LEN elements.
        let x = unsafe { V::load(lanes.as_ptr()) };
        assert_eq!(x.reduce_add().to_f64(), lanes.iter().map(|x| x.to_f64()).sum::<f64>());
        assert_eq!(x.reduce_maximum().to_f64(), V::LEN as f64 - 4.0);
        assert_eq!(x.reduce_minimum().to_f64(), -3.0);
        for n in [-126, -7, 0, 1, 30, 127] {
            assert_eq!(V::constant(f64::from(n)).exp2_int().reduce_maximum().to_f64(), f64::from(n).exp2());
        }
        for n in [-126.0f64, -125.0, -7.0, 0.0, 30.0, 127.0] {
            let scaled = |x: f64| V::constant(x).mul_exp2(V::constant(n)).reduce_maximum().to_f64();
            assert_eq!((scaled(1.0), scaled(1.25)), (n.exp2(), 1.25 * n.exp2()));
        }
        assert_eq!(
            V::constant(0.75).mul_exp2(V::constant(128.0)).reduce_maximum().to_f64(),
            0.75 * 128f64.exp2()
        );
        assert_eq!(V::constant(1.0).mul_exp2(V::constant(-150.0)).reduce_maximum().to_f64(), 0.0);
        assert!(V::constant(f64::NAN).mul_exp2(V::zero()).reduce_maximum().to_f64().is_nan());
        check_pick::<V, 1>();
        check_pick::<V, 2>();
        check_pick::<V, MOST_APART>();
        let (m, e) = V::constant(40.0).mantissa_exponent();
        assert_eq!((m.reduce_maximum().to_f64(), e.reduce_maximum().to_f64()), (1.25, 5.0));
        // Every position of a NaN is seen.
        for i in 0..V::LEN {
            let mut lanes = lanes.clone();
            lanes[i] = T::NAN;
            // SAFETY: `lanes` has LEN elements.
            let x = unsafe { V::load(lanes.as_ptr()) };
            assert!(x.reduce_maximum().to_f64().is_nan() && x.reduce_minimum().to_f64().is_nan());
        }
    }
}

/// Every byte of 0 to 7 in every lane; the mask of the row that does not count is either.
#[inline(always)]
fn check_places<V: Vector>() {
    let mask = |is_set: &dyn Fn(usize) -> bool| {
        let lanes: Vec<_> = (0..V::LEN).map(|i| V::Scalar::from_f64(f64::from(is_set(i)))).collect();
        // SAFETY: there are LEN lanes.
        unsafe { V::load(lanes.as_ptr()) }.eq(V::one())
    };
    for (first, other) in (0..8).flat_map(|first| [(first, false), (first, true)]) {
        let byte = |i: usize| (first + i) % 8;
        let below = |i: usize| byte(i) & 2 != 0;
        let right =
            [false, true].map(|row| mask(&|i| if below(i) == row { byte(i) & 1 != 0 } else { other }));
        let mut bytes = vec![9; V::LEN];
        // SAFETY: there are LEN bytes.
        unsafe { V::store_places(right, mask(&below), mask(&|i| byte(i) & 4 != 0), bytes.as_mut_ptr()) };
        assert!((0..V::LEN).all(|i| usize::from(bytes[i]) == byte(i)));
    }
}

#[inline(always)]
fn check_pick<V: Vector, const APART: usize>() {
    let numbers = |len: usize, of: &dyn Fn(usize) -> f64| -> Vec<V::Scalar> {
        (0..len).map(|i| V::Scalar::from_f64(of(i))).collect()
    };
    // The rows end where the last element is.
    let (top, bottom) = (numbers(APART + 1, &|i| i as f64 - 2.5), numbers(APART + 1, &|i| 9.0 - i as f64));
    let (places, mut picked) = (numbers(V::LEN, &|i| (i * 5 % 8) as f64), numbers(V::LEN, &|_| f64::NAN));
    // SAFETY: the places, below 8, and the results are LEN; the rows have APART + 1 elements.
    unsafe {
        V::load(places.as_ptr()).pick::<APART>(top.as_ptr(), bottom.as_ptr()).store(picked.as_mut_ptr());
    }
    let want = |place: usize| if place & 2 == 0 { top[place % 2 * APART] } else { bottom[place % 2 * APART] };
    assert!((0..V::LEN).all(|i| picked[i] == want(i * 5 % 8)), "{picked:?}, apart by {APART}");
}

#[test]
fn every_vector_type_agrees_with_scalar_arithmetic() {
    isa::on_every_isa(|_| {
        f32::dispatch(Check);
        f64::dispatch(Check);
    });
}
