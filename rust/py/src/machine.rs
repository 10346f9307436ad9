//! What the engine runs on: threads, instruction sets, memory.

use autodan_kernels::buffer::Source;
use autodan_kernels::isa::{self as instruction_set, Isa};
use autodan_kernels::{buffer, memory, par};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        [
            num_threads,
            set_num_threads,
            isa,
            available_isas,
            set_isa,
            build_info,
            memory_info,
            set_poison,
            fail_allocation,
            trim_memory
        ]
    );
    Ok(())
}

/// Refuses settings in the environment that would otherwise be passed over in silence.
pub(crate) fn check_environment() -> PyResult<()> {
    if let Ok(name) = std::env::var("AUTODAN_ISA") {
        let known = Isa::from_name(name.trim()).is_some_and(Isa::is_available);
        if !known {
            return Err(PyValueError::new_err(format!(
                "AUTODAN_ISA is '{name}', which this machine does not have; set it to one of {} or unset it",
                available_isas().join(", ")
            )));
        }
    }
    if let Ok(name) = std::env::var("AUTODAN_MEMORY")
        && Source::from_name(name.trim()).is_none()
    {
        return Err(PyValueError::new_err(format!(
            "AUTODAN_MEMORY is '{name}'; set it to one of {} or unset it",
            Source::ALL.map(Source::name).join(", ")
        )));
    }
    if let Ok(number) = std::env::var("AUTODAN_NUM_THREADS") {
        let valid = number.trim().parse().is_ok_and(|n| (1..=par::MAX_THREADS).contains(&n));
        if !valid {
            return Err(PyValueError::new_err(format!(
                "AUTODAN_NUM_THREADS is '{number}'; set it to a number from 1 to {} or unset it",
                par::MAX_THREADS
            )));
        }
    }
    Ok(())
}

/// The number of threads that kernels use.
///
/// >>> _core.num_threads() >= 1
/// True
#[pyfunction]
fn num_threads() -> usize {
    par::threads()
}

/// Sets the number of threads that kernels use.
///
/// >>> _core.set_num_threads(_core.num_threads())
#[pyfunction]
fn set_num_threads(n: usize) -> PyResult<()> {
    if !(1..=par::MAX_THREADS).contains(&n) {
        return Err(PyValueError::new_err(format!(
            "the number of threads, {n}, must be between 1 and {}",
            par::MAX_THREADS
        )));
    }
    par::set_threads(n);
    Ok(())
}

/// The name of the instruction set in use.
///
/// >>> _core.isa() in _core.available_isas()
/// True
#[pyfunction]
fn isa() -> &'static str {
    instruction_set::active().name()
}

/// The names of the instruction sets that this machine has.
///
/// >>> _core.available_isas()[0]
/// 'portable'
#[pyfunction]
fn available_isas() -> Vec<&'static str> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(Isa::name).collect()
}

/// Makes kernels use the named instruction set from now on.
///
/// >>> _core.set_isa(_core.isa())
#[pyfunction]
fn set_isa(name: &str) -> PyResult<()> {
    match Isa::from_name(name) {
        Some(isa) if instruction_set::force(isa) => Ok(()),
        _ => Err(PyValueError::new_err(format!(
            "instruction set '{name}' is not available here; those that are: {}",
            available_isas().join(", ")
        ))),
    }
}

/// Version and build of the compiled core.
///
/// >>> sorted(_core.build_info())
/// ['debug_assertions', 'target', 'version']
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    info.set_item("debug_assertions", cfg!(debug_assertions))?;
    Ok(info)
}

/// Bytes of memory: the machine's total and available, the control group's limit and use (None without one), and what the
/// engine holds in tensors and keeps for reuse.
///
/// >>> sorted(_core.memory_info())
/// ['available', 'cached', 'cgroup_limit', 'cgroup_used', 'tensors', 'total']
#[pyfunction]
fn memory_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let (live, cached) = buffer::usage();
    let cgroup = memory::cgroup();
    let info = PyDict::new(py);
    info.set_item("total", memory::total())?;
    info.set_item("available", memory::available())?;
    info.set_item("cgroup_limit", cgroup.map(|(limit, _)| limit))?;
    info.set_item("cgroup_used", cgroup.map(|(_, used)| used))?;
    info.set_item("tensors", live)?;
    info.set_item("cached", cached)?;
    Ok(info)
}

/// Whether new memory is filled with NaN, so that an element which a kernel forgot shows up (for tests).
///
/// >>> _core.set_poison(True)
#[pyfunction]
fn set_poison(flag: bool) {
    buffer::set_poison(flag);
}

/// Makes the `n`-th allocation from now on fail, once; 0: none (for tests). Returns how many were still to come until
/// the failure asked for before: 0 when it has happened.
///
/// >>> _core.fail_allocation(0)
/// 0
#[pyfunction]
fn fail_allocation(n: usize) -> usize {
    buffer::fail_allocation(n)
}

/// Gives the memory that is kept for reuse back to the system.
///
/// >>> _core.trim_memory()
#[pyfunction]
fn trim_memory() {
    buffer::trim();
}
