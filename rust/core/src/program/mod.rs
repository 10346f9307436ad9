//! A step that was traced once and is replayed without the code that described it.
//!
//! 1. [`trace`]: that code runs on tensors without values; each op that it applies becomes a [`Node`] of a
//!    [`Graph`].
//! 2. Passes, one file each, rewrite the graph: `dce` drops what nobody reads, `cse` computes once what was
//!    described twice, `fuse` makes one op of several, `epilogue` lets updates make gradients that are products.
//! 3. `plan` gives each value a place in memory that others have left.
//! 4. [`replay`] runs the nodes on real tensors, then writes the variables, all of them or none.
//!
//! A program is correct as long as what the code would do is a function of what its guard compares (the shapes
//! and dtypes of the inputs, the identity of the variables); whoever keeps programs keeps the guard.

mod cse;
mod dce;
pub mod describe;
mod epilogue;
mod fuse;
mod plan;
pub mod replay;
pub mod trace;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::layout::Layout;
use crate::op::{Op, Spec};
use crate::storage::Storage;
use crate::variable::Variable;

pub use replay::Program;

#[cfg(test)]
mod tests;

/// The number of a value of a graph.
pub type Value = usize;

/// A view of a value, whose elements lie in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// Which value.
    pub value: Value,
    /// Which of its elements.
    pub layout: Layout,
}

/// The random key of a node: that of draw `offset` of the step from stream `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Which of the streams whose keys every run is told.
    pub stream: usize,
    /// How many draws before this one.
    pub offset: u64,
}

/// An op, what it reads and what it makes.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op.
    pub op: Arc<dyn Op>,
    /// What it reads.
    pub inputs: SmallVec<[Operand; 3]>,
    /// What it makes.
    pub outputs: SmallVec<[Value; 2]>,
    /// Where its random numbers come from.
    pub draw: Option<Draw>,
}

/// Where a value comes from when no node makes it.
#[derive(Clone, Debug)]
pub enum Given {
    /// An argument of the run.
    Input(usize),
    /// What a variable holds when the run begins.
    State(Variable),
    /// The same in every run.
    Constant(Storage),
}

/// The formula of an optimizer's kernel; the rate is told to every run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// [`crate::optim::sgd`].
    Sgd {
        /// The fraction of the velocity that is kept.
        momentum: f64,
        /// Whether to look ahead.
        nesterov: bool,
    },
    /// [`crate::optim::adam`].
    Adam {
        /// The decay of the first moment.
        beta_1: f64,
        /// The decay of the second moment.
        beta_2: f64,
        /// What keeps the denominator from being 0.
        epsilon: f64,
    },
}

/// Where an update's gradient comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Gradient {
    /// A value.
    Value(Operand),
    /// The product of two, made during the update.
    Product([Operand; 2]),
}

impl Gradient {
    fn operands(&self) -> &[Operand] {
        match self {
            Gradient::Value(operand) => std::slice::from_ref(operand),
            Gradient::Product(operands) => operands,
        }
    }

    fn operands_mut(&mut self) -> &mut [Operand] {
        match self {
            Gradient::Value(operand) => std::slice::from_mut(operand),
            Gradient::Product(operands) => operands,
        }
    }
}

/// A step of an optimizer.
#[derive(Clone, Debug)]
pub struct Update {
    /// The formula.
    pub rule: Rule,
    /// What is updated.
    pub variables: Vec<Variable>,
    /// The optimizer's state, by kind and then by variable.
    pub slots: Vec<Vec<Variable>>,
    /// The gradients, one for each variable.
    pub gradients: Vec<Gradient>,
    /// The counter of steps, an int64 scalar.
    pub iterations: Variable,
}

/// A step, as ops on values.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Dtype and shape of each value.
    pub values: Vec<Spec>,
    /// The values that no node makes.
    pub given: Vec<(Value, Given)>,
    /// In the order in which they were applied.
    pub nodes: Vec<Node>,
    /// What a run returns.
    pub outputs: Vec<Operand>,
    /// What variables hold after a run.
    pub assigned: Vec<(Variable, Operand)>,
    /// What optimizers do in a run, after all nodes.
    pub updates: Vec<Update>,
}

impl Graph {
    /// What is read after the last node.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Operand> {
        let gradients = self.updates.iter().flat_map(|update| &update.gradients).flat_map(Gradient::operands);
        self.outputs.iter().chain(self.assigned.iter().map(|(_, operand)| operand)).chain(gradients)
    }

    /// As [`Graph::roots`], to be rewritten.
    pub(crate) fn roots_mut(&mut self) -> impl Iterator<Item = &mut Operand> {
        let gradients = self.updates.iter_mut().flat_map(|update| &mut update.gradients);
        let gradients = gradients.flat_map(Gradient::operands_mut);
        self.outputs.iter_mut().chain(self.assigned.iter_mut().map(|(_, operand)| operand)).chain(gradients)
    }

    /// How two traces of one step differ, if they do. What lies outside of the ops' inputs (a counter in
    /// Python, say) is a constant of the trace, and differs when it is not one of the step.
    pub fn difference(&self, other: &Graph) -> Option<String> {
        let same_given = |a: &Given, b: &Given| match (a, b) {
            (Given::Input(a), Given::Input(b)) => a == b,
            (Given::State(a), Given::State(b)) => a.is(b),
            (Given::Constant(a), Given::Constant(b)) => a.same_bits(b),
            _ => false,
        };
        if self.nodes.len() != other.nodes.len() {
            return Some(format!("it applies {} ops, then {}", self.nodes.len(), other.nodes.len()));
        }
        for (a, b) in self.nodes.iter().zip(&other.nodes) {
            let (name, now) = (a.op.name(), b.op.name());
            if name != now {
                return Some(format!("it applies {name}, then {now}"));
            }
            if signature(&*a.op) != signature(&*b.op) || a.draw != b.draw {
                return Some(format!("the arguments of {name} change from call to call"));
            }
            if a.inputs != b.inputs || a.outputs != b.outputs {
                return Some(format!("the operands of {name} change from call to call"));
            }
        }
        let given = self.given.len() == other.given.len()
            && self.given.iter().zip(&other.given).all(|((i, a), (j, b))| i == j && same_given(a, b));
        if !given {
            return Some("a number or an array that it computes with changes from call to call".into());
        }
        let same_variables =
            |a: &[Variable], b: &[Variable]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b));
        let assigned = self.assigned.len() == other.assigned.len()
            && self.assigned.iter().zip(&other.assigned).all(|((v, a), (w, b))| v.is(w) && a == b);
        let updates = self.updates.len() == other.updates.len()
            && self.updates.iter().zip(&other.updates).all(|(a, b)| {
                a.rule == b.rule && a.gradients == b.gradients && same_variables(&a.variables, &b.variables)
            });
        if self.values != other.values || self.outputs != other.outputs || !assigned || !updates {
            return Some("what it returns or assigns changes from call to call".into());
        }
        None
    }

    /// The program of this graph: rewritten by the passes, its memory planned.
    ///
    /// # Errors
    /// [`crate::Error::Memory`].
    pub fn compile(mut self) -> crate::Result<Program> {
        dce::run(&mut self);
        cse::run(&mut self);
        fuse::run(&mut self);
        epilogue::run(&mut self);
        dce::run(&mut self);
        Program::new(self)
    }
}

/// An op and its attributes as text: equal for ops that do the same.
pub(crate) fn signature(op: &dyn Op) -> String {
    format!("{} {op:?}", op.name())
}
