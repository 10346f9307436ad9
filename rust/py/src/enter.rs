//! The one door between Python and the engine.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use autodan_core::{Result, Tensor};
use autodan_kernels::{fork, par};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::{InternalError, to_python};

/// From about this many elementary operations on (tens of microseconds), giving up the GIL and taking it
/// back costs less than it gives.
const WORTH_RELEASING: usize = 1 << 16;

/// Prepares the engine for signals and forks; once, when the module is loaded.
pub(crate) fn prepare() {
    fork::register();
    par::set_interrupt_check(run_signal_handlers);
}

/// Runs `f` in the engine: without the GIL when `work` (a rough count of elementary operations) makes that
/// worth while, errors as exceptions, and a panic, which is a bug, as `InternalError`. On Python's main thread
/// it answers to signals: what a handler raises ends it, and is raised.
///
/// # Errors
/// Whatever `f` raises.
pub(crate) fn enter<R: Send>(
    py: Python<'_>,
    work: usize,
    f: impl FnOnce() -> Result<R> + Send,
) -> PyResult<R> {
    let guarded = guard(py, f)?;
    if work >= WORTH_RELEASING { py.detach(guarded) } else { guarded() }.map_err(raised)?.map_err(to_python)
}

/// As [`enter`], for work on Python's own objects, which needs the GIL all the time.
///
/// # Errors
/// Whatever `f` raises.
pub(crate) fn enter_attached<R>(py: Python<'_>, f: impl FnOnce() -> Result<R>) -> PyResult<R> {
    guard(py, f)?().map_err(raised)?.map_err(to_python)
}

/// `f`, open to signals on the main thread, with whatever it unwinds with caught.
fn guard<R, F: FnOnce() -> R>(
    py: Python<'_>,
    f: F,
) -> PyResult<impl FnOnce() -> std::thread::Result<R> + use<R, F>> {
    let listening = is_main_thread(py)?;
    Ok(move || catch_unwind(AssertUnwindSafe(|| if listening { par::interruptible(f) } else { f() })))
}

/// Whether this is the thread on which Python runs signal handlers. It stays so for the life of the thread,
/// except that in the child of a fork the thread that forked becomes it. To ask is to run Python, in which a signal
/// handler may raise: that is raised, not taken for an answer that would hold from then on.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        static KNOWN: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
    }
    let generation = fork::generation();
    match KNOWN.get() {
        Some((at, is_main)) if at == generation => Ok(is_main),
        _ => {
            let is_main = ask_threading(py)?;
            KNOWN.set(Some((generation, is_main)));
            Ok(is_main)
        }
    }
}

fn ask_threading(py: Python<'_>) -> PyResult<bool> {
    let threading = PyModule::import(py, "threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    main.eq(threading.call_method0("get_ident")?)
}

/// Runs the handlers of signals that have come; what one raises, as a payload to unwind with.
fn run_signal_handlers() -> Option<Box<dyn Any + Send>> {
    let raised = Python::try_attach(|py| py.check_signals().err()).flatten();
    raised.map(|exception| Box::new(exception) as Box<dyn Any + Send>)
}

/// The exception for what a call unwound with.
fn raised(payload: Box<dyn Any + Send>) -> PyErr {
    let payload = match payload.downcast::<PyErr>() {
        Ok(exception) => return *exception,
        Err(payload) => payload,
    };
    if payload.is::<par::Forked>() {
        return PyRuntimeError::new_err(
            "a signal handler forked the process during this operation, and the child cannot finish it; let the \
             child end in the handler, or fork outside of it",
        );
    }
    InternalError::new_err(format!("{}; please report it", describe(&*payload)))
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
