//! Layers as one op: bias and activation in the product's own pass, beside passes of their own.

use std::hint::black_box;

use autodan_benches::{Bench, Throughput, Traffic, floats, held_to, numbers};
use autodan_kernels::activate::{Activation, bias_activation, bias_activation_backward};
use autodan_kernels::conv::{
    Conv2d, backward_weights, forward, forward_bias, forward_pooled, pooled_backward, pooled_backward_weights,
};
use autodan_kernels::gemm::{Matrix, gemm_bias};
use criterion::{criterion_group, criterion_main};

/// Dense layers: (batch, inputs, units).
const DENSE: [[usize; 3]; 3] = [[32, 5408, 128], [32, 784, 512], [256, 784, 512]];

/// 3 x 3 convolutions without padding: (channels, filters, side).
const CONVOLUTIONS: [[usize; 3]; 3] = [[1, 32, 28], [3, 32, 32], [32, 64, 13]];

/// The same in front of a pooling: (batch, channels, filters, side).
const POOLED: [[usize; 4]; 4] = [[32, 1, 32, 28], [256, 1, 32, 28], [32, 3, 32, 32], [256, 3, 32, 32]];

/// Rows and channels of activations.
const ACTIVATIONS: [[usize; 2]; 3] = [[21632, 32], [64, 1024], [4096, 1024]];

fn dense(bench: &mut Bench) {
    let mut group = bench.benchmark_group("layer");
    for [m, k, n] in DENSE {
        let (x, w, bias, mut y) = (numbers(m * k), numbers(k * n), numbers(n), vec![0.0; m * n]);
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        group.bench_function(format!("dense {m}x{k}x{n}"), |bencher| {
            bencher.iter(|| {
                let x = Matrix::new(black_box(&x), 0, m, k, k as isize, 1);
                gemm_bias(x, Matrix::new(&w, 0, k, n, n as isize, 1), &bias, true, &mut y)
            });
        });
    }
}

fn conv(batch: usize, channels: usize, filters: usize, side: usize) -> Conv2d {
    Conv2d {
        batch,
        in_height: side,
        in_width: side,
        in_channels: channels,
        out_height: side - 2,
        out_width: side - 2,
        out_channels: filters,
        kernel_height: 3,
        kernel_width: 3,
        strides: [1, 1],
        dilation: [1, 1],
        padding: [[0, 0], [0, 0]],
        groups: 1,
    }
}

fn convolution(bench: &mut Bench) {
    let mut group = bench.benchmark_group("layer");
    for [channels, filters, side] in CONVOLUTIONS {
        let c = conv(32, channels, filters, side);
        let (x, w, bias) =
            (numbers(32 * side * side * channels), numbers(9 * channels * filters), numbers(filters));
        let mut sums = vec![0.0; 32 * (side - 2) * (side - 2) * filters];
        let mut y = sums.clone();
        group.throughput(Throughput::Elements(2 * (y.len() * 9 * channels) as u64));
        let name = format!("{channels}->{filters} {side}x{side}");
        group.bench_function(format!("{name} in one pass"), |bencher| {
            bencher.iter(|| forward_bias(&c, black_box(&x), &w, &bias, true, &mut y));
        });
        group.bench_function(format!("{name} in two passes"), |bencher| {
            bencher.iter(|| {
                forward(&c, black_box(&x), &w, &mut sums)?;
                bias_activation(Activation::Relu, &sums, &bias, &mut y)
            });
        });
    }
}

/// Convolution, bias, relu and pooling by 2 x 2, and the gradients of the weights and the bias through the
/// gradient of the convolution's output or without it.
fn pooled(bench: &mut Bench) {
    let mut group = bench.benchmark_group("layer");
    for [batch, channels, filters, side] in POOLED {
        let c = conv(batch, channels, filters, side);
        let (x, w, bias) =
            (numbers(batch * side * side * channels), numbers(9 * channels * filters), numbers(filters));
        let full = batch * (side - 2) * (side - 2) * filters;
        let (mut y, mut places, dy) = (vec![0.0; full / 4], vec![0; full / 4], numbers(full / 4));
        let (mut dz, mut dw, mut dbias) = (vec![0.0; full], w.clone(), bias.clone());
        group.throughput(Throughput::Elements(2 * (full * 9 * channels) as u64));
        let name = format!("pooled b{batch} {channels}->{filters} {side}x{side}");
        group.bench_function(format!("{name} forward"), |bencher| {
            bencher.iter(|| forward_pooled(&c, true, black_box(&x), &w, &bias, &mut y, &mut places));
        });
        group.bench_function(format!("{name} backward in two passes"), |bencher| {
            bencher.iter(|| {
                pooled_backward(&c, black_box(&dy), &places, &mut dz, &mut dbias)?;
                backward_weights(&c, &x, &dz, &mut dw)
            });
        });
        group.bench_function(format!("{name} backward in one pass"), |bencher| {
            bencher.iter(|| pooled_backward_weights(&c, &x, black_box(&dy), &places, &mut dw, &mut dbias));
        });
    }
}

fn activation(bench: &mut Bench) {
    let mut group = bench.benchmark_group("activation");
    for [rows, channels] in ACTIVATIONS {
        let (x, bias, mut y) = (numbers(rows * channels), numbers(channels), vec![0.0; rows * channels]);
        let (mut dz, mut dbias) = (y.clone(), bias.clone());
        group.throughput(floats(2 * x.len()));
        group.bench_function(format!("relu {rows}x{channels} forward"), |bencher| {
            bencher.iter(|| bias_activation(Activation::Relu, black_box(&x), &bias, &mut y));
        });
        group.throughput(floats(3 * x.len()));
        group.bench_function(format!("relu {rows}x{channels} backward"), |bencher| {
            bencher
                .iter(|| bias_activation_backward(Activation::Relu, &y, black_box(&x), &mut dz, &mut dbias));
        });
    }
}

criterion_group!(name = benches; config = held_to(Traffic::Write); targets = dense, convolution, pooled, activation);
criterion_main!(benches);
