//! What an op is, and the one way in which ops run.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::autograd;
pub use crate::autograd::Backward;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Layout, Shape, checked_len};
use crate::ops::random::Key;
use crate::program::trace;
use crate::storage::{In, Out, Storage};
use crate::tensor::Tensor;

/// Dtype and shape of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The dtype.
    pub dtype: DType,
    /// The shape.
    pub shape: Shape,
}

impl Spec {
    /// The same, borrowed.
    pub fn borrow(&self) -> SpecRef<'_> {
        SpecRef { dtype: self.dtype, shape: &self.shape }
    }

    /// The spec of that dtype and shape.
    pub fn new(dtype: DType, shape: &[usize]) -> Spec {
        Spec { dtype, shape: Shape::from_slice(shape) }
    }
}

/// A borrowed [`Spec`].
#[derive(Clone, Copy, Debug)]
pub struct SpecRef<'a> {
    /// The dtype.
    pub dtype: DType,
    /// The shape.
    pub shape: &'a [usize],
}

impl SpecRef<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }
}

/// One spec for each output; nearly all ops have one.
pub type Specs = SmallVec<[Spec; 1]>;

/// One gradient for each input; `None` where no gradient flows.
pub type Gradients = SmallVec<[Option<Tensor>; 3]>;

/// Which values the tape keeps for [`Op::vjp`]: bit `i` for input or output `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saves {
    /// Inputs kept.
    pub inputs: u8,
    /// Outputs kept.
    pub outputs: u8,
}

impl Saves {
    /// The gradient needs no values.
    pub const NOTHING: Saves = Saves { inputs: 0, outputs: 0 };
    /// The gradient needs all inputs.
    pub const INPUTS: Saves = Saves { inputs: 0xFF, outputs: 0 };
    /// The gradient needs all outputs.
    pub const OUTPUTS: Saves = Saves { inputs: 0, outputs: 0xFF };
    /// The gradient needs everything.
    pub const ALL: Saves = Saves { inputs: 0xFF, outputs: 0xFF };
}

/// What running an op means beyond its outputs; a compiler of programs may drop, merge or repeat
/// only pure ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The outputs are a function of the inputs and the attributes.
    Pure,
    /// Also of a random key, which changes from one run to the next.
    Random,
}

/// An operation: a small value that holds the attributes, read by eager execution, by the tape
/// and by programs.
///
/// Inputs are converted to a common dtype, broadcast by their shapes and checked *before* an op
/// runs: `infer` is where every error of shape, dtype and value is found.
pub trait Op: Any + Debug + Send + Sync {
    /// The op's public name, for messages.
    fn name(&self) -> &'static str;

    /// The specs of the outputs.
    ///
    /// # Errors
    /// An error that names the op, the shapes or dtypes, and the likely fix.
    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs>;

    /// Computes the outputs: writes every element of each.
    ///
    /// # Errors
    /// [`Error::Memory`] for scratch; values that only the data shows to be wrong (labels).
    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()>;

    /// For ops whose output is another layout of the input's storage: that layout, or `None` when
    /// the input must be made contiguous first.
    fn view(&self, _input: &Layout) -> Option<Layout> {
        None
    }

    /// Whether [`Op::view`] is the way to run this op.
    fn is_view(&self) -> bool {
        false
    }

    /// Whether gradients flow through at all (not through comparisons, say).
    fn is_differentiable(&self) -> bool {
        true
    }

    /// Which values [`Op::vjp`] reads.
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }

    /// The gradient with respect to each input, by ops on the gradient of the output(s).
    ///
    /// A gradient may have the broadcast shape: the tape sums it to the input's.
    ///
    /// # Errors
    /// [`Error::Gradient`] when the op has no derivative.
    fn vjp(&self, _context: &Backward<'_>) -> Result<Gradients> {
        Err(Error::Gradient(format!("{}: this op has no derivative", self.name())))
    }

    /// How many additions, multiplications and the like it nominally takes; by default one for each element
    /// of the outputs.
    fn operations(&self, _inputs: &[SpecRef<'_>], outputs: &[SpecRef<'_>]) -> usize {
        outputs.iter().map(SpecRef::len).sum()
    }

    /// Whether each element of the one output depends on the inputs' elements at its place alone, inputs
    /// being broadcast to the output's shape.
    fn is_elementwise(&self) -> bool {
        false
    }

    /// The op that does this one on `inputs` and then `next` on its output, if there is one: its inputs are
    /// these, then the `others` of `next`.
    fn then(&self, _next: &dyn Op, _inputs: &[SpecRef<'_>], _others: &[SpecRef<'_>]) -> Option<Arc<dyn Op>> {
        None
    }

    /// The key of an op of random numbers, which is another one in every run.
    fn key(&self) -> Option<Key> {
        None
    }

    /// The same op with another key, if it has one.
    fn with_key(&self, _key: Key) -> Option<Arc<dyn Op>> {
        None
    }

    /// See [`Effect`].
    fn effect(&self) -> Effect {
        Effect::Pure
    }
}

/// Runs an op of one output on tensors and records it on the tape when a gradient may flow.
///
/// # Errors
/// The op's.
pub fn apply(op: impl Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut outputs = apply_all(op, inputs)?;
    outputs.pop().ok_or_else(|| Error::internal("an op without outputs"))
}

/// As [`apply`], for ops of several outputs.
///
/// # Errors
/// The op's.
pub fn apply_all(op: impl Op, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>> {
    if trace::takes(&op, inputs) {
        return record(Arc::new(op), inputs);
    }
    autodan_kernels::reserve::check()?;
    let specs: SmallVec<[SpecRef<'_>; 3]> = inputs.iter().map(|input| input.spec()).collect();
    let inferred = op.infer(&specs)?;
    let mut outputs: SmallVec<[Tensor; 1]> = SmallVec::new();
    if op.is_view() {
        outputs.push(view(&op, inputs)?);
    } else {
        let mut storages: SmallVec<[Storage; 1]> = SmallVec::new();
        for spec in &inferred {
            storages.push(Storage::new(spec.dtype, checked_len(op.name(), &spec.shape)?)?);
        }
        {
            let ins: SmallVec<[In<'_>; 3]> = inputs.iter().map(|input| input.input()).collect();
            let mut outs: SmallVec<[Out<'_>; 1]> = SmallVec::new();
            for storage in &mut storages {
                let len = storage.len();
                outs.push(storage.output(len)?);
            }
            op.run(&ins, &mut outs)?;
        }
        for (spec, storage) in inferred.into_iter().zip(storages) {
            outputs.push(Tensor::new(storage, Layout::contiguous(spec.shape), None));
        }
    }
    if wants_gradient(&op, inputs, &outputs) {
        autograd::record(Arc::new(op), inputs, &mut outputs)?;
    }
    Ok(outputs)
}

/// As [`apply_all`] in a step that is being traced: the op is written down instead of run.
fn record(op: Arc<dyn Op>, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>> {
    let specs: SmallVec<[SpecRef<'_>; 3]> = inputs.iter().map(|input| input.spec()).collect();
    let inferred = op.infer(&specs)?;
    let mut outputs = if op.is_view() {
        SmallVec::from_iter([view(&*op, inputs)?])
    } else {
        trace::record(&op, inputs, &inferred)?
    };
    if wants_gradient(&*op, inputs, &outputs) {
        autograd::record(op, inputs, &mut outputs)?;
    }
    Ok(outputs)
}

/// The output of an op that is a view.
fn view(op: &dyn Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let [input] = inputs else {
        return Err(Error::internal("a view has one input"));
    };
    if let Some(layout) = op.view(input.layout()) {
        return Ok(input.with_layout(layout));
    }
    let copy = crate::ops::contiguous(&input.detach())?;
    let layout = op.view(copy.layout());
    let layout = layout.ok_or_else(|| Error::internal("a view of contiguous memory needs a copy"))?;
    Ok(copy.with_layout(layout))
}

/// Whether an op that has run belongs on the tape.
fn wants_gradient(op: &dyn Op, inputs: &[&Tensor], outputs: &[Tensor]) -> bool {
    autograd::is_recording()
        && op.is_differentiable()
        && inputs.iter().any(|input| input.requires_grad())
        && outputs.iter().any(|output| output.dtype().is_float())
}

/// The specs of an op of one output.
pub(crate) fn one(dtype: DType, shape: &[usize]) -> Result<Specs> {
    Ok(SmallVec::from_buf([Spec::new(dtype, shape)]))
}
