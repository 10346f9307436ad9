//! Values, cells and tapes that several threads use at once: what the thread sanitizer is to look at.

#![allow(clippy::unwrap_used)]

use std::sync::Barrier;

use autodan_core::autograd::{self, Options};
use autodan_core::optim::{AdamOptions, Gradient, adam, sgd};
use autodan_core::{DType, Result, Tensor, Variable, ops};

const THREADS: usize = 4;
/// More than one task of the pool takes.
const LEN: usize = 40_000;

fn on_threads(f: impl Fn(usize) -> Result<()> + Sync) {
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (f, start) = (&f, &start);
            scope.spawn(move || {
                start.wait();
                f(thread).unwrap();
            });
        }
    });
}

fn variable(value: f32) -> Variable {
    Variable::new(&Tensor::from_slice(&vec![value; LEN], &[LEN]).unwrap(), true).unwrap()
}

/// Whether all elements are one.
fn is_whole(tensor: &Tensor) -> bool {
    let elements = tensor.to_vec::<f32>().unwrap();
    elements.iter().all(|x| x.to_bits() == elements[0].to_bits())
}

#[test]
fn threads_read_whole_values_while_others_update_in_place() {
    let (cell, velocity) = (variable(1.0), variable(0.0));
    let (m, v) = (variable(0.0), variable(0.0));
    let gradient = Gradient::Tensor(Tensor::from_slice(&vec![0.5f32; LEN], &[LEN]).unwrap());
    on_threads(|thread| {
        let cells = std::slice::from_ref(&cell);
        let gradients = std::slice::from_ref(&gradient);
        for round in 0..20 {
            match thread {
                0 => sgd(cells, gradients, Some(std::slice::from_ref(&velocity)), 0.01, 0.9, false)?,
                1 => cell.assign(&Tensor::from_slice(&vec![round as f32; LEN], &[LEN])?)?,
                2 => {
                    let hyper = AdamOptions {
                        learning_rate: 0.01,
                        beta_1: 0.9,
                        beta_2: 0.999,
                        epsilon: 1e-7,
                        step: 1,
                    };
                    adam(cells, gradients, std::slice::from_ref(&m), std::slice::from_ref(&v), hyper)?;
                }
                _ => {
                    let value = cell.value();
                    assert!(is_whole(&value) && is_whole(&ops::multiply(&value, &value)?));
                }
            }
        }
        Ok(())
    });
    assert!(is_whole(&cell.value()));
}

#[test]
fn threads_differentiate_graphs_that_share_leaves() {
    let (x, w) = (variable(3.0), variable(2.0));
    on_threads(|_| {
        for _ in 0..5 {
            let y = ops::multiply(&x.value(), &ops::multiply(&x.value(), &w.value())?)?;
            let ones = [Some(Tensor::full(&[LEN], 1.0, DType::Float32)?)];
            let grads = autograd::grad(&[y], &[x.value(), w.value()], Some(&ones), Options::default())?;
            let first = |i: usize| grads[i].as_ref().unwrap().to_vec::<f32>().unwrap()[0];
            assert_eq!((first(0), first(1)), (12.0, 9.0));
        }
        Ok(())
    });
}

#[test]
fn threads_drop_a_value_that_they_share() {
    for _ in 0..20 {
        let value = variable(1.0).value();
        let copies: Vec<_> = (0..THREADS).map(|_| std::sync::Mutex::new(Some(value.clone()))).collect();
        drop(value);
        on_threads(|thread| {
            let mut own = copies[thread].lock().unwrap().take().unwrap();
            own.make_mut::<f32>()?.fill(thread as f32);
            assert!(is_whole(&own));
            Ok(())
        });
    }
}
