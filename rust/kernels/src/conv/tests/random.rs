//! Convolutions drawn at random: every size, stride, dilation, padding and grouping together.

use super::{Case, Conv2d, backward_data, backward_weights, forward, products, sizes};
use crate::element::Float;
use crate::gemm::tests::{roundoff, values};
use crate::isa::on_every_isa;
use crate::testing::Random;

/// Terms, their sum and the sum of their absolute values, for each element.
type Sums = Vec<(usize, f64, f64)>;

/// More products than this take the naive loop too long.
const MOST: usize = 200_000;

/// A random convolution; now and then without images, pixels or outputs.
fn draw(random: &mut Random) -> Conv2d {
    let mut pick = |of: &[usize]| of[random.below(of.len())];
    let kernel = [pick(&[1, 1, 2, 3, 3, 4, 5, 9]), pick(&[1, 1, 2, 3, 3, 4, 5, 9])];
    let groups = pick(&[1, 1, 1, 2, 3, 5, 8, 17, 33]);
    let multipliers: &[usize] =
        if groups > 3 { &[1, 1, 1, 2, 3] } else { &[1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 33] };
    let channels = [groups * pick(multipliers), groups * pick(multipliers)];
    let size = [pick(&[0, 1, 1, 2, 3, 4, 5, 7, 9, 16]), pick(&[0, 1, 1, 2, 3, 4, 5, 7, 9, 16])];
    let strides = [pick(&[1, 1, 1, 2, 3, 7]), pick(&[1, 1, 1, 2, 3, 7])];
    let dilation = [pick(&[1, 1, 1, 2, 3]), pick(&[1, 1, 1, 2, 3])];
    let batch = pick(&[0, 1, 1, 2, 3]);
    // Valid, same, or anything: asymmetric, larger than the kernel, on one side only.
    let padding = match pick(&[0, 1, 2]) {
        0 => [[0, 0], [0, 0]],
        1 => [0, 1].map(|dim| {
            let windows = size[dim].div_ceil(strides[dim]).max(1);
            let reach = (kernel[dim] - 1) * dilation[dim] + 1;
            let total = ((windows - 1) * strides[dim] + reach).saturating_sub(size[dim]);
            [total / 2, total - total / 2]
        }),
        _ => [(); 2].map(|()| [(); 2].map(|()| pick(&[0, 0, 1, 2, 3, 6, 11]))),
    };
    Case { batch, size, channels, kernel, strides, dilation, padding, groups }.conv()
}

/// What x, w and y (or their gradients) are by definition.
fn definition<T: Float>(c: &Conv2d, x: &[T], w: &[T], dy: &[T]) -> [Sums; 3] {
    let mut sums = [x.len(), w.len(), dy.len()].map(|n| vec![(0, 0.0, 0.0); n]);
    products(c, |i, j, k| {
        let mut add = |which: usize, at: usize, term: f64| {
            let (terms, sum, size) = &mut sums[which][at];
            (*terms, *sum, *size) = (*terms + 1, *sum + term, *size + term.abs());
        };
        let [x, w, dy] = [x[i], w[j], dy[k]].map(|v| v.to_f64());
        add(0, i, w * dy);
        add(1, j, x * dy);
        add(2, k, x * w);
    });
    sums
}

/// The three kernels' results.
fn all<T: Float>(c: &Conv2d, x: &[T], w: &[T], dy: &[T]) -> [Vec<T>; 3] {
    let mut out = [x.len(), w.len(), dy.len()].map(|n| vec![T::NAN; n]);
    backward_data(c, dy, w, &mut out[0]).unwrap();
    backward_weights(c, x, dy, &mut out[1]).unwrap();
    forward(c, x, w, &mut out[2]).unwrap();
    out
}

fn dot<T: Float>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
}

/// The largest error as a share of its bound `2 K u (|A| . |B|)`.
fn worst<T: Float>(got: &[Vec<T>; 3], want: &[Sums; 3], c: &Conv2d) -> f64 {
    let mut worst: f64 = 0.0;
    for (got, want) in got.iter().zip(want) {
        for (got, &(terms, sum, size)) in got.iter().zip(want) {
            let (error, bound) = ((got.to_f64() - sum).abs(), 2.0 * terms as f64 * roundoff::<T>() * size);
            assert!(error <= bound, "{got:?}, not {sum} ({c:?})");
            worst = if bound > 0.0 { worst.max(error / bound) } else { worst };
        }
    }
    worst
}

/// `<conv(x, w), dy> = <x, dx> = <w, dw>`: all three are the same sum of products.
fn check_adjoint(c: &Conv2d, [x, w, dy]: [&[f64]; 3], [dx, dw, y]: &[Vec<f64>; 3], want: &Sums) {
    let size: f64 = want.iter().zip(dy).map(|(&(_, _, size), dy)| size * dy.abs()).sum();
    let sums = [dot(y, dy), dot(x, dx), dot(w, dw)];
    assert!(sums.iter().all(|sum| (sum - sums[0]).abs() <= 1e-12 * size), "{sums:?} differ ({c:?})");
}

#[test]
fn random_convolutions_match_naive_loops() {
    let mut random = Random(1);
    let (mut count, mut largest) = (0, 0.0f64);
    while count < 300 {
        let c = draw(&mut random);
        let (nx, nw, ny) = sizes(&c);
        if ny * c.kernel_height * c.kernel_width * (c.in_channels / c.groups) > MOST {
            continue;
        }
        count += 1;
        let (x, w, dy) = (values::<f32>(nx, 1), values::<f32>(nw, 2), values::<f32>(ny, 3));
        let want = definition(&c, &x, &w, &dy);
        on_every_isa(|_| largest = largest.max(worst(&all(&c, &x, &w, &dy), &want, &c)));
        // float64 runs the same code on every instruction set.
        let (x, w, dy) = (values::<f64>(nx, 1), values::<f64>(nw, 2), values::<f64>(ny, 3));
        let (got, want) = (all(&c, &x, &w, &dy), definition(&c, &x, &w, &dy));
        worst(&got, &want, &c);
        check_adjoint(&c, [&x, &w, &dy], &got, &want[2]);
    }
    println!("{count} convolutions: float32 errs by {largest:.3} of its bound at most");
}

/// Where a NaN at `at` in operand `operand` (0: x, 1: w, 2: dy) must and may arrive: what has a product
/// with it, and what shares its filter or channel, for padding at the sides is zeros, and zero times NaN
/// is NaN (rows of padding are skipped).
fn arrivals(c: &Conv2d, operand: usize, at: usize, result: usize) -> (Vec<bool>, Vec<bool>) {
    let (nx, nw, ny) = sizes(c);
    let mut must = vec![false; [nx, nw, ny][result]];
    products(c, |i, j, k| must[[i, j, k][result]] |= [i, j, k][operand] == at);
    let depth = c.in_channels / c.groups;
    let group = |filter: usize| filter / (c.out_channels / c.groups);
    let mut may = must.clone();
    for (i, may) in may.iter_mut().enumerate() {
        *may |= match (operand, result) {
            // A weight in all pixels of its filter; a gradient's NaN in all weights of its filter.
            (1, 2) | (2, 1) => i % c.out_channels == at % c.out_channels,
            // A weight in the gradient of its input channel.
            (1, 0) => {
                let channel = group(at % c.out_channels) * depth + at / c.out_channels % depth;
                i % c.in_channels == channel
            }
            _ => false,
        };
    }
    (must, may)
}

#[test]
fn a_nan_arrives_where_it_has_a_product() {
    let plain = Case { batch: 2, size: [3, 4], kernel: [2, 2], padding: [[0, 1], [1, 0]], ..super::PLAIN };
    let cases = [
        Case { channels: [2, 17], ..plain },
        Case { channels: [17, 2], strides: [2, 1], ..plain },
        Case { channels: [6, 9], groups: 3, ..plain },
        Case { channels: [9, 9], groups: 9, dilation: [1, 2], ..plain },
        Case { channels: [3, 6], groups: 3, ..plain },
        Case { channels: [5, 19], kernel: [1, 1], padding: [[0, 0], [0, 0]], ..plain },
    ];
    on_every_isa(|_| {
        for c in cases.map(Case::conv) {
            let (nx, nw, ny) = sizes(&c);
            for operand in 0..3 {
                for at in (0..[nx, nw, ny][operand]).step_by(3) {
                    let mut operands = [values::<f32>(nx, 1), values(nw, 2), values(ny, 3)];
                    operands[operand][at] = f32::NAN;
                    let got = all(&c, &operands[0], &operands[1], &operands[2]);
                    for result in (0..3).filter(|&result| result != operand) {
                        let (must, may) = arrivals(&c, operand, at, result);
                        for (i, y) in got[result].iter().enumerate() {
                            let fits = if y.is_nan() { may[i] } else { !must[i] };
                            assert!(
                                fits,
                                "a NaN in operand {operand} at {at}: {y} at {i} of {result} ({c:?})"
                            );
                        }
                    }
                }
            }
        }
    });
}
