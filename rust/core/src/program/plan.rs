//! The memory plan: which values share a buffer, decided once.
//!
//! Values that are never alive at the same time may lie in the same buffer. Greedy by size for shared objects
//! (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference"): the largest value
//! first, each into the smallest buffer whose tenants it never meets. What leaves the program, and what
//! variables are assigned, has memory of its own in every run.

use super::{Graph, Value};
use crate::dtype::DType;

/// Where a value lies while a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: nobody reads it.
    Nowhere,
    /// In [`Graph::given`], by position.
    Given(usize),
    /// At the beginning of one of the program's buffers.
    Shared(usize),
    /// In memory that is new in every run.
    Own,
}

/// Where all values lie.
#[derive(Debug)]
pub(crate) struct Plan {
    /// By value.
    pub places: Vec<Place>,
    /// Dtype and length of each buffer that values share.
    pub buffers: Vec<(DType, usize)>,
}

impl Plan {
    /// The bytes of all shared buffers.
    pub(crate) fn bytes(&self) -> usize {
        self.buffers.iter().map(|(dtype, len)| dtype.size() * len).sum()
    }
}

/// From the node that makes a value to the last one that reads it.
#[derive(Clone, Copy)]
struct Life {
    value: Value,
    len: usize,
    from: usize,
    to: usize,
}

impl Life {
    fn meets(&self, other: &Life) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// Plans the memory of a graph.
pub(crate) fn plan(graph: &Graph) -> Plan {
    let mut places = vec![Place::Nowhere; graph.values.len()];
    for (i, &(value, _)) in graph.given.iter().enumerate() {
        places[value] = Place::Given(i);
    }
    let mut lives = lives(graph);
    for operand in graph.outputs.iter().chain(graph.assigned.iter().map(|(_, operand)| operand)) {
        if places[operand.value] == Place::Nowhere {
            places[operand.value] = Place::Own;
        }
    }
    lives.retain(|life| places[life.value] == Place::Nowhere);
    lives.sort_by_key(|life| std::cmp::Reverse(life.len));
    let mut buffers: Vec<(DType, usize, Vec<Life>)> = Vec::new();
    for life in lives {
        let dtype = graph.values[life.value].dtype;
        let fits = |(of, _, tenants): &&(DType, usize, Vec<Life>)| {
            *of == dtype && !tenants.iter().any(|t| t.meets(&life))
        };
        let smallest = buffers.iter().enumerate().filter(|(_, buffer)| fits(buffer)).min_by_key(|(_, b)| b.1);
        let place = match smallest {
            Some((place, _)) => place,
            None => {
                buffers.push((dtype, life.len, Vec::new()));
                buffers.len() - 1
            }
        };
        buffers[place].2.push(life);
        places[life.value] = Place::Shared(place);
    }
    Plan { places, buffers: buffers.into_iter().map(|(dtype, len, _)| (dtype, len)).collect() }
}

fn lives(graph: &Graph) -> Vec<Life> {
    let mut last: Vec<usize> = vec![0; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for value in node.inputs.iter().map(|input| input.value).chain(node.outputs.iter().copied()) {
            last[value] = i;
        }
    }
    // Optimizers read gradients after the last node.
    for gradient in graph.updates.iter().flat_map(|update| &update.gradients) {
        for operand in gradient.operands() {
            last[operand.value] = graph.nodes.len();
        }
    }
    let made = graph.nodes.iter().enumerate().flat_map(|(i, node)| node.outputs.iter().map(move |&v| (i, v)));
    made.map(|(from, value)| {
        let len = graph.values[value].shape.iter().product();
        Life { value, len, from, to: last[value] }
    })
    .collect()
}
