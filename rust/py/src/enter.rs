//! The one door between Python and the engine.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use autodan_core::{Result, Tensor};
use pyo3::prelude::*;

use crate::error::{InternalError, to_python};

/// From about this many elementary operations on (tens of microseconds), giving up the GIL and taking it
/// back costs less than it gives.
const WORTH_RELEASING: usize = 1 << 16;

/// Runs `f` in the engine: without the GIL when `work` (a rough count of elementary operations) makes that
/// worth while, errors as exceptions, and a panic, which is a bug, as `InternalError`.
///
/// # Errors
/// Whatever `f` raises.
pub(crate) fn enter<R: Send>(
    py: Python<'_>,
    work: usize,
    f: impl FnOnce() -> Result<R> + Send,
) -> PyResult<R> {
    let guarded = || catch_unwind(AssertUnwindSafe(f));
    let outcome = if work >= WORTH_RELEASING { py.detach(guarded) } else { guarded() };
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(to_python(error)),
        Err(panic) => Err(InternalError::new_err(format!("{}; please report it", describe(&*panic)))),
    }
}

/// The elements of all operands: the work of anything that passes over them once.
pub(crate) fn elements(tensors: &[&Tensor]) -> usize {
    tensors.iter().map(|tensor| tensor.len()).fold(0, usize::saturating_add)
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("internal error: {}", text.unwrap_or("a panic without a message"))
}
