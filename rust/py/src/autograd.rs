//! Recording, gradients and optimizer steps.

use std::sync::{Mutex, PoisonError};

use autodan_core::optim::{self, AdamOptions, Gradient};
use autodan_core::{Tensor, autograd};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{self, Args, Items};
use crate::enter::{elements, enter};
use crate::error::to_python;
use crate::ops::{Output, run};
use crate::tensor::PyTensor;
use crate::variable::variables;

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<GradMode>()?;
    add_functions!(module, [is_grad_enabled, set_grad_enabled, grad, sgd_update, adam_update, global_norm]);
    Ok(())
}

/// Whether ops on this thread are recorded for differentiation.
///
/// >>> _core.is_grad_enabled()
/// True
#[pyfunction]
fn is_grad_enabled() -> bool {
    autograd::is_recording()
}

/// Turns recording on this thread on or off; returns what it was.
///
/// >>> before = _core.set_grad_enabled(False)
/// >>> _core.set_grad_enabled(before), _core.is_grad_enabled()
/// (False, True)
#[pyfunction]
fn set_grad_enabled(flag: bool) -> bool {
    autograd::set_recording(flag)
}

/// A context manager: inside, ops on this thread are recorded or not, and afterwards as before. In Rust, since
/// Python's own code may be interrupted by a signal before its first and after its last instruction.
///
/// >>> with _core.GradMode(False):
/// ...     _core.is_grad_enabled()
/// False
/// >>> _core.is_grad_enabled()
/// True
#[pyclass(module = "autodan._core", frozen, subclass)]
struct GradMode {
    enabled: bool,
    previous: Mutex<Vec<bool>>,
}

#[pymethods]
impl GradMode {
    #[new]
    fn new(enabled: bool) -> GradMode {
        GradMode { enabled, previous: Mutex::new(Vec::new()) }
    }

    fn __enter__(&self) {
        let before = autograd::set_recording(self.enabled);
        self.previous.lock().unwrap_or_else(PoisonError::into_inner).push(before);
    }

    #[pyo3(signature = (*args))]
    #[expect(unused_variables, reason = "what has ended the block makes no difference")]
    fn __exit__(&self, args: &Bound<'_, PyTuple>) {
        if let Some(before) = self.previous.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            autograd::set_recording(before);
        }
    }
}

/// The gradients of the (sum of the) outputs with respect to each input; None for inputs on which no output depends.
///
/// >>> x = ad.tensor(3.0, requires_grad=True)
/// >>> [dx] = _core.grad(x * x, [x])
/// >>> dx.item()
/// 6.0
#[pyfunction]
#[pyo3(signature = (outputs, inputs, grad_outputs=None, retain_graph=false, create_graph=false))]
fn grad(
    py: Python<'_>,
    outputs: &Bound<'_, PyAny>,
    inputs: Items<'_>,
    grad_outputs: Option<&Bound<'_, PyAny>>,
    retain_graph: bool,
    create_graph: bool,
) -> PyResult<Vec<Option<PyTensor>>> {
    let outputs = one_or_many(outputs)?;
    let inputs = inputs.0.iter().map(convert::tensor).collect::<PyResult<Vec<_>>>()?;
    let gradients = match grad_outputs {
        None => None,
        Some(object) if object.is_instance_of::<PyTensor>() => Some(vec![Some(convert::tensor(object)?)]),
        Some(object) => {
            let Items(items) = object.extract()?;
            let gradient = |item: &Bound<'_, PyAny>| {
                if item.is_none() { Ok(None) } else { convert::tensor(item).map(Some) }
            };
            Some(items.iter().map(gradient).collect::<PyResult<Vec<_>>>()?)
        }
    };
    if let Some(gradients) = &gradients
        && gradients.len() != outputs.len()
    {
        let message = format!("grad: {} outputs but {} grad_outputs", outputs.len(), gradients.len());
        return Err(PyValueError::new_err(message));
    }
    let options = autograd::Options { retain_graph, create_graph };
    let work = if outputs.is_empty() { 0 } else { usize::MAX };
    enter(py, work, || autograd::grad(&outputs, &inputs, gradients.as_deref(), options))
        .map(|gradients| gradients.into_iter().map(|gradient| gradient.map(PyTensor::new)).collect())
}

/// A tensor, or the tensors of a list.
fn one_or_many(object: &Bound<'_, PyAny>) -> PyResult<Vec<Tensor>> {
    if object.is_instance_of::<PyTensor>() {
        return Ok(vec![convert::tensor(object)?]);
    }
    object.extract().map(|Args(tensors)| tensors)
}

/// The gradients in their variables' dtypes.
fn matched(variables: &[autodan_core::Variable], gradients: &[Tensor]) -> PyResult<Vec<Gradient>> {
    if variables.len() != gradients.len() {
        let message = format!("{} variables but {} gradients", variables.len(), gradients.len());
        return Err(PyValueError::new_err(message));
    }
    let pairs = variables.iter().zip(gradients);
    let matched = |gradient, variable| optim::match_dtype(gradient, variable).map(Gradient::Tensor);
    pairs.map(|(variable, gradient)| matched(gradient, variable).map_err(to_python)).collect()
}

/// One step of stochastic gradient descent on all variables, in place: `v = momentum * v - learning_rate * g; p += v`.
///
/// >>> w = ad.Variable([1.0])
/// >>> _core.sgd_update([w], [ad.tensor([2.0])], None, learning_rate=0.25)
/// >>> w.tolist()
/// [0.5]
#[pyfunction]
#[pyo3(signature = (variables, grads, velocities, learning_rate, momentum=0.0, nesterov=false))]
fn sgd_update(
    py: Python<'_>,
    variables: Items<'_>,
    grads: Args,
    velocities: Option<Items<'_>>,
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
) -> PyResult<()> {
    let variables = self::variables(&variables.0)?;
    let velocities = velocities.map(|Items(items)| self::variables(&items)).transpose()?;
    let gradients = matched(&variables, &grads.0)?;
    enter(py, elements(&grads.0.iter().collect::<Vec<_>>()), || {
        optim::sgd(&variables, &gradients, velocities.as_deref(), learning_rate, momentum, nesterov)
    })
}

/// One step of Adam on all variables, in place, in Keras's form; `step` counts from 1.
///
/// >>> w, m, v = ad.Variable([1.0]), ad.Variable([0.0]), ad.Variable([0.0])
/// >>> _core.adam_update([w], [ad.tensor([8.0])], [m], [v], 0.5, 0.9, 0.999, 1e-7, step=1)
/// >>> round(w.item(), 4)
/// 0.5
#[pyfunction]
fn adam_update(
    py: Python<'_>,
    variables: Items<'_>,
    grads: Args,
    ms: Items<'_>,
    vs: Items<'_>,
    learning_rate: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    step: u64,
) -> PyResult<()> {
    let variables = self::variables(&variables.0)?;
    let (m, v) = (self::variables(&ms.0)?, self::variables(&vs.0)?);
    let gradients = matched(&variables, &grads.0)?;
    let options = AdamOptions { learning_rate, beta_1, beta_2, epsilon, step };
    enter(py, elements(&grads.0.iter().collect::<Vec<_>>()), || {
        optim::adam(&variables, &gradients, &m, &v, options)
    })
}

/// The Euclidean norm of all elements of all tensors, as a tensor of no dimensions.
///
/// >>> _core.global_norm([[3.0], [4.0]]).item()
/// 5.0
#[pyfunction]
fn global_norm(py: Python<'_>, tensors: Args) -> Output {
    let Args(tensors) = tensors;
    let dtype = tensors.iter().map(Tensor::dtype).max().unwrap_or(autodan_core::DType::Float32);
    run(py, elements(&tensors.iter().collect::<Vec<_>>()), || {
        Tensor::full(&[], optim::global_norm(&tensors)?, dtype)
    })
}
