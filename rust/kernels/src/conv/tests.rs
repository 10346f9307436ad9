//! Convolutions and their gradients against naive loops in float64.

mod lanes;
mod pooled;
mod quads;
mod random;
mod routed;

use super::{Conv2d, backward_data, backward_weights, forward};
use crate::element::Float;
use crate::gemm::tests::{roundoff, values};
use crate::isa::on_every_isa;
use crate::par;

/// A square convolution with the output size that follows from the rest.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    size: [usize; 2],
    channels: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilation: [usize; 2],
    padding: [[usize; 2]; 2],
    groups: usize,
}

const PLAIN: Case = Case {
    batch: 2,
    size: [7, 9],
    channels: [3, 5],
    kernel: [3, 3],
    strides: [1, 1],
    dilation: [1, 1],
    padding: [[0, 0], [0, 0]],
    groups: 1,
};

impl Case {
    fn conv(self) -> Conv2d {
        let out = |dim: usize| {
            let padded = self.size[dim] + self.padding[dim][0] + self.padding[dim][1];
            let reach = (self.kernel[dim].max(1) - 1) * self.dilation[dim] + 1;
            if padded < reach { 0 } else { (padded - reach) / self.strides[dim] + 1 }
        };
        Conv2d {
            batch: self.batch,
            in_height: self.size[0],
            in_width: self.size[1],
            in_channels: self.channels[0],
            out_height: out(0),
            out_width: out(1),
            out_channels: self.channels[1],
            kernel_height: self.kernel[0],
            kernel_width: self.kernel[1],
            strides: self.strides,
            dilation: self.dilation,
            padding: self.padding,
            groups: self.groups,
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        PLAIN,
        // First layers, and the layers after them.
        Case { size: [28, 28], channels: [1, 32], ..PLAIN },
        Case { size: [11, 12], channels: [3, 32], padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { size: [13, 13], channels: [32, 64], ..PLAIN },
        Case { size: [9, 9], channels: [33, 17], padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { size: [14, 14], channels: [6, 16], kernel: [5, 5], ..PLAIN },
        // Pointwise, with and without a stride or padding.
        Case { channels: [8, 40], kernel: [1, 1], ..PLAIN },
        Case { channels: [8, 40], kernel: [1, 1], strides: [2, 2], ..PLAIN },
        Case { channels: [8, 3], kernel: [1, 1], padding: [[1, 0], [0, 2]], ..PLAIN },
        // Asymmetric everything.
        Case { kernel: [2, 4], strides: [3, 2], dilation: [2, 1], padding: [[2, 0], [1, 3]], ..PLAIN },
        Case { kernel: [3, 2], strides: [1, 3], dilation: [1, 2], padding: [[0, 1], [2, 2]], ..PLAIN },
        Case { kernel: [3, 3], strides: [4, 5], padding: [[1, 1], [1, 1]], ..PLAIN },
        // A stride larger than the kernel, and padding larger than the kernel.
        Case { kernel: [1, 2], strides: [3, 3], ..PLAIN },
        Case { kernel: [2, 2], padding: [[4, 3], [5, 4]], ..PLAIN },
        // A kernel as large as the image, and a dilated one that sees only its own pixel.
        Case { kernel: [7, 9], ..PLAIN },
        Case { size: [3, 3], dilation: [5, 5], padding: [[5, 5], [5, 5]], ..PLAIN },
        // Groups, depthwise, and depthwise with a multiplier.
        Case { channels: [6, 9], groups: 3, padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { channels: [6, 8], groups: 2, strides: [2, 2], dilation: [1, 2], ..PLAIN },
        Case { channels: [5, 5], groups: 5, padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { channels: [35, 35], groups: 35, strides: [2, 1], padding: [[1, 0], [0, 1]], ..PLAIN },
        Case { channels: [4, 8], groups: 4, ..PLAIN },
        // Many rows: several chunks of the batch.
        Case { batch: 9, size: [40, 30], channels: [16, 32], padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { batch: 1, size: [5, 5], channels: [70, 130], padding: [[1, 1], [1, 1]], ..PLAIN },
        // Nothing.
        Case { batch: 0, ..PLAIN },
        Case { size: [0, 9], padding: [[2, 2], [0, 0]], ..PLAIN },
        Case { size: [2, 2], ..PLAIN },
        Case { channels: [0, 4], ..PLAIN },
        Case { channels: [4, 0], ..PLAIN },
        Case { kernel: [0, 3], ..PLAIN },
    ];
    for side in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33] {
        cases.push(Case { batch: 1, size: [1, side], kernel: [1, 1], channels: [side, 1], ..PLAIN });
        cases.push(Case {
            batch: 1,
            size: [side, 4],
            channels: [1, side],
            padding: [[1, 1], [1, 1]],
            ..PLAIN
        });
        cases.push(Case { batch: 1, size: [4, side], channels: [side, side], ..PLAIN });
    }
    cases
}

/// Calls `f` with the indices of x, w and y of every product of the convolution.
fn products(c: &Conv2d, mut f: impl FnMut(usize, usize, usize)) {
    let (depth, width) = (c.in_channels / c.groups, c.out_channels / c.groups);
    let at = |out: usize, tap: usize, dim: usize, side: usize| {
        (out * c.strides[dim] + tap * c.dilation[dim]).checked_sub(c.padding[dim][0]).filter(|&i| i < side)
    };
    for b in 0..c.batch {
        for (p, q) in (0..c.out_height).flat_map(|p| (0..c.out_width).map(move |q| (p, q))) {
            for (ky, kx) in (0..c.kernel_height).flat_map(|y| (0..c.kernel_width).map(move |x| (y, x))) {
                let (Some(y), Some(x)) = (at(p, ky, 0, c.in_height), at(q, kx, 1, c.in_width)) else {
                    continue;
                };
                for o in 0..c.out_channels {
                    for i in 0..depth {
                        f(
                            ((b * c.in_height + y) * c.in_width + x) * c.in_channels + o / width * depth + i,
                            ((ky * c.kernel_width + kx) * depth + i) * c.out_channels + o,
                            ((b * c.out_height + p) * c.out_width + q) * c.out_channels + o,
                        );
                    }
                }
            }
        }
    }
}

/// The sizes of x, w and y.
fn sizes(c: &Conv2d) -> (usize, usize, usize) {
    (
        c.batch * c.in_height * c.in_width * c.in_channels,
        c.kernel_height * c.kernel_width * (c.in_channels / c.groups) * c.out_channels,
        c.batch * c.out_height * c.out_width * c.out_channels,
    )
}

/// Compares with `sum[i] = (terms, sum, sum of absolute values)` under the contraction's bound.
fn compare<T: Float>(got: &[T], want: &[(usize, f64, f64)], what: &str, c: &Conv2d) {
    for (i, (got, &(terms, sum, size))) in got.iter().zip(want).enumerate() {
        let error = (got.to_f64() - sum).abs();
        let bound = 2.0 * terms as f64 * roundoff::<T>() * size;
        assert!(error <= bound, "{what}[{i}]: {got:?}, not {sum} ({c:?})");
    }
}

fn check<T: Float>(c: &Conv2d) {
    let (nx, nw, ny) = sizes(c);
    let (x, w, dy) = (values::<T>(nx, 1), values::<T>(nw, 2), values::<T>(ny, 3));
    let mut want = [nx, nw, ny].map(|n| vec![(0, 0.0, 0.0); n]);
    products(c, |i, j, k| {
        let mut add = |which: usize, at: usize, term: f64| {
            let (terms, sum, size): &mut (usize, f64, f64) = &mut want[which][at];
            (*terms, *sum, *size) = (*terms + 1, *sum + term, *size + term.abs());
        };
        let [x, w, dy] = [x[i], w[j], dy[k]].map(|v| v.to_f64());
        add(2, k, x * w);
        add(0, i, w * dy);
        add(1, j, x * dy);
    });
    let mut y = vec![T::NAN; ny];
    forward(c, &x, &w, &mut y).unwrap();
    compare(&y, &want[2], "y", c);
    let mut dx = vec![T::NAN; nx];
    backward_data(c, &dy, &w, &mut dx).unwrap();
    compare(&dx, &want[0], "dx", c);
    let mut dw = vec![T::NAN; nw];
    backward_weights(c, &x, &dy, &mut dw).unwrap();
    compare(&dw, &want[1], "dw", c);
}

#[test]
fn convolutions_and_gradients_match_naive_loops() {
    on_every_isa(|_| {
        for case in cases() {
            check::<f32>(&case.conv());
            check::<f64>(&case.conv());
        }
    });
}

#[test]
fn threads_do_not_change_bits() {
    let cases = [
        Case { batch: 9, size: [40, 30], channels: [16, 32], padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { batch: 5, size: [28, 28], channels: [1, 32], ..PLAIN },
        Case { batch: 3, size: [30, 30], channels: [48, 48], groups: 48, ..PLAIN },
        Case { batch: 1, size: [5, 5], channels: [70, 130], padding: [[1, 1], [1, 1]], ..PLAIN },
    ];
    on_every_isa(|_| {
        for c in cases.map(Case::conv) {
            let (nx, nw, ny) = sizes(&c);
            let (x, w, dy) = (values::<f32>(nx, 1), values::<f32>(nw, 2), values::<f32>(ny, 3));
            let run = |threads: usize| {
                par::set_threads(threads);
                let (mut y, mut dx, mut dw) = (vec![f32::NAN; ny], vec![f32::NAN; nx], vec![f32::NAN; nw]);
                forward(&c, &x, &w, &mut y).unwrap();
                backward_data(&c, &dy, &w, &mut dx).unwrap();
                backward_weights(&c, &x, &dy, &mut dw).unwrap();
                (y, dx, dw)
            };
            let one = run(1);
            for threads in [2, 3, 8] {
                assert!(one == run(threads), "{threads} threads: {c:?}");
            }
        }
        par::set_threads(par::available());
    });
}

#[test]
fn a_nan_reaches_what_sees_it_only() {
    let c = Case { size: [5, 6], channels: [2, 17], padding: [[1, 1], [1, 1]], ..PLAIN }.conv();
    let (nx, nw, ny) = sizes(&c);
    on_every_isa(|_| {
        for at in 0..nx {
            let (mut x, w) = (values::<f32>(nx, 1), values::<f32>(nw, 2));
            x[at] = f32::NAN;
            let (mut y, mut want) = (vec![0.0; ny], vec![false; ny]);
            forward(&c, &x, &w, &mut y).unwrap();
            products(&c, |i, _, k| want[k] |= i == at);
            assert!(y.iter().zip(&want).all(|(y, &nan)| y.is_nan() == nan));
        }
    });
}

#[test]
#[should_panic(expected = "wrong kernel size")]
fn lengths_are_checked() {
    let c = PLAIN.conv();
    let (nx, nw, ny) = sizes(&c);
    let _ = forward(&c, &vec![0.0f32; nx], &vec![0.0; nw + 1], &mut vec![0.0; ny]);
}

#[test]
fn sizes_that_wrap_around_are_refused() {
    let refused = |c: Conv2d, x: usize, w: usize, y: usize| {
        let run = || forward(&c, &vec![0.0f32; x], &vec![0.0; w], &mut vec![0.0; y]);
        assert!(std::panic::catch_unwind(run).is_err(), "{c:?}");
    };
    let (nx, nw, ny) = sizes(&PLAIN.conv());
    let half = 1 << (usize::BITS / 2);
    refused(Conv2d { batch: half, in_height: half, ..PLAIN.conv() }, 0, nw, ny);
    refused(Conv2d { batch: half, out_height: half, ..PLAIN.conv() }, nx, nw, 0);
    refused(Conv2d { strides: [usize::MAX / 2, 1], ..PLAIN.conv() }, nx, nw, ny);
    refused(Conv2d { dilation: [1, isize::MAX as usize], ..PLAIN.conv() }, nx, nw, ny);
}
