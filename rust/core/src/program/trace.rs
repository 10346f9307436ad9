//! Tracing: code runs on tensors without values, and what it does to them is written down.
//!
//! One trace at a time is under way on a thread. A symbolic tensor has a dtype and a shape; its storage is a
//! [`Symbol`] instead of elements. [`crate::op::apply_all`] hands every op on such a tensor to `record`. An
//! op on real tensors only runs at once: its result is a constant of the program. Variables are read and
//! assigned in the trace alone.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::{Draw, Given, Gradient, Graph, Node, Operand, Rule, Update, Value};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Layout, Shape, checked_len};
use crate::op::{Effect, Op, Spec, Specs};
use crate::ops;
use crate::storage::Storage;
use crate::tensor::Tensor;
use crate::variable::Variable;

/// While a step is traced, the counter of stream `i` of random numbers begins at `(i + 1) << STREAM_BITS`: by
/// this a draw from it is known.
pub const STREAM_BITS: u32 = 40;
/// The bit that makes the counters of two traces differ, so that what was drawn at once, as a constant of the
/// trace, differs too.
pub const SECOND_TRACE: u64 = 1 << (STREAM_BITS - 1);

/// What stands for a value in a symbolic tensor.
#[derive(Debug)]
pub struct Symbol {
    trace: u64,
    value: Value,
    dtype: DType,
    len: usize,
}

impl Symbol {
    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Symbols are not borrowed memory.
    pub fn is_foreign(&self) -> bool {
        false
    }

    /// Where the symbol itself lies: nobody reads elements there, but it tells symbols apart.
    pub fn as_ptr(&self) -> *const Symbol {
        self
    }
}

/// The value of a variable that an optimizer has updated: it has none until the program has run.
const UPDATED: Value = usize::MAX;

struct Trace {
    id: u64,
    graph: Graph,
    constants: HashMap<*const u8, (Value, Storage)>,
    states: HashMap<usize, (Variable, Tensor)>,
    assigned: Vec<usize>,
    updated: HashSet<usize>,
    /// The gradients that leaves hold, by leaf.
    grads: HashMap<u64, Tensor>,
    refused: Option<&'static str>,
}

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// Whether a trace is under way on this thread.
pub fn is_active() -> bool {
    ACTIVE.with(Cell::get)
}

/// Begins a trace.
///
/// # Errors
/// [`Error::Symbolic`] when one is under way.
pub fn begin() -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if is_active() {
        return Err(refuse("it trains or evaluates a model itself"));
    }
    let trace = Trace {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        graph: Graph::default(),
        constants: HashMap::new(),
        states: HashMap::new(),
        assigned: Vec::new(),
        updated: HashSet::new(),
        grads: HashMap::new(),
        refused: None,
    };
    TRACE.with(|place| place.replace(Some(trace)));
    ACTIVE.with(|active| active.set(true));
    Ok(())
}

/// Ends a trace: its graph, which returns `outputs`. In any case no trace is under way afterwards.
///
/// # Errors
/// [`Error::Symbolic`] when the step did what cannot be traced, whether or not the error that it got reached
/// the caller.
pub fn end(outputs: &[Tensor]) -> Result<Graph> {
    if !is_active() {
        return Err(Error::Symbolic("no trace is under way"));
    }
    let refused = with(|trace| {
        trace.graph.outputs = outputs.iter().map(|output| trace.operand(output)).collect::<Result<_>>()?;
        for i in 0..trace.assigned.len() {
            let (variable, value) = trace.states[&trace.assigned[i]].clone();
            let operand = trace.operand(&value)?;
            trace.graph.assigned.push((variable, operand));
        }
        Ok(trace.refused.or(match trace.grads.is_empty() {
            true => None,
            false => Some("backward() leaves gradients that no optimizer takes"),
        }))
    });
    let graph = abort();
    match (refused?, graph) {
        (None, Some(graph)) => Ok(graph),
        (why, _) => Err(Error::Symbolic(why.unwrap_or("no trace is under way"))),
    }
}

/// Ends a trace whose step has failed.
pub fn abort() -> Option<Graph> {
    ACTIVE.with(|active| active.set(false));
    TRACE.with(|place| place.take()).map(|trace| trace.graph)
}

/// Notes why the step cannot be traced; the error to raise.
pub fn refuse(why: &'static str) -> Error {
    TRACE.with(|place| {
        if let Ok(mut place) = place.try_borrow_mut()
            && let Some(trace) = place.as_mut()
        {
            trace.refused.get_or_insert(why);
        }
    });
    Error::Symbolic(why)
}

/// Why the step that is being traced cannot be, if it has done what cannot.
pub fn refused() -> Option<&'static str> {
    TRACE.with(|place| place.borrow().as_ref().and_then(|trace| trace.refused))
}

/// A symbolic tensor for the next argument of the step.
///
/// # Errors
/// [`Error::Symbolic`] when no trace is under way.
pub fn input(dtype: DType, shape: &[usize]) -> Result<Tensor> {
    checked_len("trace", shape)?;
    with(|trace| {
        let number = trace.graph.given.iter().filter(|(_, given)| matches!(given, Given::Input(_))).count();
        trace.given(Given::Input(number), Spec::new(dtype, shape))
    })
}

/// Writes down a step of an optimizer whose kernel is `rule`'s.
///
/// # Errors
/// [`Error::Symbolic`] when no trace is under way or a variable was updated before.
pub fn update(
    rule: Rule,
    variables: Vec<Variable>,
    slots: Vec<Vec<Variable>>,
    gradients: &[Tensor],
    iterations: Variable,
) -> Result<()> {
    let value = |trace: &mut Trace, gradient| trace.operand(gradient).map(Gradient::Value);
    let gradients = with(|trace| gradients.iter().map(|gradient| value(trace, gradient)).collect())?;
    updated(slots.iter().flatten().chain(&variables).chain([&iterations]))?;
    with(|trace| {
        trace.graph.updates.push(Update { rule, variables, slots, gradients, iterations });
        Ok(())
    })
}

/// Notes that variables get values that the trace does not know: nothing may read them any more.
///
/// # Errors
/// [`Error::Symbolic`] when one was assigned or updated before.
pub fn updated<'a>(variables: impl Iterator<Item = &'a Variable>) -> Result<()> {
    let again = with(|trace| {
        let mut again = false;
        for variable in variables {
            again |= trace.assigned.contains(&variable.id()) | !trace.updated.insert(variable.id());
        }
        Ok(again)
    })?;
    if again { Err(refuse("a variable is updated twice")) } else { Ok(()) }
}

/// What a variable holds in the trace that is under way, if one is.
pub(crate) fn read(variable: &Variable) -> Option<Tensor> {
    if !is_active() {
        return None;
    }
    with(|trace| {
        if trace.updated.contains(&variable.id()) {
            let spec = Spec::new(variable.dtype(), variable.shape());
            return Ok(trace.symbol(UPDATED, &spec));
        }
        if let Some((_, value)) = trace.states.get(&variable.id()) {
            return Ok(value.clone());
        }
        let spec = Spec::new(variable.dtype(), variable.shape());
        let value = trace.given(Given::State(variable.clone()), spec)?;
        trace.states.insert(variable.id(), (variable.clone(), value.clone()));
        Ok(value)
    })
    .ok()
}

/// Assigns to a variable in the trace that is under way; whether one is.
pub(crate) fn assign(variable: &Variable, value: &Tensor) -> Result<bool> {
    if !is_active() {
        return Ok(false);
    }
    let late = with(|trace| {
        let id = variable.id();
        trace.states.insert(id, (variable.clone(), value.clone()));
        if !trace.assigned.contains(&id) {
            trace.assigned.push(id);
        }
        Ok(trace.updated.contains(&id))
    })?;
    if late { Err(refuse("a variable is assigned after an optimizer has updated it")) } else { Ok(true) }
}

/// The gradient that a leaf holds in the trace that is under way, if one is.
pub(crate) fn grad(leaf: u64) -> Option<Option<Tensor>> {
    if !is_active() {
        return None;
    }
    with(|trace| Ok(trace.grads.get(&leaf).cloned())).ok()
}

/// Replaces the gradient that a leaf holds in the trace that is under way; returns what was there. Outside of
/// it the leaf must have none, since a step would have to know it.
pub(crate) fn set_grad(leaf: u64, held_outside: bool, grad: Option<Tensor>) -> Option<Tensor> {
    if held_outside {
        refuse("a gradient was left by an earlier backward()");
    }
    let replace = |trace: &mut Trace| {
        Ok(match grad {
            Some(grad) => trace.grads.insert(leaf, grad),
            None => trace.grads.remove(&leaf),
        })
    };
    with(replace).ok().flatten()
}

/// Writes an op down if it is one of the trace's: the symbolic outputs.
///
/// # Errors
/// [`Error::Symbolic`] for tensors of another trace, or updated variables.
pub(crate) fn record(op: &Arc<dyn Op>, inputs: &[&Tensor], outputs: &Specs) -> Result<SmallVec<[Tensor; 1]>> {
    with(|trace| {
        let inputs = inputs.iter().map(|input| trace.operand(input)).collect::<Result<_>>()?;
        let (op, draw) = match op.key() {
            Some(key) if key.counter >> STREAM_BITS > 0 => {
                let offset = key.counter & (SECOND_TRACE - 1);
                let draw = Draw { stream: (key.counter >> STREAM_BITS) as usize - 1, offset };
                // The same text whichever counter the trace began with.
                (op.with_key(ops::random::Key { counter: offset, ..key }).unwrap_or(op.clone()), Some(draw))
            }
            _ => (op.clone(), None),
        };
        let first = trace.graph.values.len();
        let values = (first..first + outputs.len()).collect();
        trace.graph.values.extend(outputs.iter().cloned());
        trace.graph.nodes.push(Node { op, inputs, outputs: values, draw });
        Ok(outputs.iter().enumerate().map(|(i, spec)| trace.symbol(first + i, spec)).collect())
    })
}

/// Whether an op belongs to the trace rather than to its preparation.
pub(crate) fn takes(op: &dyn Op, inputs: &[&Tensor]) -> bool {
    inputs.iter().any(|input| input.storage().symbol().is_some())
        || (op.effect() == Effect::Random
            && is_active()
            && op.key().is_some_and(|key| key.counter >> STREAM_BITS > 0))
}

/// `f` of the trace that is under way.
fn with<R>(f: impl FnOnce(&mut Trace) -> Result<R>) -> Result<R> {
    TRACE.with(|place| match place.borrow_mut().as_mut() {
        Some(trace) => f(trace),
        None => Err(Error::Symbolic("a tensor of it was used after the trace, or on another thread")),
    })
}

impl Trace {
    fn given(&mut self, given: Given, spec: Spec) -> Result<Tensor> {
        let value = self.graph.values.len();
        self.graph.given.push((value, given));
        let tensor = self.symbol(value, &spec);
        self.graph.values.push(spec);
        Ok(tensor)
    }

    fn symbol(&self, value: Value, spec: &Spec) -> Tensor {
        let len = spec.shape.iter().product();
        let symbol = Symbol { trace: self.id, value, dtype: spec.dtype, len };
        Tensor::new(Storage::Symbolic(Arc::new(symbol)), Layout::contiguous(spec.shape.clone()), None)
    }

    /// The operand that a tensor is; a real tensor becomes a constant.
    fn operand(&mut self, tensor: &Tensor) -> Result<Operand> {
        let layout = tensor.layout().clone();
        if let Some(symbol) = tensor.storage().symbol() {
            if symbol.trace != self.id {
                return self.refuse("a tensor of an earlier step is used in this one");
            }
            if symbol.value == UPDATED {
                return self.refuse("a variable is read after an optimizer has updated it");
            }
            return Ok(Operand { value: symbol.value, layout });
        }
        let kept = ops::keep(tensor)?;
        let layout = kept.layout().clone();
        let storage = kept.storage().clone();
        if let Some((value, _)) = self.constants.get(&storage.address()) {
            return Ok(Operand { value: *value, layout });
        }
        let value = self.graph.values.len();
        self.graph.given.push((value, Given::Constant(storage.clone())));
        self.graph.values.push(Spec { dtype: storage.dtype(), shape: Shape::from_slice(&[storage.len()]) });
        self.constants.insert(storage.address(), (value, storage));
        Ok(Operand { value, layout })
    }

    fn refuse<R>(&mut self, why: &'static str) -> Result<R> {
        self.refused.get_or_insert(why);
        Err(Error::Symbolic(why))
    }
}
