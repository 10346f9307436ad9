//! Tensors, reverse-mode automatic differentiation and ops.
//!
//! * [`Tensor`] is a value: a cheap handle to a [`layout::Layout`] (integers) and a
//!   [`storage::Storage`] (bytes) whose elements never change under whoever holds them.
//! * [`Variable`] is a cell that holds a current tensor.
//! * An [`op::Op`] is one struct with its shape rule, its kernel call and its gradient; [`op::apply`]
//!   is the one way in which ops run, and owns what all of them share.
//! * [`autograd`] is the tape.
//! * [`program`] is a step that was traced and is replayed without its callers.
//!
//! No Python and no `unsafe` here: bindings are above, kernels below.
//!
//! ```
//! use autodan_core::{Tensor, ops, autograd};
//!
//! let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], &[3])?.with_grad()?;
//! let y = ops::sum(&ops::square(&x)?, None, false)?;
//! let dx = autograd::grad(&[y], &[x], None, Default::default())?;
//! assert_eq!(dx[0].as_ref().map(|g| g.to_vec::<f32>()).transpose()?, Some(vec![2.0, 4.0, 6.0]));
//! # Ok::<(), autodan_core::Error>(())
//! ```

pub mod autograd;
pub mod dtype;
pub mod error;
pub mod layout;
pub mod op;
pub mod ops;
pub mod optim;
pub mod program;
pub mod safetensors;
pub mod storage;
mod tensor;
mod variable;

pub use dtype::DType;
pub use error::{Error, Result};
pub use tensor::Tensor;
pub use variable::Variable;
