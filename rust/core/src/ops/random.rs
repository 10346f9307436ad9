//! Counter-based random numbers: pure functions of a seed, a counter and an element's index.

use std::sync::Arc;

use autodan_kernels::rng;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Shape, checked_len};
use crate::op::{Backward, Effect, Gradients, Op, SpecRef, Specs, apply, one};
use crate::ops::cast;
use crate::storage::{In, Out};
use crate::tensor::Tensor;
use crate::with_float;

/// Which numbers to draw: a seed, and a counter that is different for every draw.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The seed.
    pub seed: u64,
    /// The number of the draw.
    pub counter: u64,
}

/// The distribution of a [`random`] tensor.
#[derive(Clone, Copy, Debug)]
pub enum Distribution {
    /// Uniform on [low, high).
    Uniform {
        /// The lower bound.
        low: f64,
        /// The upper bound, excluded.
        high: f64,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Normal, within two standard deviations of the mean.
    TruncatedNormal {
        /// The mean before truncation.
        mean: f64,
        /// The standard deviation before truncation.
        std: f64,
    },
    /// 1 with probability `p`, else 0.
    Bernoulli {
        /// The probability of 1.
        p: f64,
    },
}

#[derive(Debug)]
struct Random {
    distribution: Distribution,
    key: Key,
    dtype: DType,
    shape: Shape,
}

impl Op for Random {
    fn name(&self) -> &'static str {
        match self.distribution {
            Distribution::Uniform { .. } => "random_uniform",
            Distribution::Normal { .. } => "random_normal",
            Distribution::TruncatedNormal { .. } => "random_truncated_normal",
            Distribution::Bernoulli { .. } => "random_bernoulli",
        }
    }

    fn infer(&self, _inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(self.dtype, &self.shape)
    }

    fn run(&self, _inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let Key { seed, counter } = self.key;
        with_float!(self.name(), self.dtype, T => {
            let y = outputs[0].get::<T>()?;
            match self.distribution {
                Distribution::Uniform { low, high } => rng::uniform(seed, counter, low, high, y),
                Distribution::Normal { mean, std } => rng::normal(seed, counter, mean, std, y),
                Distribution::TruncatedNormal { mean, std } => rng::truncated_normal(seed, counter, mean, std, y),
                Distribution::Bernoulli { p } => rng::bernoulli(seed, counter, p, y),
            }
        });
        Ok(())
    }

    fn key(&self) -> Option<Key> {
        Some(self.key)
    }

    fn with_key(&self, key: Key) -> Option<Arc<dyn Op>> {
        Some(Arc::new(Random { key, shape: self.shape.clone(), ..*self }))
    }

    fn effect(&self) -> Effect {
        Effect::Random
    }
}

/// Random floats.
///
/// # Errors
/// [`Error::Value`] for parameters outside their domain, [`Error::DType`] for integer dtypes.
pub fn random(distribution: Distribution, shape: &[usize], dtype: DType, key: Key) -> Result<Tensor> {
    let op = Random { distribution, key, dtype, shape: Shape::from_slice(shape) };
    let name = op.name();
    if !dtype.is_float() {
        return Err(Error::dtype(name, dtype, "float32 or float64"));
    }
    match distribution {
        Distribution::Uniform { low, high } if !(low <= high && (high - low).is_finite()) => Err(
            Error::value(name, format!("the range [{low}, {high}) is not one of finite numbers in order")),
        ),
        Distribution::Normal { mean, std } | Distribution::TruncatedNormal { mean, std }
            if !(std >= 0.0 && std.is_finite() && mean.is_finite()) =>
        {
            Err(Error::value(
                name,
                format!("mean {mean} and stddev {std} must be finite, and stddev at least 0"),
            ))
        }
        Distribution::Bernoulli { p } if !(0.0..=1.0).contains(&p) => {
            Err(Error::value(name, format!("p={p} must be a probability between 0 and 1")))
        }
        _ => apply(op, &[]),
    }
}

/// Random integers (int64) in `low..high`.
///
/// # Errors
/// [`Error::Value`] for an empty range.
pub fn random_integers(low: i64, high: i64, shape: &[usize], key: Key) -> Result<Tensor> {
    if low >= high {
        return Err(Error::value(
            "random_randint",
            format!("the range from {low} to {high} (excluded) is empty"),
        ));
    }
    let mut buffer = autodan_kernels::buffer::Buffer::new(checked_len("random_randint", shape)?)?;
    rng::integers(key.seed, key.counter, low, high, &mut buffer);
    Tensor::from_buffer(buffer, shape)
}

/// The numbers `0..n` (int64) in random order.
///
/// # Errors
/// [`Error::Memory`].
pub fn random_permutation(n: usize, key: Key) -> Result<Tensor> {
    let mut buffer = autodan_kernels::buffer::Buffer::new(checked_len("random_permutation", &[n])?)?;
    rng::permutation(key.seed, key.counter, &mut buffer);
    Tensor::from_buffer(buffer, &[n])
}

/// Elements dropped at random. The mask is a function of the key, so the gradient draws it again
/// instead of keeping it.
#[derive(Clone, Copy, Debug)]
struct Dropout {
    rate: f64,
    key: Key,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        one(inputs[0].dtype, inputs[0].shape)
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        with_float!("dropout", inputs[0].dtype(), T => {
            let x = inputs[0].contiguous::<T>()?;
            rng::dropout(self.key.seed, self.key.counter, self.rate, &x, outputs[0].get()?);
        });
        Ok(())
    }

    fn vjp(&self, context: &Backward<'_>) -> Result<Gradients> {
        Ok(Gradients::from_iter([Some(apply(*self, &[context.grad()?])?)]))
    }

    fn key(&self) -> Option<Key> {
        Some(self.key)
    }

    fn with_key(&self, key: Key) -> Option<Arc<dyn Op>> {
        Some(Arc::new(Dropout { key, ..*self }))
    }

    fn effect(&self) -> Effect {
        Effect::Random
    }
}

/// `x` with a fraction `rate` of its elements set to 0 and the others scaled by `1 / (1 - rate)`
/// (Srivastava et al. 2014).
///
/// # Errors
/// [`Error::Value`] for a rate outside [0, 1].
pub fn dropout(x: &Tensor, rate: f64, key: Key) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&rate) {
        return Err(Error::value("dropout", format!("rate={rate} must be between 0 and 1")));
    }
    let x = cast(x, x.dtype().to_float())?;
    if rate == 0.0 { Ok(x) } else { apply(Dropout { rate, key }, &[&x]) }
}
