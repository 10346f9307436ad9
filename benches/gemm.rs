//! Matrix products: square ones, and those of dense layers at the batch sizes that people train with.

use std::hint::black_box;

use autodan_benches::numbers;
use autodan_kernels::gemm::{Matrix, gemm};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// (rows, contraction, columns).
const SHAPES: [(usize, usize, usize); 6] =
    [(64, 64, 64), (256, 256, 256), (1024, 1024, 1024), (32, 5408, 128), (32, 784, 512), (256, 784, 512)];

/// A row-major matrix.
fn matrix(data: &[f32], rows: usize, cols: usize) -> Matrix<'_, f32> {
    Matrix::new(data, 0, rows, cols, cols as isize, 1)
}

/// Throughput counts multiply-adds as two operations.
fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm");
    for (m, k, n) in SHAPES {
        let (a, b, mut c) = (numbers(m * k), numbers(k * n), vec![0.0; m * n]);
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{m}x{k}x{n}")), |bencher| {
            bencher.iter(|| gemm(matrix(black_box(&a), m, k), matrix(&b, k, n), &mut c));
        });
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
