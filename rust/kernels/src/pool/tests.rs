//! Pooling against naive loops.

mod random;

use super::*;
use crate::gemm::tests::{roundoff, values};
use crate::isa::on_every_isa;

fn pool(
    batch: usize,
    size: [usize; 2],
    channels: usize,
    window: [usize; 2],
    strides: [usize; 2],
    padding: [[usize; 2]; 2],
) -> Pool2d {
    let out = |dim: usize| {
        let padded = size[dim] + padding[dim][0] + padding[dim][1];
        if padded < window[dim] { 0 } else { (padded - window[dim]) / strides[dim] + 1 }
    };
    Pool2d {
        batch,
        in_height: size[0],
        in_width: size[1],
        channels,
        out_height: out(0),
        out_width: out(1),
        window,
        strides,
        padding,
    }
}

fn pools() -> Vec<Pool2d> {
    let none = [[0, 0], [0, 0]];
    let mut pools = vec![
        pool(2, [26, 26], 32, [2, 2], [2, 2], none),
        pool(3, [7, 5], 6, [2, 2], [2, 2], [[0, 1], [0, 1]]),
        pool(2, [9, 8], 17, [3, 3], [2, 2], [[1, 1], [1, 1]]),
        pool(2, [9, 8], 4, [3, 2], [1, 1], [[0, 1], [1, 0]]),
        pool(1, [9, 8], 3, [2, 1], [3, 4], [[1, 0], [2, 3]]),
        pool(1, [4, 4], 40, [4, 4], [4, 4], none),
        pool(1, [3, 3], 2, [2, 2], [1, 1], [[3, 3], [0, 0]]),
        pool(3, [200, 60], 16, [2, 3], [2, 3], none),
        pool(0, [4, 4], 4, [2, 2], [2, 2], none),
        pool(1, [1, 4], 4, [2, 2], [2, 2], none),
        pool(1, [4, 4], 0, [2, 2], [2, 2], none),
        pool(1, [0, 4], 3, [2, 2], [2, 2], [[1, 1], [0, 0]]),
    ];
    for channels in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33] {
        pools.push(pool(1, [5, 4], channels, [2, 2], [2, 2], none));
        pools.push(pool(1, [channels, 4], 1, [3, 3], [1, 2], [[1, 1], [1, 1]]));
    }
    pools
}

/// Calls `f(output, inputs)` with the indices of every window's elements in order.
fn windows(p: &Pool2d, mut f: impl FnMut(usize, &[usize])) {
    let at = |out: usize, k: usize, dim: usize, side: usize| {
        (out * p.strides[dim] + k).checked_sub(p.padding[dim][0]).filter(|&i| i < side)
    };
    for b in 0..p.batch {
        for (oy, ox) in (0..p.out_height).flat_map(|y| (0..p.out_width).map(move |x| (y, x))) {
            for c in 0..p.channels {
                let mut inputs = Vec::new();
                for (ky, kx) in (0..p.window[0]).flat_map(|y| (0..p.window[1]).map(move |x| (y, x))) {
                    if let (Some(y), Some(x)) = (at(oy, ky, 0, p.in_height), at(ox, kx, 1, p.in_width)) {
                        inputs.push(((b * p.in_height + y) * p.in_width + x) * p.channels + c);
                    }
                }
                f(((b * p.out_height + oy) * p.out_width + ox) * p.channels + c, &inputs);
            }
        }
    }
}

fn sizes(p: &Pool2d) -> (usize, usize) {
    (p.batch * p.in_height * p.in_width * p.channels, p.batch * p.out_height * p.out_width * p.channels)
}

/// Where the maximum of these elements is.
fn argmax<T: Float>(x: &[T], inputs: &[usize]) -> Option<usize> {
    let mut best = *inputs.first()?;
    for &i in inputs {
        let (new, old) = (x[i].to_f64(), x[best].to_f64());
        if new > old || (new.is_nan() && !old.is_nan()) {
            best = i;
        }
    }
    Some(best)
}

fn same<T: Float>(a: T, b: f64) -> bool {
    a.to_f64() == b || (a.to_f64().is_nan() && b.is_nan())
}

fn check_max<T: Float>(p: &Pool2d, x: &[T]) {
    let (nx, ny) = sizes(p);
    let dy = values::<T>(ny, 2);
    let (mut y, mut dx) = (vec![T::ZERO; ny], vec![T::NAN; nx]);
    max_forward(p, x, &mut y);
    max_backward(p, x, &dy, &mut dx);
    let mut want = vec![T::ZERO; nx];
    windows(p, |o, inputs| {
        let best = argmax(x, inputs);
        assert!(same(y[o], best.map_or(f64::NEG_INFINITY, |i| x[i].to_f64())), "{p:?} at {o}: {:?}", y[o]);
        if let Some(i) = best {
            want[i] = want[i].add(dy[o]);
        }
    });
    assert!(dx == want, "{p:?}");
}

fn check_average<T: Float>(p: &Pool2d) {
    let (nx, ny) = sizes(p);
    let (x, dy) = (values::<T>(nx, 3), values::<T>(ny, 4));
    let (mut y, mut dx) = (vec![T::NAN; ny], vec![T::NAN; nx]);
    average_forward(p, &x, &mut y);
    average_backward(p, &dy, &mut dx);
    let mut want = vec![(0.0, 0.0); nx];
    windows(p, |o, inputs| {
        let n = inputs.len().max(1) as f64;
        let (sum, size) =
            inputs.iter().map(|&i| x[i].to_f64()).fold((0.0, 0.0), |(s, a), x| (s + x, a + x.abs()));
        assert!((y[o].to_f64() - sum / n).abs() <= 2.0 * n * roundoff::<T>() * size / n, "{p:?} at {o}");
        for &i in inputs {
            want[i] = (want[i].0 + dy[o].to_f64() / n, want[i].1 + dy[o].to_f64().abs() / n);
        }
    });
    for (got, (sum, size)) in dx.iter().zip(want) {
        let terms = (p.window[0] * p.window[1]) as f64 + 1.0;
        assert!((got.to_f64() - sum).abs() <= 2.0 * terms * roundoff::<T>() * size, "{p:?}");
    }
}

#[test]
fn pooling_matches_naive_loops() {
    on_every_isa(|_| {
        for p in pools() {
            check_max::<f32>(&p, &values(sizes(&p).0, 1));
            check_max::<f64>(&p, &values(sizes(&p).0, 1));
            check_average::<f32>(&p);
            check_average::<f64>(&p);
        }
    });
}

#[test]
fn ties_and_special_values_go_to_the_first() {
    let special = [0.0, 1.0, f32::NEG_INFINITY, f32::NAN, 1.0, -0.0, f32::INFINITY, 0.0, f32::NEG_INFINITY];
    on_every_isa(|_| {
        for p in pools() {
            for shift in 0..7 {
                let x: Vec<f32> =
                    (0..sizes(&p).0).map(|i| special[(i * i / 3 + i + shift) % special.len()]).collect();
                check_max(&p, &x);
            }
            check_max(&p, &vec![f32::NEG_INFINITY; sizes(&p).0]);
            check_max(&p, &vec![f32::NAN; sizes(&p).0]);
        }
    });
}

#[test]
fn threads_do_not_change_bits() {
    on_every_isa(|_| {
        for p in pools() {
            let (nx, ny) = sizes(&p);
            let (x, dy) = (values::<f32>(nx, 1), values::<f32>(ny, 2));
            let run = |threads: usize| {
                par::set_threads(threads);
                let mut out = [vec![0.0; ny], vec![0.0; nx], vec![0.0; ny], vec![0.0; nx]];
                max_forward(&p, &x, &mut out[0]);
                max_backward(&p, &x, &dy, &mut out[1]);
                average_forward(&p, &x, &mut out[2]);
                average_backward(&p, &dy, &mut out[3]);
                out
            };
            let one = run(1);
            for threads in [2, 3, 8] {
                assert!(one == run(threads), "{threads} threads: {p:?}");
            }
        }
        par::set_threads(par::available());
    });
}
