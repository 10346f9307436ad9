//! Copies of random layouts against one element at a time.

use super::*;
use crate::testing::{Array, Random, row_major, same_at_any_thread_count};

#[test]
fn copies_of_all_layouts() {
    let mut random = Random(1);
    for _ in 0..1000 {
        let shape = random.shape(4);
        let x: Array<i32> = Array::random(&mut random, &shape, true, |r| r.next() as i32);
        let mut y = vec![0; x.to_vec().len()];
        copy(x.view(), &mut y);
        assert_eq!(y, x.to_vec(), "{x:?}");
        let mut to: Array<i32> = Array::random(&mut random, &shape, false, |r| r.next() as i32);
        let (before, untouched) = (to.clone(), to.data.clone());
        copy_to(x.view(), to.view_mut());
        assert_eq!(to.to_vec(), x.to_vec(), "{x:?} {:?}", to.strides);
        let changed = to.data.iter().zip(&untouched).filter(|(a, b)| a != b).count();
        assert!(changed <= y.len());
        let mut sum = before.clone();
        add_to(x.view(), sum.view_mut());
        let want: Vec<i32> = before.to_vec().iter().zip(x.to_vec()).map(|(a, b)| a.wrapping_add(b)).collect();
        assert_eq!(sum.to_vec(), want);
    }
}

#[test]
fn large_transposes_and_slices() {
    for shape in [[300, 517], [70_000, 2], [2, 70_000], [1000, 64]] {
        let data: Vec<i64> = (0..(shape[0] * shape[1]) as i64).collect();
        let y = same_at_any_thread_count(|| {
            let mut y = vec![-1; data.len()];
            copy(View::new(&data, 0, &[shape[1], shape[0]], &[1, shape[1] as isize]), &mut y);
            y
        });
        assert!((0..y.len()).all(|i| y[i] == data[i % shape[0] * shape[1] + i / shape[0]]));
    }
    // Channels first to channels last and back.
    let shape = [4, 28, 30, 33];
    let data: Vec<i64> = (0..shape.iter().product::<usize>() as i64).collect();
    let strides = row_major(&shape);
    let moved = [shape[0], shape[3], shape[1], shape[2]];
    let mut first = vec![0; data.len()];
    copy(View::new(&data, 0, &moved, &[strides[0], strides[3], strides[1], strides[2]]), &mut first);
    let strides = row_major(&moved);
    let mut back = vec![0; data.len()];
    copy(View::new(&first, 0, &shape, &[strides[0], strides[2], strides[3], strides[1]]), &mut back);
    assert_ne!(first, data);
    assert_eq!(back, data);
}

#[test]
fn taking_and_its_gradient() {
    let mut random = Random(2);
    for (outer, n, inner, count) in [
        (1, 3, 2, 5),
        (4, 7, 1, 3),
        (2, 5, 33, 0),
        (0, 3, 2, 4),
        (3, 1, 0, 2),
        (1, 1000, 100, 700),
        (9, 50, 130, 60),
    ] {
        let x: Vec<f64> = random.floats(outer * n * inner, 1.0);
        let dy: Vec<f64> = random.floats(outer * count * inner, 1.0);
        let indices: Vec<i64> = (0..count).map(|_| random.below(n) as i64).collect();
        let (y, dx) = same_at_any_thread_count(|| {
            let (mut y, mut dx) = (vec![f64::NAN; dy.len()], vec![f64::NAN; x.len()]);
            take(&x, outer, n, inner, &indices, &mut y);
            take_backward(&dy, outer, n, inner, &indices, &mut dx);
            (y, dx)
        });
        let mut want = vec![0.0; x.len()];
        for o in 0..outer {
            for (k, &index) in indices.iter().enumerate() {
                for i in 0..inner {
                    let (from, to) = ((o * n + index as usize) * inner + i, (o * count + k) * inner + i);
                    assert_eq!(y[to], x[from]);
                    want[from] += dy[to];
                }
            }
        }
        assert_eq!(dx, want);
    }
}
