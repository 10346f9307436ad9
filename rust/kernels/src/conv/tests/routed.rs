//! Weight gradients through the pooling, against those from the gradient of the convolution's output.

use super::{Case, PLAIN, compare, products, sizes};
use crate::conv::{Conv2d, forward_pooled, pooled_backward, pooled_backward_weights};
use crate::element::Float;
use crate::gemm::tests::values;
use crate::isa::on_every_isa;
use crate::testing::{bits, same_at_any_thread_count};

fn pooled_len(c: &Conv2d) -> usize {
    c.batch * (c.out_height / 2) * (c.out_width / 2) * c.out_channels
}

/// Bytes as [`forward_pooled`] writes them: 0 to 3, and 4 more where relu passes nothing.
fn places(c: &Conv2d) -> Vec<u8> {
    (0..pooled_len(c)).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 7) as u8 % 8).collect()
}

fn routed<T: Float>(c: &Conv2d, x: &[T], dy: &[T], places: &[u8]) -> [Vec<T>; 2] {
    let (mut dw, mut dbias) = (vec![T::NAN; sizes(c).1], vec![T::NAN; c.out_channels]);
    pooled_backward_weights(c, x, dy, places, &mut dw, &mut dbias).unwrap();
    [dw, dbias]
}

/// The gradients of the convolution's output and of the bias.
fn spread<T: Float>(c: &Conv2d, dy: &[T], places: &[u8]) -> [Vec<T>; 2] {
    let (mut dz, mut dbias) = (vec![T::NAN; sizes(c).2], vec![T::NAN; c.out_channels]);
    pooled_backward(c, dy, places, &mut dz, &mut dbias).unwrap();
    [dz, dbias]
}

fn check<T: Float>(c: &Conv2d) {
    let (x, dy, places) = (values::<T>(sizes(c).0, 1), values::<T>(pooled_len(c), 2), places(c));
    let [dz, _] = spread(c, &dy, &places);
    let (mut weights, mut biases) = (vec![(0, 0.0, 0.0); sizes(c).1], vec![(0, 0.0, 0.0); c.out_channels]);
    let add = |(terms, sum, size): &mut (usize, f64, f64), term: f64| {
        (*terms, *sum, *size) = (*terms + 1, *sum + term, *size + term.abs());
    };
    products(c, |i, j, k| add(&mut weights[j], x[i].to_f64() * dz[k].to_f64()));
    dz.iter().enumerate().for_each(|(k, dz)| add(&mut biases[k % c.out_channels], dz.to_f64()));
    let [dw, dbias] = routed(c, &x, &dy, &places);
    compare(&dw, &weights, "dw", c);
    compare(&dbias, &biases, "dbias", c);
}

/// Images of all edges, and outputs of all numbers of vectors, whole and partial.
fn cases() -> Vec<Conv2d> {
    let mut cases = Vec::new();
    for (size, padding) in [
        ([4, 4], [[0, 0], [0, 0]]),
        ([29, 31], [[0, 0], [0, 0]]),
        ([7, 10], [[1, 1], [1, 1]]),
        ([5, 6], [[2, 0], [1, 3]]),
        ([2, 1], [[3, 2], [2, 4]]),
    ] {
        for channels in [[1, 32], [1, 1], [1, 15], [2, 8], [2, 17], [3, 16], [3, 33]] {
            cases.push(Case { size, padding, channels, ..PLAIN }.conv());
        }
    }
    cases.extend([0, 1, 9].map(|batch| Case { batch, size: [28, 28], channels: [1, 20], ..PLAIN }.conv()));
    // Rows so long that a band has one, and no row at all.
    cases.push(Case { batch: 1, size: [7, 1100], channels: [1, 130], ..PLAIN }.conv());
    cases.push(Case { size: [3, 9], channels: [1, 4], ..PLAIN }.conv());
    cases
}

#[test]
fn they_are_those_of_the_two_kernels() {
    on_every_isa(|_| {
        for c in cases() {
            assert!(c.routes_gradients());
            check::<f32>(&c);
            check::<f64>(&c);
        }
    });
}

#[test]
fn ties_go_to_the_first() {
    let c = Case { size: [6, 6], channels: [1, 18], ..PLAIN }.conv();
    let (nx, nw, n) = (sizes(&c).0, sizes(&c).1, pooled_len(&c));
    // Equal outputs, and images that differ only where no first output of a window looks.
    let (mut y, mut places) = (vec![0.0f32; n], vec![9; n]);
    on_every_isa(|_| {
        for (bias, open) in [(1.0, 1.0), (-1.0, 0.0)] {
            let x = vec![1.0; nx];
            forward_pooled(&c, true, &x, &vec![0.0; nw], &[bias; 18], &mut y, &mut places).unwrap();
            let x: Vec<f32> =
                (0..nx).map(|i| if i % 6 == 5 || i / 6 % 6 == 5 { 99.0 } else { 1.0 }).collect();
            let [dw, dbias] = routed(&c, &x, &vec![1.0; n], &places);
            let windows = (n / 18) as f32;
            assert_eq!(dbias, [open * windows; 18]);
            assert_eq!(dw, vec![open * windows; nw]);
        }
    });
}

#[test]
fn special_values_reach_what_sees_them_only() {
    let c = Case { batch: 1, size: [6, 6], channels: [3, 20], ..PLAIN }.conv();
    let (nx, nw, n) = (sizes(&c).0, sizes(&c).1, pooled_len(&c));
    on_every_isa(|_| {
        for (at, closed) in (0..n).flat_map(|at| [(at, 0), (at, 4)]) {
            let (x, mut dy) = (values::<f32>(nx, 1), values::<f32>(n, 2));
            dy[at] = f32::INFINITY;
            let mut places = places(&c);
            places[at] = places[at] % 4 + closed;
            let [dw, dbias] = routed(&c, &x, &dy, &places);
            // Where relu stops it, infinity times 0.
            let special = |x: f32| if closed == 0 { !x.is_finite() } else { x.is_nan() };
            assert!((0..nw).all(|i| if i % 20 == at % 20 { special(dw[i]) } else { dw[i].is_finite() }));
            assert!((0..20).all(|i| if i == at % 20 { special(dbias[i]) } else { dbias[i].is_finite() }));
        }
        for at in 0..nx {
            let (mut x, dy, places) = (values::<f32>(nx, 1), values::<f32>(n, 2), places(&c));
            x[at] = f32::NAN;
            let mut seen = vec![false; nw];
            let [dz, _] =
                spread(&c, &vec![1.0f32; n], &places.iter().map(|place| place % 4).collect::<Vec<_>>());
            products(&c, |i, j, k| seen[j] |= i == at && dz[k] != 0.0);
            let [dw, dbias] = routed(&c, &x, &dy, &places);
            assert!(dw.iter().zip(&seen).all(|(dw, &seen)| dw.is_nan() == seen));
            assert!(dbias.iter().all(|x| x.is_finite()));
        }
    });
}

#[test]
fn threads_do_not_change_bits() {
    let cases = [
        Case { batch: 40, size: [28, 28], channels: [1, 32], ..PLAIN },
        Case { batch: 9, size: [29, 31], channels: [3, 20], padding: [[1, 1], [1, 1]], ..PLAIN },
    ];
    on_every_isa(|_| {
        for c in cases.map(Case::conv) {
            let (x, dy, places) = (values::<f32>(sizes(&c).0, 1), values(pooled_len(&c), 2), places(&c));
            same_at_any_thread_count(|| routed(&c, &x, &dy, &places).map(|part| bits(&part)));
        }
    });
}

#[test]
fn what_it_is_not_made_for_is_refused() {
    let c = Case { size: [8, 8], channels: [1, 4], ..PLAIN };
    for case in [
        Case { channels: [4, 4], ..c },
        Case { channels: [0, 4], ..c },
        Case { channels: [2, 4], groups: 2, ..c },
        Case { kernel: [3, 5], ..c },
        Case { kernel: [5, 3], ..c },
        Case { strides: [1, 2], ..c },
        Case { dilation: [2, 1], ..c },
    ] {
        let c = case.conv();
        assert!(!c.routes_gradients(), "{c:?}");
        let (x, dy, places) = (values::<f32>(sizes(&c).0, 1), values(pooled_len(&c), 2), places(&c));
        assert!(std::panic::catch_unwind(|| routed(&c, &x, &dy, &places)).is_err());
    }
}
