//! Steps against the formulas in float64.

use super::*;
use crate::gemm::{fits_bands, gemm};
use crate::isa::on_every_isa;
use crate::testing::{Random, bits, same_at_any_thread_count};

const LENS: [usize; 14] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 16_384, 40_001];

fn near<T: Float>(got: T, want: f64, epsilon: f64) {
    assert!((got.to_f64() - want).abs() <= 8.0 * epsilon * want.abs().max(1.0), "{got:?}, not {want}");
}

fn check<T: Float>(epsilon: f64) {
    let mut random = Random(1);
    let floats = |random: &mut Random| LENS.map(|len| random.floats::<T>(len, 1.0));
    let (p, g) = (floats(&mut random), floats(&mut random));
    let (m, v) =
        (floats(&mut random), floats(&mut random).map(|v| v.iter().map(|v| v.mul(*v)).collect::<Vec<T>>()));
    for (with_velocity, nesterov) in [(false, false), (true, false), (true, true)] {
        let (mut p1, mut m1) = (p.clone(), m.clone());
        let mut tensors: Vec<_> = p1
            .iter_mut()
            .zip(&g)
            .zip(&mut m1)
            .map(|((parameter, gradient), velocity)| Sgd {
                parameter,
                gradient: Gradient::Elements(gradient),
                velocity: with_velocity.then_some(velocity),
            })
            .collect();
        sgd(&mut tensors, 0.1, 0.9, nesterov);
        for (t, len) in LENS.into_iter().enumerate() {
            for i in 0..len {
                let (p, g, m) = (p[t][i].to_f64(), g[t][i].to_f64(), m[t][i].to_f64());
                let velocity = if with_velocity { 0.9 * m - 0.1 * g } else { m };
                near(m1[t][i], velocity, epsilon);
                let change = match (with_velocity, nesterov) {
                    (false, _) => -0.1 * g,
                    (true, false) => velocity,
                    (true, true) => 0.9 * velocity - 0.1 * g,
                };
                near(p1[t][i], p + change, epsilon);
            }
        }
    }
    let (mut p1, mut m1, mut v1) = (p.clone(), m.clone(), v.clone());
    let mut tensors: Vec<_> = p1
        .iter_mut()
        .zip(&g)
        .zip(m1.iter_mut().zip(&mut v1))
        .map(|((parameter, gradient), (m, v))| {
            let gradient = Gradient::Elements(gradient);
            Adam { parameter, gradient, m, v }
        })
        .collect();
    let hyper = AdamHyper { learning_rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-3, step: 3 };
    adam(&mut tensors, hyper);
    let alpha = 0.01 * (1.0 - 0.999f64.powi(3)).sqrt() / (1.0 - 0.9f64.powi(3));
    for (t, len) in LENS.into_iter().enumerate() {
        for i in 0..len {
            let (p, g, m, v) = (p[t][i].to_f64(), g[t][i].to_f64(), m[t][i].to_f64(), v[t][i].to_f64());
            let (m, v) = (m + (g - m) * 0.1, v + (g * g - v) * 0.001);
            near(m1[t][i], m, epsilon);
            near(v1[t][i], v, epsilon);
            near(p1[t][i], p - alpha * m / (v.sqrt() + 1e-3), epsilon);
        }
    }
}

#[test]
fn steps_follow_their_formulas() {
    on_every_isa(|_| {
        check::<f32>(6e-8);
        check::<f64>(1.2e-16);
    });
}

#[test]
fn steps_and_sums_have_the_same_bits_at_any_thread_count() {
    let x: Vec<f32> = Random(2).floats(100_003, 1.0);
    let (_, sum) = same_at_any_thread_count(|| {
        let (mut p, mut m, mut v) = (x.clone(), x.clone(), vec![0.5; x.len()]);
        let hyper = AdamHyper { learning_rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, step: 1 };
        let gradient = Gradient::Elements(&x);
        adam(&mut [Adam { parameter: &mut p, gradient, m: &mut m, v: &mut v }], hyper);
        (bits(&p), sum_of_squares(&[&x, &[], &x[..100]]))
    });
    let exact = |x: &[f32]| x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    assert!((sum - exact(&x) - exact(&x[..100])).abs() < 1e-9 * sum);
    assert_eq!(sum_of_squares(&[&[f32::MAX, 0.0]]), f64::from(f32::MAX) * f64::from(f32::MAX));
    assert_eq!(sum_of_squares::<f64>(&[]), 0.0);
}

fn check_products<T: Float>() {
    let mut random = Random(3);
    // Whole and partial tiles, one band and several, few columns and many; transposed or not.
    for (m, k, n) in
        [(400, 32, 128), (1000, 1, 33), (333, 64, 100), (70, 30, 520), (7000, 3, 5), (40, 17, 1000)]
    {
        for transposed in [false, true] {
            let (x, y) = (random.floats::<T>(m * k, 1.0), random.floats::<T>(k * n, 1.0));
            let strides = if transposed { [1, m as isize] } else { [k as isize, 1] };
            assert!(fits_bands::<T>([m, k, n], strides, [n as isize, 1]), "{m} {k} {n}");
            let a = Matrix::new(&x, 0, m, k, strides[0], strides[1]);
            let b = Matrix::new(&y, 0, k, n, n as isize, 1);
            let mut product = vec![T::ZERO; m * n];
            gemm(a, b, &mut product).unwrap();
            let p = random.floats::<T>(m * n, 1.0);
            let steps = |gradient: Gradient<T>| {
                let [mut p1, mut p2, mut v2] = [0; 3].map(|_| p.clone());
                sgd(&mut [Sgd { parameter: &mut p1, gradient, velocity: None }], 0.1, 0.0, false);
                let (mut m2, mut v3) = (vec![T::ONE; m * n], vec![T::ONE; m * n]);
                sgd(&mut [Sgd { parameter: &mut p2, gradient, velocity: Some(&mut v2) }], 0.1, 0.9, true);
                let hyper =
                    AdamHyper { learning_rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, step: 2 };
                adam(&mut [Adam { parameter: &mut p2, gradient, m: &mut m2, v: &mut v3 }], hyper);
                [p1, p2, v2, m2, v3].map(|x| bits(&x))
            };
            let banded = same_at_any_thread_count(|| steps(Gradient::Product(a, b)));
            assert_eq!(banded, steps(Gradient::Elements(&product)), "{m} {k} {n}");
        }
    }
}

#[test]
fn a_gradient_that_is_a_product_gives_the_same_bits() {
    on_every_isa(|_| {
        check_products::<f32>();
        check_products::<f64>();
    });
    // An operand whose columns are no neighbours, an output that is small, a long sum, wide rows.
    assert!(!fits_bands::<f32>([400, 32, 128], [1, 400], [1, 32]));
    assert!(!fits_bands::<f32>([100, 32, 100], [1, 100], [100, 1]));
    assert!(!fits_bands::<f32>([400, 65, 128], [1, 400], [128, 1]));
    assert!(!fits_bands::<f32>([400, 32, 9000], [1, 400], [9000, 1]));
}
