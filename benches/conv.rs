//! Convolutions of networks for images, forward and backward.

use std::hint::black_box;

use autodan_benches::{Bench, Throughput, Traffic, held_to, numbers};
use autodan_kernels::conv::{Conv2d, backward_data, backward_weights, forward};
use criterion::{criterion_group, criterion_main};

/// A convolution of square images with a square kernel.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    inputs: usize,
    outputs: usize,
    side: usize,
    kernel: usize,
    /// Zeros around the image.
    pad: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
}

impl Shape {
    /// A dense one without padding.
    const fn valid(batch: usize, inputs: usize, outputs: usize, side: usize, kernel: usize) -> Shape {
        Shape { batch, inputs, outputs, side, kernel, pad: 0, stride: 1, dilation: 1, groups: 1 }
    }

    /// One whose output is as large as its input.
    const fn same(batch: usize, inputs: usize, outputs: usize, side: usize, kernel: usize) -> Shape {
        Shape { pad: kernel / 2, ..Shape::valid(batch, inputs, outputs, side, kernel) }
    }

    fn conv(self) -> Conv2d {
        let reach = self.dilation * (self.kernel - 1) + 1;
        let out = (self.side + 2 * self.pad - reach) / self.stride + 1;
        Conv2d {
            batch: self.batch,
            in_height: self.side,
            in_width: self.side,
            in_channels: self.inputs,
            out_height: out,
            out_width: out,
            out_channels: self.outputs,
            kernel_height: self.kernel,
            kernel_width: self.kernel,
            strides: [self.stride; 2],
            dilation: [self.dilation; 2],
            padding: [[self.pad; 2]; 2],
            groups: self.groups,
        }
    }
}

const SHAPES: [(&str, Shape); 13] = [
    ("first layer b32 1->32 28x28 k3", Shape::valid(32, 1, 32, 28, 3)),
    ("first layer b32 3->32 32x32 k3", Shape::valid(32, 3, 32, 32, 3)),
    ("b32 32->64 13x13 k3", Shape::valid(32, 32, 64, 13, 3)),
    ("b32 64->64 14x14 k3", Shape::same(32, 64, 64, 14, 3)),
    ("b16 64->64 56x56 k3", Shape::same(16, 64, 64, 56, 3)),
    ("b16 128->128 28x28 k3", Shape::same(16, 128, 128, 28, 3)),
    ("b8 256->256 14x14 k1", Shape::valid(8, 256, 256, 14, 1)),
    ("b32 6->16 14x14 k5", Shape::valid(32, 6, 16, 14, 5)),
    ("depthwise b32 64 28x28 k3", Shape { groups: 64, ..Shape::same(32, 64, 64, 28, 3) }),
    ("strided b32 64->128 28x28 k3", Shape { stride: 2, ..Shape::same(32, 64, 128, 28, 3) }),
    ("strided b32 64->128 28x28 k1", Shape { stride: 2, ..Shape::valid(32, 64, 128, 28, 1) }),
    ("dilated b32 64->64 28x28 k3", Shape { dilation: 2, pad: 2, ..Shape::same(32, 64, 64, 28, 3) }),
    ("grouped b32 64->64 28x28 k3", Shape { groups: 4, ..Shape::same(32, 64, 64, 28, 3) }),
];

/// Multiply-adds count as two operations.
fn convolutions(bench: &mut Bench) {
    let mut group = bench.benchmark_group("conv2d");
    for (name, shape) in SHAPES {
        let conv = shape.conv();
        let pixels = conv.batch * conv.out_height * conv.out_width;
        let weights =
            conv.kernel_height * conv.kernel_width * conv.in_channels / conv.groups * conv.out_channels;
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

criterion_group!(name = benches; config = held_to(Traffic::Read); targets = convolutions);
criterion_main!(benches);
