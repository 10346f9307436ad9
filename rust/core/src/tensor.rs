//! The tensor: a value.

use std::sync::Arc;

use autodan_kernels::buffer::Buffer;

use crate::autograd::{Edge, Leaf};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Layout, Shape, checked_len};
use crate::op::SpecRef;
use crate::storage::{Contiguous, In, Storage, Stored};

/// An n-dimensional array whose elements never change.
///
/// A handle to shared storage, a layout and, when it takes part in differentiation, a place on the
/// tape. Cloning copies the handle only.
#[derive(Clone, Debug)]
pub struct Tensor {
    storage: Storage,
    layout: Layout,
    edge: Option<Edge>,
}

impl Tensor {
    /// A copy of `data` in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape's length is not that of the data, [`Error::Memory`].
    pub fn from_slice<T: Stored>(data: &[T], shape: &[usize]) -> Result<Tensor> {
        Tensor::from_buffer(Buffer::from_slice(data)?, shape)
    }

    /// The tensor of a buffer's elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape's length is not the buffer's.
    pub fn from_buffer<T: Stored>(buffer: Buffer<T>, shape: &[usize]) -> Result<Tensor> {
        if checked_len("tensor", shape)? != buffer.len() {
            let message =
                format!("shape {} does not hold {} elements", crate::error::show_shape(shape), buffer.len());
            return Err(Error::shape("tensor", message));
        }
        let layout = Layout::contiguous(Shape::from_slice(shape));
        Ok(Tensor { storage: T::wrap(Arc::new(buffer)), layout, edge: None })
    }

    /// A tensor of no dimensions.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn scalar<T: Stored>(value: T) -> Result<Tensor> {
        Tensor::from_slice(&[value], &[])
    }

    /// `value`, converted to `dtype`, in every element.
    ///
    /// # Errors
    /// [`Error::Value`] when the shape is impossible, [`Error::Memory`].
    pub fn full(shape: &[usize], value: f64, dtype: DType) -> Result<Tensor> {
        let len = checked_len("full", shape)?;
        crate::with_dtype!(dtype, T => {
            let value = <T as crate::ops::cast::Cast>::from_f64(value);
            Tensor::from_buffer(Buffer::<T>::full(len, value)?, shape)
        })
    }

    /// The elements of `storage` that `layout`, made with [`Layout::from_parts`] for it, names.
    pub fn from_storage(storage: Storage, layout: Layout) -> Tensor {
        Tensor { storage, layout, edge: None }
    }

    /// The tensor of these parts.
    pub(crate) fn new(storage: Storage, layout: Layout, edge: Option<Edge>) -> Tensor {
        Tensor { storage, layout, edge }
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// The number of dimensions.
    pub fn ndim(&self) -> usize {
        self.layout.ndim()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.layout.is_empty()
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// Where the elements lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The bytes.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Dtype and shape.
    pub fn spec(&self) -> SpecRef<'_> {
        SpecRef { dtype: self.dtype(), shape: self.shape() }
    }

    /// The elements and their places, as kernels take them.
    pub fn input(&self) -> In<'_> {
        In::new(&self.storage, &self.layout)
    }

    /// The elements in row-major order, copied only if they do not lie so.
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype is not `T`'s, [`Error::Memory`].
    pub fn contiguous_elements<T: Stored>(&self) -> Result<Contiguous<'_, T>> {
        self.input().contiguous()
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype is not `T`'s, [`Error::Memory`].
    pub fn to_vec<T: Stored>(&self) -> Result<Vec<T>> {
        Ok(self.contiguous_elements::<T>()?.to_vec())
    }

    /// The only element, as a double.
    ///
    /// # Errors
    /// [`Error::Value`] when there is not exactly one element.
    pub fn item(&self) -> Result<f64> {
        if self.len() != 1 {
            let message =
                format!("only a tensor of one element is a scalar; this one has shape {}", self.show_shape());
            return Err(Error::value("item", message));
        }
        crate::with_dtype!(self.dtype(), T => {
            let value = self.storage.slice::<T>()?[self.layout.offset()];
            Ok(crate::ops::cast::Cast::to_f64(value))
        })
    }

    /// The shape as text, for messages.
    pub fn show_shape(&self) -> String {
        crate::error::show_shape(self.shape())
    }

    /// The place on the tape.
    pub(crate) fn edge(&self) -> Option<&Edge> {
        self.edge.as_ref()
    }

    /// Whether gradients flow to or through this tensor.
    pub fn requires_grad(&self) -> bool {
        self.edge.is_some()
    }

    /// Whether this tensor is a leaf of differentiation: one whose gradient is kept.
    pub fn leaf(&self) -> Option<&Arc<Leaf>> {
        match &self.edge {
            Some(Edge::Leaf(leaf)) => Some(leaf),
            _ => None,
        }
    }

    /// The same values as a new leaf of differentiation.
    ///
    /// # Errors
    /// [`Error::DType`] unless the dtype is a floating-point one.
    pub fn with_grad(&self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::dtype("requires_grad", self.dtype(), "float32 or float64"));
        }
        Ok(self.with_edge(Some(Edge::Leaf(Leaf::new()))))
    }

    /// The same values, apart from any differentiation.
    pub fn detach(&self) -> Tensor {
        self.with_edge(None)
    }

    pub(crate) fn set_edge(&mut self, edge: Edge) {
        self.edge = Some(edge);
    }

    pub(crate) fn with_edge(&self, edge: Option<Edge>) -> Tensor {
        Tensor { storage: self.storage.clone(), layout: self.layout.clone(), edge }
    }

    /// The same elements through another layout of the same storage.
    pub(crate) fn with_layout(&self, layout: Layout) -> Tensor {
        Tensor { storage: self.storage.clone(), layout, edge: None }
    }

    /// Whether two handles share storage and layout: the same value for certain.
    pub fn same_value(&self, other: &Tensor) -> bool {
        self.dtype() == other.dtype()
            && self.storage.address() == other.storage.address()
            && self.layout == other.layout
    }

    /// The elements for writing in row-major order: in place when this handle is the only one to
    /// contiguous memory of our own, else in a fresh copy that replaces it.
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype is not `T`'s, [`Error::Memory`].
    pub fn make_mut<T: Stored>(&mut self) -> Result<&mut [T]> {
        let whole = self.layout.is_contiguous()
            && self.layout.offset() == 0
            && self.layout.len() == self.storage.len();
        if !whole || self.storage.unique::<T>().is_none() {
            let copy: Buffer<T> = match self.contiguous_elements::<T>()? {
                Contiguous::Borrowed(slice) => Buffer::from_slice(slice)?,
                Contiguous::Owned(buffer) => buffer,
            };
            self.layout = Layout::contiguous(Shape::from_slice(self.shape()));
            self.storage = T::wrap(Arc::new(copy));
        }
        self.storage.unique::<T>().ok_or_else(|| Error::internal("a fresh buffer is shared"))
    }
}
