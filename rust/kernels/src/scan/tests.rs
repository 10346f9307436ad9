//! Running sums against plain loops.

use super::*;
use crate::element::Float;
use crate::testing::{Random, SIDES, same_at_any_thread_count};

/// The running sums of each row of `n`, `inner` apart, in the order of the axis.
fn plain<T: Number>(x: &[T], n: usize, inner: usize, reverse: bool) -> Vec<T> {
    let mut y = x.to_vec();
    for start in (0..x.len()).filter(|i| (i / inner.max(1)).is_multiple_of(n.max(1))) {
        let places: Vec<usize> =
            (0..n).map(|k| start + if reverse { n - 1 - k } else { k } * inner).collect();
        for pair in places.windows(2) {
            y[pair[1]] = y[pair[0]].add(x[pair[1]]);
        }
    }
    y
}

#[test]
fn sums_of_every_shape() {
    let mut random = Random(1);
    for _ in 0..300 {
        let [outer, n, inner] = [(); 3].map(|()| SIDES[random.below(SIDES.len())]);
        let floats: Vec<f32> = random.floats(outer * n * inner, 1.0);
        let integers: Vec<i32> = (0..floats.len()).map(|_| random.next() as i32).collect();
        for reverse in [false, true] {
            let mut y = vec![f32::NAN; floats.len()];
            cumsum(&floats, n, inner, reverse, &mut y);
            assert_eq!(y, plain(&floats, n, inner, reverse), "{outer} x {n} x {inner}");
            let mut y = vec![0; integers.len()];
            cumsum(&integers, n, inner, reverse, &mut y);
            assert_eq!(y, plain(&integers, n, inner, reverse), "{outer} x {n} x {inner}");
        }
    }
}

fn nan_from_its_place_on<T: Float>(n: usize, inner: usize) {
    for at in 0..n * inner {
        let mut x = vec![T::ONE; n * inner];
        x[at] = T::NAN;
        for reverse in [false, true] {
            let mut y = vec![T::ZERO; n * inner];
            cumsum(&x, n, inner, reverse, &mut y);
            let reached = |i: usize| if reverse { i <= at } else { i >= at };
            assert!((0..y.len()).all(|i| y[i].to_f64().is_nan() == (reached(i) && i % inner == at % inner)));
        }
    }
}

#[test]
fn a_nan_stays_in_its_row_from_its_place_on() {
    for n in (1..=67).chain(255..=257) {
        nan_from_its_place_on::<f32>(n, 1);
        nan_from_its_place_on::<f64>(n.min(33), 3);
    }
}

#[test]
fn threads_do_not_change_bits() {
    let x: Vec<f32> = Random(2).floats(90_000, 1.0);
    same_at_any_thread_count(|| {
        let mut y = vec![f32::NAN; x.len()];
        cumsum(&x, 30, 10, true, &mut y);
        y
    });
}
