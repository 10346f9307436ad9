//! Windows of one channel in registers, against plain loops over the convolution's output.

use super::{Case, PLAIN, forward, sizes};
use crate::conv::{Conv2d, forward_pooled, quads};
use crate::element::Float;
use crate::gemm::tests::values;
use crate::isa::on_every_isa;
use crate::testing::{bits, same_at_any_thread_count};

/// The pooled output and its bytes.
fn fused<T: Float>(c: &Conv2d, relu: bool, x: &[T], w: &[T], bias: &[T]) -> (Vec<T>, Vec<u8>) {
    let n = c.batch * (c.out_height / 2) * (c.out_width / 2) * c.out_channels;
    let (mut y, mut places) = (vec![T::NAN; n], vec![99; n]);
    forward_pooled(c, relu, x, w, bias, &mut y, &mut places).unwrap();
    (y, places)
}

/// The same by definition: the first largest, or the first NaN, of each window.
fn defined<T: Float>(c: &Conv2d, relu: bool, x: &[T], w: &[T], bias: &[T]) -> (Vec<T>, Vec<u8>) {
    let mut z = vec![T::NAN; sizes(c).2];
    forward(c, x, w, &mut z).unwrap();
    let (mut y, mut places) = (Vec::new(), Vec::new());
    for b in 0..c.batch {
        for (p, q) in (0..c.out_height / 2).flat_map(|p| (0..c.out_width / 2).map(move |q| (p, q))) {
            for o in 0..c.out_channels {
                let (mut best, mut place) = (f64::NEG_INFINITY, 0);
                for i in 0..4 {
                    let pixel = (b * c.out_height + 2 * p + i / 2) * c.out_width + 2 * q + i % 2;
                    // float64 holds the sum of two float32, and rounds it but once.
                    let sum = T::from_f64(z[pixel * c.out_channels + o].to_f64() + bias[o].to_f64()).to_f64();
                    if i == 0 || sum > best || (sum.is_nan() && !best.is_nan()) {
                        (best, place) = (sum, i as u8);
                    }
                }
                let closed = relu && (best.is_nan() || best <= 0.0);
                places.push(if closed { place + 4 } else { place });
                y.push(T::from_f64(if relu && best <= 0.0 { 0.0 } else { best }));
            }
        }
    }
    (y, places)
}

/// Both ways give the same, to the sign of a zero.
fn check<T: Float>(c: &Conv2d, x: &[T], w: &[T], bias: &[T]) {
    // Which NaN it is does not matter.
    let plain = |y: Vec<T>| {
        bits(&y.iter().map(|&y| if y.to_f64().is_nan() { T::NAN } else { y }).collect::<Vec<_>>())
    };
    for relu in [false, true] {
        let ((y, places), (y_want, places_want)) = (fused(c, relu, x, w, bias), defined(c, relu, x, w, bias));
        assert!(plain(y) == plain(y_want), "y of {c:?}, relu {relu}");
        assert!(places == places_want, "bytes of {c:?}, relu {relu}");
    }
}

fn operands<T: Float>(c: &Conv2d) -> [Vec<T>; 3] {
    [values(sizes(c).0, 1), values(sizes(c).1, 2), values(c.out_channels, 3)]
}

/// Images of all edges, and all numbers of vectors.
fn cases() -> Vec<Conv2d> {
    let mut cases = Vec::new();
    for (size, padding) in [
        ([4, 4], [[0, 0], [0, 0]]),
        ([29, 31], [[0, 0], [0, 0]]),
        ([6, 9], [[0, 0], [1, 1]]),
        ([7, 10], [[1, 1], [1, 1]]),
        ([5, 6], [[2, 0], [1, 3]]),
        ([2, 1], [[3, 2], [2, 4]]),
        ([0, 3], [[3, 2], [2, 4]]),
    ] {
        for channels in [16, 32, 48, 64] {
            cases.push(Case { size, padding, channels: [1, channels], ..PLAIN }.conv());
        }
    }
    // Tasks that begin and end inside of images, and rows so long that a band has one.
    cases.push(Case { batch: 12, size: [28, 28], channels: [1, 32], ..PLAIN }.conv());
    cases.push(Case { batch: 1, size: [7, 1100], channels: [1, 128], ..PLAIN }.conv());
    cases
}

#[test]
fn windows_are_as_defined() {
    on_every_isa(|_| {
        for c in cases() {
            let [x, w, bias] = operands::<f32>(&c);
            assert!(quads::fits(&c));
            check(&c, &x, &w, &bias);
            let [x, w, bias] = operands::<f64>(&c);
            check(&c, &x, &w, &bias);
        }
    });
}

#[test]
fn equals_go_to_the_first() {
    let c = Case { size: [9, 8], channels: [1, 48], padding: [[1, 0], [0, 1]], ..PLAIN }.conv();
    let few =
        |values: &[f32], n: usize| (0..n).map(|i| values[(i * i / 3 + i) % values.len()]).collect::<Vec<_>>();
    on_every_isa(|_| {
        let (nx, nw, _) = sizes(&c);
        for values in [&[0.0][..], &[1.0, 0.0, -1.0], &[-0.0, 1.0], &[0.0, -0.0, -1.0, 1.0, 0.5]] {
            for bias in [0.0, -0.0, 1.0, -3.0] {
                check(&c, &few(values, nx), &few(&[1.0, -1.0, 0.0, 1.0, -0.0], nw), &[bias; 48]);
            }
        }
        // Sums that differ until a bias swallows the difference.
        let [x, w, _] = operands::<f32>(&c);
        for bias in [1e6, -1e6, 3e17] {
            check(&c, &x, &w, &[bias; 48]);
        }
    });
}

#[test]
fn special_values_are_as_defined() {
    let c = Case { batch: 3, size: [6, 7], channels: [1, 32], padding: [[1, 1], [0, 1]], ..PLAIN }.conv();
    on_every_isa(|_| {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1e25, 1e18, 1.1e18] {
            for at in (0..126).step_by(5) {
                let mut operands = operands::<f32>(&c);
                operands[0][at] = special;
                let [x, w, bias] = &operands;
                check(&c, x, w, bias);
                for of in 1..3 {
                    let mut operands = operands.clone();
                    let n = operands[of].len();
                    operands[of][at % n] = -special;
                    let [x, w, bias] = &operands;
                    check(&c, x, w, bias);
                }
            }
        }
        // The largest sums that are taken for numbers.
        check(&c, &vec![1e18f32; sizes(&c).0], &vec![1e18; sizes(&c).1], &[1e18; 32]);
    });
}

#[test]
fn what_may_be_no_number_is_left_to_others() {
    let c = Case { batch: 30, size: [28, 28], channels: [1, 32], ..PLAIN }.conv();
    let [x, w, bias] = operands::<f32>(&c);
    let done = |x: &[f32], w: &[f32], bias: &[f32]| {
        let (mut y, mut places) = fused(&c, true, x, w, bias);
        quads::forward(&c, true, x, w, bias, &mut y, &mut places).unwrap()
    };
    let with = |of: &[f32], at: usize, value: f32| {
        let mut of = of.to_vec();
        of[at] = value;
        of
    };
    on_every_isa(|_| {
        assert!(done(&x, &w, &bias));
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -2e18] {
            for at in [0, 15, 16, 784 * 17 + 5, x.len() - 1] {
                assert!(!done(&with(&x, at, value), &w, &bias));
            }
            assert!(!done(&x, &with(&w, w.len() - 1, value), &bias));
            assert!(!done(&x, &w, &with(&bias, 0, value)));
        }
        // Whichever images were done before it was met.
        let last = with(&x, x.len() - 1, f32::NAN);
        let once = same_at_any_thread_count(|| fused(&c, true, &last, &w, &bias).1);
        assert!(once == defined(&c, true, &last, &w, &bias).1);
    });
}

#[test]
fn other_shapes_are_left_to_others() {
    let c = Case { size: [8, 8], channels: [1, 16], ..PLAIN };
    assert!(quads::fits(&c.conv()));
    for other in [
        Case { channels: [1, 8], ..c },
        Case { channels: [2, 16], ..c },
        Case { kernel: [3, 5], ..c },
        Case { strides: [2, 1], ..c },
        // A row of windows that would take long between two checkpoints.
        Case { size: [4, 1 << 20], ..c },
    ] {
        assert!(!quads::fits(&other.conv()));
    }
}
