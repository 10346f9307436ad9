//! Convolutions that have images as their lanes, against naive loops.

use super::{Case, Conv2d, PLAIN, backward_data, backward_weights, check, forward, products, sizes};
use crate::conv::forward_bias;
use crate::conv::lanes::{Across, Summed};
use crate::gemm::tests::values;
use crate::isa::{Isa, on_every_isa};
use crate::out::Out;
use crate::testing::{Random, bits, same_at_any_thread_count};

/// LeNet-5's two, the second with a group that is not full.
const LENET: [Case; 2] = [
    Case { batch: 16, size: [28, 28], channels: [1, 6], kernel: [5, 5], padding: [[2, 2], [2, 2]], ..PLAIN },
    Case { batch: 29, size: [14, 14], channels: [6, 16], kernel: [5, 5], ..PLAIN },
];

/// Whether forward and the gradient of the weights go this way.
fn goes(c: &Conv2d) -> [bool; 2] {
    let (nx, nw, ny) = sizes(c);
    let (x, w, mut y) = (vec![0.0f32; nx], vec![0.0; nw], vec![0.0; ny]);
    let correlation = c.correlation(&x, &w, None, Out::new(&mut y));
    let forward = Across::new(&correlation, false).is_some();
    [forward, Summed::new(c, &x, &vec![0.0; ny]).is_some()]
}

#[test]
fn it_is_for_few_channels_of_many_images() {
    on_every_isa(|isa| {
        let [first, second] = LENET;
        let few = Case { batch: 32, channels: [5, 3], ..first };
        assert_eq!(goes(&few.conv()), [true; 2]);
        assert_eq!(goes(&first.conv()), [isa == Isa::Avx512; 2], "six of eight lanes are not few");
        assert_eq!(goes(&second.conv()), [false; 2]);
        for other in [
            Case { batch: 1, ..few },
            Case { batch: 20, ..few },
            Case { strides: [2, 1], ..few },
            Case { dilation: [1, 2], ..few },
            Case { channels: [10, 5], groups: 5, ..few },
            Case { kernel: [1, 1], ..few },
            Case { channels: [200, 3], size: [9, 9], ..few },
        ] {
            assert_eq!(goes(&other.conv()), [false; 2], "{other:?}");
        }
    });
}

#[test]
fn they_match_naive_loops() {
    let cases = [
        LENET[0],
        LENET[1],
        // Kernels that are not square and reach beyond the images, by more than themselves.
        Case {
            batch: 32,
            size: [6, 5],
            channels: [3, 8],
            kernel: [2, 4],
            padding: [[1, 0], [0, 3]],
            ..PLAIN
        },
        Case {
            batch: 13,
            size: [5, 6],
            channels: [2, 1],
            kernel: [3, 7],
            padding: [[4, 3], [5, 4]],
            ..PLAIN
        },
        Case {
            batch: 15,
            size: [6, 7],
            channels: [1, 2],
            dilation: [2, 1],
            padding: [[2, 2], [0, 0]],
            ..PLAIN
        },
        Case {
            batch: 14,
            size: [6, 7],
            channels: [2, 4],
            dilation: [3, 1],
            padding: [[4, 4], [0, 0]],
            ..PLAIN
        },
        // Several bands of rows; a row of one pixel.
        Case { batch: 16, size: [40, 37], channels: [5, 3], padding: [[1, 1], [1, 1]], ..PLAIN },
        Case { batch: 16, size: [3, 1], channels: [4, 2], padding: [[0, 0], [1, 1]], ..PLAIN },
    ];
    on_every_isa(|_| {
        for case in cases {
            check::<f32>(&case.conv());
            check::<f64>(&case.conv());
        }
    });
}

#[test]
fn random_ones_match_naive_loops() {
    let mut random = Random(5);
    let mut gone = [0; 2];
    for _ in 0..40 {
        let mut pick = |of: &[usize]| of[random.below(of.len())];
        let case = Case {
            batch: pick(&[13, 16, 31, 32, 33]),
            size: [pick(&[1, 3, 5, 8]), pick(&[1, 4, 7, 9])],
            channels: [pick(&[1, 2, 3, 4, 5, 6]), pick(&[1, 2, 3, 4, 5, 6])],
            kernel: [pick(&[1, 2, 3, 5]), pick(&[1, 3, 5, 6])],
            padding: [(); 2].map(|()| [(); 2].map(|()| pick(&[0, 1, 2, 5]))),
            dilation: [pick(&[1, 2]), 1],
            ..PLAIN
        };
        let c = case.conv();
        on_every_isa(|_| {
            check::<f32>(&c);
            let taken = goes(&c);
            gone.iter_mut().zip(taken).for_each(|(count, taken)| *count += usize::from(taken));
        });
    }
    assert!(gone.iter().all(|&count| count >= 20), "{gone:?} went this way");
}

#[test]
fn bias_and_relu_are_those_of_the_sums() {
    let c = Case { batch: 16, size: [6, 7], channels: [5, 3], padding: [[1, 1], [1, 1]], ..PLAIN }.conv();
    let (nx, nw, ny) = sizes(&c);
    let (x, w, bias) = (values::<f32>(nx, 1), values::<f32>(nw, 2), values::<f32>(3, 3));
    on_every_isa(|_| {
        assert!(goes(&c)[0]);
        let (mut sums, mut y) = (vec![0.0; ny], vec![0.0; ny]);
        forward(&c, &x, &w, &mut sums).unwrap();
        for relu in [false, true] {
            forward_bias(&c, &x, &w, &bias, relu, &mut y).unwrap();
            let want = sums.iter().enumerate().map(|(i, sum)| sum + bias[i % 3]);
            let want: Vec<f32> = want.map(|z| if relu { z.max(0.0) } else { z }).collect();
            assert_eq!(bits(&y), bits(&want));
        }
    });
}

#[test]
fn a_nan_stays_in_its_image() {
    let c = Case { batch: 16, size: [3, 4], channels: [5, 3], padding: [[1, 1], [1, 1]], ..PLAIN }.conv();
    let (nx, nw, ny) = sizes(&c);
    on_every_isa(|_| {
        assert!(goes(&c)[0]);
        for at in (0..nx).step_by(7) {
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
fn an_infinite_weight_times_padding_is_as_with_one_image() {
    let case = Case { batch: 16, size: [3, 6], channels: [5, 3], padding: [[1, 1], [1, 1]], ..PLAIN };
    let (c, one) = (case.conv(), Case { batch: 1, ..case }.conv());
    let (nx, nw, ny) = sizes(&one);
    let (x, mut w) = (values::<f32>(nx, 1), values::<f32>(nw, 2));
    w[4] = f32::INFINITY;
    on_every_isa(|_| {
        assert!(goes(&c)[0] && !goes(&one)[0]);
        let (mut all, mut y) = (vec![0.0; 16 * ny], vec![0.0; ny]);
        forward(&c, &x.repeat(16), &w, &mut all).unwrap();
        forward(&one, &x, &w, &mut y).unwrap();
        assert!(y.iter().any(|y| y.is_nan()) && y.iter().any(|y| y.is_finite()));
        for (all, y) in all.iter().zip(y.iter().cycle()) {
            assert_eq!((all.is_nan(), all.is_finite()), (y.is_nan(), y.is_finite()));
        }
    });
}

#[test]
fn threads_do_not_change_bits() {
    for case in LENET.map(|case| Case { batch: 45, ..case }) {
        let c = case.conv();
        let (nx, nw, ny) = sizes(&c);
        let (x, w, dy) = (values::<f32>(nx, 1), values::<f32>(nw, 2), values::<f32>(ny, 3));
        on_every_isa(|_| {
            same_at_any_thread_count(|| {
                let (mut y, mut dx, mut dw) = (vec![f32::NAN; ny], vec![f32::NAN; nx], vec![f32::NAN; nw]);
                forward(&c, &x, &w, &mut y).unwrap();
                backward_data(&c, &dy, &w, &mut dx).unwrap();
                backward_weights(&c, &x, &dy, &mut dw).unwrap();
                (y, dx, dw)
            });
        });
    }
}
