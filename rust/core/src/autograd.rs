//! The tape: which op made a tensor, and how gradients flow back through it.
//!
//! A `Node` holds an op, edges to the nodes of its inputs, and the values that its gradient
//! needs. Edges point from outputs to inputs only, so there are no cycles; building, walking and
//! dropping are iterative, so a chain may be as long as memory allows. Nodes are numbered as they are made,
//! and a node's consumers are always younger than it: taking the youngest pending node first is a
//! topological order.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::op::{Op, Spec};
use crate::ops;
use crate::tensor::Tensor;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        lock(&self.grad).clone()
    }

    /// Replaces the gradient.
    pub fn set_grad(&self, grad: Option<Tensor>) {
        *lock(&self.grad) = grad;
    }
}

/// Where a tensor's gradient goes.
#[derive(Clone, Debug)]
pub(crate) enum Edge {
    Leaf(Arc<Leaf>),
    /// An output of a node.
    Node(Arc<Node>, usize),
}

/// An op that was run, on the tape.
#[derive(Debug)]
pub(crate) struct Node {
    id: u64,
    op: Arc<dyn Op>,
    edges: SmallVec<[Option<Edge>; 3]>,
    inputs: SmallVec<[Spec; 3]>,
    outputs: usize,
    saved: Mutex<Option<Saved>>,
}

/// Values kept for the gradient, without their own places on the tape (edges have those, and an
/// output's would be a cycle).
#[derive(Debug)]
struct Saved {
    inputs: SmallVec<[Option<Tensor>; 3]>,
    outputs: SmallVec<[Option<Tensor>; 1]>,
}

impl Drop for Node {
    /// Drops the nodes that only this one kept, one after the other instead of each inside the
    /// previous one, which would overflow the stack on a long chain.
    fn drop(&mut self) {
        let mut orphans: Vec<Edge> = self.edges.drain(..).flatten().collect();
        while let Some(edge) = orphans.pop() {
            if let Edge::Node(node, _) = edge
                && let Some(mut node) = Arc::into_inner(node)
            {
                orphans.extend(node.edges.drain(..).flatten());
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
    let keep = |mask: u8, index: usize, value: &Tensor| {
        (mask >> index.min(7) & 1 == 1).then(|| ops::keep(value)).transpose()
    };
    let saved = Saved {
        inputs: inputs.iter().enumerate().map(|(i, x)| keep(saves.inputs, i, x)).collect::<Result<_>>()?,
        outputs: outputs.iter().enumerate().map(|(i, y)| keep(saves.outputs, i, y)).collect::<Result<_>>()?,
    };
    let node = Arc::new(Node {
        id: next_id(),
        op,
        edges: inputs.iter().map(|input| input.edge().cloned()).collect(),
        inputs: inputs.iter().map(|input| Spec::new(input.dtype(), input.shape())).collect(),
        outputs: outputs.len(),
        saved: Mutex::new(Some(saved)),
    });
    for (index, output) in outputs.iter_mut().enumerate() {
        if output.dtype().is_float() {
            *output = output.with_edge(Some(Edge::Node(node.clone(), index)));
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
        Ok(value.with_edge(self.node.edges[index].clone()))
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
        self.node.edges[index].is_some()
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
    for (leaf, total) in updates {
        leaf.set_grad(Some(total));
    }
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
        let saved = lock(&node.saved).take().ok_or_else(freed)?;
        let result = node.op.vjp(&Backward { node, saved: &saved, grads });
        if options.retain_graph || options.create_graph || result.is_err() {
            *lock(&node.saved) = Some(saved);
        }
        for ((edge, spec), grad) in node.edges.iter().zip(&node.inputs).zip(result?) {
            if let (Some(edge), Some(grad)) = (edge, grad) {
                let grad = ops::sum_to(&grad, &spec.shape)?;
                self.send(edge, ops::cast(&grad, spec.dtype)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(x: f64) -> Tensor {
        Tensor::scalar(x).and_then(|t| t.with_grad()).unwrap_or_else(|e| unreachable!("{e}"))
    }

    #[test]
    fn a_million_ops_build_differentiate_and_drop_on_a_small_stack() {
        let run = || -> Result<f64> {
            let x = scalar(1.0);
            let one = Tensor::scalar(1.0f64)?;
            let mut y = x.clone();
            for _ in 0..1_000_000 {
                y = ops::multiply(&y, &one)?;
            }
            backward(&y, None, Options::default())?;
            let dx = x.leaf().and_then(|leaf| leaf.grad()).map_or(Ok(0.0), |g| g.item());
            drop(y);
            dx
        };
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
        let result = thread.map(std::thread::JoinHandle::join);
        assert!(matches!(result, Ok(Ok(Ok(1.0)))), "{result:?}");
    }

    #[test]
    fn a_diamond_is_walked_once() -> Result<()> {
        let x = scalar(1.0);
        let mut y = x.clone();
        for _ in 0..64 {
            y = ops::add(&y, &y)?;
        }
        let dx = grad(&[y], &[x], None, Options::default())?;
        assert_eq!(dx[0].as_ref().map(Tensor::item).transpose()?, Some(2f64.powi(64)));
        Ok(())
    }

    #[test]
    fn second_derivatives_and_freed_graphs() -> Result<()> {
        let x = scalar(2.0);
        let y = ops::multiply(&ops::multiply(&x, &x)?, &x)?;
        let keep = Options { create_graph: true, ..Options::default() };
        let dx = grad(std::slice::from_ref(&y), std::slice::from_ref(&x), None, keep)?[0].clone();
        let dx = dx.ok_or_else(|| Error::internal("no gradient"))?;
        assert_eq!(dx.item()?, 12.0);
        let ddx = grad(&[dx], std::slice::from_ref(&x), None, Options::default())?;
        assert_eq!(ddx[0].as_ref().map(Tensor::item).transpose()?, Some(12.0));
        let z = ops::multiply(&x, &x)?;
        backward(&z, None, Options::default())?;
        assert!(matches!(backward(&z, None, Options::default()), Err(Error::Gradient(_))));
        Ok(())
    }
}
