//! Poolings drawn at random: every window, stride and padding together.

use super::*;
use crate::testing::Random;

/// A random pooling; now and then without images, pixels or outputs.
fn draw(random: &mut Random) -> Pool2d {
    let mut pick = |of: &[usize]| of[random.below(of.len())];
    let size = [pick(&[0, 1, 2, 3, 4, 7, 9, 17]), pick(&[0, 1, 2, 3, 4, 7, 9, 17])];
    let window = [pick(&[1, 2, 2, 3, 5, 9, 40]), pick(&[1, 2, 2, 3, 5, 9, 40])];
    let strides = [pick(&[1, 1, 2, 3, 6, 50]), pick(&[1, 1, 2, 3, 6, 50])];
    let channels = pick(&[0, 1, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33]);
    let padding = match pick(&[0, 1, 2]) {
        0 => [[0, 0], [0, 0]],
        1 => [0, 1].map(|dim| {
            let windows: usize = size[dim].div_ceil(strides[dim]).max(1);
            let total = ((windows - 1) * strides[dim] + window[dim]).saturating_sub(size[dim]);
            [total / 2, total - total / 2]
        }),
        _ => [0, 1].map(|dim| [(); 2].map(|()| pick(&[0, 0, 1, 2, 5]).min(window[dim] - 1))),
    };
    pool(pick(&[0, 1, 1, 2, 3]), size, channels, window, strides, padding)
}

#[test]
fn random_poolings_match_naive_loops() {
    let mut random = Random(5);
    // Many ties, and what no comparison orders.
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30];
    for _ in 0..300 {
        let p = draw(&mut random);
        let few: Vec<f32> = (0..sizes(&p).0)
            .map(|_| match random.below(8) {
                0 => special[random.below(special.len())],
                _ => random.below(4) as f32 - 2.0,
            })
            .collect();
        let doubles: Vec<f64> = few.iter().map(|&x| f64::from(x)).collect();
        on_every_isa(|_| {
            check_max(&p, &few);
            check_average::<f32>(&p);
        });
        check_max(&p, &doubles);
        check_average::<f64>(&p);
        check_sums(&p, &few);
    }
}

/// What arrives in the gradient is what came in, of all windows that have an element.
fn check_sums(p: &Pool2d, x: &[f32]) {
    let (nx, ny) = sizes(p);
    // Small integers, and 1/n as powers of two: sums are exact.
    let dy: Vec<f32> = (0..ny).map(|i| (i % 5) as f32).collect();
    let mut want = 0.0;
    windows(p, |o, inputs| want += if inputs.is_empty() { 0.0 } else { dy[o] });
    let mut dx = vec![f32::NAN; nx];
    max_backward(p, x, &dy, &mut dx);
    assert_eq!(dx.iter().sum::<f32>(), want, "{p:?}");
    average_backward(p, &dy, &mut dx);
    let error = (dx.iter().map(|&dx| f64::from(dx)).sum::<f64>() - f64::from(want)).abs();
    assert!(error <= 1e-6 * f64::from(want), "{p:?}");
}

#[test]
fn a_window_may_have_any_number_of_elements() {
    // More than float32 counts exactly, the maximum among the last.
    let (height, width) = (3, (1 << 24) / 3 + 9);
    let p = pool(1, [height, width], 1, [height, width], [1, 1], [[0, 0], [0, 0]]);
    let (mut x, mut dx) = (vec![0.0f32; height * width], vec![f32::NAN; height * width]);
    let at = (1 << 24) + 7;
    x[at] = 2.0;
    x[at + 1] = 2.0;
    max_backward(&p, &x, &[3.0], &mut dx);
    assert_eq!(dx[at], 3.0);
    assert_eq!(dx.iter().sum::<f32>(), 3.0);
}

#[test]
fn windows_larger_than_any_memory_are_clipped_to_the_image() {
    let p = Pool2d { window: [1 << 62, 1 << 62], ..pool(1, [2, 2], 1, [2, 2], [1, 1], [[0, 0], [0, 0]]) };
    let (x, mut y, mut dx) = ([1.0f32, 2.0, 3.0, 6.0], [0.0], [0.0; 4]);
    max_forward(&p, &x, &mut y);
    assert_eq!(y, [6.0]);
    average_forward(&p, &x, &mut y);
    assert_eq!(y, [3.0]);
    max_backward(&p, &x, &[1.0], &mut dx);
    assert_eq!(dx, [0.0, 0.0, 0.0, 1.0]);
    average_backward(&p, &[4.0], &mut dx);
    assert_eq!(dx, [1.0; 4]);
}
