//! The tape: which op made a tensor, and how gradients flow back through it.
//!
//! A `Node` holds an op, edges to the nodes of its inputs, and the values that its gradient
//! needs. Edges point from outputs to inputs only, and do not own the leaves, so there are no cycles;
//! building, walking and dropping are iterative, so a chain may be as long as memory allows. Nodes are
//! numbered as they are made, and a node's consumers are always younger than it: taking the youngest
//! pending node first is a topological order.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use autodan_kernels::par;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::op::{Gradients, Op, Spec};
use crate::ops;
use crate::program::trace;
use crate::tensor::Tensor;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// `f` of what the mutex guards, in one piece: a fork of the process does not find it locked.
fn with_lock<T, R>(mutex: &Mutex<T>, f: impl FnOnce(&mut T) -> R) -> R {
    par::whole(|| f(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// The end of a path of gradients: the cell in which a variable or a tensor that requires a gradient
/// keeps it.
#[derive(Debug)]
pub struct Leaf {
    id: u64,
    grad: Mutex<Option<Tensor>>,
}

impl Leaf {
    /// A leaf without a gradient.
    pub fn new() -> Arc<Leaf> {
        Arc::new(Leaf { id: next_id(), grad: Mutex::new(None) })
    }

    /// The gradient gathered so far.
    pub fn grad(&self) -> Option<Tensor> {
        trace::grad(self.id).unwrap_or_else(|| with_lock(&self.grad, |grad| grad.clone()))
    }

    /// Replaces the gradient.
    pub fn set_grad(&self, grad: Option<Tensor>) {
        self.replace_grad(grad);
    }

    /// As [`Leaf::set_grad`]; returns what was there. It is dropped without the lock: it may be memory of
    /// somebody else, whose owner takes locks of its own to release it.
    fn replace_grad(&self, grad: Option<Tensor>) -> Option<Tensor> {
        if trace::is_active() {
            let left = with_lock(&self.grad, |grad| grad.is_some());
            return trace::set_grad(self.id, left, grad);
        }
        with_lock(&self.grad, |current| std::mem::replace(current, grad))
    }
}

/// Where a tensor's gradient goes.
#[derive(Clone, Debug)]
pub(crate) enum Edge {
    Leaf(Arc<Leaf>),
    /// An output of a node.
    Node(Arc<Node>, usize),
}

/// An [`Edge`] as the tape keeps it, without owning leaves. A leaf's gradient may itself be on the tape
/// (`create_graph`): it would keep its leaf, and so itself, alive for ever. And what nobody else holds has
/// a gradient that nobody can see.
#[derive(Debug)]
enum Link {
    Leaf(Weak<Leaf>),
    Node(Arc<Node>, usize),
}

impl Link {
    fn new(edge: &Edge) -> Link {
        match edge {
            Edge::Leaf(leaf) => Link::Leaf(Arc::downgrade(leaf)),
            Edge::Node(node, index) => Link::Node(node.clone(), *index),
        }
    }

    /// The edge, unless its leaf is gone.
    fn edge(&self) -> Option<Edge> {
        match self {
            Link::Leaf(leaf) => leaf.upgrade().map(Edge::Leaf),
            Link::Node(node, index) => Some(Edge::Node(node.clone(), *index)),
        }
    }

    fn is_wanted(&self) -> bool {
        match self {
            Link::Leaf(leaf) => leaf.strong_count() > 0,
            Link::Node(..) => true,
        }
    }
}

/// An op that was run, on the tape.
#[derive(Debug)]
pub(crate) struct Node {
    id: u64,
    op: Arc<dyn Op>,
    links: SmallVec<[Option<Link>; 3]>,
    inputs: SmallVec<[Spec; 3]>,
    outputs: usize,
    saved: Mutex<Option<Saved>>,
}

/// Values kept for the gradient, without their own places on the tape (edges have those, and an
/// output's would be a cycle).
#[derive(Debug)]
struct Saved {
    inputs: Vec<Option<Tensor>>,
    outputs: Vec<Option<Tensor>>,
}

impl Drop for Node {
    /// Drops the nodes that only this one kept, one after the other instead of each inside the
    /// previous one, which would overflow the stack on a long chain.
    fn drop(&mut self) {
        let mut orphans: Vec<Link> =
            self.links.drain(..).flatten().filter(|link| matches!(link, Link::Node(..))).collect();
        while let Some(link) = orphans.pop() {
            if let Link::Node(node, _) = link
                && let Some(mut node) = Arc::into_inner(node)
            {
                orphans.extend(node.links.drain(..).flatten());
            }
        }
    }
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Whether ops on this thread are recorded.
pub fn is_recording() -> bool {
    RECORDING.with(Cell::get)
}

/// Turns recording on this thread on or off; returns what it was.
pub fn set_recording(on: bool) -> bool {
    RECORDING.with(|recording| recording.replace(on))
}

/// Runs `f` with recording on or off.
pub fn with_recording<R>(on: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            set_recording(self.0);
        }
    }
    let _restore = Restore(set_recording(on));
    f()
}

/// Puts an op that was run on the tape and gives its outputs their places on it.
///
/// # Errors
/// [`Error::Memory`] when a borrowed input that the gradient needs cannot be copied.
pub fn record(op: Arc<dyn Op>, inputs: &[&Tensor], outputs: &mut [Tensor]) -> Result<()> {
    let saves = op.saves();
    fn keep<'a>(mask: u8, values: impl Iterator<Item = &'a Tensor>) -> Result<Vec<Option<Tensor>>> {
        // Most gradients need nothing, or only inputs: an empty list costs nothing.
        if mask == 0 {
            return Ok(Vec::new());
        }
        let keep =
            |(i, value): (usize, &Tensor)| (mask >> i.min(7) & 1 == 1).then(|| ops::keep(value)).transpose();
        values.enumerate().map(keep).collect()
    }
    let saved = Saved {
        inputs: keep(saves.inputs, inputs.iter().copied())?,
        outputs: keep(saves.outputs, outputs.iter())?,
    };
    let node = Arc::new(Node {
        id: next_id(),
        op,
        links: inputs.iter().map(|input| input.edge().map(Link::new)).collect(),
        inputs: inputs.iter().map(|input| Spec::new(input.dtype(), input.shape())).collect(),
        outputs: outputs.len(),
        saved: Mutex::new(Some(saved)),
    });
    for (index, output) in outputs.iter_mut().enumerate() {
        if output.dtype().is_float() {
            output.set_edge(Edge::Node(node.clone(), index));
        }
    }
    Ok(())
}

/// What an op's gradient may ask for.
pub struct Backward<'a> {
    node: &'a Arc<Node>,
    saved: &'a Saved,
    grads: &'a [Option<Tensor>],
}

impl Backward<'_> {
    /// The gradient of the op's (first) output.
    ///
    /// # Errors
    /// [`Error::Internal`] when none came.
    pub fn grad(&self) -> Result<&Tensor> {
        self.output_grad(0).ok_or_else(|| Error::internal("a node without a gradient was visited"))
    }

    /// The gradient of output `index`, if any came.
    pub fn output_grad(&self, index: usize) -> Option<&Tensor> {
        self.grads.get(index).and_then(Option::as_ref)
    }

    /// Input `index`, with its place on the tape, so that the gradient can itself be differentiated.
    ///
    /// # Errors
    /// [`Error::Internal`] unless the op saves it.
    pub fn input(&self, index: usize) -> Result<Tensor> {
        let value = self.saved.inputs.get(index).and_then(Option::as_ref);
        let value = value.ok_or_else(|| Error::internal("a gradient wants an input that was not saved"))?;
        Ok(value.with_edge(self.node.links[index].as_ref().and_then(Link::edge)))
    }

    /// Output `index`, with its place on the tape.
    ///
    /// # Errors
    /// [`Error::Internal`] unless the op saves it.
    pub fn output(&self, index: usize) -> Result<Tensor> {
        let value = self.saved.outputs.get(index).and_then(Option::as_ref);
        let value = value.ok_or_else(|| Error::internal("a gradient wants an output that was not saved"))?;
        Ok(value.with_edge(Some(Edge::Node(self.node.clone(), index))))
    }

    /// The shape of input `index`.
    pub fn input_shape(&self, index: usize) -> &[usize] {
        &self.node.inputs[index].shape
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    /// Whether anybody wants the gradient with respect to input `index`.
    pub fn needs(&self, index: usize) -> bool {
        self.node.links[index].as_ref().is_some_and(Link::is_wanted)
    }

    /// `f()` when input `index` needs a gradient, else `None`.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn when(&self, index: usize, f: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
        if self.needs(index) { f().map(Some) } else { Ok(None) }
    }
}

/// How a walk back treats the tape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep the saved values, so that the same tape can be walked again.
    pub retain_graph: bool,
    /// Record the walk itself, so that its results can be differentiated (keeps the graph too).
    pub create_graph: bool,
}

/// Adds the gradients of `output` to the `grad` of every leaf that it depends on.
///
/// `gradient` is that of the output itself; without it the output must be a scalar, whose gradient is 1.
///
/// # Errors
/// [`Error::Gradient`] when the output does not depend on any leaf, or the tape was freed; whatever
/// the ops' gradients raise. On an error no leaf has changed.
pub fn backward(output: &Tensor, gradient: Option<&Tensor>, options: Options) -> Result<()> {
    let mut walk = Walk::new(HashMap::new());
    walk.seed(output, gradient)?;
    walk.run(options)?;
    let mut updates = Vec::with_capacity(walk.leaves.len());
    for (leaf, grad) in walk.leaves.into_values() {
        let total = match leaf.grad() {
            Some(before) => ops::add(&before, &grad)?,
            None => grad,
        };
        updates.push((leaf, total));
    }
    // All of them or none.
    let before: Vec<_> =
        par::whole(|| updates.into_iter().map(|(leaf, total)| leaf.replace_grad(Some(total))).collect());
    drop(before);
    Ok(())
}

/// The gradients of the sum of `outputs` with respect to each of `inputs`, leaving every leaf's
/// `grad` alone; `None` for inputs that the outputs do not depend on.
///
/// # Errors
/// As [`backward`]; [`Error::Gradient`] also when an input does not require a gradient.
pub fn grad(
    outputs: &[Tensor],
    inputs: &[Tensor],
    gradients: Option<&[Option<Tensor>]>,
    options: Options,
) -> Result<Vec<Option<Tensor>>> {
    let mut wanted: HashMap<(u64, usize), Option<Tensor>> = HashMap::new();
    for (position, input) in inputs.iter().enumerate() {
        match input.edge() {
            Some(Edge::Node(node, index)) => {
                wanted.insert((node.id, *index), None);
            }
            Some(Edge::Leaf(_)) => {}
            None => {
                return Err(Error::Gradient(format!(
                    "grad: input {position} does not require a gradient; set requires_grad=True (or watch it) \
                     before computing with it"
                )));
            }
        }
    }
    let mut walk = Walk::new(wanted);
    for (i, output) in outputs.iter().enumerate() {
        let gradient = gradients.and_then(|all| all.get(i)).and_then(Option::as_ref);
        if output.requires_grad() {
            walk.seed(output, gradient)?;
        }
    }
    walk.run(options)?;
    Ok(inputs
        .iter()
        .map(|input| match input.edge() {
            Some(Edge::Leaf(leaf)) => walk.leaves.get(&leaf.id).map(|(_, grad)| grad.clone()),
            Some(Edge::Node(node, index)) => walk.wanted.get(&(node.id, *index)).cloned().flatten(),
            None => None,
        })
        .collect())
}

/// The gradients that a node's outputs have received.
type Received = SmallVec<[Option<Tensor>; 1]>;

/// One walk back over the tape.
struct Walk {
    /// Nodes that have received gradients, by age.
    pending: BTreeMap<u64, (Arc<Node>, Received)>,
    leaves: BTreeMap<u64, (Arc<Leaf>, Tensor)>,
    /// Tensors within the graph whose gradients are asked for.
    wanted: HashMap<(u64, usize), Option<Tensor>>,
}

impl Walk {
    fn new(wanted: HashMap<(u64, usize), Option<Tensor>>) -> Walk {
        Walk { pending: BTreeMap::new(), leaves: BTreeMap::new(), wanted }
    }

    fn seed(&mut self, output: &Tensor, gradient: Option<&Tensor>) -> Result<()> {
        let Some(edge) = output.edge() else {
            return Err(Error::Gradient(
                "backward: the output does not depend on any tensor that requires a gradient (was it computed \
                 under no_grad, or detached?)"
                    .into(),
            ));
        };
        let gradient = match gradient {
            Some(gradient) if gradient.shape() == output.shape() => ops::cast(gradient, output.dtype())?,
            Some(gradient) => {
                return Err(Error::shape(
                    "backward",
                    format!(
                        "the gradient has shape {} but the output has shape {}",
                        gradient.show_shape(),
                        output.show_shape()
                    ),
                ));
            }
            None if output.len() == 1 => Tensor::full(output.shape(), 1.0, output.dtype())?,
            None => {
                return Err(Error::value(
                    "backward",
                    format!(
                        "the output has shape {}; only a scalar can be differentiated without a gradient: \
                         reduce it with sum() or mean(), or pass gradient=",
                        output.show_shape()
                    ),
                ));
            }
        };
        self.send(edge, gradient)
    }

    /// Adds a gradient at the end of an edge. The first one is moved in.
    fn send(&mut self, edge: &Edge, grad: Tensor) -> Result<()> {
        match edge {
            Edge::Leaf(leaf) => {
                let total = match self.leaves.remove(&leaf.id) {
                    Some((_, before)) => ops::add(&before, &grad)?,
                    None => grad,
                };
                self.leaves.insert(leaf.id, (leaf.clone(), total));
            }
            Edge::Node(node, index) => {
                let (_, grads) = self
                    .pending
                    .entry(node.id)
                    .or_insert_with(|| (node.clone(), SmallVec::from_elem(None, node.outputs)));
                let total = match grads[*index].take() {
                    Some(before) => ops::add(&before, &grad)?,
                    None => grad,
                };
                grads[*index] = Some(total);
            }
        }
        Ok(())
    }

    fn run(&mut self, options: Options) -> Result<()> {
        with_recording(options.create_graph, || {
            while let Some((id, (node, grads))) = self.pending.pop_last() {
                par::checkpoint();
                if !self.wanted.is_empty() {
                    for (index, grad) in grads.iter().enumerate() {
                        if let (Some(slot), Some(grad)) = (self.wanted.get_mut(&(id, index)), grad) {
                            *slot = Some(grad.clone());
                        }
                    }
                }
                self.visit(&node, &grads, options)?;
            }
            Ok(())
        })
    }

    fn visit(&mut self, node: &Arc<Node>, grads: &[Option<Tensor>], options: Options) -> Result<()> {
        let freed = || {
            Error::Gradient(format!(
                "{}: the graph was freed by an earlier backward; pass retain_graph=True (or use a persistent tape) \
                 to differentiate twice",
                node.op.name()
            ))
        };
        // Taken out, not borrowed: no lock is held while gradients run.
        let saved = with_lock(&node.saved, Option::take).ok_or_else(freed)?;
        let mut borrowed = Borrowed { node, saved: Some(saved) };
        let result = borrowed.run(grads)?;
        if !(options.retain_graph || options.create_graph) {
            borrowed.saved = None;
        }
        drop(borrowed);
        for ((link, spec), grad) in node.links.iter().zip(&node.inputs).zip(result) {
            if let (Some(edge), Some(grad)) = (link.as_ref().and_then(Link::edge), grad) {
                let grad = ops::sum_to(&grad, &spec.shape)?;
                self.send(&edge, ops::cast(&grad, spec.dtype)?)?;
            }
        }
        Ok(())
    }
}

/// A node's saved values while its gradient runs; what is still here at the end, or when an error or an
/// interrupt ends the walk, goes back.
struct Borrowed<'a> {
    node: &'a Arc<Node>,
    saved: Option<Saved>,
}

impl Borrowed<'_> {
    fn run(&self, grads: &[Option<Tensor>]) -> Result<Gradients> {
        let saved = self.saved.as_ref().ok_or_else(|| Error::internal("a node without saved values"))?;
        self.node.op.vjp(&Backward { node: self.node, saved, grads })
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(saved) = self.saved.take() {
            with_lock(&self.node.saved, |place| *place = Some(saved));
        }
    }
}

#[cfg(test)]
mod tests;
