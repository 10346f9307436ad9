//! The pooled convolution against the three kernels that it is made of.

use super::{Case, Conv2d, PLAIN, cases, forward, sizes};
use crate::activate::{Activation, bias_activation, bias_activation_backward};
use crate::conv::{forward_pooled, pooled_backward};
use crate::element::Float;
use crate::gemm::tests::{roundoff, values};
use crate::isa::on_every_isa;
use crate::pool::{Pool2d, max_backward, max_forward};
use crate::testing::{bits, same_at_any_thread_count};

fn pool(c: &Conv2d) -> Pool2d {
    Pool2d {
        batch: c.batch,
        in_height: c.out_height,
        in_width: c.out_width,
        channels: c.out_channels,
        out_height: c.out_height / 2,
        out_width: c.out_width / 2,
        window: [2, 2],
        strides: [2, 2],
        padding: [[0, 0], [0, 0]],
    }
}

fn pooled_len(c: &Conv2d) -> usize {
    c.batch * (c.out_height / 2) * (c.out_width / 2) * c.out_channels
}

/// The pooled output, the gradients of the convolution's output and of the bias.
fn fused<T: Float>(c: &Conv2d, relu: bool, x: &[T], w: &[T], bias: &[T], dy: &[T]) -> [Vec<T>; 3] {
    let n = pooled_len(c);
    let (mut y, mut places) = (vec![T::NAN; n], vec![99; n]);
    forward_pooled(c, relu, x, w, bias, &mut y, &mut places).unwrap();
    let (mut dz, mut dbias) = (vec![T::NAN; sizes(c).2], vec![T::NAN; c.out_channels]);
    pooled_backward(c, dy, &places, &mut dz, &mut dbias).unwrap();
    [y, dz, dbias]
}

/// The same by one kernel after the other.
fn separate<T: Float>(c: &Conv2d, relu: bool, x: &[T], w: &[T], bias: &[T], dy: &[T]) -> [Vec<T>; 3] {
    let (activation, full) = (if relu { Activation::Relu } else { Activation::Linear }, sizes(c).2);
    let [mut z, mut a, mut da, mut dz] = [(); 4].map(|()| vec![T::NAN; full]);
    forward(c, x, w, &mut z).unwrap();
    bias_activation(activation, &z, bias, &mut a).unwrap();
    let (mut y, mut dbias) = (vec![T::NAN; pooled_len(c)], vec![T::NAN; c.out_channels]);
    max_forward(&pool(c), &a, &mut y);
    max_backward(&pool(c), &a, dy, &mut da);
    bias_activation_backward(activation, &a, &da, &mut dz, &mut dbias).unwrap();
    [y, dz, dbias]
}

fn same<T: Float>(a: &[T], b: &[T]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b || (a.to_f64().is_nan() && b.to_f64().is_nan()))
}

fn check<T: Float>(c: &Conv2d, relu: bool, x: &[T], w: &[T], bias: &[T]) {
    let dy = values::<T>(pooled_len(c), 4);
    let ([y, dz, dbias], [y_want, dz_want, dbias_want]) =
        (fused(c, relu, x, w, bias, &dy), separate(c, relu, x, w, bias, &dy));
    assert!(same(&y, &y_want), "y of {c:?}");
    assert!(same(&dz, &dz_want), "dz of {c:?}");
    let mut size = vec![0.0; c.out_channels];
    dy.iter().enumerate().for_each(|(i, dy)| size[i % c.out_channels] += dy.to_f64().abs());
    for ((got, want), size) in dbias.iter().zip(&dbias_want).zip(size) {
        let bound = 2.0 * (y.len() / c.out_channels) as f64 * roundoff::<T>() * size;
        assert!((got.to_f64() - want.to_f64()).abs() <= bound, "dbias of {c:?}: {got:?}, not {want:?}");
    }
}

fn operands<T: Float>(c: &Conv2d) -> [Vec<T>; 3] {
    let (nx, nw, _) = sizes(c);
    [values(nx, 1), values(nw, 2), values(c.out_channels, 3)]
}

#[test]
fn pooled_convolutions_are_the_three_kernels() {
    on_every_isa(|_| {
        for c in cases().into_iter().map(Case::conv) {
            for relu in [false, true] {
                let [x, w, bias] = operands::<f32>(&c);
                check(&c, relu, &x, &w, &bias);
                let [x, w, bias] = operands::<f64>(&c);
                check(&c, relu, &x, &w, &bias);
            }
        }
    });
}

#[test]
fn ties_and_special_values_go_to_the_first() {
    let special = [0.0, 1.0, f32::NEG_INFINITY, f32::NAN, 1.0, -0.0, f32::INFINITY, 0.0, -2.0];
    on_every_isa(|_| {
        for channels in [1, 3, 8, 16, 17] {
            let c = Case { size: [5, 6], channels: [channels, channels], kernel: [1, 1], ..PLAIN };
            // One kernel of 1 for each channel: the images are the convolution's output.
            let c = Case { groups: channels, padding: [[0, 1], [0, 0]], ..c }.conv();
            for shift in 0..7 {
                let x: Vec<f32> =
                    (0..sizes(&c).0).map(|i| special[(i * i / 3 + i + shift) % special.len()]).collect();
                for (relu, bias) in [false, true].into_iter().flat_map(|r| [(r, 0.0), (r, f32::INFINITY)]) {
                    check(&c, relu, &x, &vec![1.0; channels], &vec![bias; channels]);
                }
            }
        }
    });
}

#[test]
fn an_infinite_gradient_that_relu_stops_is_nan() {
    let c = Case { batch: 1, size: [2, 2], channels: [1, 1], kernel: [1, 1], ..PLAIN }.conv();
    on_every_isa(|_| {
        for of in [fused::<f32>, separate::<f32>] {
            let [y, dz, dbias] = of(&c, true, &[-1.0; 4], &[1.0], &[0.0], &[f32::INFINITY]);
            assert_eq!(y, [0.0]);
            assert!(dz[0].is_nan() && dz[1..] == [0.0; 3] && dbias[0].is_nan());
        }
    });
}

#[test]
fn threads_do_not_change_bits() {
    let cases = [
        Case { batch: 9, size: [41, 30], channels: [16, 32], padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { batch: 5, size: [28, 28], channels: [1, 32], ..PLAIN },
        Case { batch: 3, size: [30, 30], channels: [48, 48], groups: 48, ..PLAIN },
        Case { batch: 2, size: [6, 200], channels: [4, 130], padding: [[1, 1], [1, 1]], ..PLAIN },
    ];
    on_every_isa(|_| {
        for c in cases.map(Case::conv) {
            let [x, w, bias] = operands::<f32>(&c);
            let dy = values::<f32>(pooled_len(&c), 4);
            same_at_any_thread_count(|| fused(&c, true, &x, &w, &bias, &dy).map(|part| bits(&part)));
        }
    });
}

#[test]
#[should_panic(expected = "one byte for each output")]
fn lengths_are_checked() {
    let c = PLAIN.conv();
    let [x, w, bias] = operands::<f32>(&c);
    let mut y = vec![0.0; pooled_len(&c)];
    let _ = forward_pooled(&c, true, &x, &w, &bias, &mut y, &mut []);
}
