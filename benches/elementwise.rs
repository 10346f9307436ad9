//! Elementwise functions: bound by memory, bound by arithmetic, and on operands that are not contiguous.

use std::hint::black_box;

use autodan_benches::numbers;
use autodan_kernels::elementwise::{Binary, Unary, binary, unary};
use autodan_kernels::simd::Vector;
use autodan_kernels::vecmath;
use autodan_kernels::view::View;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[derive(Clone, Copy)]
struct Exp;

impl Unary<f32> for Exp {
    #[inline(always)]
    fn eval<V: Vector<Scalar = f32>>(self, x: V) -> V {
        vecmath::exp(x)
    }
}

#[derive(Clone, Copy)]
struct Add;

impl Binary<f32> for Add {
    #[inline(always)]
    fn eval<V: Vector<Scalar = f32>>(self, a: V, b: V) -> V {
        a.add(b)
    }
}

/// Throughput counts elements of the result.
fn functions(criterion: &mut Criterion) {
    const SIDE: usize = 1024;
    let (a, b, mut y) = (numbers(SIDE * SIDE), numbers(SIDE * SIDE), vec![0.0; SIDE * SIDE]);
    let rows = [SIDE as isize, 1];
    let matrix = |data, strides| View::new(data, 0, &[SIDE, SIDE], strides);
    let mut group = criterion.benchmark_group("elementwise");
    group.throughput(Throughput::Elements((SIDE * SIDE) as u64));
    group.bench_function("exp", |bencher| {
        bencher.iter(|| unary(Exp, matrix(black_box(&a), &rows), &mut y));
    });
    group.bench_function("add", |bencher| {
        bencher.iter(|| binary(Add, matrix(black_box(&a), &rows), matrix(&b, &rows), &mut y));
    });
    group.bench_function("add a row", |bencher| {
        bencher.iter(|| binary(Add, matrix(black_box(&a), &rows), matrix(&b, &[0, 1]), &mut y));
    });
    group.bench_function("add a transpose", |bencher| {
        bencher.iter(|| binary(Add, matrix(black_box(&a), &rows), matrix(&b, &[1, SIDE as isize]), &mut y));
    });
}

criterion_group!(benches, functions);
criterion_main!(benches);
