//! Rows of every length against float64 formulas.

use super::*;
use crate::isa::on_every_isa;
use crate::testing::{Random, bits, same_at_any_thread_count};

const COLS: [usize; 13] = [1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 31, 33, 1000];

fn doubles<T: Float>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

fn log_softmax_of(x: &[f64]) -> Vec<f64> {
    let shift = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = x.iter().map(|x| (x - shift).exp()).sum::<f64>().ln();
    x.iter().map(|x| x - shift - log_sum).collect()
}

fn close<T: Float>(got: &[T], want: impl Iterator<Item = f64>, bound: f64, name: &str) {
    for (got, want) in got.iter().zip(want) {
        let error = (got.to_f64() - want).abs();
        assert!(error <= bound * want.abs().max(1.0), "{name}: {got:?}, not {want}");
    }
}

fn check_all<T: Float>(epsilon: f64) {
    let mut random = Random(1);
    for cols in COLS {
        let rows = 5;
        let x: Vec<T> = random.floats(rows * cols, 8.0);
        let dy: Vec<T> = random.floats(rows * cols, 1.0);
        let t: Vec<T> = random.floats::<T>(rows * cols, 1.0).iter().map(|t| t.maximum(T::ZERO)).collect();
        let dloss: Vec<T> = random.floats(rows, 2.0);
        let labels: Vec<i64> = (0..rows).map(|_| random.below(cols) as i64).collect();
        let zeros = vec![T::NAN; rows * cols];
        let (mut y, mut ly, mut dx, mut ldx) = (zeros.clone(), zeros.clone(), zeros.clone(), zeros.clone());
        let (mut sdx, mut cdx) = (zeros.clone(), zeros);
        let (mut sparse, mut dense) = (vec![T::NAN; rows], vec![T::NAN; rows]);
        softmax(&x, cols, &mut y);
        softmax_backward(&y, &dy, cols, &mut dx);
        log_softmax(&x, cols, &mut ly);
        log_softmax_backward(&ly, &dy, cols, &mut ldx);
        sparse_cross_entropy(&x, &labels, cols, &mut sparse);
        sparse_cross_entropy_backward(&x, &labels, &dloss, cols, &mut sdx);
        cross_entropy(&x, &t, cols, &mut dense);
        cross_entropy_backward(&x, &t, &dloss, cols, &mut cdx);
        for r in 0..rows {
            let at = r * cols..(r + 1) * cols;
            let (dy, t, d) = (doubles(&dy[at.clone()]), doubles(&t[at.clone()]), dloss[r].to_f64());
            let logs = log_softmax_of(&doubles(&x[at.clone()]));
            let p: Vec<f64> = logs.iter().map(|x| x.exp()).collect();
            let bound = epsilon * (20.0 + cols as f64 / 4.0);
            close(&y[at.clone()], p.iter().copied(), bound, "softmax");
            close(&ly[at.clone()], logs.iter().copied(), bound, "log_softmax");
            let dot: f64 = p.iter().zip(&dy).map(|(p, dy)| p * dy).sum();
            close(
                &dx[at.clone()],
                p.iter().zip(&dy).map(|(p, dy)| p * (dy - dot)),
                bound,
                "softmax_backward",
            );
            let total: f64 = dy.iter().sum();
            let want = p.iter().zip(&dy).map(|(p, dy)| dy - p * total);
            close(&ldx[at.clone()], want, bound, "log_softmax_backward");
            let label = labels[r] as usize;
            close(&sparse[r..=r], std::iter::once(-logs[label]), bound, "sparse_cross_entropy");
            let want = p.iter().enumerate().map(|(i, p)| (p - f64::from(i == label)) * d);
            close(&sdx[at.clone()], want, bound, "sparse_cross_entropy_backward");
            let want = -t.iter().zip(&logs).map(|(t, l)| t * l).sum::<f64>();
            close(&dense[r..=r], std::iter::once(want), bound, "cross_entropy");
            let total: f64 = t.iter().sum();
            let want = p.iter().zip(&t).map(|(p, t)| (p * total - t) * d);
            close(&cdx[at], want, bound * total.max(1.0), "cross_entropy_backward");
        }
    }
}

#[test]
fn rows_of_every_length() {
    on_every_isa(|_| {
        check_all::<f32>(6e-8);
        check_all::<f64>(1.2e-16);
    });
}

#[test]
fn extreme_logits() {
    const INF: f32 = f32::INFINITY;
    on_every_isa(|_| {
        let mut y = [0.0; 3];
        softmax(&[1e4, -1e4, 1e4], 3, &mut y);
        assert_eq!(y, [0.5, 0.0, 0.5]);
        softmax(&[f32::MAX, -f32::MAX, 0.0], 3, &mut y);
        assert_eq!(y, [1.0, 0.0, 0.0]);
        log_softmax(&[1e4, -1e4, -INF], 3, &mut y);
        assert_eq!(y, [0.0, -2e4, -INF]);
        let mut loss = [0.0];
        sparse_cross_entropy(&[1e4, -1e4, -INF], &[1], 3, &mut loss);
        assert_eq!(loss, [2e4]);
        cross_entropy(&[1e4, -1e4, -INF], &[0.5, 0.5, 0.0], 3, &mut loss);
        assert_eq!(loss, [1e4]);
        sparse_cross_entropy_backward(&[1e4, -1e4, -INF], &[1], &[2.0], 3, &mut y);
        assert_eq!(y, [2.0, -2.0, 0.0]);
        cross_entropy_backward(&[1e4, -1e4, -INF], &[0.0, 1.0, 0.0], &[2.0], 3, &mut y);
        assert_eq!(y, [2.0, -2.0, 0.0]);
    });
}

#[test]
fn nan_and_infinity_reach_their_row_and_no_other() {
    on_every_isa(|_| {
        for cols in (1..=67).chain(255..=257) {
            for at in 0..cols {
                for special in [f32::NAN, f32::INFINITY] {
                    let mut x = vec![0.5f32; 3 * cols];
                    x[cols + at] = special;
                    let mut y = vec![0.0; x.len()];
                    let mut loss = [0.0; 3];
                    softmax(&x, cols, &mut y);
                    assert!((0..y.len()).all(|i| y[i].is_nan() == (i / cols == 1)));
                    log_softmax(&x, cols, &mut y);
                    assert!((0..y.len()).all(|i| y[i].is_nan() == (i / cols == 1)));
                    sparse_cross_entropy(&x, &[0; 3], cols, &mut loss);
                    assert!((0..3).all(|r| loss[r].is_nan() == (r == 1)));
                    cross_entropy(&x, &vec![1.0; x.len()], cols, &mut loss);
                    assert!((0..3).all(|r| loss[r].is_nan() == (r == 1)));
                }
            }
        }
    });
}

#[test]
fn minus_infinity_has_no_probability_in_any_lane() {
    on_every_isa(|_| {
        for cols in (2..=67).chain(255..=257) {
            for at in 0..cols {
                let mut x = vec![0.5f32; cols];
                x[at] = f32::NEG_INFINITY;
                let (mut y, mut logs) = (vec![f32::NAN; cols], vec![f32::NAN; cols]);
                softmax(&x, cols, &mut y);
                log_softmax(&x, cols, &mut logs);
                let share = 1.0 / (cols - 1) as f32;
                for i in 0..cols {
                    let fits = if i == at {
                        y[i] == 0.0 && logs[i] == f32::NEG_INFINITY
                    } else {
                        (y[i] - share).abs() <= 1e-6 * share && (logs[i] - share.ln()).abs() <= 1e-5
                    };
                    assert!(fits, "{cols} classes, {at} impossible: {} and {} at {i}", y[i], logs[i]);
                }
            }
        }
        // Nothing is possible.
        let mut y = [0.0; 19];
        softmax(&[f32::NEG_INFINITY; 19], 19, &mut y);
        assert!(y.iter().all(|y| y.is_nan()));
    });
}

#[test]
fn same_bits_at_any_thread_count_and_empty_batches() {
    let x: Vec<f32> = Random(2).floats(40_000 * 10, 5.0);
    same_at_any_thread_count(|| {
        let mut y = vec![0.0; x.len()];
        softmax(&x, 10, &mut y);
        bits(&y)
    });
    softmax::<f32>(&[], 10, &mut []);
    sparse_cross_entropy::<f32>(&[], &[], 10, &mut []);
    assert!(std::panic::catch_unwind(|| sparse_cross_entropy(&[0.0f32; 3], &[3], 3, &mut [0.0])).is_err());
    assert!(std::panic::catch_unwind(|| softmax(&[0.0f32; 4], 3, &mut [0.0; 4])).is_err());
}
