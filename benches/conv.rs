//! Convolutions of networks for images, forward and backward.

use std::hint::black_box;

use autodan_benches::numbers;
use autodan_kernels::conv::{Conv2d, backward_data, backward_weights, forward};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A 3 x 3 convolution of square images; `pad` 0 is "valid", 1 is "same".
fn three_by_three(batch: usize, inputs: usize, outputs: usize, side: usize, pad: usize) -> Conv2d {
    let out = side + 2 * pad - 2;
    Conv2d {
        batch,
        in_height: side,
        in_width: side,
        in_channels: inputs,
        out_height: out,
        out_width: out,
        out_channels: outputs,
        kernel_height: 3,
        kernel_width: 3,
        strides: [1, 1],
        dilation: [1, 1],
        padding: [[pad; 2]; 2],
        groups: 1,
    }
}

/// Throughput counts multiply-adds as two operations.
fn convolutions(criterion: &mut Criterion) {
    let shapes = [
        ("b32 1->32 28x28 valid", three_by_three(32, 1, 32, 28, 0)),
        ("b32 32->64 13x13 valid", three_by_three(32, 32, 64, 13, 0)),
        ("b32 64->64 14x14 same", three_by_three(32, 64, 64, 14, 1)),
    ];
    let mut group = criterion.benchmark_group("conv2d");
    for (name, conv) in shapes {
        let pixels = conv.batch * conv.out_height * conv.out_width;
        let weights = 9 * conv.in_channels * conv.out_channels;
        let (x, w) =
            (numbers(conv.batch * conv.in_height * conv.in_width * conv.in_channels), numbers(weights));
        let (mut dx, mut dw) = (x.clone(), w.clone());
        let (mut y, dy) = (vec![0.0; pixels * conv.out_channels], numbers(pixels * conv.out_channels));
        group.throughput(Throughput::Elements(2 * (pixels * weights) as u64));
        group.bench_function(format!("{name} forward"), |bencher| {
            bencher.iter(|| forward(&conv, black_box(&x), &w, &mut y));
        });
        group.bench_function(format!("{name} backward data"), |bencher| {
            bencher.iter(|| backward_data(&conv, black_box(&dy), &w, &mut dx));
        });
        group.bench_function(format!("{name} backward weights"), |bencher| {
            bencher.iter(|| backward_weights(&conv, black_box(&x), &dy, &mut dw));
        });
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
