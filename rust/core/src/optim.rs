//! Optimizer steps: all variables in one pass, in place.

use std::sync::MutexGuard;

use autodan_kernels::gemm::{Matrix, fits_bands};
use autodan_kernels::optim::{self as kernels, AdamHyper};
use autodan_kernels::par;

use crate::dtype::DType;
use crate::error::{Error, Result, show_shape};
use crate::layout::{Layout, Shape};
use crate::ops::{cast, contiguous};
use crate::storage::{Contiguous, Stored};
use crate::tensor::Tensor;
use crate::variable::Variable;

/// The gradient of a variable.
#[derive(Clone, Debug)]
pub enum Gradient {
    /// As it is.
    Tensor(Tensor),
    /// The product of two matrices, one that `fits`: it is made while the variable is updated, and never lies in
    /// memory as a whole.
    Product(Tensor, Tensor),
}

impl Gradient {
    fn shape(&self) -> Shape {
        match self {
            Gradient::Tensor(tensor) => Shape::from_slice(tensor.shape()),
            Gradient::Product(a, b) => a.shape()[..1].iter().chain(&b.shape()[1..]).copied().collect(),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Gradient::Tensor(tensor) | Gradient::Product(tensor, _) => tensor.dtype(),
        }
    }
}

/// Whether the product of two matrices of a dtype can be a [`Gradient::Product`], and gains by it.
pub(crate) fn fits(dtype: DType, a: &Layout, b: &Layout) -> bool {
    let (&[m, k], &[rows, n]) = (a.shape(), b.shape()) else { return false };
    let (&[a_row, a_col], &[b_row, b_col]) = (a.strides(), b.strides()) else { return false };
    let (sizes, a, b) = ([m, k, n], [a_row, a_col], [b_row, b_col]);
    rows == k
        && match dtype {
            DType::Float32 => fits_bands::<f32>(sizes, a, b),
            DType::Float64 => fits_bands::<f64>(sizes, a, b),
            _ => false,
        }
}

/// The elements of a gradient, where they are or are made from.
enum Elements<'a, T: Stored> {
    Lying(Contiguous<'a, T>),
    Product(Matrix<'a, T>, Matrix<'a, T>),
}

impl<'a, T: Stored> Elements<'a, T> {
    fn new(gradient: &'a Gradient) -> Result<Elements<'a, T>> {
        match gradient {
            Gradient::Tensor(tensor) => tensor.contiguous_elements().map(Elements::Lying),
            Gradient::Product(a, b) => Ok(Elements::Product(matrix(a)?, matrix(b)?)),
        }
    }

    fn kernel(&self) -> kernels::Gradient<'_, T> {
        match self {
            Elements::Lying(elements) => kernels::Gradient::Elements(elements),
            Elements::Product(a, b) => kernels::Gradient::Product(*a, *b),
        }
    }
}

fn matrix<T: Stored>(tensor: &Tensor) -> Result<Matrix<'_, T>> {
    let (&[rows, cols], &[down, across]) = (tensor.shape(), tensor.layout().strides()) else {
        return Err(Error::internal("a factor of a gradient is no matrix"));
    };
    Ok(Matrix::new(tensor.input().storage()?, tensor.layout().offset(), rows, cols, down, across))
}

/// Stochastic gradient descent: `v = momentum * v - rate * g; p += v`, with Nesterov's momentum
/// `p += momentum * v - rate * g`; without velocities `p -= rate * g`.
///
/// # Errors
/// As [`adam`].
pub fn sgd(
    variables: &[Variable],
    gradients: &[Gradient],
    velocities: Option<&[Variable]>,
    rate: f64,
    momentum: f64,
    nesterov: bool,
) -> Result<()> {
    let cells: Vec<&[Variable]> = std::iter::once(variables).chain(velocities).collect();
    update("sgd_update", &cells, gradients, &Sgd { rate, momentum, nesterov })
}

/// Adam (Kingma and Ba 2015) in Keras's form, epsilon outside the bias correction:
/// `p -= rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)`.
///
/// # Errors
/// [`Error::Value`] when the lists differ in length or name a variable twice, [`Error::Shape`] when a
/// gradient or slot does not have its variable's shape, [`Error::DType`] for variables that are not
/// floats. On an error nothing has changed.
pub fn adam(
    variables: &[Variable],
    gradients: &[Gradient],
    m: &[Variable],
    v: &[Variable],
    hyper: AdamHyper,
) -> Result<()> {
    update("adam_update", &[variables, m, v], gradients, &Adam(hyper))
}

pub use autodan_kernels::optim::AdamHyper as AdamOptions;

/// The Euclidean norm of all elements of all tensors, as one vector.
///
/// # Errors
/// [`Error::DType`] for tensors that are not floats.
pub fn global_norm(tensors: &[Tensor]) -> Result<f64> {
    let mut total = 0.0;
    for dtype in [DType::Float32, DType::Float64] {
        crate::with_float!("global_norm", dtype, T => {
            let parts = tensors
                .iter()
                .filter(|tensor| tensor.dtype() == dtype)
                .map(Tensor::contiguous_elements::<T>)
                .collect::<Result<Vec<_>>>()?;
            total += kernels::sum_of_squares(&parts.iter().map(|part| &part[..]).collect::<Vec<_>>());
        });
    }
    match tensors.iter().find(|tensor| !tensor.dtype().is_float()) {
        Some(tensor) => Err(Error::dtype("global_norm", tensor.dtype(), "float32 or float64")),
        None => Ok(total.sqrt()),
    }
}

/// One optimizer's formula over all variables of a dtype: `cells[k][i]` is slot `k` of variable `i`,
/// slot 0 being its value.
trait Formula {
    fn run<T: Stored + autodan_kernels::element::Float>(
        &self,
        cells: Vec<Vec<&mut [T]>>,
        gradients: &[kernels::Gradient<'_, T>],
    );
}

struct Sgd {
    rate: f64,
    momentum: f64,
    nesterov: bool,
}

impl Formula for Sgd {
    fn run<T: Stored + autodan_kernels::element::Float>(
        &self,
        cells: Vec<Vec<&mut [T]>>,
        gradients: &[kernels::Gradient<'_, T>],
    ) {
        let mut slots = cells.into_iter();
        let parameters = slots.next().unwrap_or_default();
        let mut velocities = slots.next().unwrap_or_default().into_iter();
        let mut tensors: Vec<_> = parameters
            .into_iter()
            .zip(gradients)
            .map(|(parameter, &gradient)| kernels::Sgd { parameter, gradient, velocity: velocities.next() })
            .collect();
        kernels::sgd(&mut tensors, self.rate, self.momentum, self.nesterov);
    }
}

struct Adam(AdamHyper);

impl Formula for Adam {
    fn run<T: Stored + autodan_kernels::element::Float>(
        &self,
        cells: Vec<Vec<&mut [T]>>,
        gradients: &[kernels::Gradient<'_, T>],
    ) {
        let mut slots = cells.into_iter().map(Vec::into_iter);
        let (parameters, m, v) = (slots.next(), slots.next(), slots.next());
        let mut tensors: Vec<_> = parameters
            .into_iter()
            .flatten()
            .zip(m.into_iter().flatten())
            .zip(v.into_iter().flatten())
            .zip(gradients)
            .map(|(((parameter, m), v), &gradient)| kernels::Adam { parameter, gradient, m, v })
            .collect();
        kernels::adam(&mut tensors, self.0);
    }
}

fn update(
    op: &'static str,
    cells: &[&[Variable]],
    gradients: &[Gradient],
    formula: &impl Formula,
) -> Result<()> {
    check(op, cells, gradients)?;
    par::whole(|| update_checked(op, cells, gradients, formula))
}

/// Gives each variable memory that it shares with nobody, so that an update cannot fail for want of it.
///
/// # Errors
/// [`Error::Memory`]; then values are as they were.
pub(crate) fn make_unique<'a>(variables: impl Iterator<Item = &'a Variable>) -> Result<()> {
    for variable in variables {
        let mut value = variable.lock();
        crate::with_float!("update", value.dtype(), T => {
            value.make_mut::<T>()?;
        });
    }
    Ok(())
}

/// The update itself, in one piece: variables and slots belong together.
fn update_checked(
    op: &'static str,
    cells: &[&[Variable]],
    gradients: &[Gradient],
    formula: &impl Formula,
) -> Result<()> {
    // One order for all threads, so that two updates cannot wait for each other.
    let all: Vec<&Variable> = cells.iter().copied().flatten().collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_unstable_by_key(|&i| all[i].id());
    if order.windows(2).any(|pair| all[pair[0]].is(all[pair[1]])) {
        return Err(Error::value(op, "a variable is named twice; each may be updated once in a step"));
    }
    let mut guards: Vec<Option<MutexGuard<'_, Tensor>>> = all.iter().map(|_| None).collect();
    for i in order {
        guards[i] = Some(all[i].lock());
    }
    let mut values: Vec<MutexGuard<'_, Tensor>> = guards.into_iter().flatten().collect();
    // Whatever must be copied, in every dtype, is copied before anything is written.
    for value in &mut values {
        crate::with_float!(op, value.dtype(), T => {
            value.make_mut::<T>()?;
        });
    }
    let lying = |gradient: &Gradient| match gradient {
        Gradient::Tensor(tensor) => contiguous(tensor).map(Gradient::Tensor),
        product => Ok(product.clone()),
    };
    let gradients = gradients.iter().map(lying).collect::<Result<Vec<_>>>()?;
    for dtype in [DType::Float32, DType::Float64] {
        crate::with_float!(op, dtype, T => {
            let gradients: Vec<Elements<'_, T>> = gradients
                .iter()
                .zip(cells[0])
                .filter(|(_, variable)| variable.dtype() == dtype)
                .map(|(gradient, _)| Elements::new(gradient))
                .collect::<Result<_>>()?;
            if gradients.is_empty() {
                continue;
            }
            let mut elements = Vec::with_capacity(values.len());
            for value in values.iter_mut().filter(|value| value.dtype() == dtype) {
                elements.push(value.make_mut::<T>()?);
            }
            let mut elements = elements.into_iter();
            let slots = cells.iter().map(|_| elements.by_ref().take(gradients.len()).collect()).collect();
            formula.run::<T>(slots, &gradients.iter().map(Elements::kernel).collect::<Vec<_>>());
        });
    }
    drop(values);
    all.iter().for_each(|variable| variable.touch());
    Ok(())
}

/// Refuses what would go wrong half-way.
fn check(op: &'static str, cells: &[&[Variable]], gradients: &[Gradient]) -> Result<()> {
    let variables = cells[0];
    if let Some(slot) = cells.iter().find(|slot| slot.len() != variables.len()) {
        let message = format!("{} variables but {} slots", variables.len(), slot.len());
        return Err(Error::value(op, message));
    }
    if gradients.len() != variables.len() {
        let message = format!("{} variables but {} gradients", variables.len(), gradients.len());
        return Err(Error::value(op, message));
    }
    for (i, variable) in variables.iter().enumerate() {
        if !variable.dtype().is_float() {
            return Err(Error::dtype(op, variable.dtype(), "float32 or float64 variables"));
        }
        if let Gradient::Product(a, b) = &gradients[i]
            && !(a.dtype() == b.dtype() && fits(a.dtype(), a.layout(), b.layout()))
        {
            return Err(Error::internal("a product that cannot be a gradient"));
        }
        let gradient = gradients[i].shape();
        for (name, shape, dtype) in cells[1..]
            .iter()
            .map(|slot| ("slot", slot[i].shape(), slot[i].dtype()))
            .chain([("gradient", &gradient[..], gradients[i].dtype())])
        {
            if shape != variable.shape() {
                let message = format!(
                    "the {name} of variable {i} has shape {} but the variable has shape {}",
                    show_shape(shape),
                    show_shape(variable.shape())
                );
                return Err(Error::shape(op, message));
            }
            if dtype != variable.dtype() {
                let message =
                    format!("the {name} of variable {i} is {dtype} but the variable is {}", variable.dtype());
                return Err(Error::DType { op, message });
            }
        }
    }
    Ok(())
}

/// A gradient in its variable's dtype.
///
/// # Errors
/// [`Error::Memory`].
pub fn match_dtype(gradient: &Tensor, variable: &Variable) -> Result<Tensor> {
    cast(&gradient.detach(), variable.dtype())
}
