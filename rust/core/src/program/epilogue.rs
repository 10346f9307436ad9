//! Updates that make their gradients: the gradient of a dense layer's weights is a product that nobody but the
//! optimizer reads, so the update takes it over. It is made band by band as the weights, the optimizer's state and
//! the gradient's own elements pass through the nearest cache, and is never in memory as a whole.

use super::fuse::Uses;
use super::{Given, Gradient, Graph, Operand};
use crate::{ops, optim};

/// Runs the pass.
pub(crate) fn run(graph: &mut Graph) {
    let uses = Uses::new(graph);
    let mut taken = vec![false; graph.nodes.len()];
    let mut updates = std::mem::take(&mut graph.updates);
    for gradient in updates.iter_mut().flat_map(|update| &mut update.gradients) {
        if let Gradient::Value(operand) = gradient
            && let Some((node, factors)) = product(graph, &uses, operand)
        {
            taken[node] = true;
            *gradient = Gradient::Product(factors);
        }
    }
    graph.updates = updates;
    let mut taken = taken.into_iter();
    graph.nodes.retain(|_| !taken.next().unwrap_or_default());
}

/// The node that makes a gradient for its update alone, and the matrices that it multiplies.
fn product(graph: &Graph, uses: &Uses, gradient: &Operand) -> Option<(usize, [Operand; 2])> {
    let node = uses.last_maker(graph, gradient)?;
    let [a, b] = &graph.nodes[node].inputs[..] else { return None };
    // Whoever holds what a variable holds makes its update copy it.
    let held = |operand: &Operand| {
        let state =
            |(value, given): &(usize, Given)| *value == operand.value && matches!(given, Given::State(_));
        graph.given.iter().any(state)
    };
    let fits = ops::matmul::is_matmul(&*graph.nodes[node].op)
        && optim::fits(graph.values[gradient.value].dtype, &a.layout, &b.layout)
        && !held(a)
        && !held(b);
    fits.then(|| (node, [a.clone(), b.clone()]))
}
