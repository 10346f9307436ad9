//! Running sums along an axis.

use autodan_kernels::scan;

use crate::error::Result;
use crate::layout::normalize_axis;
use crate::op::{Backward, Gradients, Op, SpecRef, Specs, apply, one};
use crate::ops::reduce::wide;
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_number;

/// The sum of the elements up to each one, or (`reverse`) from each one on.
#[derive(Debug)]
struct Cumsum {
    axis: usize,
    reverse: bool,
}

impl Op for Cumsum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let shape = inputs[0].shape();
        let inner = shape[self.axis + 1..].iter().product();
        with_number!("cumsum", inputs[0].dtype(), T => {
            scan::cumsum(&inputs[0].contiguous::<T>()?, shape[self.axis], inner, self.reverse, outputs[0].get()?);
        });
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        // An element is in every later sum: its gradient is the sum of theirs.
        let dx = apply(Cumsum { axis: self.axis, reverse: !self.reverse }, &[context.grad()?])?;
        Ok(Gradients::from_iter([Some(dx)]))
    }
}

/// The sum of the elements up to each one along `axis`. Integers and bool give int64.
///
/// # Errors
/// [`crate::Error::Index`] for an axis that does not exist, [`crate::Error::Memory`].
pub fn cumsum(x: &Tensor, axis: isize) -> Result<Tensor> {
    let axis = normalize_axis("cumsum", axis, x.ndim())?;
    apply(Cumsum { axis, reverse: false }, &[&wide(x)?])
}
