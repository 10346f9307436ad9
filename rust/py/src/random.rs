//! Random tensors as pure functions of a seed and a counter.

use autodan_core::ops;
use autodan_core::ops::random::{Distribution, Key};
use pyo3::prelude::*;

use crate::convert::{DTypeArg, ShapeArg};
use crate::ops::{Output, run};

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        [
            random_uniform,
            random_normal,
            random_truncated_normal,
            random_bernoulli,
            random_randint,
            random_permutation
        ]
    );
    Ok(())
}

fn random(py: Python<'_>, distribution: Distribution, shape: &ShapeArg, dtype: DTypeArg, key: Key) -> Output {
    let work = shape.0.iter().fold(8usize, |work, &side| work.saturating_mul(side));
    run(py, work, || ops::random::random(distribution, &shape.0, dtype.0, key))
}

/// Uniform random numbers on [minval, maxval), a function of seed and counter.
///
/// >>> 0 <= _core.random_uniform((), 0.0, 1.0, "float32", seed=1, counter=0).item() < 1
/// True
#[pyfunction]
fn random_uniform(
    py: Python<'_>,
    shape: ShapeArg,
    minval: f64,
    maxval: f64,
    dtype: DTypeArg,
    seed: u64,
    counter: u64,
) -> Output {
    random(py, Distribution::Uniform { low: minval, high: maxval }, &shape, dtype, Key { seed, counter })
}

/// Normal random numbers, a function of seed and counter.
///
/// >>> x = _core.random_normal((1000,), 5.0, 1.0, "float32", seed=1, counter=0)
/// >>> round(x.mean().item())
/// 5
#[pyfunction]
fn random_normal(
    py: Python<'_>,
    shape: ShapeArg,
    mean: f64,
    stddev: f64,
    dtype: DTypeArg,
    seed: u64,
    counter: u64,
) -> Output {
    random(py, Distribution::Normal { mean, std: stddev }, &shape, dtype, Key { seed, counter })
}

/// Normal random numbers within two standard deviations of the mean, a function of seed and counter.
///
/// >>> x = _core.random_truncated_normal((1000,), 0.0, 1.0, "float32", seed=1, counter=0)
/// >>> x.abs().max().item() <= 2
/// True
#[pyfunction]
fn random_truncated_normal(
    py: Python<'_>,
    shape: ShapeArg,
    mean: f64,
    stddev: f64,
    dtype: DTypeArg,
    seed: u64,
    counter: u64,
) -> Output {
    random(py, Distribution::TruncatedNormal { mean, std: stddev }, &shape, dtype, Key { seed, counter })
}

/// 1 with probability `p`, else 0; a function of seed and counter.
///
/// >>> _core.random_bernoulli((3,), 1.0, "float32", seed=1, counter=0).tolist()
/// [1.0, 1.0, 1.0]
#[pyfunction]
fn random_bernoulli(
    py: Python<'_>,
    shape: ShapeArg,
    p: f64,
    dtype: DTypeArg,
    seed: u64,
    counter: u64,
) -> Output {
    random(py, Distribution::Bernoulli { p }, &shape, dtype, Key { seed, counter })
}

/// Random integers from `minval` to `maxval` (excluded), a function of seed and counter.
///
/// >>> _core.random_randint((2,), 7, 8, "int32", seed=1, counter=0).tolist()
/// [7, 7]
#[pyfunction]
fn random_randint(
    py: Python<'_>,
    shape: ShapeArg,
    minval: i64,
    maxval: i64,
    dtype: DTypeArg,
    seed: u64,
    counter: u64,
) -> Output {
    let work = shape.0.iter().copied().fold(1, usize::saturating_mul);
    run(py, work, || {
        let x = ops::random::random_integers(minval, maxval, &shape.0, Key { seed, counter })?;
        ops::cast(&x, dtype.0)
    })
}

/// The numbers 0 to n - 1 in random order, a function of seed and counter.
///
/// >>> sorted(_core.random_permutation(4, seed=1, counter=0).tolist())
/// [0, 1, 2, 3]
#[pyfunction]
fn random_permutation(py: Python<'_>, n: usize, seed: u64, counter: u64) -> Output {
    run(py, n, || ops::random::random_permutation(n, Key { seed, counter }))
}
