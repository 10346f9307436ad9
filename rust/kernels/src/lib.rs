//! The compute kernels of autodan: typed slices and strides in, typed slices out.
//!
//! No tensors and no Python here. All `unsafe` of the project's engine lives in this crate, behind
//! safe functions: memory ([`buffer`]), threads ([`par`]), instruction sets ([`isa`], [`simd`]) and
//! the kernels themselves. Three rules hold everywhere:
//!
//! * **Same bits at any thread count.** How work is cut into tasks, and the order of every
//!   summation, is a function of shape, element type and instruction set, never of threads.
//! * **Memory is always initialised.** A fresh [`buffer::Buffer`] holds unspecified but valid
//!   values (see its documentation), so an output needs no zeroing and no `MaybeUninit`.
//! * **Sizes are checked at the door.** A kernel asserts the lengths that it relies on; callers
//!   (autodan-core) validate shapes first and turn bad ones into errors.

pub mod activate;
pub mod buffer;
mod columns;
pub mod conv;
pub mod copy;
pub mod element;
pub mod elementwise;
pub mod fork;
pub mod gather;
pub mod gemm;
pub mod isa;
pub mod machine;
pub mod memory;
pub mod norm;
pub mod optim;
pub mod out;
pub mod par;
pub mod pool;
pub mod reduce;
pub mod reserve;
pub mod rng;
mod rows;
pub mod scan;
pub mod simd;
pub mod softmax;
mod subnormal;
#[cfg(test)]
mod testing;
pub mod vecmath;
pub mod view;
mod walk;
