//! Steps that are traced, and the programs that replay them; `autodan.tracing` is the face of this.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use autodan_core::Variable;
use autodan_core::op::Spec;
use autodan_core::ops::random::Key;
use autodan_core::program::describe::Kernel;
use autodan_core::program::replay::Settings;
use autodan_core::program::{Graph, Program, Rule, trace};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::convert::{Args, DTypeArg, Items, ShapeArg};
use crate::enter::{enter, enter_attached};
use crate::tensor::PyTensor;
use crate::variable::variables;

/// Adds these functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyGraph>()?;
    module.add_class::<PyProgram>()?;
    module.add_class::<PyOutline>()?;
    add_functions!(
        module,
        [
            is_tracing,
            _trace_begin,
            _trace_input,
            _trace_update,
            _trace_updated,
            _trace_end,
            _trace_abort,
            _trace_refused,
            _stream_start,
            trainable_changes,
            _changes,
            _note_change,
            _identities
        ]
    );
    Ok(())
}

/// Whether a step is being traced on this thread.
///
/// >>> _core.is_tracing()
/// False
#[pyfunction]
fn is_tracing() -> bool {
    trace::is_active()
}

/// Begins to trace: until `_trace_end` or `_trace_abort`, ops on tensors of `_trace_input`, and on what variables
/// hold, are written down instead of run.
///
/// >>> _core._trace_begin()
/// >>> x = _core._trace_input((2,), "float32")
/// >>> graph = _core._trace_end([x * 2])
/// >>> graph.compile().run([ad.tensor([1.0, 2.0])], [], [])
/// [tensor([2., 4.], shape=(2,), dtype=float32)]
#[pyfunction]
fn _trace_begin(py: Python<'_>) -> PyResult<()> {
    enter_attached(py, trace::begin)
}

/// A tensor without values: the next argument of the step.
///
/// >>> _core._trace_begin()
/// >>> x = _core._trace_input((2, 3), "float32")
/// >>> x.shape
/// (2, 3)
/// >>> _core._trace_abort()
#[pyfunction]
fn _trace_input(py: Python<'_>, shape: ShapeArg, dtype: DTypeArg) -> PyResult<PyTensor> {
    enter_attached(py, || trace::input(dtype.0, &shape.0)).map(PyTensor::new)
}

/// Writes down an update by a kernel: "adam" with `(beta_1, beta_2, epsilon)`, or "sgd" with `(momentum,
/// nesterov)`, whose step counter is `iterations`.
///
/// >>> w, n = ad.Variable([1.0]), ad.Variable(0, trainable=False)
/// >>> _core._trace_begin()
/// >>> _core._trace_update("sgd", (0.0, 0.0), [w], [], [w * 2.0], n)
/// >>> _core._trace_end([]).compile().run([], [0.25], [])
/// []
/// >>> w.tolist(), n.item()
/// ([0.5], 1)
#[pyfunction]
fn _trace_update(
    py: Python<'_>,
    rule: &str,
    constants: Vec<f64>,
    variables: Items<'_>,
    slots: Vec<Items<'_>>,
    grads: Args,
    iterations: Bound<'_, PyAny>,
) -> PyResult<()> {
    let rule = match (rule, &constants[..]) {
        ("adam", &[beta_1, beta_2, epsilon]) => Rule::Adam { beta_1, beta_2, epsilon },
        ("sgd", &[momentum, nesterov]) => Rule::Sgd { momentum, nesterov: nesterov != 0.0 },
        _ => return Err(PyValueError::new_err(format!("trace_update: no rule '{rule}' of {constants:?}"))),
    };
    let variables = self::variables(&variables.0)?;
    let slots = slots.iter().map(|slot| self::variables(&slot.0)).collect::<PyResult<_>>()?;
    let counter = self::variables(&[iterations])?.remove(0);
    enter_attached(py, || trace::update(rule, variables, slots, &grads.0, counter))
}

/// Notes that these variables get values outside of the program, after it.
///
/// >>> w = ad.Variable([1.0])
/// >>> _core._trace_begin()
/// >>> _core._trace_updated([w])
/// >>> w * 2
/// Traceback (most recent call last):
///     ...
/// autodan.TraceError: the step cannot be compiled: a variable is read after an optimizer has updated it
/// >>> _core._trace_abort()
#[pyfunction]
fn _trace_updated(py: Python<'_>, variables: Items<'_>) -> PyResult<()> {
    let variables = self::variables(&variables.0)?;
    enter_attached(py, || trace::updated(variables.iter()))
}

/// Ends the trace: the graph of a step that returns these tensors.
///
/// >>> _core._trace_end([])
/// Traceback (most recent call last):
///     ...
/// autodan.TraceError: the step cannot be compiled: no trace is under way
#[pyfunction]
fn _trace_end(py: Python<'_>, outputs: Args) -> PyResult<PyGraph> {
    enter_attached(py, || trace::end(&outputs.0)).map(PyGraph)
}

/// Ends the trace of a step that has failed; does nothing when none is under way.
///
/// >>> _core._trace_abort()
#[pyfunction]
fn _trace_abort() {
    trace::abort();
}

/// Why the step that is being traced cannot be; None if it did nothing that cannot. An error that the step
/// raised may have come of it.
///
/// >>> _core._trace_refused() is None
/// True
#[pyfunction]
fn _trace_refused() -> Option<&'static str> {
    trace::refused()
}

/// Where the counter of stream number `stream` of random numbers begins in a trace, so that what is drawn from
/// it is known; a second trace begins elsewhere, so that what is drawn unknown to the trace shows.
///
/// >>> _core._stream_start(0, False) < _core._stream_start(0, True) < _core._stream_start(1, False)
/// True
#[pyfunction]
fn _stream_start(stream: u64, second: bool) -> PyResult<u64> {
    let first = stream.checked_add(1).and_then(|number| number.checked_mul(1 << trace::STREAM_BITS));
    let first =
        first.ok_or_else(|| PyValueError::new_err(format!("stream_start: stream={stream} is too large")))?;
    Ok(first | if second { trace::SECOND_TRACE } else { 0 })
}

/// How often any variable became trainable or ceased to be.
///
/// >>> w, before = ad.Variable([1.0]), _core.trainable_changes()
/// >>> w.trainable = False
/// >>> _core.trainable_changes() - before
/// 1
#[pyfunction]
fn trainable_changes() -> u64 {
    Variable::trainable_changes()
}

/// How often anything that a program may depend on has changed, anywhere: an attribute of a layer, optimizer, loss
/// or metric, a global setting, whether a variable is trainable. As long as it stays, programs need no other look.
///
/// >>> layer, before = ad.layers.Dense(2), _core._changes()
/// >>> layer.units = 3
/// >>> _core._changes() > before
/// True
#[pyfunction]
fn _changes() -> u64 {
    CHANGES.load(Ordering::Acquire).wrapping_add(Variable::trainable_changes())
}

static CHANGES: AtomicU64 = AtomicU64::new(0);

/// Counts a change that has been made.
///
/// >>> before = _core._changes()
/// >>> _core._note_change()
/// >>> _core._changes() > before
/// True
#[pyfunction]
fn _note_change() {
    CHANGES.fetch_add(1, Ordering::Release);
}

/// Dtypes and shapes of the tensors of a batch.
///
/// >>> outline = _core._Outline([ad.zeros((2, 3))])
/// >>> outline.fits((ad.ones((2, 3)),)), outline.fits((ad.ones((1, 3)),)), outline.fits([ad.ones((2, 3))])
/// (True, False, False)
#[pyclass(name = "_Outline", module = "autodan._core", frozen)]
struct PyOutline(Vec<Spec>);

#[pymethods]
impl PyOutline {
    #[new]
    fn new(tensors: Args) -> PyOutline {
        PyOutline(tensors.0.iter().map(|x| Spec::new(x.dtype(), x.shape())).collect())
    }

    /// Whether it is also that of this batch, a tuple of nothing but tensors.
    ///
    /// >>> _core._Outline([]).fits(())
    /// True
    fn fits(&self, batch: &Bound<'_, PyAny>) -> bool {
        batch.cast_exact::<PyTuple>().is_ok_and(|batch| {
            let same = |(spec, item): (&Spec, Bound<'_, PyAny>)| {
                item.cast::<PyTensor>().is_ok_and(|item| {
                    let x = item.get().tensor();
                    x.dtype() == spec.dtype && x.shape() == &spec.shape[..]
                })
            };
            batch.len() == self.0.len() && self.0.iter().zip(batch).all(same)
        })
    }
}

/// Which objects lists and dicts hold: equal as long as each holds the same ones, in the same order. They may have
/// gone since, and others have taken their place in memory.
///
/// >>> layers, shapes = ["conv", "dense"], {"x": (2, 3)}
/// >>> before = _core._identities([layers, shapes])
/// >>> layers.reverse()
/// >>> _core._identities([layers, shapes]) == before
/// False
/// >>> layers.reverse()
/// >>> _core._identities([layers, shapes]) == before
/// True
#[pyfunction]
fn _identities<'py>(containers: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyBytes>> {
    let mut numbers = Vec::new();
    for container in containers {
        let start = numbers.len();
        numbers.push(0);
        match container.cast::<PyDict>() {
            Ok(dict) => numbers.extend(dict.iter().map(|(_, value)| value.as_ptr() as usize)),
            Err(_) => numbers.extend(container.cast::<PyList>()?.iter().map(|item| item.as_ptr() as usize)),
        }
        numbers[start] = numbers.len() - start;
    }
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    Ok(PyBytes::new(containers.py(), &bytes))
}

/// What a trace wrote down.
///
/// >>> _core._trace_begin()
/// >>> graph = _core._trace_end([])
/// >>> graph.difference(graph) is None
/// True
#[pyclass(name = "Graph", module = "autodan._core", frozen)]
struct PyGraph(Graph);

#[pymethods]
impl PyGraph {
    /// How another trace of the same step differs from this one; None if it does not.
    ///
    /// >>> _core._trace_begin()
    /// >>> graph = _core._trace_end([_core._trace_input((2,), "float32") + 1])
    /// >>> graph.difference(graph) is None
    /// True
    fn difference(&self, other: &PyGraph) -> Option<String> {
        self.0.difference(&other.0)
    }

    /// The program: rewritten by the passes, its memory planned.
    ///
    /// >>> _core._trace_begin()
    /// >>> graph = _core._trace_end([_core._trace_input((2,), "float32") + 1])
    /// >>> graph.compile().run([ad.tensor([1.0, 2.0])], [], [])
    /// [tensor([2., 3.], shape=(2,), dtype=float32)]
    fn compile(&self, py: Python<'_>) -> PyResult<PyProgram> {
        enter_attached(py, || self.0.clone().compile()).map(PyProgram)
    }
}

/// The keys that streams, objects with a seed and a counter, give next.
fn keys(streams: &[(Bound<'_, PyAny>, u64)]) -> PyResult<Vec<Key>> {
    let key = |(stream, _): &(Bound<'_, PyAny>, u64)| {
        Ok(Key { seed: stream.getattr("seed")?.extract()?, counter: stream.getattr("counter")?.extract()? })
    };
    streams.iter().map(key).collect()
}

/// Name, inputs, outputs, operations, bytes read, bytes written.
type KernelRow = (String, SpecRows, SpecRows, usize, usize, usize);

/// Dtypes and shapes.
type SpecRows = Vec<(&'static str, Vec<usize>)>;

/// A step that runs without the code that described it.
///
/// >>> _core._trace_begin()
/// >>> program = _core._trace_end([_core._trace_input((2,), "float32") + 1]).compile()
/// >>> program.run([ad.tensor([1.0, 2.0])], [], [])
/// [tensor([2., 3.], shape=(2,), dtype=float32)]
#[pyclass(name = "Program", module = "autodan._core", frozen)]
struct PyProgram(Program);

#[pymethods]
impl PyProgram {
    /// Runs it on its inputs, with the learning rate of each update and the streams of random numbers, each
    /// with the number of its draws; the outputs. In the end variables change and streams advance, all of them
    /// or, after an error or an interrupt, none.
    ///
    /// >>> _core._trace_begin()
    /// >>> program = _core._trace_end([_core._trace_input((2,), "float32") + 1]).compile()
    /// >>> program.run([ad.tensor([1.0, 2.0])], [], [])
    /// [tensor([2., 3.], shape=(2,), dtype=float32)]
    fn run(
        &self,
        py: Python<'_>,
        inputs: Args,
        rates: Vec<f64>,
        streams: Vec<(Bound<'_, PyAny>, u64)>,
    ) -> PyResult<Vec<PyTensor>> {
        let keys = keys(&streams)?;
        let settings = Settings { rates: &rates, keys: &keys };
        let outputs = enter(py, usize::MAX, || self.0.run(&inputs.0, settings))?;
        // Here, since Python answers to signals as soon as this function has returned.
        for ((stream, draws), key) in streams.iter().zip(&keys) {
            stream.setattr("counter", key.counter.wrapping_add(*draws))?;
        }
        Ok(outputs.into_iter().map(PyTensor::new).collect())
    }

    /// As `run`, but returns how many seconds each kernel took; streams do not advance.
    ///
    /// >>> _core._trace_begin()
    /// >>> program = _core._trace_end([_core._trace_input((2,), "float32") + 1]).compile()
    /// >>> len(program.profile([ad.tensor([1.0, 2.0])], [], []))
    /// 1
    fn profile(
        &self,
        py: Python<'_>,
        inputs: Args,
        rates: Vec<f64>,
        streams: Vec<(Bound<'_, PyAny>, u64)>,
    ) -> PyResult<Vec<f64>> {
        let keys = keys(&streams)?;
        let settings = Settings { rates: &rates, keys: &keys };
        let (_, times) = enter(py, usize::MAX, || self.0.profile(&inputs.0, settings))?;
        Ok(times.iter().map(Duration::as_secs_f64).collect())
    }

    /// What it does, in order: of each kernel its name, what it reads and makes (each a list of dtypes and
    /// shapes), its nominal operations, and the bytes that it reads and writes.
    ///
    /// >>> _core._trace_begin()
    /// >>> program = _core._trace_end([_core._trace_input((2,), "float32") + 1]).compile()
    /// >>> program.kernels()[0][3:]
    /// (2, 12, 8)
    fn kernels(&self) -> Vec<KernelRow> {
        let specs = |specs: &[Spec]| specs.iter().map(|s| (s.dtype.name(), s.shape.to_vec())).collect();
        let row = |k: &Kernel| {
            let name = k.name.clone();
            (name, specs(&k.inputs), specs(&k.outputs), k.operations, k.bytes_read, k.bytes_written)
        };
        self.0.kernels().iter().map(row).collect()
    }

    /// The number and the bytes of the buffers that its values share, and the bytes of its constants.
    ///
    /// >>> _core._trace_begin()
    /// >>> program = _core._trace_end([_core._trace_input((2,), "float32") + 1]).compile()
    /// >>> program.memory()
    /// (0, 0, 4)
    fn memory(&self) -> (usize, usize, usize) {
        (self.0.planned_buffers(), self.0.planned_bytes(), self.0.constant_bytes())
    }
}
