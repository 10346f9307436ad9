//! Measurements of the machine, for `autodan bench`.

use std::time::Duration;

use autodan_kernels::machine;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::enter::enter;

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        [
            _peak_flops,
            _read_bandwidth,
            _triad_bandwidth,
            _update_bandwidth,
            _region_seconds,
            _handoff_seconds
        ]
    );
    Ok(())
}

/// Work that is worth to run without the GIL: all of this is.
const LONG: usize = usize::MAX;

/// The longest measurement.
const LONGEST: f64 = 60.0;

fn duration(seconds: f64) -> PyResult<Duration> {
    if seconds > 0.0 && seconds <= LONGEST {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(PyValueError::new_err(format!(
        "a measurement takes more than 0 and at most {LONGEST} seconds, got {seconds}"
    )))
}

/// The most float32 operations per second on all threads, measured for so many seconds: multiply-adds on registers,
/// two operations each.
///
/// >>> _core._peak_flops(0.001) > 0
/// True
#[pyfunction]
fn _peak_flops(py: Python<'_>, seconds: f64) -> PyResult<f64> {
    let time = duration(seconds)?;
    enter(py, LONG, || Ok(machine::peak(time)))
}

/// Bytes per second that all threads read together, each from `size` bytes of its own.
///
/// >>> _core._read_bandwidth(16384, 0.001) > 0
/// True
#[pyfunction]
fn _read_bandwidth(py: Python<'_>, size: usize, seconds: f64) -> PyResult<f64> {
    let time = duration(seconds)?;
    enter(py, LONG, || Ok(machine::read(size, time)?))
}

/// Bytes per second of `a = b + factor * c` on all threads together, each with `size` bytes of its own; 12 bytes for
/// each element.
///
/// >>> _core._triad_bandwidth(16384, 0.001) > 0
/// True
#[pyfunction]
fn _triad_bandwidth(py: Python<'_>, size: usize, seconds: f64) -> PyResult<f64> {
    let time = duration(seconds)?;
    enter(py, LONG, || Ok(machine::triad(size, time)?))
}

/// Bytes per second of `a = a * factor + term` on all threads together, each with `size` bytes of its own; 8 bytes for
/// each element.
///
/// >>> _core._update_bandwidth(16384, 0.001) > 0
/// True
#[pyfunction]
fn _update_bandwidth(py: Python<'_>, size: usize, seconds: f64) -> PyResult<f64> {
    let time = duration(seconds)?;
    enter(py, LONG, || Ok(machine::update(size, time)?))
}

/// Seconds of a region of the thread pool with two empty tasks, while its workers are awake.
///
/// >>> _core._region_seconds(0.001) > 0
/// True
#[pyfunction]
fn _region_seconds(py: Python<'_>, seconds: f64) -> PyResult<f64> {
    let time = duration(seconds)?;
    enter(py, LONG, || Ok(machine::region(time)))
}

/// Seconds until a task of the thread pool has met one on another thread, while its workers are awake; None where no
/// other thread came.
///
/// >>> (_core._handoff_seconds(0.001) or 1) > 0
/// True
#[pyfunction]
fn _handoff_seconds(py: Python<'_>, seconds: f64) -> PyResult<Option<f64>> {
    let time = duration(seconds)?;
    enter(py, LONG, || Ok(machine::handoff(time)))
}
