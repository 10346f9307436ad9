//! Tensors made from a rule.

use autodan_kernels::buffer::Buffer;
use autodan_kernels::par::{self, GRAIN};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::checked_len;
use crate::ops::cast::Cast;
use crate::tensor::Tensor;
use crate::with_dtype;

fn from_fn(shape: &[usize], dtype: DType, f: impl Fn(usize) -> f64 + Sync) -> Result<Tensor> {
    let len = checked_len("tensor", shape)?;
    with_dtype!(dtype, T => {
        let mut buffer = Buffer::<T>::new(len)?;
        par::for_each_chunk(&mut buffer, GRAIN, |start, part| {
            part.iter_mut().enumerate().for_each(|(i, x)| *x = <T as Cast>::from_f64(f(start + i)));
        });
        Tensor::from_buffer(buffer, shape)
    })
}

/// `start, start + step, ...` up to but without `stop`.
///
/// # Errors
/// [`Error::Value`] for a step of 0 or bounds that are not finite.
pub fn arange(start: f64, stop: f64, step: f64, dtype: DType) -> Result<Tensor> {
    let count = ((stop - start) / step).ceil();
    if step == 0.0 || !count.is_finite() {
        let message = format!("start={start}, stop={stop}, step={step} must be finite and the step not 0");
        return Err(Error::value("arange", message));
    }
    from_fn(&[count.max(0.0) as usize], dtype, |i| start + i as f64 * step)
}

/// As [`arange`] for whole numbers, all of which are exact; int64.
///
/// # Errors
/// [`Error::Value`] for a step of 0, [`Error::Memory`].
pub fn arange_integers(start: i64, stop: i64, step: i64) -> Result<Tensor> {
    if step == 0 {
        let message = format!("start={start}, stop={stop}, step={step}: the step must not be 0");
        return Err(Error::value("arange", message));
    }
    let (distance, step) = (i128::from(stop) - i128::from(start), i128::from(step));
    let rounding_up = step - step.signum();
    let count = usize::try_from(((distance + rounding_up) / step).max(0)).unwrap_or(usize::MAX);
    let mut buffer = Buffer::<i64>::new(checked_len("arange", &[count])?)?;
    par::for_each_chunk(&mut buffer, GRAIN, |first, part| {
        // Within the range, so no sum leaves 64 bits.
        let value = |i: usize| (i128::from(start) + i as i128 * step) as i64;
        part.iter_mut().enumerate().for_each(|(i, x)| *x = value(first + i));
    });
    Tensor::from_buffer(buffer, &[count])
}

/// `num` values at equal distances from `start` to `stop`, both included.
///
/// # Errors
/// [`Error::Memory`].
pub fn linspace(start: f64, stop: f64, num: usize, dtype: DType) -> Result<Tensor> {
    let last = num.saturating_sub(1);
    let step = (stop - start) / last.max(1) as f64;
    from_fn(&[num], dtype, |i| if i == last && i > 0 { stop } else { start + i as f64 * step })
}

/// `rows` by `columns`, 1 on the diagonal and 0 elsewhere.
///
/// # Errors
/// [`Error::Memory`].
pub fn eye(rows: usize, columns: usize, dtype: DType) -> Result<Tensor> {
    from_fn(&[rows, columns], dtype, |i| f64::from(u8::from(i / columns == i % columns)))
}
