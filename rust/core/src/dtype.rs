//! Element types and how they combine.

use std::fmt;

use autodan_kernels::element::{Bool, Element};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// Truth values, one byte each.
    Bool,
    /// Unsigned 8-bit integers.
    UInt8,
    /// Signed 32-bit integers.
    Int32,
    /// Signed 64-bit integers.
    Int64,
    /// IEEE single precision: the default.
    Float32,
    /// IEEE double precision.
    Float64,
}

impl DType {
    /// All of them.
    pub const ALL: [DType; 6] =
        [DType::Bool, DType::UInt8, DType::Int32, DType::Int64, DType::Float32, DType::Float64];

    /// The Array API's name.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::UInt8 => "uint8",
            DType::Int32 => "int32",
            DType::Int64 => "int64",
            DType::Float32 => "float32",
            DType::Float64 => "float64",
        }
    }

    /// The dtype of that name.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::UInt8 => 1,
            DType::Int32 | DType::Float32 => 4,
            DType::Int64 | DType::Float64 => 8,
        }
    }

    /// Whether it is a floating-point type, and so may carry gradients.
    pub fn is_float(self) -> bool {
        matches!(self, DType::Float32 | DType::Float64)
    }

    /// Whether it is an integer type (bool is not).
    pub fn is_integer(self) -> bool {
        matches!(self, DType::UInt8 | DType::Int32 | DType::Int64)
    }

    /// The dtype in which two arrays meet (the Array API's table; an integer with a float gives
    /// the float, bool gives way to everything).
    pub fn promote(self, other: DType) -> DType {
        // The order of the variants is the order of promotion.
        self.max(other)
    }

    /// The float dtype in which a function such as `exp` or a true division of this dtype is
    /// computed: itself, or float32 for integers and bool.
    pub fn to_float(self) -> DType {
        if self.is_float() { self } else { DType::Float32 }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The element types, each with its dtype.
pub trait Typed: Element {
    /// The dtype of this element type.
    const DTYPE: DType;
}

impl Typed for Bool {
    const DTYPE: DType = DType::Bool;
}
impl Typed for u8 {
    const DTYPE: DType = DType::UInt8;
}
impl Typed for i32 {
    const DTYPE: DType = DType::Int32;
}
impl Typed for i64 {
    const DTYPE: DType = DType::Int64;
}
impl Typed for f32 {
    const DTYPE: DType = DType::Float32;
}
impl Typed for f64 {
    const DTYPE: DType = DType::Float64;
}

/// Runs the expression with the type alias `$T` set to the element type of a dtype: the one place
/// where a runtime dtype becomes a type.
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bool => {
                type $T = autodan_kernels::element::Bool;
                $body
            }
            $crate::DType::UInt8 => {
                type $T = u8;
                $body
            }
            $crate::DType::Int32 => {
                type $T = i32;
                $body
            }
            $crate::DType::Int64 => {
                type $T = i64;
                $body
            }
            $crate::DType::Float32 => {
                type $T = f32;
                $body
            }
            $crate::DType::Float64 => {
                type $T = f64;
                $body
            }
        }
    };
}

/// As [`with_dtype`], for the numeric types; a [`Error::DType`](crate::Error::DType) that names `$op` for bool.
#[macro_export]
macro_rules! with_number {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bool => {
                return Err($crate::Error::dtype($op, $crate::DType::Bool, "numbers"));
            }
            $crate::DType::UInt8 => {
                type $T = u8;
                $body
            }
            $crate::DType::Int32 => {
                type $T = i32;
                $body
            }
            $crate::DType::Int64 => {
                type $T = i64;
                $body
            }
            $crate::DType::Float32 => {
                type $T = f32;
                $body
            }
            $crate::DType::Float64 => {
                type $T = f64;
                $body
            }
        }
    };
}

/// As [`with_dtype`], for the floating-point types; a [`Error::DType`](crate::Error::DType) that names `$op` for the
/// others.
#[macro_export]
macro_rules! with_float {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Float32 => {
                type $T = f32;
                $body
            }
            $crate::DType::Float64 => {
                type $T = f64;
                $body
            }
            other => return Err($crate::Error::dtype($op, other, "float32 or float64")),
        }
    };
}
