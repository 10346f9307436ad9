//! Reductions of matrices, of both axes and of either.

use std::hint::black_box;

use autodan_benches::{Bench, Traffic, floats, held_to, numbers};
use autodan_kernels::optim::sum_of_squares;
use autodan_kernels::reduce::{argmax, max, sum};
use autodan_kernels::view::View;
use criterion::{criterion_group, criterion_main};

fn reductions(bench: &mut Bench) {
    const COLS: usize = 1024;
    let mut group = bench.benchmark_group("reduce");
    for rows in [64, 4096] {
        let x = numbers(rows * COLS);
        let (mut all, mut columns, mut each_row) = ([0.0], vec![0.0; COLS], vec![0.0; rows]);
        let mut places = vec![0; rows];
        let (shape, strides) = ([rows, COLS], [COLS as isize, 1]);
        let matrix = || View::new(black_box(&x), 0, &shape, &strides);
        group.throughput(floats(x.len()));
        group.bench_function(format!("sum {rows}x{COLS}"), |bencher| {
            bencher.iter(|| sum(matrix(), &[0, 1], &mut all));
        });
        group.bench_function(format!("sum of columns {rows}x{COLS}"), |bencher| {
            bencher.iter(|| sum(matrix(), &[0], &mut columns));
        });
        group.bench_function(format!("sum of rows {rows}x{COLS}"), |bencher| {
            bencher.iter(|| sum(matrix(), &[1], &mut each_row));
        });
        group.bench_function(format!("max of rows {rows}x{COLS}"), |bencher| {
            bencher.iter(|| max(matrix(), &[1], &mut each_row));
        });
        group.bench_function(format!("argmax of rows {rows}x{COLS}"), |bencher| {
            bencher.iter(|| argmax(matrix(), 1, &mut places));
        });
        group.bench_function(format!("sum of squares {rows}x{COLS}"), |bencher| {
            bencher.iter(|| sum_of_squares(&[black_box(&x)]));
        });
    }
}

criterion_group!(name = benches; config = held_to(Traffic::Read); targets = reductions);
criterion_main!(benches);
