//! Bias and activation against plain loops, and their gradients.

use super::*;
use crate::isa::on_every_isa;
use crate::testing::{Random, bits, same_at_any_thread_count};

const ALL: [Activation; 4] = [Activation::Linear, Activation::Relu, Activation::Tanh, Activation::Sigmoid];

fn value(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Linear => z,
        Activation::Relu => z.max(0.0),
        Activation::Tanh => z.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
    }
}

fn slope(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Linear => 1.0,
        Activation::Relu => f64::from(u8::from(y > 0.0)),
        Activation::Tanh => 1.0 - y * y,
        Activation::Sigmoid => y * (1.0 - y),
    }
}

fn check_values<T: Float>(epsilon: f64) {
    let mut random = Random(1);
    for activation in ALL {
        for channels in [1, 2, 3, 7, 8, 15, 16, 17, 33, 63, 64, 65, 1000] {
            for rows in [1, 2, 31, 33, 300] {
                let x: Vec<T> = random.floats(rows * channels, 2.0);
                let (dy, bias): (Vec<T>, Vec<T>) =
                    (random.floats(x.len(), 1.0), random.floats(channels, 1.0));
                let (mut y, mut dz, mut dbias) =
                    (vec![T::NAN; x.len()], vec![T::NAN; x.len()], vec![T::NAN; channels]);
                bias_activation(activation, &x, &bias, &mut y).unwrap();
                bias_activation_backward(activation, &y, &dy, &mut dz, &mut dbias).unwrap();
                let mut sums = vec![0.0; channels];
                for i in 0..x.len() {
                    let z = x[i].to_f64() + bias[i % channels].to_f64();
                    assert!((y[i].to_f64() - value(activation, z)).abs() <= 8.0 * epsilon, "{z}");
                    let want = slope(activation, y[i].to_f64()) * dy[i].to_f64();
                    assert!((dz[i].to_f64() - want).abs() <= 4.0 * epsilon, "{want}");
                    sums[i % channels] += dz[i].to_f64();
                }
                for (got, want) in dbias.iter().zip(sums) {
                    assert!((got.to_f64() - want).abs() <= 20.0 * rows as f64 * epsilon, "{want}");
                }
            }
        }
    }
}

#[test]
fn every_activation_at_every_width() {
    on_every_isa(|_| {
        check_values::<f32>(6e-8);
        check_values::<f64>(1.2e-16);
    });
}

#[test]
fn nan_passes_and_its_relu_has_no_slope() {
    on_every_isa(|_| {
        let (mut y, mut dz, mut dbias) = ([0.0f32; 34], [1.0f32; 34], [1.0f32; 17]);
        for i in 0..34 {
            let mut x = [1.0; 34];
            x[i] = f32::NAN;
            bias_activation(Activation::Relu, &x, &[1.0; 17], &mut y).unwrap();
            assert!((0..34).all(|j| y[j].is_nan() == (i == j)));
            bias_activation_backward(Activation::Relu, &y, &[1.0; 34], &mut dz, &mut dbias).unwrap();
            assert!((0..34).all(|j| dz[j] == f32::from(u8::from(i != j))));
            assert!((0..17).all(|c| dbias[c] == if c == i % 17 { 1.0 } else { 2.0 }));
        }
    });
}

#[test]
fn nothing_has_no_gradient() {
    let mut dbias = [1.0f32; 3];
    bias_activation(Activation::Tanh, &[], &[1.0f32; 3], &mut []).unwrap();
    bias_activation_backward(Activation::Tanh, &[], &[], &mut [], &mut dbias).unwrap();
    assert_eq!(dbias, [0.0; 3]);
    bias_activation::<f32>(Activation::Relu, &[], &[], &mut []).unwrap();
    bias_activation_backward::<f32>(Activation::Relu, &[], &[], &mut [], &mut []).unwrap();
}

#[test]
fn the_same_bits_at_any_thread_count() {
    let mut random = Random(2);
    for (rows, channels) in [(5000, 10), (300, 1024)] {
        let (y, dy): (Vec<f32>, Vec<f32>) =
            (random.floats(rows * channels, 1.0), random.floats(rows * channels, 1.0));
        same_at_any_thread_count(|| {
            let (mut dz, mut dbias) = (vec![0.0; y.len()], vec![0.0; channels]);
            bias_activation_backward(Activation::Tanh, &y, &dy, &mut dz, &mut dbias).unwrap();
            (bits(&dz), bits(&dbias))
        });
    }
}
