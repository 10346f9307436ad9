//! The ops, one file for each family: forward and gradient side by side.
//!
//! Public functions here take and return tensors; they bring operands to a common dtype, normalise
//! axes and build the op structs. Families do not import each other's structs, only these
//! functions.

pub mod activate;
pub mod batch;
pub mod binary;
pub mod cast;
pub(crate) mod chain;
pub mod compare;
pub mod conv;
pub mod conv_pool;
pub mod create;
pub mod index;
pub mod matmul;
pub mod norm;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod softmax;
pub mod unary;
pub mod view;
pub mod write;

pub use activate::bias_activation;
pub use batch::gather_rows;
pub use binary::{
    add, arctan2, divide, floor_divide, maximum, minimum, modulo, multiply, power, sigmoid_cross_entropy,
    subtract,
};
pub use cast::cast;
pub use compare::{
    equal, greater, greater_equal, isfinite, isinf, isnan, less, less_equal, logical_and, logical_not,
    logical_or, logical_xor, not_equal, select,
};
pub use conv::{conv2d, conv2d_bias};
pub use conv_pool::conv2d_max_pool;
pub use create::{arange, arange_integers, eye, linspace};
pub use index::{concatenate, one_hot, pad, stack, take};
pub use matmul::{linear, matmul};
pub use norm::batch_norm;
pub use pool::{average_pool2d, max_pool2d};
pub use reduce::{all, any, argmax, argmin, logsumexp, max, mean, min, prod, std, sum, var};
pub use scan::cumsum;
pub use softmax::{log_softmax, softmax, softmax_cross_entropy, sparse_softmax_cross_entropy};
pub use unary::*;
pub use view::{
    broadcast_to, contiguous, expand_dims, flip, moveaxis, permute, reshape, slice, squeeze, swapaxes,
    transpose,
};

use crate::error::Result;
use crate::tensor::Tensor;

/// The value as the tape and variables keep it: off the tape, in memory of our own.
///
/// # Errors
/// [`crate::Error::Memory`] when borrowed memory cannot be copied.
pub(crate) fn keep(x: &Tensor) -> Result<Tensor> {
    if x.storage().is_foreign() { view::copy(&x.detach()) } else { Ok(x.detach()) }
}

/// Sums a gradient of a broadcast shape to the shape that was broadcast.
///
/// # Errors
/// [`crate::Error::Memory`].
pub(crate) fn sum_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    let new = x.ndim() - shape.len();
    let axes: Vec<isize> = (0..x.ndim())
        .filter(|&axis| axis < new || (shape[axis - new] == 1 && x.shape()[axis] != 1))
        .map(|axis| axis as isize)
        .collect();
    reshape(&sum(x, Some(&axes), false)?, shape)
}
