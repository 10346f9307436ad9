//! What a program does, kernel by kernel, for whoever wants to see it.

use super::{Given, Gradient, Node, Operand, Program, Rule, Update};
use crate::op::Spec;

/// One kernel of a program.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The op's own name, such as `Linear(Relu)`.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<Spec>,
    /// What it makes.
    pub outputs: Vec<Spec>,
    /// Nominal operations: multiplications, additions and the like.
    pub operations: usize,
    /// Bytes read, each element of an operand once.
    pub bytes_read: usize,
    /// Bytes written.
    pub bytes_written: usize,
}

impl Program {
    /// What it does: its nodes and then its updates, in order, as [`Program::profile`] times them.
    pub fn kernels(&self) -> Vec<Kernel> {
        let graph = self.graph();
        let nodes = graph.nodes.iter().map(|node| self.node_kernel(node));
        nodes.chain(graph.updates.iter().map(|update| self.update_kernel(update))).collect()
    }

    /// The bytes of the constants that it keeps.
    pub fn constant_bytes(&self) -> usize {
        let bytes = |given: &Given| match given {
            Given::Constant(storage) => storage.len() * storage.dtype().size(),
            _ => 0,
        };
        self.graph().given.iter().map(|(_, given)| bytes(given)).sum()
    }

    fn spec(&self, operand: &Operand) -> Spec {
        Spec::new(self.graph().values[operand.value].dtype, operand.layout.shape())
    }

    fn node_kernel(&self, node: &Node) -> Kernel {
        let inputs: Vec<Spec> = node.inputs.iter().map(|input| self.spec(input)).collect();
        let outputs: Vec<Spec> =
            node.outputs.iter().map(|&value| self.graph().values[value].clone()).collect();
        let borrowed = |specs: &[Spec]| -> usize { specs.iter().map(|spec| spec.borrow().bytes()).sum() };
        let (ins, outs): (Vec<_>, Vec<_>) =
            (inputs.iter().map(Spec::borrow).collect(), outputs.iter().map(Spec::borrow).collect());
        let text = format!("{:?}", node.op);
        Kernel {
            name: text.split([' ', '{']).next().unwrap_or_default().to_owned(),
            operations: node.op.operations(&ins, &outs),
            bytes_read: borrowed(&inputs),
            bytes_written: borrowed(&outputs),
            inputs,
            outputs,
        }
    }

    fn update_kernel(&self, update: &Update) -> Kernel {
        // Nominally: Adam has two moments of three operations each, a square, a root, a quotient and a step.
        let (name, each) = match update.rule {
            Rule::Sgd { momentum, .. } => ("Sgd", if momentum == 0.0 { 2 } else { 4 }),
            Rule::Adam { .. } => ("Adam", 11),
        };
        let spec = |variable: &crate::Variable| Spec::new(variable.dtype(), variable.shape());
        let gradients: Vec<Spec> = update.variables.iter().map(spec).collect();
        let outputs: Vec<Spec> =
            update.variables.iter().chain(update.slots.iter().flatten()).map(spec).collect();
        let bytes = |specs: &[Spec]| -> usize { specs.iter().map(|spec| spec.borrow().bytes()).sum() };
        let read = update.gradients.iter().flat_map(Gradient::operands).map(|operand| self.spec(operand));
        let products =
            update.gradients.iter().zip(&gradients).filter_map(|(gradient, spec)| match gradient {
                Gradient::Product([a, _]) => {
                    Some(2 * spec.borrow().len() * a.layout.shape().last().unwrap_or(&0))
                }
                Gradient::Value(_) => None,
            });
        let products: Vec<usize> = products.collect();
        let len: usize = gradients.iter().map(|spec| spec.borrow().len()).sum();
        Kernel {
            name: if products.is_empty() { name.to_owned() } else { format!("Matmul{name}") },
            operations: each * len + products.iter().sum::<usize>(),
            bytes_read: bytes(&outputs) + bytes(&read.collect::<Vec<_>>()),
            bytes_written: bytes(&outputs),
            inputs: gradients,
            outputs,
        }
    }
}
