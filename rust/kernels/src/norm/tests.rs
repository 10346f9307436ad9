//! Batch normalisation against float64 formulas and central differences.

use super::*;
use crate::isa::on_every_isa;
use crate::testing::{Random, bits, same_at_any_thread_count};

struct Output<T> {
    y: Vec<T>,
    mean: Vec<T>,
    variance: Vec<T>,
}

fn forward<T: Float>(x: &[T], channels: usize, gamma: Option<&[T]>, beta: Option<&[T]>) -> Output<T> {
    let mut out =
        Output { y: vec![T::NAN; x.len()], mean: vec![T::NAN; channels], variance: vec![T::NAN; channels] };
    batch_norm(x, channels, gamma, beta, 1e-3, &mut out.y, &mut out.mean, &mut out.variance).unwrap();
    out
}

fn column<T: Float>(x: &[T], channels: usize, c: usize) -> Vec<f64> {
    x.iter().skip(c).step_by(channels).map(|x| x.to_f64()).collect()
}

fn check<T: Float>(epsilon: f64) {
    let mut random = Random(1);
    for channels in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33] {
        for rows in [1, 2, 9, 300] {
            let x: Vec<T> =
                random.floats::<T>(rows * channels, 1.0).iter().map(|x| x.add(T::from_f64(50.0))).collect();
            let (gamma, beta): (Vec<T>, Vec<T>) =
                (random.floats(channels, 1.0), random.floats(channels, 1.0));
            for affine in [false, true] {
                let (g, b) = (affine.then_some(&gamma[..]), affine.then_some(&beta[..]));
                let out = forward(&x, channels, g, b);
                for c in 0..channels {
                    let x = column(&x, channels, c);
                    let mean = x.iter().sum::<f64>() / rows as f64;
                    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
                    assert!((out.mean[c].to_f64() - mean).abs() <= 50.0 * 16.0 * epsilon);
                    assert!((out.variance[c].to_f64() - variance).abs() <= 1000.0 * epsilon);
                    let (g, b) = if affine { (gamma[c].to_f64(), beta[c].to_f64()) } else { (1.0, 0.0) };
                    for (y, x) in column(&out.y, channels, c).into_iter().zip(x) {
                        let want = (x - mean) / (variance + 1e-3).sqrt() * g + b;
                        // The mean's rounding error, magnified by 1 / sqrt(variance + epsilon).
                        let bound = 50.0 * 16.0 * epsilon / (variance + 1e-3).sqrt() + 2000.0 * epsilon;
                        assert!((y - want).abs() <= bound, "{y} {want} {rows} {channels}");
                    }
                }
            }
        }
    }
}

#[test]
fn columns_of_every_length() {
    on_every_isa(|_| {
        check::<f32>(6e-8);
        check::<f64>(1.2e-16);
    });
}

#[test]
fn gradients_agree_with_central_differences() {
    let mut random = Random(2);
    for (rows, channels) in [(2, 1), (5, 3), (9, 17)] {
        let mut x: Vec<f64> = random.floats(rows * channels, 1.0);
        let dy: Vec<f64> = random.floats(rows * channels, 1.0);
        let (mut gamma, mut beta): (Vec<f64>, Vec<f64>) =
            (random.floats(channels, 1.0), random.floats(channels, 1.0));
        let out = forward(&x, channels, Some(&gamma), Some(&beta));
        let (mut dx, mut dgamma, mut dbeta) =
            (vec![f64::NAN; x.len()], vec![0.0; channels], vec![0.0; channels]);
        let (mean, variance) = (&out.mean, &out.variance);
        let g = Some(&gamma[..]);
        batch_norm_backward(&x, &dy, channels, g, mean, variance, 1e-3, &mut dx, &mut dgamma, &mut dbeta)
            .unwrap();
        fn objective(x: &[f64], gamma: &[f64], beta: &[f64], dy: &[f64]) -> f64 {
            let y = forward(x, gamma.len(), Some(gamma), Some(beta)).y;
            y.iter().zip(dy).map(|(y, dy)| y * dy).sum()
        }
        const STEP: f64 = 1e-5;
        let close = |slope: f64, want: f64| {
            assert!((slope - want).abs() <= 1e-7 + 1e-5 * want.abs(), "{slope} {want}")
        };
        for i in 0..x.len() {
            let at = x[i];
            x[i] = at + STEP;
            let high = objective(&x, &gamma, &beta, &dy);
            x[i] = at - STEP;
            let low = objective(&x, &gamma, &beta, &dy);
            x[i] = at;
            close((high - low) / (2.0 * STEP), dx[i]);
        }
        for c in 0..channels {
            gamma[c] += STEP;
            let high = objective(&x, &gamma, &beta, &dy);
            gamma[c] -= 2.0 * STEP;
            let low = objective(&x, &gamma, &beta, &dy);
            gamma[c] += STEP;
            close((high - low) / (2.0 * STEP), dgamma[c]);
            beta[c] += STEP;
            let high = objective(&x, &gamma, &beta, &dy);
            beta[c] -= 2.0 * STEP;
            let low = objective(&x, &gamma, &beta, &dy);
            beta[c] += STEP;
            close((high - low) / (2.0 * STEP), dbeta[c]);
        }
    }
}

#[test]
fn same_bits_at_any_thread_count_and_nan_stays_in_its_channel() {
    let mut x: Vec<f32> = Random(3).floats(20_000 * 33, 1.0);
    x[33 * 777 + 5] = f32::NAN;
    let dy: Vec<f32> = Random(4).floats(x.len(), 1.0);
    let (y, dx) = same_at_any_thread_count(|| {
        let out = forward(&x, 33, None, None);
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; x.len()], vec![0.0; 33], vec![0.0; 33]);
        let (mean, variance) = (&out.mean, &out.variance);
        batch_norm_backward(&x, &dy, 33, None, mean, variance, 1e-3, &mut dx, &mut dgamma, &mut dbeta)
            .unwrap();
        (bits(&out.y), bits(&dx))
    });
    for (i, (y, dx)) in y.into_iter().zip(dx).enumerate() {
        assert_eq!(f64::from_bits(y).is_nan(), i % 33 == 5);
        assert_eq!(f64::from_bits(dx).is_nan(), i % 33 == 5);
    }
}

#[test]
fn an_empty_batch_has_zero_statistics() {
    let out = forward::<f32>(&[], 3, None, None);
    assert_eq!((out.mean, out.variance), (vec![0.0; 3], vec![0.0; 3]));
}

#[test]
fn nan_stays_in_its_channel_in_every_lane() {
    on_every_isa(|_| {
        for channels in 1..=67 {
            for at in 0..channels {
                let mut x: Vec<f32> = Random(3).floats(3 * channels, 1.0);
                x[channels + at] = f32::NAN;
                let (mut y, mut mean, mut variance) = (x.clone(), vec![0.0; channels], vec![0.0; channels]);
                batch_norm(&x, channels, None, None, 1e-3, &mut y, &mut mean, &mut variance).unwrap();
                assert!((0..y.len()).all(|i| y[i].is_nan() == (i % channels == at)), "{at} of {channels}");
                assert!(
                    (0..channels).all(|c| mean[c].is_nan() == (c == at) && variance[c].is_nan() == (c == at))
                );
            }
        }
    });
}
