//! The variable: a cell.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::autograd::{Edge, Leaf};
use crate::dtype::DType;
use crate::error::{Error, Result, show_shape};
use crate::layout::Shape;
use crate::ops;
use crate::program::trace;
use crate::tensor::Tensor;

static TRAINABLE_CHANGES: AtomicU64 = AtomicU64::new(0);

/// A named cell that holds a current [`Tensor`] of fixed shape and dtype; what optimizers, batch
/// normalization and `set_weights` rebind. Clones are the same cell.
#[derive(Clone, Debug)]
pub struct Variable(Arc<Cell>);

#[derive(Debug)]
struct Cell {
    shape: Shape,
    dtype: DType,
    trainable: AtomicBool,
    leaf: Arc<Leaf>,
    value: Mutex<Tensor>,
    generation: AtomicU64,
}

impl Variable {
    /// A cell that holds the value of `initial`, apart from its place on the tape.
    ///
    /// # Errors
    /// [`Error::Memory`] when borrowed memory, which must be copied, is too large; [`Error::Symbolic`].
    pub fn new(initial: &Tensor, trainable: bool) -> Result<Variable> {
        if initial.storage().symbol().is_some() {
            return Err(trace::refuse("it creates a variable"));
        }
        Ok(Variable(Arc::new(Cell {
            shape: Shape::from_slice(initial.shape()),
            dtype: initial.dtype(),
            trainable: AtomicBool::new(trainable),
            leaf: Leaf::new(),
            value: Mutex::new(ops::keep(initial)?),
            generation: AtomicU64::new(0),
        })))
    }

    /// The shape, which never changes.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The dtype, which never changes.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Whether gradients flow to it.
    pub fn is_trainable(&self) -> bool {
        self.0.trainable.load(Ordering::Relaxed)
    }

    /// Sets whether gradients flow to it, from the next use on.
    pub fn set_trainable(&self, trainable: bool) {
        if self.0.trainable.swap(trainable, Ordering::Relaxed) != trainable {
            TRAINABLE_CHANGES.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often any variable became trainable or ceased to be.
    pub fn trainable_changes() -> u64 {
        TRAINABLE_CHANGES.load(Ordering::Relaxed)
    }

    /// How often the value was replaced.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Where its gradient is kept.
    pub fn leaf(&self) -> &Arc<Leaf> {
        &self.0.leaf
    }

    /// The current value; a leaf of differentiation when the variable is trainable.
    pub fn value(&self) -> Tensor {
        let value = trace::read(self).unwrap_or_else(|| self.lock().clone());
        if self.is_trainable() && self.0.dtype.is_float() {
            value.with_edge(Some(Edge::Leaf(self.0.leaf.clone())))
        } else {
            value
        }
    }

    /// Replaces the value by `value`, cast to the variable's dtype.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape differs.
    pub fn assign(&self, value: &Tensor) -> Result<()> {
        if value.shape() != self.shape() {
            let message = format!(
                "a variable of shape {} cannot take a value of shape {}",
                show_shape(self.shape()),
                value.show_shape()
            );
            return Err(Error::shape("assign", message));
        }
        let value = ops::cast(&value.detach(), self.dtype())?;
        if !trace::assign(self, &value)? {
            // Borrowed memory may change behind the variable's back.
            self.replace(ops::keep(&value)?);
        }
        Ok(())
    }

    /// Replaces the value by one of the variable's shape and dtype.
    pub(crate) fn replace(&self, value: Tensor) {
        *self.lock() = value;
        self.touch();
    }

    /// Whether both are the same cell.
    pub fn is(&self, other: &Variable) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A number that no other living variable has.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// The value, locked for an update in place.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tensor> {
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the value was replaced.
    pub(crate) fn touch(&self) {
        self.0.generation.fetch_add(1, Ordering::Release);
    }
}
