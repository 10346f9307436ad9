//! The bytes of a tensor: a shared, typed buffer.

use std::ops::Deref;
use std::sync::Arc;

use autodan_kernels::buffer::Buffer;
use autodan_kernels::element::Bool;
use autodan_kernels::view::View;

use crate::dtype::{DType, Typed};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::ops::cast::Cast;
use crate::program::trace::{self, Symbol};

/// A shared buffer of one of the dtypes; or, while a program is traced, the name of one.
#[derive(Clone, Debug)]
pub enum Storage {
    /// bool.
    Bool(Arc<Buffer<Bool>>),
    /// uint8.
    UInt8(Arc<Buffer<u8>>),
    /// int32.
    Int32(Arc<Buffer<i32>>),
    /// int64.
    Int64(Arc<Buffer<i64>>),
    /// float32.
    Float32(Arc<Buffer<f32>>),
    /// float64.
    Float64(Arc<Buffer<f64>>),
    /// No elements: a value of the program that is being traced.
    Symbolic(Arc<Symbol>),
}

/// Runs the expression with `$buffer` bound to the typed `Arc<Buffer<_>>` of a [`Storage`], or to the
/// [`Symbol`], which answers the same questions.
macro_rules! each_storage {
    ($storage:expr, $buffer:ident => $body:expr) => {
        match $storage {
            Storage::Symbolic($buffer) => $body,
            Storage::Bool($buffer) => $body,
            Storage::UInt8($buffer) => $body,
            Storage::Int32($buffer) => $body,
            Storage::Int64($buffer) => $body,
            Storage::Float32($buffer) => $body,
            Storage::Float64($buffer) => $body,
        }
    };
}

/// An element type and its place in [`Storage`].
pub trait Stored: Typed {
    /// Wraps a buffer.
    fn wrap(buffer: Arc<Buffer<Self>>) -> Storage;
    /// The buffer, if it is of this type.
    fn unwrap(storage: &Storage) -> Option<&Arc<Buffer<Self>>>;
    /// The buffer, if it is of this type.
    fn unwrap_mut(storage: &mut Storage) -> Option<&mut Arc<Buffer<Self>>>;
}

macro_rules! stored {
    ($($t:ty => $variant:ident),*) => {$(
        impl Stored for $t {
            fn wrap(buffer: Arc<Buffer<Self>>) -> Storage {
                Storage::$variant(buffer)
            }
            fn unwrap(storage: &Storage) -> Option<&Arc<Buffer<Self>>> {
                match storage {
                    Storage::$variant(buffer) => Some(buffer),
                    _ => None,
                }
            }
            fn unwrap_mut(storage: &mut Storage) -> Option<&mut Arc<Buffer<Self>>> {
                match storage {
                    Storage::$variant(buffer) => Some(buffer),
                    _ => None,
                }
            }
        }
    )*};
}
stored!(Bool => Bool, u8 => UInt8, i32 => Int32, i64 => Int64, f32 => Float32, f64 => Float64);

impl Storage {
    /// A new buffer of `len` unspecified elements.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(dtype: DType, len: usize) -> Result<Storage> {
        crate::with_dtype!(dtype, T => Ok(T::wrap(Arc::new(Buffer::<T>::new(len)?))))
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        match self {
            Storage::Bool(_) => DType::Bool,
            Storage::UInt8(_) => DType::UInt8,
            Storage::Int32(_) => DType::Int32,
            Storage::Int64(_) => DType::Int64,
            Storage::Float32(_) => DType::Float32,
            Storage::Float64(_) => DType::Float64,
            Storage::Symbolic(symbol) => symbol.dtype(),
        }
    }

    /// The name that stands for the elements while a program is traced.
    pub fn symbol(&self) -> Option<&Arc<Symbol>> {
        match self {
            Storage::Symbolic(symbol) => Some(symbol),
            _ => None,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        each_storage!(self, buffer => buffer.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the memory is borrowed from outside.
    pub fn is_foreign(&self) -> bool {
        each_storage!(self, buffer => buffer.is_foreign())
    }

    /// The address of the first element.
    pub fn address(&self) -> *const u8 {
        each_storage!(self, buffer => buffer.as_ptr().cast())
    }

    /// The elements.
    ///
    /// # Errors
    /// [`Error::Internal`] when the storage is of another dtype, [`Error::Symbolic`] when it has no elements.
    pub fn slice<T: Stored>(&self) -> Result<&[T]> {
        T::unwrap(self).map(|buffer| &buffer[..]).ok_or_else(|| match self {
            Storage::Symbolic(_) => trace::refuse("a value of it was read"),
            _ => mismatch(T::DTYPE, self.dtype()),
        })
    }

    /// The elements for writing, when nobody else holds the buffer and it is our own.
    pub fn unique<T: Stored>(&mut self) -> Option<&mut [T]> {
        let buffer = Arc::get_mut(T::unwrap_mut(self)?)?;
        if buffer.is_foreign() { None } else { Some(&mut buffer[..]) }
    }

    /// Whether two storages hold the same elements, bit for bit, of the same dtype.
    pub(crate) fn same_bits(&self, other: &Storage) -> bool {
        if self.dtype() != other.dtype() || self.len() != other.len() {
            return false;
        }
        self.address() == other.address()
            || crate::with_dtype!(self.dtype(), T => match (self.slice::<T>(), other.slice::<T>()) {
                (Ok(a), Ok(b)) => a.iter().zip(b).all(|(&a, &b)| {
                    a.to_f64().to_bits() == b.to_f64().to_bits() && a.to_i64() == b.to_i64()
                }),
                _ => false,
            })
    }

    /// The first `len` elements of a storage that nobody else holds, for a kernel to write.
    pub(crate) fn output(&mut self, len: usize) -> Result<Out<'_>> {
        let error = || Error::internal("an output is shared, or too short");
        Ok(match self {
            Storage::Bool(buffer) => {
                Out::Bool(Arc::get_mut(buffer).and_then(|b| b.get_mut(..len)).ok_or_else(error)?)
            }
            Storage::UInt8(buffer) => {
                Out::UInt8(Arc::get_mut(buffer).and_then(|b| b.get_mut(..len)).ok_or_else(error)?)
            }
            Storage::Int32(buffer) => {
                Out::Int32(Arc::get_mut(buffer).and_then(|b| b.get_mut(..len)).ok_or_else(error)?)
            }
            Storage::Int64(buffer) => {
                Out::Int64(Arc::get_mut(buffer).and_then(|b| b.get_mut(..len)).ok_or_else(error)?)
            }
            Storage::Float32(buffer) => {
                Out::Float32(Arc::get_mut(buffer).and_then(|b| b.get_mut(..len)).ok_or_else(error)?)
            }
            Storage::Float64(buffer) => {
                Out::Float64(Arc::get_mut(buffer).and_then(|b| b.get_mut(..len)).ok_or_else(error)?)
            }
            Storage::Symbolic(_) => return Err(error()),
        })
    }
}

fn mismatch(wanted: DType, got: DType) -> Error {
    Error::internal(format!("a kernel wants {wanted} but its operand is {got}"))
}

/// An op's input: borrowed elements and where they lie.
#[derive(Clone, Copy)]
pub struct In<'a> {
    storage: &'a Storage,
    layout: &'a Layout,
}

impl<'a> In<'a> {
    /// The elements of `storage` that `layout` names.
    pub fn new(storage: &'a Storage, layout: &'a Layout) -> In<'a> {
        In { storage, layout }
    }

    /// The same storage through another layout.
    pub fn with_layout(&self, layout: &'a Layout) -> In<'a> {
        In { storage: self.storage, layout }
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// The shape.
    pub fn shape(&self) -> &'a [usize] {
        self.layout.shape()
    }

    /// The layout.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// The whole storage's elements, of which the layout names some.
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype differs.
    pub fn storage<T: Stored>(&self) -> Result<&'a [T]> {
        self.storage.slice::<T>()
    }

    /// The typed view that kernels take.
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype differs.
    pub fn view<T: Stored>(&self) -> Result<View<'a, T>> {
        self.view_as(self.layout)
    }

    /// A view of the same storage through another layout (a broadcast of this one, say).
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype differs.
    pub fn view_as<T: Stored>(&self, layout: &'a Layout) -> Result<View<'a, T>> {
        Ok(View::new(self.storage.slice::<T>()?, layout.offset(), layout.shape(), layout.strides()))
    }

    /// The elements in row-major order: in place when they lie so, else copied.
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype differs, [`Error::Memory`].
    pub fn contiguous<T: Stored>(&self) -> Result<Contiguous<'a, T>> {
        let view = self.view::<T>()?;
        if let Some(slice) = view.as_slice() {
            return Ok(Contiguous::Borrowed(slice));
        }
        let mut buffer = Buffer::new(view.len())?;
        autodan_kernels::copy::copy(view, &mut buffer);
        Ok(Contiguous::Owned(buffer))
    }
}

/// Elements in row-major order.
pub enum Contiguous<'a, T: Stored> {
    /// Where they lay already.
    Borrowed(&'a [T]),
    /// In a copy.
    Owned(Buffer<T>),
}

impl<T: Stored> Deref for Contiguous<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Contiguous::Borrowed(slice) => slice,
            Contiguous::Owned(buffer) => buffer,
        }
    }
}

/// An op's output: unspecified elements in row-major order, all of which the op must write.
pub enum Out<'a> {
    /// bool.
    Bool(&'a mut [Bool]),
    /// uint8.
    UInt8(&'a mut [u8]),
    /// int32.
    Int32(&'a mut [i32]),
    /// int64.
    Int64(&'a mut [i64]),
    /// float32.
    Float32(&'a mut [f32]),
    /// float64.
    Float64(&'a mut [f64]),
}

/// An element type and its place in [`Out`].
pub trait Written: Stored {
    /// The elements to write, if they are of this type.
    fn elements<'b>(out: &'b mut Out<'_>) -> Option<&'b mut [Self]>;
    /// The output that is these elements.
    fn output(elements: &mut [Self]) -> Out<'_>;
}

macro_rules! written {
    ($($t:ty => $variant:ident),*) => {$(
        impl Written for $t {
            fn elements<'b>(out: &'b mut Out<'_>) -> Option<&'b mut [Self]> {
                match out {
                    Out::$variant(slice) => Some(slice),
                    _ => None,
                }
            }
            fn output(elements: &mut [Self]) -> Out<'_> {
                Out::$variant(elements)
            }
        }
    )*};
}
written!(Bool => Bool, u8 => UInt8, i32 => Int32, i64 => Int64, f32 => Float32, f64 => Float64);

impl Out<'_> {
    /// The elements to write.
    ///
    /// # Errors
    /// [`Error::Internal`] when the dtype differs.
    pub fn get<T: Written>(&mut self) -> Result<&mut [T]> {
        T::elements(self).ok_or_else(|| Error::internal(format!("an output is not {}", T::DTYPE)))
    }
}
