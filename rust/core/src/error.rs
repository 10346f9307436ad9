//! What can go wrong, and how it is said.

use std::fmt;

use autodan_kernels::buffer::AllocError;

use crate::dtype::DType;

/// The result of everything fallible here.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the engine. Every message names the op, the offending values and, where there is
/// one, the likely fix. The binding maps each variant to a Python exception.
#[derive(Clone, Debug)]
pub enum Error {
    /// Shapes that do not fit the op or each other.
    Shape {
        /// The op.
        op: &'static str,
        /// What is wrong, with the shapes, and the likely fix.
        message: String,
    },
    /// An argument outside its domain.
    Value {
        /// The op.
        op: &'static str,
        /// What is wrong, with the value, and the likely fix.
        message: String,
    },
    /// A dtype that the op does not take.
    DType {
        /// The op.
        op: &'static str,
        /// What is wrong, with the dtypes, and the likely fix.
        message: String,
    },
    /// An index or axis that does not exist.
    Index {
        /// The op.
        op: &'static str,
        /// What is wrong, with the index and the bounds.
        message: String,
    },
    /// Memory that could not be had.
    Memory(AllocError),
    /// A question about gradients that has no answer: freed graphs, missing derivatives.
    Gradient(String),
    /// A step that is being traced did what only an eager one can do; see [`crate::program`].
    Symbolic(&'static str),
    /// A broken promise inside the engine; always a bug.
    Internal(String),
}

impl Error {
    /// A [`Error::Shape`].
    pub fn shape(op: &'static str, message: impl Into<String>) -> Error {
        Error::Shape { op, message: message.into() }
    }

    /// A [`Error::Value`].
    pub fn value(op: &'static str, message: impl Into<String>) -> Error {
        Error::Value { op, message: message.into() }
    }

    /// A [`Error::Index`].
    pub fn index(op: &'static str, message: impl Into<String>) -> Error {
        Error::Index { op, message: message.into() }
    }

    /// A [`Error::DType`] for one input that is not of a dtype that the op takes.
    pub fn dtype(op: &'static str, got: DType, wanted: &str) -> Error {
        let message = format!("expected {wanted}, got {got}; convert with astype() or cast()");
        Error::DType { op, message }
    }

    /// An [`Error::Internal`].
    pub fn internal(message: impl Into<String>) -> Error {
        Error::Internal(message.into())
    }
}

impl From<AllocError> for Error {
    fn from(error: AllocError) -> Error {
        Error::Memory(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape { op, message }
            | Error::Value { op, message }
            | Error::DType { op, message }
            | Error::Index { op, message } => write!(f, "{op}: {message}"),
            Error::Memory(AllocError { bytes: usize::MAX }) => {
                write!(f, "cannot allocate a tensor larger than the address space")
            }
            Error::Memory(AllocError { bytes }) => {
                write!(f, "cannot allocate {bytes} bytes ({:.1} GiB)", *bytes as f64 / (1u64 << 30) as f64)
            }
            Error::Gradient(message) => f.write_str(message),
            Error::Symbolic(what) => write!(f, "the step cannot be compiled: {what}"),
            Error::Internal(message) => write!(f, "internal error: {message}; please report it"),
        }
    }
}

impl std::error::Error for Error {}

/// A shape as Python writes it: `(2, 3)`, `(5,)`, `()`.
pub fn show_shape(shape: &[usize]) -> String {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    match sides.len() {
        1 => format!("({},)", sides[0]),
        _ => format!("({})", sides.join(", ")),
    }
}
