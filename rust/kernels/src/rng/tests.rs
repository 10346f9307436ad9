//! The generator's published vectors, and the distributions' moments.

use super::*;
use crate::isa::on_every_isa;
use crate::testing::{bits, same_at_any_thread_count};

fn encrypt(block: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let seed = u64::from(key[0]) | u64::from(key[1]) << 32;
    philox(block.map(|word| [word]), seed).map(|[word]| word)
}

#[test]
fn philox_gives_the_published_vectors() {
    assert_eq!(encrypt([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(encrypt([!0; 4], [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    let result = [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1];
    assert_eq!(encrypt(pi, [0xa4093822, 0x299f31d0]), result);
    let block = words(3, 5 << 32 | 7, 2);
    for lane in 0..LANES {
        let want = encrypt([2 * LANES as u32 + lane as u32, 0, 7, 5], [3, 0]);
        assert!((0..4).all(|w| block[w * LANES + lane] == want[w]));
    }
}

/// Mean, variance, fourth central moment over the squared variance.
fn moments<T: Float>(x: &[T]) -> (f64, f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|x| x.to_f64()).sum::<f64>() / n;
    let central = |p: i32| x.iter().map(|x| (x.to_f64() - mean).powi(p)).sum::<f64>() / n;
    (mean, central(2), central(4) / central(2).powi(2))
}

fn distributions<T: Float>() {
    let mut y = vec![T::NAN; 400_000];
    uniform(1, 2, -3.0, 5.0, &mut y);
    assert!(y.iter().all(|y| (-3.0..5.0).contains(&y.to_f64())));
    let (mean, variance, kurtosis) = moments(&y);
    assert!(
        (mean - 1.0).abs() < 0.02 && (variance - 64.0 / 12.0).abs() < 0.03 && (kurtosis - 1.8).abs() < 0.02
    );
    normal(1, 3, 2.0, 3.0, &mut y);
    let (mean, variance, kurtosis) = moments(&y);
    assert!((mean - 2.0).abs() < 0.02 && (variance - 9.0).abs() < 0.1 && (kurtosis - 3.0).abs() < 0.05);
    // Neighbours and pairs are uncorrelated.
    for lag in [1, 16] {
        let products = y.windows(lag + 1).map(|w| (w[0].to_f64() - 2.0) * (w[lag].to_f64() - 2.0));
        assert!((products.sum::<f64>() / y.len() as f64).abs() < 0.06);
    }
    truncated_normal(1, 4, 2.0, 3.0, &mut y);
    assert!(y.iter().all(|y| (y.to_f64() - 2.0).abs() <= 6.0));
    let (mean, variance, _) = moments(&y);
    assert!((mean - 2.0).abs() < 0.02 && (variance / 9.0 - 0.7737).abs() < 0.01);
    bernoulli(1, 5, 0.3, &mut y);
    assert!(y.iter().all(|&y| y == T::ONE || y == T::ZERO));
    assert!((moments(&y).0 - 0.3).abs() < 0.004);
    let x = vec![T::from_f64(6.0); y.len()];
    dropout(1, 6, 0.25, &x, &mut y);
    assert!(y.iter().all(|&y| y == T::from_f64(8.0) || y == T::ZERO));
    assert!((moments(&y).0 - 6.0).abs() < 0.03);
}

#[test]
fn distributions_have_their_moments() {
    distributions::<f32>();
    distributions::<f64>();
}

#[test]
fn edges() {
    let x = [f32::INFINITY, f32::NAN, 1.0];
    let mut y = [5.0f32; 3];
    dropout(1, 0, 1.0, &x, &mut y);
    assert_eq!(y, [0.0; 3]);
    dropout(1, 0, 0.0, &[1.0, 2.0, 3.0], &mut y);
    assert_eq!(y, [1.0, 2.0, 3.0]);
    bernoulli(1, 0, 1.0, &mut y);
    assert_eq!(y, [1.0; 3]);
    bernoulli(1, 0, 0.0, &mut y);
    assert_eq!(y, [0.0; 3]);
    uniform(1, 0, 2.0, 2.0, &mut y);
    assert_eq!(y, [2.0; 3]);
    let mut narrow = vec![0.0f32; 10_000];
    uniform(1, 0, 1.0, f64::from(1.0f32.next_up()), &mut narrow);
    assert_eq!(narrow, vec![1.0; 10_000]);
    let mut n = [0i64; 1000];
    integers(1, 0, i64::MIN, i64::MAX, &mut n);
    assert!(n.iter().any(|&n| n > 0) && n.iter().any(|&n| n < 0));
    integers(1, 0, 5, 6, &mut n);
    assert_eq!(n, [5; 1000]);
    integers(1, 0, 0, 0, &mut []);
    permutation(1, 0, &mut []);
}

#[test]
fn integers_and_permutations_are_uniform() {
    let mut y = vec![0; 70_000];
    integers(9, 1, -3, 4, &mut y);
    for value in -3..4 {
        let count = y.iter().filter(|&&y| y == value).count();
        assert!((9_600..10_400).contains(&count), "{value}: {count}");
    }
    permutation(9, 2, &mut y);
    assert!(y.iter().enumerate().filter(|&(i, &y)| i as i64 == y).count() < 12);
    y.sort_unstable();
    assert!(y.iter().enumerate().all(|(i, &y)| y == i as i64));
    // Every element of a short permutation is everywhere equally often.
    let mut counts = [[0; 4]; 4];
    for counter in 0..8000 {
        let mut y = [0; 4];
        permutation(9, counter, &mut y);
        (0..4).for_each(|i| counts[i][y[i] as usize] += 1);
    }
    assert!(counts.iter().flatten().all(|count| (1800..2200).contains(count)), "{counts:?}");
}

#[test]
fn an_element_depends_on_seed_counter_and_index_only() {
    type Function<'a, T> = &'a dyn Fn(u64, u64, &mut [T]);
    fn prefixes<T: Float>() {
        let x = [T::ONE; 100];
        let functions: [Function<T>; 5] = [
            &|s, c, y| uniform(s, c, 0.0, 1.0, y),
            &|s, c, y| normal(s, c, 0.0, 1.0, y),
            &|s, c, y| truncated_normal(s, c, 0.0, 1.0, y),
            &|s, c, y| bernoulli(s, c, 0.5, y),
            &|s, c, y| dropout(s, c, 0.5, &x[..y.len()], y),
        ];
        for f in functions {
            let mut whole = [T::NAN; 100];
            f(1, 2, &mut whole);
            for n in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65] {
                let mut part = vec![T::NAN; n];
                f(1, 2, &mut part);
                assert_eq!(part, whole[..n]);
            }
            for (seed, counter) in [(2, 2), (1, 3), (1 << 32, 2), (1, 2 | 1 << 32)] {
                let mut other = [T::NAN; 100];
                f(seed, counter, &mut other);
                assert_ne!(other, whole);
            }
        }
    }
    prefixes::<f32>();
    prefixes::<f64>();
    let mut first: Option<(Vec<u64>, Vec<i64>)> = None;
    on_every_isa(|_| {
        let y = same_at_any_thread_count(|| {
            let (mut y, mut n) = (vec![0.0f32; 50_001], vec![0; 50_001]);
            normal(1, 2, 0.0, 1.0, &mut y);
            integers(1, 2, 0, 1000, &mut n);
            (bits(&y), n)
        });
        assert_eq!(*first.get_or_insert_with(|| y.clone()), y);
    });
}
