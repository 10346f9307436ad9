//! Reductions of all layouts over all sets of axes.

use super::*;
use crate::element::Float;
use crate::isa::on_every_isa;
use crate::testing::{Array, Random, bits, same_at_any_thread_count};

/// For each output element, the reduced elements in logical order.
fn groups<T: Element>(x: &Array<T>, axes: &[usize]) -> Vec<Vec<T>> {
    let kept: usize = (0..x.shape.len()).filter(|a| !axes.contains(a)).map(|a| x.shape[a]).product();
    let mut groups = vec![Vec::new(); kept];
    for (i, value) in x.to_vec().into_iter().enumerate() {
        let (mut rest, mut at, mut scale) = (i, 0, 1);
        for axis in (0..x.shape.len()).rev() {
            if !axes.contains(&axis) {
                at += rest % x.shape[axis] * scale;
                scale *= x.shape[axis];
            }
            rest /= x.shape[axis];
        }
        groups[at].push(value);
    }
    groups
}

fn random_axes(random: &mut Random, rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).filter(|_| random.below(2) == 0).collect();
    if random.below(2) == 0 {
        axes.reverse();
    }
    axes
}

fn float_sums<T: Float>(seed: u64, epsilon: f64) {
    let mut random = Random(seed);
    for _ in 0..300 {
        let shape = random.shape(4);
        let x = Array::random(&mut random, &shape, true, |r| T::from_f64(r.unit()));
        let axes = random_axes(&mut random, shape.len());
        let groups = groups(&x, &axes);
        let mut y = vec![T::NAN; groups.len()];
        sum(x.view(), &axes, &mut y).unwrap();
        for (y, group) in y.iter().zip(&groups) {
            let exact: f64 = group.iter().map(|x| x.to_f64()).sum();
            let size: f64 = group.iter().map(|x| x.to_f64().abs()).sum();
            assert!((y.to_f64() - exact).abs() <= group.len() as f64 * epsilon * size, "{shape:?} {axes:?}");
        }
        let mut copied = vec![T::NAN; groups.len()];
        let dense = x.to_vec();
        let strides = crate::testing::row_major(&shape);
        sum(View::new(&dense, 0, &shape, &strides), &axes, &mut copied).unwrap();
        assert_eq!(bits(&y), bits(&copied), "a view's sum has the bits of its copy's");
        if groups.iter().all(|group| !group.is_empty()) {
            max(x.view(), &axes, &mut y).unwrap();
            let mut low = vec![T::NAN; y.len()];
            min(x.view(), &axes, &mut low).unwrap();
            for (i, group) in groups.iter().enumerate() {
                assert_eq!(y[i], group.iter().copied().fold(T::LOWEST, T::maximum));
                assert_eq!(low[i], group.iter().copied().fold(T::HIGHEST, T::minimum));
            }
        }
    }
}

#[test]
fn float_reductions_of_all_layouts() {
    on_every_isa(|_| {
        float_sums::<f32>(1, 6e-8);
        float_sums::<f64>(2, 1.2e-16);
    });
}

#[test]
fn integer_and_truth_reductions_are_exact() {
    let mut random = Random(3);
    for _ in 0..300 {
        let shape = random.shape(4);
        let x = Array::random(&mut random, &shape, true, |r| r.next() as i32 % 100);
        let axes = random_axes(&mut random, shape.len());
        let want = groups(&x, &axes);
        let mut y = vec![-1; want.len()];
        sum(x.view(), &axes, &mut y).unwrap();
        assert!(y.iter().zip(&want).all(|(y, group)| *y == group.iter().sum::<i32>()), "{shape:?} {axes:?}");
        prod(x.view(), &axes, &mut y).unwrap();
        let product = |group: &[i32]| group.iter().fold(1i32, |a, &b| a.wrapping_mul(b));
        assert!(y.iter().zip(&want).all(|(y, group)| *y == product(group)));

        let x = Array::random(&mut random, &shape, true, |r| Bool::from(r.below(3) == 0));
        let want = groups(&x, &axes);
        let mut y = vec![Bool::FALSE; want.len()];
        any(x.view(), &axes, &mut y).unwrap();
        assert!(y.iter().zip(&want).all(|(y, group)| y.get() == group.iter().any(|x| x.get())));
        all(x.view(), &axes, &mut y).unwrap();
        assert!(y.iter().zip(&want).all(|(y, group)| y.get() == group.iter().all(|x| x.get())));
    }
}

#[test]
fn positions_of_extremes() {
    let mut random = Random(4);
    for round in 0..400 {
        let mut shape = random.shape(3);
        shape.insert(random.below(shape.len() + 1), [1, 2, 7, 33, 70][round % 5]);
        let axis = shape.iter().position(|&n| n == [1, 2, 7, 33, 70][round % 5]).unwrap();
        let x = Array::random(&mut random, &shape, true, |r| match r.below(40) {
            0 => f32::NAN,
            1 => f32::NEG_INFINITY,
            _ => r.below(9) as f32,
        });
        let groups = groups(&x, &[axis]);
        let mut y = vec![-1; groups.len()];
        let mut low = y.clone();
        argmax(x.view(), axis, &mut y).unwrap();
        argmin(x.view(), axis, &mut low).unwrap();
        for (i, group) in groups.iter().enumerate() {
            let first = |value: f32| group.iter().position(|&x| x == value || (x.is_nan() && value.is_nan()));
            let most = group.iter().copied().fold(f32::LOWEST, Number::maximum);
            let least = group.iter().copied().fold(f32::HIGHEST, Number::minimum);
            assert_eq!(Some(y[i] as usize), first(Number::maximum(most, group[0])), "{group:?}");
            assert_eq!(Some(low[i] as usize), first(Number::minimum(least, group[0])), "{group:?}");
        }
    }
}

/// Lengths below, at and above every number of lanes and accumulators, and those of blocks.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=67).chain([127, 128, 129, 255, 256, 257, 1023, 1024, 1025])
}

/// The reductions of ones with `special` at `at`: sum, product, maximum, minimum.
fn expected(n: usize, special: f64) -> [f64; 4] {
    let largest = if n > 1 && special < 1.0 { 1.0 } else { special };
    let smallest = if n > 1 && special > 1.0 { 1.0 } else { special };
    [special, special, largest, smallest]
}

fn special_in_every_position<T: Float>() {
    let same = |got: T, want: f64| got.to_f64() == want || (got.to_f64().is_nan() && want.is_nan());
    for n in lengths() {
        for at in (0..n).step_by(if n > 300 { 41 } else { 1 }) {
            for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut x = vec![T::ONE; n];
                x[at] = T::from_f64(special);
                let want = expected(n, special);
                for (shape, strides, axis) in [([1, n], [n as isize, 1], 1), ([n, 1], [1, 1], 0)] {
                    let view = View::new(&x, 0, &shape, &strides);
                    let mut y = [T::ZERO];
                    for (f, want) in [sum::<T>, prod, max, min].into_iter().zip(want) {
                        f(view, &[axis], &mut y).unwrap();
                        assert!(same(y[0], want), "{special} at {at} of {n}: {:?}, not {want}", y[0]);
                    }
                    let mut position = [0];
                    argmax(view, axis, &mut position).unwrap();
                    assert_eq!(
                        position[0],
                        if special < 1.0 { i64::from(at == 0 && n > 1) } else { at as i64 }
                    );
                    argmin(view, axis, &mut position).unwrap();
                    assert_eq!(
                        position[0],
                        if special > 1.0 { i64::from(at == 0 && n > 1) } else { at as i64 }
                    );
                }
                // Down the columns, only the special value's own column has it.
                let wide: Vec<T> = [vec![T::ONE; n], x, vec![T::ONE; n]].concat();
                let (shape, strides) = ([3, n], [n as isize, 1]);
                let view = View::new(&wide, 0, &shape, &strides);
                let mut y = vec![T::ZERO; n];
                for (k, f) in [sum::<T>, prod, max, min].into_iter().enumerate() {
                    f(view, &[0], &mut y).unwrap();
                    let other = if k == 0 { 3.0 } else { 1.0 };
                    let want = expected(3, special)[k];
                    assert!(
                        (0..n).all(|i| same(y[i], if i == at { want } else { other })),
                        "{special} at {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_are_seen_in_every_position() {
    on_every_isa(|_| special_in_every_position::<f32>());
    special_in_every_position::<f64>();
}

#[test]
fn float64_and_whatever_only_compares_keep_subnormals() {
    let (tiny, tiny32) = (5e-324f64, 1e-45f32);
    on_every_isa(|_| {
        for n in [1, 2, 9, 33, 100, 40_000] {
            let (x, x32) = (vec![tiny; n], vec![tiny32; n]);
            let (shape, strides) = ([n], [1]);
            let (view, view32) = (View::new(&x, 0, &shape, &strides), View::new(&x32, 0, &shape, &strides));
            let (mut y, mut y32) = ([0.0], [1.0]);
            sum(view, &[0], &mut y).unwrap();
            assert_eq!(y[0], tiny * n as f64);
            sum(view32, &[0], &mut y32).unwrap();
            // The sum of one is a copy.
            let flushes = cfg!(target_arch = "x86_64") && n > 1;
            assert_eq!(y32[0], if flushes { 0.0 } else { tiny32 * n as f32 });
            for f in [max::<f32>, min] {
                f(view32, &[0], &mut y32).unwrap();
                assert_eq!(y32[0], tiny32);
            }
            let mut at = [5];
            argmax(view32, 0, &mut at).unwrap();
            assert_eq!(at, [0]);
        }
    });
}

#[test]
fn large_sums_are_accurate_and_independent_of_threads() {
    let mut random = Random(5);
    let x: Vec<f32> = random.floats(3_000_000, 1.0);
    for (shape, axes) in [
        (vec![3_000_000], vec![0]),
        (vec![300_000, 10], vec![0]),
        (vec![93_750, 32], vec![0]),
        (vec![3, 1_000_000], vec![1]),
        (vec![1000, 3000], vec![0]),
        (vec![1000, 3000], vec![1]),
        (vec![10, 30_000, 10], vec![0, 2]),
        (vec![10, 3000, 100], vec![1]),
        (vec![2, 1_500_000], vec![0]),
    ] {
        let strides = crate::testing::row_major(&shape);
        let array = Array { data: x.clone(), offset: 0, shape: shape.clone(), strides: strides.clone() };
        let groups = groups(&array, &axes);
        let y = same_at_any_thread_count(|| {
            let mut y = vec![f32::NAN; groups.len()];
            sum(View::new(&x, 0, &shape, &strides), &axes, &mut y).unwrap();
            y
        });
        for (y, group) in y.iter().zip(&groups) {
            let exact: f64 = group.iter().map(|&x| f64::from(x)).sum();
            let size: f64 = group.iter().map(|&x| f64::from(x.abs())).sum();
            let error = (f64::from(*y) - exact).abs();
            // Far below the worst case: 60 roundings of the running sums, not n.
            assert!(error <= 60.0 * 6e-8 * size, "{shape:?} {axes:?}: {error:e} of {size}");
        }
    }
}

#[test]
fn reducing_nothing() {
    let empty: [f32; 0] = [];
    let mut y = [5.0f32; 3];
    sum(View::new(&empty, 0, &[3, 0], &[0, 1]), &[1], &mut y).unwrap();
    assert_eq!(y, [0.0; 3]);
    prod(View::new(&empty, 0, &[3, 0], &[0, 1]), &[1], &mut y).unwrap();
    assert_eq!(y, [1.0; 3]);
    max(View::new(&empty, 0, &[0, 3], &[3, 1]), &[1], &mut []).unwrap();
    let mut position = [];
    argmax(View::new(&empty, 0, &[0, 3], &[3, 1]), 1, &mut position).unwrap();
    assert!(
        std::panic::catch_unwind(|| max(View::new(&[0.0f32; 0], 0, &[0], &[1]), &[0], &mut [0.0])).is_err()
    );
    let mut one = [0.0f32];
    sum(View::new(&[7.0f32], 0, &[], &[]), &[], &mut one).unwrap();
    assert_eq!(one, [7.0]);
}
