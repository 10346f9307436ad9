//! Fusion: several nodes become one.
//!
//! * A node and the only reader of its output become the op that does both ([`crate::op::Op::then`]): a
//!   product or convolution takes its bias and activation into its store.
//! * Elementwise nodes become a [`Chain`], in which what lies between them never reaches memory.
//!
//! Layers apply the larger fusions themselves (a convolution with its pooling, softmax with its loss, the
//! gradient of an activation with that of a bias), so that eager steps have them too.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Graph, Node, Operand, Value};
use crate::layout::Layout;
use crate::op::{Op, SpecRef};
use crate::ops::chain::{Chain, Source, Step};

/// The fewest elements of a chain: less lies in the first-level cache anyway.
const LEAST: usize = 4096;

/// As how many readers the end of a program counts: what it reads must exist, so no node can have it alone.
const ROOT: usize = 1 << 24;

/// Runs the pass.
pub(crate) fn run(graph: &mut Graph) {
    pairs(graph);
    chains(graph);
}

/// How many operands read each value, and which node makes it.
pub(super) struct Uses {
    readers: Vec<usize>,
    maker: Vec<Option<usize>>,
}

impl Uses {
    pub(super) fn new(graph: &Graph) -> Uses {
        let mut uses = Uses { readers: vec![0; graph.values.len()], maker: vec![None; graph.values.len()] };
        for operand in graph.roots() {
            uses.readers[operand.value] += ROOT;
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            for input in &node.inputs {
                uses.readers[input.value] += 1;
            }
            for &output in &node.outputs {
                uses.maker[output] = Some(i);
            }
        }
        uses
    }

    /// The node that makes all of an operand, for this reader alone.
    fn private_maker(&self, graph: &Graph, operand: &Operand) -> Option<usize> {
        self.maker_for(graph, operand, 1)
    }

    /// The node that makes all of an operand that is read once, in the end.
    pub(super) fn last_maker(&self, graph: &Graph, operand: &Operand) -> Option<usize> {
        self.maker_for(graph, operand, ROOT)
    }

    fn maker_for(&self, graph: &Graph, operand: &Operand, readers: usize) -> Option<usize> {
        let whole = operand.layout == Layout::contiguous(graph.values[operand.value].shape.clone());
        let maker = self.maker[operand.value]?;
        (whole && self.readers[operand.value] == readers && graph.nodes[maker].outputs.len() == 1)
            .then_some(maker)
    }
}

/// Joins nodes to the one op that does both, until no two can be joined.
fn pairs(graph: &mut Graph) {
    loop {
        let uses = Uses::new(graph);
        let joined = (0..graph.nodes.len()).find_map(|second| {
            let node = &graph.nodes[second];
            (0..node.inputs.len()).find_map(|place| {
                let first = uses.private_maker(graph, &node.inputs[place])?;
                joined(graph, first, second, place).map(|node| (first, second, node))
            })
        });
        let Some((first, second, node)) = joined else { return };
        graph.nodes[second] = node;
        graph.nodes.remove(first);
    }
}

/// The node that does what `first` and then `second` do, whose input at `place` is the first's output.
fn joined(graph: &Graph, first: usize, second: usize, place: usize) -> Option<Node> {
    let (first, second) = (&graph.nodes[first], &graph.nodes[second]);
    let mut others: SmallVec<[Operand; 3]> = second.inputs.clone();
    others.remove(place);
    let op = first.op.then(&*second.op, &specs(graph, &first.inputs), &specs(graph, &others))?;
    let inputs = first.inputs.iter().cloned().chain(others).collect();
    Some(Node { op, inputs, outputs: second.outputs.clone(), draw: None })
}

fn specs<'a>(graph: &Graph, operands: &'a [Operand]) -> SmallVec<[SpecRef<'a>; 3]> {
    let spec = |operand: &'a Operand| {
        let dtype = graph.values[operand.value].dtype;
        SpecRef { dtype, shape: operand.layout.shape() }
    };
    operands.iter().map(spec).collect()
}

/// Joins elementwise nodes of one shape, each to the only reader of its output.
fn chains(graph: &mut Graph) {
    let uses = Uses::new(graph);
    let mut chains: Vec<Option<(Chain, SmallVec<[Operand; 3]>)>> = Vec::with_capacity(graph.nodes.len());
    let mut absorbed = vec![false; graph.nodes.len()];
    for node in &graph.nodes {
        let mut built = None;
        if let [output] = node.outputs[..]
            && node.op.is_elementwise()
            && graph.values[output].borrow().len() >= LEAST
        {
            let mut builder = Builder { steps: Vec::new(), inputs: SmallVec::new() };
            let sources = node
                .inputs
                .iter()
                .map(|input| {
                    let maker =
                        uses.private_maker(graph, input).filter(|_| same_shape(graph, input.value, output));
                    match maker.and_then(|maker| Some((maker, chains[maker].take()?))) {
                        Some((maker, (chain, inputs))) => {
                            absorbed[maker] = true;
                            builder.absorb(chain, &inputs)
                        }
                        None => builder.input(input),
                    }
                })
                .collect();
            builder.steps.push(Step { op: node.op.clone(), inputs: sources });
            built = Some((Chain { steps: builder.steps }, builder.inputs));
        }
        chains.push(built);
    }
    let nodes = std::mem::take(&mut graph.nodes);
    for ((node, chain), absorbed) in nodes.into_iter().zip(chains).zip(absorbed) {
        match chain {
            _ if absorbed => {}
            Some((chain, inputs)) if chain.steps.len() > 1 => {
                let op: Arc<dyn Op> = Arc::new(chain);
                graph.nodes.push(Node { op, inputs, ..node });
            }
            _ => graph.nodes.push(node),
        }
    }
}

fn same_shape(graph: &Graph, a: Value, b: Value) -> bool {
    graph.values[a].shape == graph.values[b].shape
}

/// A chain in the making.
struct Builder {
    steps: Vec<Step>,
    inputs: SmallVec<[Operand; 3]>,
}

impl Builder {
    fn input(&mut self, operand: &Operand) -> Source {
        let known = self.inputs.iter().position(|input| input == operand);
        Source::Input(known.unwrap_or_else(|| {
            self.inputs.push(operand.clone());
            self.inputs.len() - 1
        }))
    }

    /// The steps of another chain; the source that its last one is.
    fn absorb(&mut self, chain: Chain, inputs: &[Operand]) -> Source {
        let inputs: Vec<Source> = inputs.iter().map(|operand| self.input(operand)).collect();
        let first = self.steps.len();
        for mut step in chain.steps {
            for source in &mut step.inputs {
                *source = match *source {
                    Source::Input(i) => inputs[i],
                    Source::Step(i) => Source::Step(first + i),
                };
            }
            self.steps.push(step);
        }
        Source::Step(self.steps.len() - 1)
    }
}
