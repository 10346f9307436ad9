//! What it costs to hand tasks to the thread pool while its workers are awake. The goal is below 1 us.

use std::hint::black_box;

use autodan_kernels::{machine, par};
use criterion::{Criterion, criterion_group, criterion_main};

fn regions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("region");
    for tasks in [2, 64] {
        group.bench_function(format!("{tasks} empty tasks"), |bencher| {
            bencher.iter(|| {
                par::for_each(tasks, |task| {
                    black_box(task);
                });
            });
        });
    }
    // Whoever comes first waits for the other: with one thread there is none.
    if par::threads() > 1 {
        group.bench_function("two tasks that meet", |bencher| bencher.iter(machine::meet));
    }
}

criterion_group!(benches, regions);
criterion_main!(benches);
