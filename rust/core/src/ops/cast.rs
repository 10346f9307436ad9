//! Conversion between dtypes.

use autodan_kernels::element::{Bool, Element};
use autodan_kernels::elementwise;

use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Backward, Gradients, Op, SpecRef, Specs, apply, one};
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_dtype;

/// Conversions of single elements. Floats are truncated toward zero and saturate (NaN gives 0) when
/// converted to integers; integers wrap around; everything but 0 is true.
pub trait Cast: Element {
    /// Whether values go through a double rather than a 64-bit integer.
    const IS_FLOAT: bool;
    /// From a double.
    fn from_f64(x: f64) -> Self;
    /// To a double.
    fn to_f64(self) -> f64;
    /// From a 64-bit integer.
    fn from_i64(x: i64) -> Self;
    /// To a 64-bit integer.
    fn to_i64(self) -> i64;
}

macro_rules! cast {
    ($($t:ty, $float:expr;)*) => {$(
        impl Cast for $t {
            const IS_FLOAT: bool = $float;
            #[inline(always)]
            fn from_f64(x: f64) -> Self { x as $t }
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn from_i64(x: i64) -> Self { x as $t }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
        }
    )*};
}
cast!(u8, false; i32, false; i64, false; f32, true; f64, true;);

impl Cast for Bool {
    const IS_FLOAT: bool = false;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        Bool::from(x != 0.0)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self.get()))
    }
    #[inline(always)]
    fn from_i64(x: i64) -> Self {
        Bool::from(x != 0)
    }
    #[inline(always)]
    fn to_i64(self) -> i64 {
        i64::from(self.get())
    }
}

/// One element converted to another type.
#[inline(always)]
pub(crate) fn convert<A: Cast, B: Cast>(x: A) -> B {
    if A::IS_FLOAT { B::from_f64(x.to_f64()) } else { B::from_i64(x.to_i64()) }
}

#[derive(Debug)]
struct CastTo(DType);

impl Op for CastTo {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(self.0, inputs[0].shape)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_dtype!(inputs[0].dtype(), A => with_dtype!(self.0, B => {
            elementwise::map(inputs[0].view::<A>()?, outputs[0].get::<B>()?, convert::<A, B>);
        }));
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        // The tape casts every gradient to its input's dtype.
        Ok(Gradients::from_iter([Some(context.grad()?.clone())]))
    }
}

/// `x` in another dtype (itself when it has that dtype already).
///
/// # Errors
/// [`crate::Error::Memory`].
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype { Ok(x.clone()) } else { apply(CastTo(dtype), &[x]) }
}
