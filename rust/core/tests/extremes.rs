//! Impossible and extreme arguments: a result or an error that names the op, never a panic (the debug
//! profile panics where arithmetic would wrap) and never memory out of proportion.

#![allow(clippy::unwrap_used)]

use std::slice;

use autodan_core::autograd;
use autodan_core::layout::{AxisRange, Layout, Shape};
use autodan_core::ops::conv::Padding;
use autodan_core::ops::random::{Distribution, Key, random, random_integers, random_permutation};
use autodan_core::ops::{self, write};
use autodan_core::{DType, Error, Result, Tensor};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        of[((z ^ (z >> 31)) % of.len() as u64) as usize]
    }

    /// Mostly sane, now and then not.
    fn size(&mut self) -> usize {
        self.pick(&[0, 1, 1, 1, 1, 2, 2, 2, 3, 5, 1 << 12, 1 << 31, 1 << 62, (1 << 63) - 1, usize::MAX])
    }

    fn two(&mut self) -> [usize; 2] {
        [self.size(), self.size()]
    }

    fn padding(&mut self) -> Padding {
        match self.pick(&[0, 1, 2, 2]) {
            0 => Padding::Valid,
            1 => Padding::Same,
            _ => Padding::Explicit([self.two(), self.two()]),
        }
    }

    fn side(&mut self) -> usize {
        self.pick(&[0, 1, 2, 3, 5])
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::full(shape, 0.5, DType::Float32).unwrap()
}

/// Runs forward and backward; whether there was a result. An error must name the op.
fn survives(op: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> bool {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.with_grad().unwrap()).collect();
    match f(&inputs).and_then(|y| ops::sum(&y, None, false)) {
        Ok(y) => {
            let gradients = autograd::grad(&[y], &inputs, None, Default::default());
            if let Err(error) = gradients {
                assert!(matches!(error, Error::Memory(_)), "{error}");
            }
            true
        }
        Err(Error::Memory(_)) => false,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(op), "{message}");
            assert!(!matches!(error, Error::Internal(_)), "{message}");
            false
        }
    }
}

#[test]
fn convolutions_with_any_attributes() {
    let mut random = Random(1);
    let mut results = 0;
    for _ in 0..4000 {
        let groups = random.pick(&[0, 1, 1, 1, 2, 3, usize::MAX]);
        let channels = random.side() * groups.clamp(1, 3);
        let filters = random.side() * groups.clamp(1, 3);
        let x = zeros(&[random.pick(&[0, 1, 2]), random.side(), random.side(), channels]);
        let w = zeros(&[random.side(), random.side(), channels / groups.clamp(1, 3), filters]);
        let (strides, dilation, padding) = (random.two(), random.two(), random.padding());
        results += usize::from(survives("conv2d", &[x, w], |xs| {
            ops::conv2d(&xs[0], &xs[1], strides, padding, dilation, groups)
        }));
    }
    assert!(results > 200, "{results} of the calls were possible");
}

#[test]
fn poolings_with_any_attributes() {
    let mut random = Random(2);
    let mut results = 0;
    for _ in 0..4000 {
        let x = zeros(&[random.pick(&[0, 1, 2]), random.side(), random.side(), random.side()]);
        let (window, strides, padding) = (random.two(), random.two(), random.padding());
        for (name, f) in
            [("max_pool2d", ops::max_pool2d as fn(&_, _, _, _) -> _), ("average_pool2d", ops::average_pool2d)]
        {
            results +=
                usize::from(survives(name, slice::from_ref(&x), |xs| f(&xs[0], window, strides, padding)));
        }
    }
    assert!(results > 1000, "{results} of the calls were possible");
}

#[test]
fn axes_steps_and_places_of_any_size() {
    let mut random = Random(3);
    let wild = [0, 1, -1, 2, -2, 3, 5, -5, isize::MAX, isize::MIN, isize::MIN + 1, 1 << 62, -(1 << 62)];
    let x = ops::transpose(&zeros(&[3, 4, 5]), None).unwrap();
    for _ in 0..1500 {
        let (a, b) = (random.pick(&wild), random.pick(&wild));
        for f in [ops::sum, ops::prod, ops::max, ops::mean, ops::var, ops::logsumexp] {
            survives("", slice::from_ref(&x), |xs| f(&xs[0], Some(&[a, b]), true));
        }
        survives("softmax", slice::from_ref(&x), |xs| ops::softmax(&xs[0], a));
        survives("cumsum", slice::from_ref(&x), |xs| ops::cumsum(&xs[0], a));
        survives("flip", slice::from_ref(&x), |xs| ops::flip(&xs[0], Some(&[a, b])));
        survives("squeeze", slice::from_ref(&x), |xs| ops::squeeze(&xs[0], Some(&[a])));
        survives("expand_dims", slice::from_ref(&x), |xs| ops::expand_dims(&xs[0], a));
        survives("swapaxes", slice::from_ref(&x), |xs| ops::swapaxes(&xs[0], a, b));
        survives("moveaxis", slice::from_ref(&x), |xs| ops::moveaxis(&xs[0], &[a], &[b]));
        survives("transpose", slice::from_ref(&x), |xs| ops::transpose(&xs[0], Some(&[a, b, 0])));
        survives("stack", slice::from_ref(&x), |xs| ops::stack(&[xs[0].clone(), xs[0].clone()], a));
        survives("concatenate", slice::from_ref(&x), |xs| {
            ops::concatenate(&[xs[0].clone(), xs[0].clone()], a)
        });
        let places = Tensor::from_slice(&[a as i64, b as i64], &[2]).unwrap();
        survives("take", slice::from_ref(&x), |xs| ops::take(&xs[0], &places, Some(b % 5)));
        survives("take", slice::from_ref(&x), |xs| ops::take(&xs[0], &places, None));
        let (n, m) = (random.size(), random.size());
        survives("pad", slice::from_ref(&x), |xs| {
            ops::pad(&xs[0], &[(n.min(5), m), (0, 1), (0, n.min(5))], 0.0)
        });
        let step = if a == 0 { 1 } else { a };
        let range = AxisRange { start: n, step, len: random.side() };
        let ranges = [range, AxisRange::full(4), AxisRange::full(3)];
        survives("slice", slice::from_ref(&x), |xs| ops::slice(&xs[0], &ranges));
        survives("broadcast_to", slice::from_ref(&x), |xs| ops::broadcast_to(&xs[0], &[n, 5, 4, 3]));
        survives("reshape", slice::from_ref(&x), |xs| {
            ops::reshape(&xs[0], &ops::view::resolve_shape(&xs[0], &[a as i64, b as i64, -1])?)
        });
    }
}

#[test]
fn a_step_beyond_memory_selects_one_element() {
    let base = ops::transpose(&ops::arange(0.0, 12.0, 1.0, DType::Float32).unwrap(), None).unwrap();
    let base = ops::reshape(&base, &[3, 4]).unwrap();
    for step in [isize::MAX, isize::MIN, 1 << 62] {
        let ranges = [AxisRange { start: 1, step, len: 1 }, AxisRange { start: 3, step, len: 1 }];
        assert_eq!(ops::slice(&base, &ranges).unwrap().item().unwrap(), 7.0);
        let mut target = ops::view::copy(&base).unwrap();
        write::write_slice(&mut target, &ranges, &[1, 1], &Tensor::scalar(-1.0f32).unwrap()).unwrap();
        assert_eq!(ops::min(&target, None, false).unwrap().item().unwrap(), -1.0);
        let whole = Layout::contiguous(Shape::from_slice(&[3, 4]));
        assert_eq!(whole.slice(&ranges).offset(), 7);
    }
}

#[test]
fn sizes_and_ranges_of_any_size() {
    let mut random_ = Random(4);
    let key = Key { seed: 1, counter: 2 };
    let wild = [i64::MIN, i64::MIN + 1, -(1 << 62), -3, -1, 0, 1, 2, 9, 1 << 62, i64::MAX - 1, i64::MAX];
    for _ in 0..2000 {
        let (a, b, c) = (random_.pick(&wild), random_.pick(&wild), random_.pick(&wild));
        // Ranges of a few elements, or of more than there is memory for.
        if let Ok(y) = ops::arange_integers(a, b, c) {
            assert!(y.len() < 100, "{a}, {b}, {c}");
        }
        if let Ok(y) = random_integers(a, b, &[7], key) {
            assert!(y.to_vec::<i64>().unwrap().iter().all(|y| (a..b).contains(y)));
        }
        let n = random_.size();
        let shape = [n, random_.size()];
        let expected = shape[0].checked_mul(shape[1]);
        if expected.is_none_or(|n| n > 1 << 50) {
            let normal = Distribution::Normal { mean: 0.0, std: 1.0 };
            assert!(random(normal, &shape, DType::Float32, key).is_err());
            assert!(ops::eye(shape[0], shape[1], DType::Float32).is_err());
            assert!(Tensor::full(&shape, 1.0, DType::UInt8).is_err());
        }
        if n > 1 << 32 {
            assert!(random_permutation(n, key).is_err());
            assert!(ops::linspace(0.0, 1.0, n, DType::Float64).is_err());
            let labels = Tensor::from_slice(&[0i64], &[1]).unwrap();
            assert!(ops::one_hot(&labels, n, -1, DType::Float32).is_err());
        }
    }
    for (start, stop, step) in
        [(0.0, f64::INFINITY, 1.0), (0.0, 1.0, 0.0), (0.0, 1e300, 1e-300), (f64::NAN, 1.0, 1.0)]
    {
        assert!(ops::arange(start, stop, step, DType::Float32).is_err());
    }
}

#[test]
fn integer_arithmetic_wraps_and_never_traps() {
    let edges = [i64::MIN, i64::MIN + 1, -2, -1, 0, 1, 2, 63, 64, i64::MAX];
    let a: Vec<i64> = edges.iter().flat_map(|&a| [a; 10]).collect();
    let b: Vec<i64> = (0..100).map(|i| edges[i % 10]).collect();
    let (x, y) = (Tensor::from_slice(&a, &[100]).unwrap(), Tensor::from_slice(&b, &[100]).unwrap());
    for dtype in [DType::Int64, DType::Int32, DType::UInt8] {
        let (x, y) = (ops::cast(&x, dtype).unwrap(), ops::cast(&y, dtype).unwrap());
        for row in ops::binary::BINARY {
            (row.function)(&x, &y).unwrap();
        }
        for row in ops::unary::UNARY {
            (row.function)(&x).unwrap();
        }
        for f in [ops::sum, ops::prod, ops::max, ops::min] {
            f(&x, None, false).unwrap();
        }
        ops::cumsum(&x, 0).unwrap();
        ops::matmul(&x, &y).unwrap();
    }
    let quotient = ops::floor_divide(&x, &y).unwrap().to_vec::<i64>().unwrap();
    let rest = ops::modulo(&x, &y).unwrap().to_vec::<i64>().unwrap();
    for i in 0..100 {
        if b[i] == 0 {
            assert_eq!((quotient[i], rest[i]), (0, 0));
        } else {
            assert_eq!(quotient[i].wrapping_mul(b[i]).wrapping_add(rest[i]), a[i], "{} by {}", a[i], b[i]);
            assert!(rest[i] == 0 || (rest[i] < 0) == (b[i] < 0));
        }
    }
}
