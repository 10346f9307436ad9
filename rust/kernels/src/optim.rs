//! Optimizer steps, all tensors in one parallel pass.

use std::ops::Range;

use crate::element::Float;
use crate::gemm::{Matrix, gemm_bands};
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, GRAIN};
use crate::simd::Vector;

/// The loss's gradient with respect to a parameter, in row-major order.
#[derive(Clone, Copy)]
pub enum Gradient<'a, T> {
    /// All of it.
    Elements(&'a [T]),
    /// The product that it is, for which [`fits_bands`](crate::gemm::fits_bands) holds: it is computed and used up band by band.
    Product(Matrix<'a, T>, Matrix<'a, T>),
}

impl<T> Gradient<'_, T> {
    fn len(&self) -> usize {
        match self {
            Gradient::Elements(elements) => elements.len(),
            Gradient::Product(a, b) => a.rows() * b.cols(),
        }
    }
}

/// A parameter with what [`sgd`] needs to update it; all of one length.
pub struct Sgd<'a, T> {
    /// Updated in place.
    pub parameter: &'a mut [T],
    /// The loss's gradient with respect to the parameter.
    pub gradient: Gradient<'a, T>,
    /// The running sum of steps, with momentum; updated in place.
    pub velocity: Option<&'a mut [T]>,
}

/// A parameter with what [`adam`] needs to update it; all of one length.
pub struct Adam<'a, T> {
    /// Updated in place.
    pub parameter: &'a mut [T],
    /// The loss's gradient with respect to the parameter.
    pub gradient: Gradient<'a, T>,
    /// The running mean of gradients; updated in place.
    pub m: &'a mut [T],
    /// The running mean of squared gradients; updated in place.
    pub v: &'a mut [T],
}

/// The numbers that all tensors of an [`adam`] step share.
#[derive(Clone, Copy, Debug)]
pub struct AdamHyper {
    /// The step size.
    pub learning_rate: f64,
    /// The decay of `m`.
    pub beta_1: f64,
    /// The decay of `v`.
    pub beta_2: f64,
    /// Added to the square root of `v`.
    pub epsilon: f64,
    /// The number of this step, from 1 on.
    pub step: u64,
}

/// Runs `f(task, tensor, range)` for all tensors of the given lengths, cut into chunks of [`GRAIN`];
/// tasks are numbered from 0.
fn for_each_chunk(lens: &[usize], f: impl Fn(usize, usize, Range<usize>) + Sync) {
    let mut ends = Vec::with_capacity(lens.len());
    let mut tasks = 0;
    for len in lens {
        tasks += len.div_ceil(GRAIN);
        ends.push(tasks);
    }
    par::for_each(tasks, |task| {
        let tensor = ends.partition_point(|&end| end <= task);
        let first = if tensor == 0 { 0 } else { ends[tensor - 1] };
        let start = (task - first) * GRAIN;
        f(task, tensor, start..(start + GRAIN).min(lens[tensor]));
    });
}

/// Runs `f(tensor, range, gradient)` for all tensors, cut into ranges.
fn for_each_gradient<T: Float>(gradients: &[Gradient<T>], f: impl Fn(usize, Range<usize>, &[T]) + Sync) {
    for (tensor, gradient) in gradients.iter().enumerate() {
        if let Gradient::Product(a, b) = *gradient {
            gemm_bands(a, b, &|first, g| f(tensor, first..first + g.len(), g));
        }
    }
    let elements = |gradient: &Gradient<'_, T>| match *gradient {
        Gradient::Elements(elements) => elements.len(),
        Gradient::Product(..) => 0,
    };
    for_each_chunk(&gradients.iter().map(elements).collect::<Vec<_>>(), |_, tensor, range| {
        if let Gradient::Elements(g) = gradients[tensor] {
            f(tensor, range.clone(), &g[range]);
        }
    });
}

/// One step of gradient descent, as Keras's `SGD`: with a velocity
/// `v = momentum * v - learning_rate * g`, then `p += v` or, for `nesterov`,
/// `p += momentum * v - learning_rate * g`; without one `p -= learning_rate * g`.
///
/// ```
/// use autodan_kernels::optim::{Gradient, Sgd, sgd};
/// let mut p = [1.0f32, 2.0];
/// let gradient = Gradient::Elements(&[10.0, -10.0]);
/// let mut tensors = [Sgd { parameter: &mut p, gradient, velocity: None }];
/// sgd(&mut tensors, 0.5, 0.0, false);
/// assert_eq!(p, [-4.0, 7.0]);
/// ```
///
/// # Panics
/// When the lengths of a tensor's parts differ.
pub fn sgd<T: Float>(tensors: &mut [Sgd<T>], learning_rate: f64, momentum: f64, nesterov: bool) {
    let gradients: Vec<_> = tensors.iter().map(|tensor| tensor.gradient).collect();
    let parts: Vec<_> = tensors
        .iter_mut()
        .map(|tensor| {
            let len = tensor.parameter.len();
            let velocity = tensor.velocity.as_deref_mut();
            assert!(tensor.gradient.len() == len && velocity.as_ref().is_none_or(|v| v.len() == len));
            (Out::new(tensor.parameter), velocity.map(Out::new))
        })
        .collect();
    for_each_gradient(&gradients, |tensor, range, g| {
        let (p, v) = &parts[tensor];
        // SAFETY: ranges differ in the tensor or do not overlap, nor do tensors.
        let (p, v) = unsafe { (p.slice(range.clone()), v.as_ref().map(|v| v.slice(range))) };
        match v {
            Some(v) => T::dispatch(Momentum { p, g, v, learning_rate, momentum, nesterov }),
            None => T::dispatch(Plain { p, g, learning_rate }),
        }
    });
}

struct Plain<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    learning_rate: f64,
}

impl<T: Float> Kernel<T> for Plain<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        use crate::rows::{load, store};
        let rate = V::constant(-self.learning_rate);
        for i in (0..self.p.len()).step_by(V::LEN) {
            let (p, g) = (load(self.p, i, V::zero()), load(self.g, i, V::zero()));
            store(self.p, i, g.mul_add(rate, p));
        }
    }
}

struct Momentum<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    v: &'a mut [T],
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
}

impl<T: Float> Kernel<T> for Momentum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        use crate::rows::{load, store};
        let (rate, momentum) = (V::constant(self.learning_rate), V::constant(self.momentum));
        for i in (0..self.p.len()).step_by(V::LEN) {
            let (p, g, v) =
                (load(self.p, i, V::zero()), load(self.g, i, V::zero()), load(self.v, i, V::zero()));
            let step = g.mul(rate);
            let v = momentum.mul(v).sub(step);
            store(self.v, i, v);
            let change = if self.nesterov { momentum.mul(v).sub(step) } else { v };
            store(self.p, i, p.add(change));
        }
    }
}

/// One step of Adam (Kingma and Ba 2014) with Keras's formula:
/// `alpha = learning_rate * sqrt(1 - beta_2^step) / (1 - beta_1^step)`, `m += (g - m) * (1 - beta_1)`,
/// `v += (g * g - v) * (1 - beta_2)`, `p -= alpha * m / (sqrt(v) + epsilon)`.
///
/// # Panics
/// When the lengths of a tensor's parts differ.
pub fn adam<T: Float>(tensors: &mut [Adam<T>], hyper: AdamHyper) {
    let gradients: Vec<_> = tensors.iter().map(|tensor| tensor.gradient).collect();
    let parts: Vec<_> = tensors
        .iter_mut()
        .map(|tensor| {
            let len = tensor.parameter.len();
            assert!(tensor.gradient.len() == len && tensor.m.len() == len && tensor.v.len() == len);
            (Out::new(tensor.parameter), Out::new(tensor.m), Out::new(tensor.v))
        })
        .collect();
    let decay = |beta: f64| 1.0 - beta.powf(hyper.step as f64);
    let alpha = hyper.learning_rate * decay(hyper.beta_2).sqrt() / decay(hyper.beta_1);
    for_each_gradient(&gradients, |tensor, range, g| {
        let (p, m, v) = &parts[tensor];
        // SAFETY: ranges differ in the tensor or do not overlap, nor do tensors.
        let (p, m, v) = unsafe { (p.slice(range.clone()), m.slice(range.clone()), v.slice(range)) };
        T::dispatch(AdamChunk { p, g, m, v, alpha, hyper });
    });
}

struct AdamChunk<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    m: &'a mut [T],
    v: &'a mut [T],
    alpha: f64,
    hyper: AdamHyper,
}

impl<T: Float> Kernel<T> for AdamChunk<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(self) {
        use crate::rows::{load, store};
        let (alpha, epsilon) = (V::constant(self.alpha), V::constant(self.hyper.epsilon));
        let (gain_1, gain_2) = (V::constant(1.0 - self.hyper.beta_1), V::constant(1.0 - self.hyper.beta_2));
        for i in (0..self.p.len()).step_by(V::LEN) {
            let (p, g) = (load(self.p, i, V::zero()), load(self.g, i, V::zero()));
            let (m, v) = (load(self.m, i, V::zero()), load(self.v, i, V::zero()));
            let m = g.sub(m).mul_add(gain_1, m);
            let v = g.mul(g).sub(v).mul_add(gain_2, v);
            store(self.m, i, m);
            store(self.v, i, v);
            store(self.p, i, p.sub(alpha.mul(m).div(v.sqrt().add(epsilon))));
        }
    }
}

/// The sum of the squares of all elements of all tensors, in float64.
pub fn sum_of_squares<T: Float>(xs: &[&[T]]) -> f64 {
    let lens: Vec<usize> = xs.iter().map(|x| x.len()).collect();
    let mut partial = vec![0.0; lens.iter().map(|len| len.div_ceil(GRAIN)).sum()];
    let out = Out::new(&mut partial);
    for_each_chunk(&lens, |task, tensor, range| {
        // SAFETY: each task has an element of its own.
        let sum = unsafe { out.slice(task..task + 1) };
        sum[0] = f64::dispatch(Squares { x: &xs[tensor][range] });
    });
    partial.iter().sum()
}

struct Squares<'a, T> {
    x: &'a [T],
}

impl<T: Float> Kernel<f64> for Squares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector<Scalar = f64>>(self) -> f64 {
        let mut lanes = [0.0; 32];
        let (whole, rest) = self.x.as_chunks::<32>();
        for x in whole {
            for i in 0..32 {
                lanes[i] += x[i].to_f64() * x[i].to_f64();
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += x.to_f64() * x.to_f64();
        }
        lanes.iter().sum()
    }
}

#[cfg(test)]
mod tests;
