//! That the figures are those of work that was done.

use std::time::Duration;

use super::bandwidth::{Read, Triad, UNIT, Update};
use super::peak::{Chains, LANES};
use super::{best, handoff, peak, read, region, triad, update};
use crate::element::Float;
use crate::isa::on_every_isa;
use crate::par;

const SHORT: Duration = Duration::from_micros(100);

/// More operations per second than a thread of any processor does, and more bytes: work that was optimised
/// away would seem to go faster.
const IMPOSSIBLE: f64 = 5e12;

#[test]
fn figures_are_possible_ones() {
    on_every_isa(|isa| {
        let limit = IMPOSSIBLE * par::threads().max(par::available()) as f64;
        for (name, rate) in [
            ("peak", peak(SHORT)),
            ("read", read(8 << 10, SHORT).unwrap()),
            ("read", read(3 << 20, SHORT).unwrap()),
            ("triad", triad(8 << 10, SHORT).unwrap()),
            ("triad", triad(3 << 20, SHORT).unwrap()),
            ("update", update(8 << 10, SHORT).unwrap()),
            ("update", update(3 << 20, SHORT).unwrap()),
        ] {
            assert!(rate > 0.0 && rate < limit, "{name} on {}: {rate:e}", isa.name());
        }
    });
}

#[test]
fn the_chains_are_computed() {
    let start = std::array::from_fn(|lane| lane as f32);
    on_every_isa(|isa| {
        let sum = |steps| f32::dispatch(Chains::<4> { steps, start, factor: 0.5, term: 3.0 });
        let lanes = sum(0);
        // Sums of halves of small integers are exact.
        let lens = [8, LANES].into_iter().find(|&len| start[..len].iter().sum::<f32>() * 4.0 == lanes);
        let len = lens.unwrap_or_else(|| panic!("{} starts from {lanes}", isa.name()));
        for steps in [1, 2, 5, 16] {
            let chain = |&x: &f32| (0..steps).fold(x, |x, _| x * 0.5 + 3.0);
            assert_eq!(sum(steps), start[..len].iter().map(chain).sum::<f32>() * 4.0);
        }
    });
}

#[test]
fn all_elements_are_read_in_each_pass() {
    on_every_isa(|_| {
        for len in [UNIT, 5 * UNIT] {
            let data: Vec<f32> = (0..len).map(|i| (i % 7) as f32).collect();
            for passes in [1, 3] {
                let sum = passes as f32 * data.iter().sum::<f32>();
                assert_eq!(f32::dispatch(Read::<8> { data: &data, passes }), sum);
                assert_eq!(f32::dispatch(Read::<4> { data: &data, passes }), sum);
            }
        }
    });
}

#[test]
fn the_triad_is_written() {
    on_every_isa(|_| {
        let b: Vec<f32> = (0..3 * UNIT).map(|i| i as f32).collect();
        let c: Vec<f32> = b.iter().rev().copied().collect();
        let mut a = vec![f32::NAN; b.len()];
        f32::dispatch(Triad { a: &mut a, b: &b, c: &c, factor: 0.5, passes: 2 });
        assert!((0..a.len()).all(|i| a[i] == b[i] + 0.5 * c[i]));
    });
}

#[test]
fn each_pass_updates() {
    on_every_isa(|_| {
        for passes in [1, 2, 5] {
            let mut a: Vec<f32> = (0..3 * UNIT).map(|i| i as f32).collect();
            let expected = |x: f32| (0..passes).fold(x, |x, _| x * 0.5 + 3.0);
            let after: Vec<f32> = a.iter().copied().map(expected).collect();
            f32::dispatch(Update { a: &mut a, factor: 0.5, term: 3.0, passes });
            assert_eq!(a, after);
        }
    });
}

#[test]
fn sizes_that_cannot_be_had_are_errors() {
    assert!(read(usize::MAX / 2, SHORT).is_err());
    assert!(triad(usize::MAX / 2, SHORT).is_err() && update(usize::MAX / 2, SHORT).is_err());
    assert!(
        read(0, SHORT).unwrap() > 0.0 && triad(0, SHORT).unwrap() > 0.0 && update(0, SHORT).unwrap() > 0.0
    );
}

#[test]
fn regions_take_time() {
    assert!(region(SHORT) > 0.0);
    assert!(handoff(SHORT).is_none_or(|time| time > 0.0));
}

#[test]
fn a_figure_is_that_of_the_best_of_three_runs_or_more() {
    let mut runs = 0;
    let rate = best(Duration::ZERO, 1.0, || {
        std::thread::sleep(Duration::from_millis([20, 2, 20][runs]));
        runs += 1;
    });
    assert_eq!(runs, 3);
    // Sleeps may be longer than asked for, never shorter.
    assert!(rate > 0.0 && rate <= 500.0, "{rate}");
}
