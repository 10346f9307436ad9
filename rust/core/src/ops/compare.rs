//! Comparisons, logic and selection.

use std::fmt::Debug;

use autodan_kernels::element::Bool;
use autodan_kernels::elementwise;

use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Backward, Gradients, Op, Saves, SpecRef, Specs, apply, one};
use crate::ops::binary::{broadcast, promote};
use crate::ops::cast;
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_dtype;

/// A comparison of two tensors of one dtype.
#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What [`Comparison`] needs of an element. NaN is equal to nothing and less than nothing.
trait Compare: Copy {
    fn key_lt(self, other: Self) -> bool;
    fn key_eq(self, other: Self) -> bool;
}

macro_rules! compare {
    ($($t:ty),*) => {$(
        impl Compare for $t {
            #[inline(always)]
            fn key_lt(self, other: Self) -> bool { self < other }
            #[inline(always)]
            fn key_eq(self, other: Self) -> bool { self == other }
        }
    )*};
}
compare!(u8, i32, i64, f32, f64);

impl Compare for Bool {
    #[inline(always)]
    fn key_lt(self, other: Self) -> bool {
        !self.get() & other.get()
    }
    #[inline(always)]
    fn key_eq(self, other: Self) -> bool {
        self == other
    }
}

impl Op for Comparison {
    fn name(&self) -> &'static str {
        match self {
            Comparison::Equal => "equal",
            Comparison::NotEqual => "not_equal",
            Comparison::Less => "less",
            Comparison::LessEqual => "less_equal",
            Comparison::Greater => "greater",
            Comparison::GreaterEqual => "greater_equal",
        }
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(DType::Bool, &broadcast(self.name(), inputs[0].shape, inputs[1].shape)?)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let shape = broadcast(self.name(), inputs[0].shape(), inputs[1].shape())?;
        let (a, b) = (inputs[0].layout().broadcast_to(&shape), inputs[1].layout().broadcast_to(&shape));
        with_dtype!(inputs[0].dtype(), T => {
            let (a, b) = (inputs[0].view_as::<T>(&a)?, inputs[1].view_as::<T>(&b)?);
            let y = outputs[0].get::<Bool>()?;
            match self {
                Comparison::Equal => elementwise::zip(a, b, y, |a, b| a.key_eq(b).into()),
                Comparison::NotEqual => elementwise::zip(a, b, y, |a, b| (!a.key_eq(b)).into()),
                Comparison::Less => elementwise::zip(a, b, y, |a, b| a.key_lt(b).into()),
                Comparison::LessEqual => elementwise::zip(a, b, y, |a, b| (a.key_lt(b) | a.key_eq(b)).into()),
                Comparison::Greater => elementwise::zip(a, b, y, |a, b| b.key_lt(a).into()),
                Comparison::GreaterEqual => {
                    elementwise::zip(a, b, y, |a, b| (b.key_lt(a) | a.key_eq(b)).into());
                }
            }
        });
        Ok(())
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

fn comparison(op: Comparison, x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    let (x1, x2) = promote(x1, x2)?;
    apply(op, &[&x1, &x2])
}

/// Where `x1 == x2`; NaN is equal to nothing.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not broadcast, [`crate::Error::Memory`].
pub fn equal(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    comparison(Comparison::Equal, x1, x2)
}

/// Where `x1 != x2`.
///
/// # Errors
/// As [`equal`].
pub fn not_equal(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    comparison(Comparison::NotEqual, x1, x2)
}

/// Where `x1 < x2`.
///
/// # Errors
/// As [`equal`].
pub fn less(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    comparison(Comparison::Less, x1, x2)
}

/// Where `x1 <= x2`.
///
/// # Errors
/// As [`equal`].
pub fn less_equal(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    comparison(Comparison::LessEqual, x1, x2)
}

/// Where `x1 > x2`.
///
/// # Errors
/// As [`equal`].
pub fn greater(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    comparison(Comparison::Greater, x1, x2)
}

/// Where `x1 >= x2`.
///
/// # Errors
/// As [`equal`].
pub fn greater_equal(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    comparison(Comparison::GreaterEqual, x1, x2)
}

/// Logic of two bool tensors.
#[derive(Clone, Copy, Debug)]
enum Logic {
    And,
    Or,
    Xor,
}

impl Op for Logic {
    fn name(&self) -> &'static str {
        match self {
            Logic::And => "logical_and",
            Logic::Or => "logical_or",
            Logic::Xor => "logical_xor",
        }
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(DType::Bool, &broadcast(self.name(), inputs[0].shape, inputs[1].shape)?)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let shape = broadcast(self.name(), inputs[0].shape(), inputs[1].shape())?;
        let (a, b) = (inputs[0].layout().broadcast_to(&shape), inputs[1].layout().broadcast_to(&shape));
        let (a, b) = (inputs[0].view_as::<Bool>(&a)?, inputs[1].view_as::<Bool>(&b)?);
        let y = outputs[0].get::<Bool>()?;
        match self {
            Logic::And => elementwise::zip(a, b, y, |a, b| (a.get() & b.get()).into()),
            Logic::Or => elementwise::zip(a, b, y, |a, b| (a.get() | b.get()).into()),
            Logic::Xor => elementwise::zip(a, b, y, |a, b| (a.get() ^ b.get()).into()),
        }
        Ok(())
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

fn logic(op: Logic, x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    apply(op, &[&cast(x1, DType::Bool)?, &cast(x2, DType::Bool)?])
}

/// Where both are true (not 0).
///
/// # Errors
/// As [`equal`].
pub fn logical_and(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    logic(Logic::And, x1, x2)
}

/// Where either is true (not 0).
///
/// # Errors
/// As [`equal`].
pub fn logical_or(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    logic(Logic::Or, x1, x2)
}

/// Where exactly one is true (not 0).
///
/// # Errors
/// As [`equal`].
pub fn logical_xor(x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    logic(Logic::Xor, x1, x2)
}

/// A question about each element.
#[derive(Clone, Copy, Debug)]
enum Predicate {
    Not,
    IsNan,
    IsInf,
    IsFinite,
}

impl Op for Predicate {
    fn name(&self) -> &'static str {
        match self {
            Predicate::Not => "logical_not",
            Predicate::IsNan => "isnan",
            Predicate::IsInf => "isinf",
            Predicate::IsFinite => "isfinite",
        }
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(DType::Bool, inputs[0].shape)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let y = outputs[0].get::<Bool>()?;
        with_dtype!(inputs[0].dtype(), T => {
            let x = inputs[0].view::<T>()?;
            let float = |x: T| cast::Cast::to_f64(x);
            match self {
                Predicate::Not => elementwise::map(x, y, |x| (float(x) == 0.0).into()),
                Predicate::IsNan => elementwise::map(x, y, |x| float(x).is_nan().into()),
                Predicate::IsInf => elementwise::map(x, y, |x| float(x).is_infinite().into()),
                Predicate::IsFinite => elementwise::map(x, y, |x| float(x).is_finite().into()),
            }
        });
        Ok(())
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Where `x` is false (0).
///
/// # Errors
/// [`crate::Error::Memory`].
pub fn logical_not(x: &Tensor) -> Result<Tensor> {
    apply(Predicate::Not, &[x])
}

/// Where `x` is not a number.
///
/// # Errors
/// [`crate::Error::Memory`].
pub fn isnan(x: &Tensor) -> Result<Tensor> {
    apply(Predicate::IsNan, &[x])
}

/// Where `x` is infinite.
///
/// # Errors
/// [`crate::Error::Memory`].
pub fn isinf(x: &Tensor) -> Result<Tensor> {
    apply(Predicate::IsInf, &[x])
}

/// Where `x` is neither infinite nor NaN.
///
/// # Errors
/// [`crate::Error::Memory`].
pub fn isfinite(x: &Tensor) -> Result<Tensor> {
    apply(Predicate::IsFinite, &[x])
}

/// Elements of the second input where the first is true, of the third elsewhere.
#[derive(Debug)]
struct Select;

impl Op for Select {
    fn name(&self) -> &'static str {
        "where"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        let shape = broadcast("where", inputs[1].shape, inputs[2].shape)?;
        one(inputs[1].dtype, &broadcast("where", inputs[0].shape, &shape)?)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let shape = broadcast("where", inputs[1].shape(), inputs[2].shape())?;
        let shape = broadcast("where", inputs[0].shape(), &shape)?;
        let [mask, a, b] = [0, 1, 2].map(|i| inputs[i].layout().broadcast_to(&shape));
        with_dtype!(inputs[1].dtype(), T => {
            let (a, b) = (inputs[1].view_as::<T>(&a)?, inputs[2].view_as::<T>(&b)?);
            let mask = inputs[0].view_as::<Bool>(&mask)?;
            elementwise::zip3(mask, a, b, outputs[0].get::<T>()?, |m, a, b| if m.get() { a } else { b });
        });
        Ok(())
    }

    fn saves(&self) -> Saves {
        Saves { inputs: 1, outputs: 0 }
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        let (mask, g) = (context.input(0)?, context.grad()?);
        let zero = Tensor::full(&[], 0.0, g.dtype())?;
        Ok(Gradients::from_iter([
            None,
            context.when(1, || apply(Select, &[&mask, g, &zero]))?,
            context.when(2, || apply(Select, &[&mask, &zero, g]))?,
        ]))
    }
}

/// `x1` where `condition` is true (not 0), `x2` elsewhere.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not broadcast, [`crate::Error::Memory`].
pub fn select(condition: &Tensor, x1: &Tensor, x2: &Tensor) -> Result<Tensor> {
    let (x1, x2) = promote(x1, x2)?;
    apply(Select, &[&cast(condition, DType::Bool)?, &x1, &x2])
}
