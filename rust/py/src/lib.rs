//! The Python module `autodan._core`: registration only.

/// Adds `#[pyfunction]`s to a module.
macro_rules! add_functions {
    ($module:expr, [$($function:ident),* $(,)?]) => {
        $($module.add_function(wrap_pyfunction!($function, $module)?)?;)*
    };
}

mod autograd;
mod convert;
mod create;
mod enter;
mod error;
mod files;
mod index;
mod interop;
mod machine;
mod measure;
mod nn;
mod ops;
mod program;
mod random;
mod tensor;
mod variable;

use autodan_kernels::reserve;
use pyo3::prelude::*;

/// A process that runs out of memory gets a `MemoryError` and goes on.
#[global_allocator]
static ALLOCATOR: reserve::Reserved = reserve::Reserved;

/// The compiled core of autodan; its public names are re-exported by the package.
///
/// In the examples, `ad` is the package and `_core` this module.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    machine::check_environment()?;
    reserve::stock().map_err(|error| error::to_python(error.into()))?;
    enter::prepare();
    module.add_class::<tensor::PyTensor>()?;
    module.add_class::<variable::PyVariable>()?;
    module.add("InternalError", module.py().get_type::<error::InternalError>())?;
    module.add("TraceError", module.py().get_type::<error::TraceError>())?;
    create::register(module)?;
    ops::register(module)?;
    nn::register(module)?;
    random::register(module)?;
    autograd::register(module)?;
    files::register(module)?;
    machine::register(module)?;
    measure::register(module)?;
    program::register(module)
}
