//! Common subexpressions: an op that was applied before to the same operands is not applied again.

use std::collections::HashMap;

use super::{Draw, Graph, Operand, Value, signature};

/// What makes two nodes the same: all ops are functions of their attributes, operands and random draws.
type Key = (String, Vec<(Value, String)>, Option<(usize, u64)>);

/// Runs the pass.
pub(crate) fn run(graph: &mut Graph) {
    let mut seen: HashMap<Key, usize> = HashMap::new();
    let mut renamed: Vec<Value> = (0..graph.values.len()).collect();
    let mut kept: Vec<super::Node> = Vec::with_capacity(graph.nodes.len());
    for mut node in std::mem::take(&mut graph.nodes) {
        rename(&mut node.inputs, &renamed);
        let operands = node.inputs.iter().map(|input| (input.value, format!("{:?}", input.layout))).collect();
        let draw = node.draw.map(|Draw { stream, offset }| (stream, offset));
        let key = (signature(&*node.op), operands, draw);
        if let Some(&first) = seen.get(&key) {
            for (&again, &value) in node.outputs.iter().zip(&kept[first].outputs) {
                renamed[again] = value;
            }
        } else {
            seen.insert(key, kept.len());
            kept.push(node);
        }
    }
    graph.nodes = kept;
    for operand in graph.roots_mut() {
        operand.value = renamed[operand.value];
    }
}

fn rename(operands: &mut [Operand], renamed: &[Value]) {
    for operand in operands {
        operand.value = renamed[operand.value];
    }
}
