//! Elementwise functions: bound by memory, bound by arithmetic, and on operands that are not contiguous.

use std::hint::black_box;

use autodan_benches::{Bench, Traffic, floats, held_to, numbers};
use autodan_kernels::elementwise::{Binary, Unary, binary, unary};
use autodan_kernels::simd::Vector;
use autodan_kernels::vecmath;
use autodan_kernels::view::View;
use criterion::{criterion_group, criterion_main};

/// Rows of matrices of 256 KB and 4 MB.
const ROWS: [usize; 2] = [64, 1024];
const COLS: usize = 1024;

macro_rules! functions {
    ($($name:ident: $trait:ident($($x:ident),+) => $value:expr;)+) => {$(
        #[derive(Clone, Copy)]
        struct $name;

        impl $trait<f32> for $name {
            #[inline(always)]
            fn eval<V: Vector<Scalar = f32>>(self, $($x: V),+) -> V {
                $value
            }
        }
    )+};
}

functions! {
    Exp: Unary(x) => vecmath::exp(x);
    Tanh: Unary(x) => vecmath::tanh(x);
    Relu: Unary(x) => x.maximum(V::zero());
    Add: Binary(a, b) => a.add(b);
    AddRelu: Binary(a, b) => a.add(b).maximum(V::zero());
}

fn one(bench: &mut Bench, name: &str, f: impl Unary<f32>) {
    let mut group = bench.benchmark_group("elementwise");
    for rows in ROWS {
        let (x, mut y) = (numbers(rows * COLS), vec![0.0; rows * COLS]);
        group.throughput(floats(2 * x.len()));
        group.bench_function(format!("{name} {rows}x{COLS}"), |bencher| {
            bencher.iter(|| unary(f, View::new(black_box(&x), 0, &[rows * COLS], &[1]), &mut y));
        });
    }
}

/// `strides` gives those of the second operand from its number of rows.
fn two(bench: &mut Bench, name: &str, f: impl Binary<f32>, strides: fn(usize) -> [isize; 2]) {
    let mut group = bench.benchmark_group("elementwise");
    for rows in ROWS {
        let strides = strides(rows);
        let other = if strides[0] == 0 { COLS } else { rows * COLS };
        let (a, b, mut y) = (numbers(rows * COLS), numbers(other), vec![0.0; rows * COLS]);
        let shape = [rows, COLS];
        group.throughput(floats(2 * a.len() + other));
        group.bench_function(format!("{name} {rows}x{COLS}"), |bencher| {
            bencher.iter(|| {
                let a = View::new(black_box(&a), 0, &shape, &[COLS as isize, 1]);
                binary(f, a, View::new(&b, 0, &shape, &strides), &mut y);
            });
        });
    }
}

fn functions(bench: &mut Bench) {
    one(bench, "relu", Relu);
    one(bench, "exp", Exp);
    one(bench, "tanh", Tanh);
    two(bench, "add", Add, |_| [COLS as isize, 1]);
    two(bench, "add a row", Add, |_| [0, 1]);
    two(bench, "add a row, relu", AddRelu, |_| [0, 1]);
    two(bench, "add a transpose", Add, |rows| [1, rows as isize]);
}

criterion_group!(name = benches; config = held_to(Traffic::Write); targets = functions);
criterion_main!(benches);
