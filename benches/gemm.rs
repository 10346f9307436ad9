//! Matrix products: square ones, and those of dense layers at the batch sizes that people train with.

use std::hint::black_box;

use autodan_benches::{Bench, Throughput, Traffic, held_to, numbers};
use autodan_kernels::gemm::{Matrix, gemm};
use criterion::{criterion_group, criterion_main};

/// The sides of square matrices.
const SQUARES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

/// Dense layers: (batch, inputs, units).
const LAYERS: [(usize, usize, usize); 4] =
    [(32, 5408, 128), (256, 5408, 128), (32, 784, 512), (256, 784, 512)];

/// A row-major matrix.
fn matrix(data: &[f32], rows: usize, cols: usize) -> Matrix<'_, f32> {
    Matrix::new(data, 0, rows, cols, cols as isize, 1)
}

/// The transpose of a row-major matrix of `cols` rows.
fn transpose(data: &[f32], rows: usize, cols: usize) -> Matrix<'_, f32> {
    Matrix::new(data, 0, rows, cols, 1, rows as isize)
}

type Operand = for<'a> fn(&'a [f32], usize, usize) -> Matrix<'a, f32>;

/// (m, k, n) and how the operands lie.
fn product(bench: &mut Bench, name: &str, [m, k, n]: [usize; 3], a_form: Operand, b_form: Operand) {
    let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
    let mut group = bench.benchmark_group("gemm");
    group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
    group.bench_function(format!("{m}x{k}x{n}{name}"), |bencher| {
        bencher.iter(|| gemm(a_form(black_box(&a), m, k), b_form(&b, k, n), &mut c));
    });
}

fn squares(bench: &mut Bench) {
    for n in SQUARES {
        product(bench, "", [n; 3], matrix, matrix);
    }
}

/// The output, and the gradients of the weights and of the input.
fn layers(bench: &mut Bench) {
    for (batch, inputs, units) in LAYERS {
        product(bench, "", [batch, inputs, units], matrix, matrix);
        product(bench, " a.T", [inputs, batch, units], transpose, matrix);
        product(bench, " b.T", [batch, units, inputs], matrix, transpose);
    }
}

criterion_group!(name = benches; config = held_to(Traffic::Read); targets = squares, layers);
criterion_main!(benches);
