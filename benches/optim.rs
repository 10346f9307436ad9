//! Steps of optimizers on all parameters of a network at once.

use autodan_benches::{Bench, Traffic, floats, held_to, numbers};
use autodan_kernels::optim::{Adam, AdamHyper, Gradient, Sgd, adam, sgd};
use criterion::{criterion_group, criterion_main};

/// The lengths of the parameters of two networks: a convolution and two dense layers, small and large.
const NETWORKS: [(&str, [usize; 6]); 2] =
    [("0.22 M", [288, 32, 216_320, 40, 400, 10]), ("2.16 M", [288, 32, 2_163_200, 100, 1000, 10])];

fn tensors(lens: &[usize]) -> Vec<Vec<f32>> {
    lens.iter().map(|&len| numbers(len)).collect()
}

fn steps(bench: &mut Bench) {
    let mut group = bench.benchmark_group("optim");
    for (name, lens) in NETWORKS {
        let count: usize = lens.iter().sum();
        let gradients = tensors(&lens);
        let (mut parameters, mut first, mut second) = (tensors(&lens), tensors(&lens), tensors(&lens));
        // Second moments are not negative.
        second.iter_mut().flatten().for_each(|v| *v *= *v);
        let mut step = 0;
        // Reads four and writes three.
        group.throughput(floats(7 * count));
        group.bench_function(format!("Adam {name}"), |bencher| {
            bencher.iter(|| {
                step += 1;
                let moments = first.iter_mut().zip(&mut second);
                let mut all: Vec<Adam<f32>> = (parameters.iter_mut().zip(&gradients).zip(moments))
                    .map(|((parameter, gradient), (m, v))| Adam {
                        parameter,
                        gradient: Gradient::Elements(gradient),
                        m,
                        v,
                    })
                    .collect();
                let hyper =
                    AdamHyper { learning_rate: 1e-3, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, step };
                adam(&mut all, hyper);
            });
        });
        group.throughput(floats(5 * count));
        group.bench_function(format!("SGD with momentum {name}"), |bencher| {
            bencher.iter(|| {
                let mut all: Vec<Sgd<f32>> = (parameters.iter_mut().zip(&gradients).zip(&mut first))
                    .map(|((parameter, gradient), v)| Sgd {
                        parameter,
                        gradient: Gradient::Elements(gradient),
                        velocity: Some(v),
                    })
                    .collect();
                sgd(&mut all, 1e-3, 0.9, false);
            });
        });
    }
}

criterion_group!(name = benches; config = held_to(Traffic::Update); targets = steps);
criterion_main!(benches);
