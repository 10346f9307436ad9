//! What the passes keep, where the plan puts values, what a run computes and what it leaves behind.

use super::plan::Place;
use super::replay::Settings;
use super::*;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops;
use crate::ops::random::Key;
use crate::tensor::Tensor;

/// The graph of a step on inputs like these.
fn traced(inputs: &[Tensor], step: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>) -> Result<Graph> {
    trace::begin()?;
    let symbols: Result<Vec<_>> = inputs.iter().map(|x| trace::input(x.dtype(), x.shape())).collect();
    let graph = symbols.and_then(|symbols| step(&symbols)).and_then(|outputs| trace::end(&outputs));
    trace::abort();
    graph
}

fn input(first: f32) -> Result<Tensor> {
    let elements: Vec<f32> = (0..16).map(|i| (first + i as f32 * 0.37).sin()).collect();
    Tensor::from_slice(&elements, &[4, 4])
}

fn variable(value: &Tensor) -> Result<Variable> {
    Variable::new(value, true)
}

/// The key of draw `offset` from stream 0, as a trace knows it.
fn draw(offset: u64) -> Key {
    Key { seed: 7, counter: (1 << trace::STREAM_BITS) + offset }
}

fn names(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|node| node.op.name()).collect()
}

#[test]
fn what_nobody_reads_is_dropped() -> Result<()> {
    let x = input(1.0)?;
    let mut graph = traced(&[x.clone(), x], |x| {
        ops::matmul(&ops::tanh(&x[1])?, &x[1])?;
        Ok(vec![ops::exp(&x[0])?])
    })?;
    assert_eq!(names(&graph), ["tanh", "matmul", "exp"]);
    dce::run(&mut graph);
    assert_eq!(names(&graph), ["exp"]);
    assert!(matches!(graph.given[..], [(_, Given::Input(0))]));
    Ok(())
}

#[test]
fn what_is_assigned_or_updated_is_kept() -> Result<()> {
    let (x, n) = (input(1.0)?, variable(&Tensor::scalar(0i64)?)?);
    let (state, weight) = (variable(&x)?, variable(&x)?);
    let mut graph = traced(std::slice::from_ref(&x), |x| {
        state.assign(&ops::exp(&x[0])?)?;
        let rule = Rule::Sgd { momentum: 0.0, nesterov: false };
        trace::update(rule, vec![weight.clone()], vec![], &[ops::tanh(&x[0])?], n.clone())?;
        Ok(vec![])
    })?;
    dce::run(&mut graph);
    assert_eq!(names(&graph), ["exp", "tanh"]);
    Ok(())
}

#[test]
fn the_same_op_on_the_same_operands_runs_once() -> Result<()> {
    let x = input(1.0)?;
    let mut graph = traced(std::slice::from_ref(&x), |x| {
        let (a, b) = (ops::exp(&x[0])?, ops::exp(&x[0])?);
        Ok(vec![ops::multiply(&a, &b)?, ops::multiply(&b, &a)?])
    })?;
    cse::run(&mut graph);
    assert_eq!(names(&graph), ["exp", "multiply"]);
    assert_eq!(graph.outputs[0], graph.outputs[1]);
    Ok(())
}

#[test]
fn other_operands_layouts_attributes_and_draws_are_not_the_same() -> Result<()> {
    let x = input(1.0)?;
    let mut graph = traced(&[x.clone(), x], |x| {
        let turned = ops::transpose(&x[0], None)?;
        Ok(vec![
            ops::exp(&x[0])?,
            ops::exp(&x[1])?,
            ops::exp(&turned)?,
            ops::sum(&x[0], Some(&[0]), false)?,
            ops::sum(&x[0], Some(&[1]), false)?,
            ops::random::dropout(&x[0], 0.5, draw(0))?,
            ops::random::dropout(&x[0], 0.5, draw(1))?,
            ops::random::dropout(&x[0], 0.25, draw(0))?,
        ])
    })?;
    let before = graph.nodes.len();
    cse::run(&mut graph);
    assert_eq!(graph.nodes.len(), before);
    let mut graph =
        traced(&[input(1.0)?], |x| (0..2).map(|_| ops::random::dropout(&x[0], 0.5, draw(3))).collect())?;
    cse::run(&mut graph);
    assert_eq!(graph.nodes.len(), 1);
    Ok(())
}

/// A step of `length` ops chosen by a seed, on values of shape (4, 4); it returns some of them.
fn random_step(seed: u64, length: usize, inputs: &[Tensor], key: Key) -> Result<Vec<Tensor>> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let mut values = inputs.to_vec();
    let mut outputs = Vec::new();
    for _ in 0..length {
        let (a, b) = (values[next(values.len())].clone(), values[next(values.len())].clone());
        let made = match next(9) {
            0 => ops::add(&a, &b)?,
            1 => ops::multiply(&a, &ops::tanh(&b)?)?,
            2 => ops::tanh(&ops::matmul(&a, &b)?)?,
            3 => ops::transpose(&a, None)?,
            4 => ops::subtract(&a, &ops::sum(&b, Some(&[next(2) as isize]), true)?)?,
            5 => ops::cast(&ops::cast(&a, DType::Float64)?, DType::Float32)?,
            6 => ops::random::dropout(&a, 0.5, Key { counter: key.counter + next(3) as u64, ..key })?,
            7 => ops::softmax(&a, -1)?,
            _ => ops::add(&a, &Tensor::full(&[4, 1], 0.5, DType::Float32)?)?,
        };
        if next(6) == 0 {
            outputs.push(made.clone());
        }
        // Forgetting values lets their places be used again.
        match next(3) {
            0 if values.len() > 3 => {
                let forgotten = next(values.len());
                values[forgotten] = made;
            }
            _ => values.push(made),
        }
    }
    outputs.extend(values.pop());
    Ok(outputs)
}

/// Follows a run of the plan, buffer by buffer: whoever reads a value must find it there.
fn check_plan(graph: &Graph) {
    let plan = plan::plan(graph);
    let mut holds: Vec<Option<Value>> = vec![None; plan.buffers.len()];
    let mut made = vec![false; graph.values.len()];
    for &(value, _) in &graph.given {
        made[value] = true;
    }
    let check = |holds: &[Option<Value>], made: &[bool], value: Value| {
        assert!(made[value], "value {value} is read before it is made");
        if let Place::Shared(buffer) = plan.places[value] {
            assert_eq!(holds[buffer], Some(value), "value {value} was overwritten");
            let spec = &graph.values[value];
            assert_eq!(plan.buffers[buffer].0, spec.dtype);
            assert!(plan.buffers[buffer].1 >= spec.shape.iter().product());
        }
    };
    for node in &graph.nodes {
        for &output in &node.outputs {
            made[output] = true;
            if let Place::Shared(buffer) = plan.places[output] {
                // An op writes while its inputs are read, so these must not lie here.
                assert!(node.inputs.iter().all(|input| plan.places[input.value] != plan.places[output]));
                holds[buffer] = Some(output);
            }
        }
        for value in node.inputs.iter().map(|input| input.value).chain(node.outputs.iter().copied()) {
            check(&holds, &made, value);
        }
    }
    for root in graph.roots() {
        check(&holds, &made, root.value);
    }
    for operand in &graph.outputs {
        assert!(!matches!(plan.places[operand.value], Place::Shared(_)), "an output is overwritten later");
    }
}

#[test]
fn random_steps_replay_as_they_run_and_no_living_values_share_a_buffer() -> Result<()> {
    let key = Key { seed: 7, counter: 40 };
    for seed in 0..300 {
        let inputs = [input(seed as f32)?, input(seed as f32 + 0.5)?];
        let length = 1 + seed as usize % 40;
        let graph = traced(&inputs, |x| random_step(seed, length, x, draw(0)))?;
        check_plan(&graph);
        let program = graph.compile()?;
        check_plan(program.graph());
        let expected = random_step(seed, length, &inputs, key)?;
        for _ in 0..2 {
            let outputs = program.run(&inputs, Settings { rates: &[], keys: &[key] })?;
            assert_eq!(outputs.len(), expected.len());
            for (output, expected) in outputs.iter().zip(&expected) {
                assert_eq!(output.shape(), expected.shape());
                for (a, b) in output.to_vec::<f32>()?.iter().zip(&expected.to_vec::<f32>()?) {
                    assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "seed {seed}: {a} for {b}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_chain_needs_two_buffers() -> Result<()> {
    let graph = traced(&[input(1.0)?], |x| {
        let mut y = x[0].clone();
        for _ in 0..10 {
            y = ops::exp(&y)?;
        }
        Ok(vec![ops::sum(&y, None, false)?])
    })?;
    assert!(plan::plan(&graph).buffers.len() <= 2);
    Ok(())
}

#[test]
fn draws_follow_the_key_of_the_run() -> Result<()> {
    let x = input(1.0)?;
    let program = traced(std::slice::from_ref(&x), |x| Ok(vec![ops::random::dropout(&x[0], 0.5, draw(2))?]))?
        .compile()?;
    for (seed, counter) in [(1, 0), (1, 5), (2, 5)] {
        let keys = &[Key { seed, counter }];
        let outputs = program.run(std::slice::from_ref(&x), Settings { rates: &[], keys })?;
        let expected = ops::random::dropout(&x, 0.5, Key { seed, counter: counter + 2 })?;
        assert_eq!(outputs[0].to_vec::<f32>()?, expected.to_vec::<f32>()?);
    }
    let without = program.run(std::slice::from_ref(&x), Settings::default());
    assert!(matches!(without, Err(Error::Internal(_))), "{without:?}");
    Ok(())
}

#[test]
fn a_run_that_fails_changes_no_variable() -> Result<()> {
    let x = input(1.0)?;
    let labels = |last: i64| Tensor::from_slice(&[0i64, 1, 2, last], &[4]);
    let (weight, state) = (variable(&x)?, variable(&x)?);
    let n = variable(&Tensor::scalar(0i64)?)?;
    let program = traced(&[x.clone(), labels(3)?], |x| {
        state.assign(&ops::add(&state.value(), &x[0])?)?;
        let gradient = ops::tanh(&weight.value())?;
        let rule = Rule::Sgd { momentum: 0.0, nesterov: false };
        trace::update(rule, vec![weight.clone()], vec![], &[gradient], n.clone())?;
        Ok(vec![ops::sparse_softmax_cross_entropy(&x[0], &x[1])?])
    })?
    .compile()?;
    let held = || -> Result<_> {
        Ok((weight.value().to_vec::<f32>()?, state.value().to_vec::<f32>()?, n.value().item()?))
    };
    let before = held()?;
    let settings = Settings { rates: &[0.5], keys: &[] };
    assert!(program.run(&[x.clone(), labels(4)?], settings).is_err());
    assert!(program.run(&[x.clone(), labels(3)?], Settings::default()).is_err());
    let other = Tensor::full(&[4, 5], 1.0, DType::Float32)?;
    assert!(matches!(program.run(&[other, labels(3)?], settings), Err(Error::Shape { .. })));
    assert!(matches!(program.run(std::slice::from_ref(&x), settings), Err(Error::Shape { .. })));
    assert_eq!(held()?, before);
    program.run(&[x, labels(3)?], settings)?;
    let after = held()?;
    assert!(after.0 != before.0 && after.1 != before.1);
    assert_eq!(after.2, 1.0);
    Ok(())
}

#[test]
fn what_a_step_cannot_do_ends_its_trace() -> Result<()> {
    let x = input(1.0)?;
    let why = |step: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>| match traced(std::slice::from_ref(&x), step) {
        Err(Error::Symbolic(why)) => why,
        other => unreachable!("{other:?}"),
    };
    let kept = std::cell::RefCell::new(None);
    traced(std::slice::from_ref(&x), |x| {
        *kept.borrow_mut() = x.first().cloned();
        Ok(vec![])
    })?;
    let earlier = |_: &[Tensor]| Ok(vec![ops::exp(kept.borrow().as_ref().unwrap_or(&x))?]);
    assert!(why(&earlier).contains("earlier step"));
    assert!(why(&|x| Ok(vec![Tensor::scalar(x[0].to_vec::<f32>()?[0])?])).contains("was read"));
    assert!(why(&|x| Variable::new(&x[0], true).map(|w| vec![w.value()])).contains("creates a variable"));
    // An error that the step swallowed counts.
    let swallows = |x: &[Tensor]| {
        let _ = x[0].to_vec::<f32>();
        Ok(vec![ops::exp(&x[0])?])
    };
    assert!(why(&swallows).contains("was read"));
    assert!(!trace::is_active());
    Ok(())
}

#[test]
fn an_update_takes_over_the_product_that_is_its_gradient() -> Result<()> {
    let numbers =
        |len: usize, first: f32| -> Vec<f32> { (0..len).map(|i| (first + i as f32 * 0.37).sin()).collect() };
    let x = Tensor::from_slice(&numbers(8 * 400, 1.0), &[8, 400])?;
    let g = Tensor::from_slice(&numbers(8 * 100, 2.0), &[8, 100])?;
    let start = Tensor::from_slice(&numbers(400 * 100, 3.0), &[400, 100])?;
    let bias = Tensor::from_slice(&numbers(100, 4.0), &[100])?;
    let rule = Rule::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 };
    // Without and with a second reader of the product.
    for shared in [false, true] {
        let zeros = |of: &Tensor| variable(&ops::multiply(of, &Tensor::scalar(0f32)?)?);
        let variables = vec![variable(&start)?, variable(&bias)?];
        let slots = vec![vec![zeros(&start)?, zeros(&bias)?], vec![zeros(&start)?, zeros(&bias)?]];
        let n = variable(&Tensor::scalar(0i64)?)?;
        let program = traced(&[x.clone(), g.clone()], |given| {
            let product = ops::matmul(&ops::swapaxes(&given[0], -1, -2)?, &given[1])?;
            let gradients = [product.clone(), ops::sum(&given[1], Some(&[0]), false)?];
            trace::update(rule, variables.clone(), slots.clone(), &gradients, n.clone())?;
            Ok(if shared { vec![product] } else { vec![] })
        })?
        .compile()?;
        let kernels: Vec<String> = program.kernels().into_iter().map(|kernel| kernel.name).collect();
        let expected: &[&str] =
            if shared { &["Matmul", "Reduce", "Adam"] } else { &["Reduce", "MatmulAdam"] };
        assert!(
            kernels
                .iter()
                .map(|name| name.split('(').next().unwrap_or_default())
                .eq(expected.iter().copied())
        );
        let adam = program.kernels().pop().map(|kernel| (kernel.operations, kernel.bytes_written));
        let product = if shared { 0 } else { 2 * 8 * 40_000 };
        assert_eq!(adam, Some((11 * 40_100 + product, 3 * 4 * 40_100)));
        program.run(&[x.clone(), g.clone()], Settings { rates: &[0.01], keys: &[] })?;
        program.run(&[x.clone(), g.clone()], Settings { rates: &[0.02], keys: &[] })?;
        let alone = vec![variable(&start)?, variable(&bias)?];
        let moments = [[zeros(&start)?, zeros(&bias)?], [zeros(&start)?, zeros(&bias)?]];
        let gradients = [ops::matmul(&ops::swapaxes(&x, -1, -2)?, &g)?, ops::sum(&g, Some(&[0]), false)?]
            .map(crate::optim::Gradient::Tensor);
        for (step, learning_rate) in [(1, 0.01), (2, 0.02)] {
            let hyper =
                crate::optim::AdamOptions { learning_rate, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, step };
            crate::optim::adam(&alone, &gradients, &moments[0], &moments[1], hyper)?;
        }
        for (got, want) in
            variables.iter().chain(slots.iter().flatten()).zip(alone.iter().chain(moments.iter().flatten()))
        {
            assert!(got.value().storage().same_bits(want.value().storage()));
        }
        assert_eq!(n.value().item()?, 2.0);
    }
    Ok(())
}
