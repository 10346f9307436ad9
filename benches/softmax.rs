//! Softmax along rows, and the cross-entropy of it, forward and backward.

use std::hint::black_box;

use autodan_benches::{Bench, Traffic, floats, held_to, numbers};
use autodan_kernels::softmax::{
    log_softmax, softmax, softmax_backward, sparse_cross_entropy, sparse_cross_entropy_backward,
};
use criterion::{criterion_group, criterion_main};

/// Rows and classes.
const SHAPES: [(usize, usize); 3] = [(32, 10), (256, 1000), (4096, 128)];

fn rows(bench: &mut Bench) {
    let mut group = bench.benchmark_group("softmax");
    for (rows, classes) in SHAPES {
        let (x, dy) = (numbers(rows * classes), numbers(rows * classes));
        let mut y = vec![0.0; x.len()];
        group.throughput(floats(2 * x.len()));
        group.bench_function(format!("softmax {rows}x{classes}"), |bencher| {
            bencher.iter(|| softmax(black_box(&x), classes, &mut y));
        });
        group.bench_function(format!("log_softmax {rows}x{classes}"), |bencher| {
            bencher.iter(|| log_softmax(black_box(&x), classes, &mut y));
        });
        let mut dx = vec![0.0; x.len()];
        softmax(&x, classes, &mut y);
        group.throughput(floats(3 * x.len()));
        group.bench_function(format!("softmax {rows}x{classes} backward"), |bencher| {
            bencher.iter(|| softmax_backward(black_box(&y), &dy, classes, &mut dx));
        });
    }
}

/// A label takes as much memory as two floats.
fn cross_entropy(bench: &mut Bench) {
    let mut group = bench.benchmark_group("softmax");
    for (rows, classes) in SHAPES {
        let (logits, dloss) = (numbers(rows * classes), numbers(rows));
        let labels: Vec<i64> = (0..rows).map(|row| (7 * row % classes) as i64).collect();
        let (mut loss, mut dlogits) = (vec![0.0; rows], logits.clone());
        group.throughput(floats(logits.len() + 3 * rows));
        group.bench_function(format!("cross-entropy {rows}x{classes}"), |bencher| {
            bencher.iter(|| sparse_cross_entropy(black_box(&logits), &labels, classes, &mut loss));
        });
        group.throughput(floats(2 * logits.len() + 3 * rows));
        group.bench_function(format!("cross-entropy {rows}x{classes} backward"), |bencher| {
            bencher.iter(|| {
                let logits = black_box(&logits);
                sparse_cross_entropy_backward(logits, &labels, &dloss, classes, &mut dlogits)
            });
        });
    }
}

criterion_group!(name = benches; config = held_to(Traffic::Write); targets = rows, cross_entropy);
criterion_main!(benches);
