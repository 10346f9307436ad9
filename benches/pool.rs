//! Pooling of images, forward and backward.

use std::hint::black_box;

use autodan_benches::{Bench, Traffic, floats, held_to, numbers};
use autodan_kernels::pool::{Pool2d, average_backward, average_forward, max_backward, max_forward};
use criterion::{criterion_group, criterion_main};

/// 32 images of 32 channels.
fn pool(side: usize, window: usize, stride: usize) -> Pool2d {
    let out = (side - window) / stride + 1;
    Pool2d {
        batch: 32,
        in_height: side,
        in_width: side,
        channels: 32,
        out_height: out,
        out_width: out,
        window: [window; 2],
        strides: [stride; 2],
        padding: [[0; 2]; 2],
    }
}

fn pooling(bench: &mut Bench) {
    let mut group = bench.benchmark_group("pool");
    for (name, pool) in
        [("2x2 of 32x26x26x32", pool(26, 2, 2)), ("3x3 stride 2 of 32x27x27x32", pool(27, 3, 2))]
    {
        let inputs = pool.batch * pool.in_height * pool.in_width * pool.channels;
        let outputs = pool.batch * pool.out_height * pool.out_width * pool.channels;
        let (x, dy) = (numbers(inputs), numbers(outputs));
        let (mut y, mut dx) = (dy.clone(), x.clone());
        group.throughput(floats(inputs + outputs));
        group.bench_function(format!("max {name} forward"), |bencher| {
            bencher.iter(|| max_forward(&pool, black_box(&x), &mut y));
        });
        group.bench_function(format!("average {name} forward"), |bencher| {
            bencher.iter(|| average_forward(&pool, black_box(&x), &mut y));
        });
        group.bench_function(format!("average {name} backward"), |bencher| {
            bencher.iter(|| average_backward(&pool, black_box(&dy), &mut dx));
        });
        group.throughput(floats(2 * inputs + outputs));
        group.bench_function(format!("max {name} backward"), |bencher| {
            bencher.iter(|| max_backward(&pool, black_box(&x), &dy, &mut dx));
        });
    }
}

criterion_group!(name = benches; config = held_to(Traffic::Write); targets = pooling);
criterion_main!(benches);
