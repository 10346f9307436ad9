//! Dead code: nodes whose outputs nobody reads are dropped, and what only they were given.

use super::Graph;

/// Runs the pass.
pub(crate) fn run(graph: &mut Graph) {
    let mut read = vec![false; graph.values.len()];
    for operand in graph.roots() {
        read[operand.value] = true;
    }
    // A node's readers come after it: from the last to the first, one walk finds all.
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|&output| read[output]) {
            for input in &node.inputs {
                read[input.value] = true;
            }
        }
    }
    graph.nodes.retain(|node| node.outputs.iter().any(|&output| read[output]));
    graph.given.retain(|&(value, _)| read[value]);
}
