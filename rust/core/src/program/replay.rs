//! Replay: a program runs on real tensors.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use autodan_kernels::par;
use smallvec::SmallVec;

use super::plan::{self, Place, Plan};
use super::{Draw, Given, Gradient, Graph, Node, Operand, Rule, Update};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops;
use crate::ops::random::Key;
use crate::optim;
use crate::storage::{In, Out, Storage};
use crate::tensor::Tensor;

/// A graph with a plan, ready to run.
#[derive(Debug)]
pub struct Program {
    graph: Graph,
    plan: Plan,
    /// The buffers that values share, between runs. A run that finds them taken by another thread, or
    /// incomplete after an interrupt, makes its own.
    buffers: Mutex<Vec<Option<Storage>>>,
}

/// What a run is told besides its inputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// The learning rate of each update.
    pub rates: &'a [f64],
    /// The key that each stream of random numbers gives next.
    pub keys: &'a [Key],
}

impl Program {
    pub(crate) fn new(graph: Graph) -> Result<Program> {
        let plan = plan::plan(&graph);
        Ok(Program { graph, plan, buffers: Mutex::new(Vec::new()) })
    }

    /// The graph that is run.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The bytes of the buffers that values share.
    pub fn planned_bytes(&self) -> usize {
        self.plan.bytes()
    }

    /// The number of buffers that values share.
    pub fn planned_buffers(&self) -> usize {
        self.plan.buffers.len()
    }

    /// Runs the nodes, then writes the variables, all of them or none; returns the outputs.
    ///
    /// # Errors
    /// Those of the ops, and [`Error::Memory`]: then no variable has changed. [`Error::Shape`] for inputs that
    /// are not those of the trace.
    pub fn run(&self, inputs: &[Tensor], settings: Settings<'_>) -> Result<Vec<Tensor>> {
        self.run_with(inputs, settings, None)
    }

    /// As [`Program::run`]; also how long each node took, and then each update.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn profile(&self, inputs: &[Tensor], settings: Settings<'_>) -> Result<(Vec<Tensor>, Vec<Duration>)> {
        let mut times = Vec::with_capacity(self.graph.nodes.len() + self.graph.updates.len());
        let outputs = self.run_with(inputs, settings, Some(&mut times))?;
        Ok((outputs, times))
    }

    fn run_with(
        &self,
        inputs: &[Tensor],
        settings: Settings<'_>,
        times: Option<&mut Vec<Duration>>,
    ) -> Result<Vec<Tensor>> {
        let mut held = match self.buffers.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let mut shared = held.as_mut().map(|held| std::mem::take(&mut **held)).unwrap_or_default();
        if shared.is_empty() {
            let new = |&(dtype, len): &_| Storage::new(dtype, len).map(Some);
            shared = self.plan.buffers.iter().map(new).collect::<Result<_>>()?;
        }
        let mut run =
            Run { program: self, settings, given: self.given(inputs)?, own: Vec::new(), shared, times };
        run.own.resize_with(self.graph.values.len(), || None);
        let outputs = run.all()?;
        if let Some(mut held) = held {
            *held = run.shared;
        }
        Ok(outputs)
    }

    /// The values that no node makes, in row-major order.
    fn given(&self, inputs: &[Tensor]) -> Result<Vec<Storage>> {
        let place = |&(value, ref given): &(usize, Given)| {
            let tensor = match given {
                Given::Constant(storage) => return Ok(storage.clone()),
                Given::State(variable) => variable.lock().clone(),
                Given::Input(i) => {
                    let spec = &self.graph.values[value];
                    match inputs.get(*i) {
                        Some(input) if input.shape() == &spec.shape[..] && input.dtype() == spec.dtype => {
                            input.detach()
                        }
                        _ => return Err(Error::shape("program", format!("input {i} is not the one traced"))),
                    }
                }
            };
            let layout = tensor.layout();
            let plain = layout.is_contiguous() && layout.offset() == 0;
            Ok(if plain { tensor } else { ops::view::copy(&tensor)? }.storage().clone())
        };
        self.graph.given.iter().map(place).collect()
    }
}

/// One run under way.
struct Run<'a> {
    program: &'a Program,
    settings: Settings<'a>,
    given: Vec<Storage>,
    /// Values with memory of their own, by value.
    own: Vec<Option<Storage>>,
    shared: Vec<Option<Storage>>,
    times: Option<&'a mut Vec<Duration>>,
}

impl Run<'_> {
    fn all(&mut self) -> Result<Vec<Tensor>> {
        let graph = &self.program.graph;
        for node in &graph.nodes {
            self.timed(|run| run.node(node))?;
        }
        let outputs = graph.outputs.iter().map(|operand| self.tensor(operand)).collect::<Result<Vec<_>>>()?;
        let assigned = graph
            .assigned
            .iter()
            .map(|(variable, operand)| Ok((variable, ops::keep(&self.tensor(operand)?)?)))
            .collect::<Result<Vec<_>>>()?;
        let updates = graph.updates.iter().map(|update| self.prepare(update)).collect::<Result<Vec<_>>>()?;
        // Whoever still held what variables hold would force their updates to copy it.
        self.given.clear();
        // An interrupt or a fork between two writes would leave the variables torn.
        par::whole(|| -> Result<()> {
            // What must be copied is, before anything is written.
            for update in &graph.updates {
                optim::make_unique(update.variables.iter().chain(update.slots.iter().flatten()))?;
            }
            for (i, (update, prepared)) in graph.updates.iter().zip(updates).enumerate() {
                let rate = self.settings.rates.get(i).copied();
                let rate = rate.ok_or_else(|| Error::internal("an update without a learning rate"))?;
                self.timed(|_| step(update, prepared, rate))?;
            }
            for (variable, value) in assigned {
                variable.replace(value);
            }
            Ok(())
        })?;
        Ok(outputs)
    }

    fn timed(&mut self, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let start = self.times.is_some().then(Instant::now);
        f(self)?;
        if let (Some(start), Some(times)) = (start, self.times.as_mut()) {
            times.push(start.elapsed());
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        autodan_kernels::reserve::check()?;
        // Outputs are taken out of their places, so that they are ours alone while inputs are read.
        let mut outputs: SmallVec<[Storage; 2]> = SmallVec::new();
        for &value in &node.outputs {
            let spec = &self.program.graph.values[value];
            outputs.push(match self.program.plan.places[value] {
                Place::Shared(buffer) => self.shared[buffer]
                    .take()
                    .ok_or_else(|| Error::internal("two values meet in one buffer"))?,
                _ => Storage::new(spec.dtype, spec.shape.iter().product())?,
            });
        }
        {
            let mut ins: SmallVec<[In<'_>; 3]> = SmallVec::new();
            for input in &node.inputs {
                ins.push(In::new(self.storage(input)?, &input.layout));
            }
            let mut outs: SmallVec<[Out<'_>; 2]> = SmallVec::new();
            for (storage, &value) in outputs.iter_mut().zip(&node.outputs) {
                outs.push(storage.output(self.program.graph.values[value].shape.iter().product())?);
            }
            match node.draw {
                Some(draw) => self.drawing(node, draw)?.run(&ins, &mut outs)?,
                None => node.op.run(&ins, &mut outs)?,
            }
        }
        for (storage, &value) in outputs.into_iter().zip(&node.outputs) {
            match self.program.plan.places[value] {
                Place::Shared(buffer) => self.shared[buffer] = Some(storage),
                _ => self.own[value] = Some(storage),
            }
        }
        Ok(())
    }

    /// The op with the key of this run.
    fn drawing(&self, node: &Node, draw: Draw) -> Result<Arc<dyn Op>> {
        let key = self.settings.keys.get(draw.stream);
        let key = key.ok_or_else(|| Error::internal("a draw from a stream without a key"))?;
        let key = Key { counter: key.counter.wrapping_add(draw.offset), ..*key };
        node.op.with_key(key).ok_or_else(|| Error::internal("a random op without a key"))
    }

    fn storage(&self, operand: &Operand) -> Result<&Storage> {
        let value = operand.value;
        let storage = match self.program.plan.places[value] {
            Place::Given(i) => self.given.get(i),
            Place::Shared(buffer) => self.shared[buffer].as_ref(),
            Place::Own | Place::Nowhere => self.own[value].as_ref(),
        };
        storage.ok_or_else(|| Error::internal("a value is read before it is made"))
    }

    fn tensor(&self, operand: &Operand) -> Result<Tensor> {
        Ok(Tensor::new(self.storage(operand)?.clone(), operand.layout.clone(), None))
    }

    /// Whatever an update needs memory for.
    fn prepare(&self, update: &Update) -> Result<Prepared> {
        let gradient = |gradient: &Gradient| match gradient {
            Gradient::Value(operand) => ops::contiguous(&self.tensor(operand)?).map(optim::Gradient::Tensor),
            Gradient::Product([a, b]) => Ok(optim::Gradient::Product(self.tensor(a)?, self.tensor(b)?)),
        };
        let count = update.iterations.lock().item()? as i64 + 1;
        Ok(Prepared {
            gradients: update.gradients.iter().map(gradient).collect::<Result<_>>()?,
            count,
            iterations: Tensor::scalar(count)?,
        })
    }
}

/// An update's operands in row-major order, and the number of the step.
struct Prepared {
    gradients: Vec<optim::Gradient>,
    count: i64,
    iterations: Tensor,
}

/// One step of an optimizer.
fn step(update: &Update, prepared: Prepared, rate: f64) -> Result<()> {
    let Update { rule, variables, slots, .. } = update;
    let Prepared { gradients, count, iterations } = prepared;
    let (gradients, slot) = (&gradients[..], |i: usize| slots.get(i).map(Vec::as_slice));
    match *rule {
        Rule::Sgd { momentum, nesterov } => {
            optim::sgd(variables, gradients, slot(0), rate, momentum, nesterov)?;
        }
        Rule::Adam { beta_1, beta_2, epsilon } => {
            let hyper =
                optim::AdamOptions { learning_rate: rate, beta_1, beta_2, epsilon, step: count as u64 };
            optim::adam(
                variables,
                gradients,
                slot(0).unwrap_or_default(),
                slot(1).unwrap_or_default(),
                hyper,
            )?;
        }
    }
    update.iterations.replace(iterations);
    Ok(())
}
