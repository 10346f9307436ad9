//! Depth, diamonds, second derivatives and lifetimes.

use super::*;

fn scalar(x: f64) -> Tensor {
    Tensor::scalar(x).and_then(|t| t.with_grad()).unwrap_or_else(|e| unreachable!("{e}"))
}

#[test]
fn a_million_ops_build_differentiate_and_drop_on_a_small_stack() {
    let run = || -> Result<f64> {
        let x = scalar(1.0);
        let one = Tensor::scalar(1.0f64)?;
        let mut y = x.clone();
        for _ in 0..1_000_000 {
            y = ops::multiply(&y, &one)?;
        }
        backward(&y, None, Options::default())?;
        let dx = x.leaf().and_then(|leaf| leaf.grad()).map_or(Ok(0.0), |g| g.item());
        drop(y);
        dx
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    let result = thread.map(std::thread::JoinHandle::join);
    assert!(matches!(result, Ok(Ok(Ok(1.0)))), "{result:?}");
}

/// Runs `f` on a thread with a stack of 2 MB.
fn on_a_small_stack(f: impl FnOnce() -> Result<()> + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(f);
    let result = thread.map(std::thread::JoinHandle::join);
    assert!(matches!(result, Ok(Ok(Ok(())))), "{result:?}");
}

type Step = fn(&Tensor, &Tensor) -> Result<Tensor>;

#[test]
fn chains_of_every_kind_are_dropped_from_either_end() {
    let steps: [Step; 5] = [
        |y, _| ops::tanh(y),
        |y, x| ops::add(y, x),
        |y, _| ops::reshape(&ops::transpose(&ops::expand_dims(y, 0)?, None)?, &[1]),
        |y, x| {
            let both = ops::concatenate(&[y.clone(), x.clone()], 0)?;
            ops::slice(&both, &[crate::layout::AxisRange::full(1)])
        },
        |y, x| {
            ops::matmul(&ops::reshape(y, &[1, 1])?, &ops::reshape(x, &[1, 1])?)
                .and_then(|y| ops::reshape(&y, &[1]))
        },
    ];
    for step in steps {
        on_a_small_stack(move || {
            let x = Tensor::from_slice(&[1.0f32], &[1])?.with_grad()?;
            let mut y = x.clone();
            let mut middle = None;
            for i in 0..50_000 {
                y = step(&y, &x)?;
                if i == 25_000 {
                    middle = Some(y.clone());
                }
            }
            backward(&y, None, Options { retain_graph: true, ..Options::default() })?;
            assert!(x.leaf().is_some_and(|leaf| leaf.grad().is_some()));
            let other = std::thread::spawn(move || drop(y));
            assert!(other.join().is_ok());
            drop(middle);
            Ok(())
        });
    }
}

#[test]
fn a_gradient_with_a_graph_does_not_keep_its_leaf() -> Result<()> {
    let x = scalar(3.0);
    let watch = x.leaf().map(Arc::downgrade);
    let keep = Options { create_graph: true, ..Options::default() };
    backward(&ops::multiply(&x, &x)?, None, keep)?;
    let dx = x.leaf().and_then(|leaf| leaf.grad()).ok_or_else(|| Error::internal("no gradient"))?;
    assert!(dx.requires_grad());
    drop(dx);
    drop(x);
    assert!(watch.is_some_and(|leaf| leaf.upgrade().is_none()));
    Ok(())
}

#[test]
fn a_leaf_that_nobody_holds_takes_no_gradient() -> Result<()> {
    let (x, w) = (scalar(3.0), scalar(5.0));
    let y = ops::multiply(&x, &w)?;
    drop(x);
    backward(&y, None, Options::default())?;
    let dw = w.leaf().and_then(|leaf| leaf.grad()).map_or(Ok(0.0), |dw| dw.item());
    assert_eq!(dw?, 3.0);
    Ok(())
}

#[test]
fn a_diamond_is_walked_once() -> Result<()> {
    let x = scalar(1.0);
    let mut y = x.clone();
    for _ in 0..64 {
        y = ops::add(&y, &y)?;
    }
    let dx = grad(&[y], &[x], None, Options::default())?;
    assert_eq!(dx[0].as_ref().map(Tensor::item).transpose()?, Some(2f64.powi(64)));
    Ok(())
}

#[test]
fn second_derivatives_and_freed_graphs() -> Result<()> {
    let x = scalar(2.0);
    let y = ops::multiply(&ops::multiply(&x, &x)?, &x)?;
    let keep = Options { create_graph: true, ..Options::default() };
    let dx = grad(std::slice::from_ref(&y), std::slice::from_ref(&x), None, keep)?[0].clone();
    let dx = dx.ok_or_else(|| Error::internal("no gradient"))?;
    assert_eq!(dx.item()?, 12.0);
    let ddx = grad(&[dx], std::slice::from_ref(&x), None, Options::default())?;
    assert_eq!(ddx[0].as_ref().map(Tensor::item).transpose()?, Some(12.0));
    let z = ops::multiply(&x, &x)?;
    backward(&z, None, Options::default())?;
    assert!(matches!(backward(&z, None, Options::default()), Err(Error::Gradient(_))));
    Ok(())
}
