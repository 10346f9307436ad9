//! Batch normalization, forward and backward.

use std::hint::black_box;

use autodan_benches::{Bench, Traffic, floats, held_to, numbers};
use autodan_kernels::norm::{batch_norm, batch_norm_backward};
use criterion::{criterion_group, criterion_main};

/// Rows (pixels of all images) and channels.
const SHAPES: [(usize, usize); 3] = [(32 * 26 * 26, 32), (32 * 14 * 14, 64), (256, 512)];
const EPSILON: f64 = 1e-3;

fn normalization(bench: &mut Bench) {
    let mut group = bench.benchmark_group("batch norm");
    for (rows, channels) in SHAPES {
        let (x, dy, gamma) = (numbers(rows * channels), numbers(rows * channels), numbers(channels));
        let (mut y, mut dx) = (x.clone(), x.clone());
        let column = || vec![0.0; channels];
        let (mut mean, mut variance, mut dgamma, mut dbeta) = (column(), column(), column(), column());
        let scale = Some(&*gamma);
        group.throughput(floats(2 * x.len()));
        group.bench_function(format!("{rows}x{channels} forward"), |bencher| {
            bencher.iter(|| {
                let x = black_box(&x);
                batch_norm(x, channels, scale, scale, EPSILON, &mut y, &mut mean, &mut variance)
            });
        });
        group.throughput(floats(3 * x.len()));
        group.bench_function(format!("{rows}x{channels} backward"), |bencher| {
            bencher.iter(|| {
                let (x, dgamma, dbeta) = (black_box(&x), &mut dgamma, &mut dbeta);
                batch_norm_backward(
                    x, &dy, channels, scale, &mean, &variance, EPSILON, &mut dx, dgamma, dbeta,
                )
            });
        });
    }
}

criterion_group!(name = benches; config = held_to(Traffic::Write); targets = normalization);
criterion_main!(benches);
