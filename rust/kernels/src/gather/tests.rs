//! Gathers from random layouts against one element at a time.

use super::*;
use crate::isa::on_every_isa;
use crate::testing::{Array, Random, same_at_any_thread_count};

/// The elements of the rows, by way of the whole array in row-major order.
fn expected<A: Element, B>(x: &Array<A>, rows: &[i64], f: impl Fn(A) -> B) -> Vec<B> {
    let (all, width) = (x.to_vec(), x.shape[1..].iter().product::<usize>());
    rows.iter().flat_map(|&row| &all[row as usize * width..][..width]).map(|&x| f(x)).collect()
}

#[test]
fn rows_of_all_layouts() {
    on_every_isa(|_| {
        let mut random = Random(1);
        for _ in 0..500 {
            let mut shape = vec![1 + random.below(9)];
            shape.extend(random.shape(3));
            let rows: Vec<i64> = (0..random.below(20)).map(|_| random.below(shape[0]) as i64).collect();
            let x: Array<u8> = Array::random(&mut random, &shape, true, |r| r.next() as u8);
            let want = expected(&x, &rows, |x| f32::from(x) - 3.0);
            let mut y = vec![f32::NAN; want.len()];
            gather(x.view(), &rows, &mut y, |x| f32::from(x) - 3.0);
            assert_eq!(y, want, "{x:?} {rows:?}");
        }
    });
}

#[test]
fn long_rows_are_cut_and_have_the_same_bits_at_any_thread_count() {
    let mut random = Random(2);
    for (shape, step) in [([7, 5000], 1), ([3, 40_000], 1), ([5, 9001], 2), ([50_000, 1], 1)] {
        let len = shape[0] * shape[1] * step;
        let data: Vec<f64> = random.floats(len, 10.0);
        let strides = vec![(shape[1] * step) as isize, step as isize];
        let x = Array { data, offset: 0, shape: shape.to_vec(), strides };
        let rows: Vec<i64> = (0..shape[0] + 3).map(|_| random.below(shape[0]) as i64).collect();
        let y = same_at_any_thread_count(|| {
            let mut y = vec![f32::NAN; rows.len() * shape[1]];
            gather(x.view(), &rows, &mut y, |x| x as f32);
            y
        });
        assert!(y == expected(&x, &rows, |x| x as f32), "{shape:?}");
    }
}

#[test]
#[should_panic(expected = "row 3 is not in 0..3")]
fn rows_that_are_not_there() {
    gather(View::new(&[1, 2, 3], 0, &[3], &[1]), &[0, 3], &mut [0, 0], |x: i32| x);
}

#[test]
#[should_panic(expected = "row -1 is not in 0..3")]
fn rows_are_not_counted_from_the_end() {
    gather(View::new(&[1, 2, 3], 0, &[3], &[1]), &[-1], &mut [0], |x: i32| x);
}
