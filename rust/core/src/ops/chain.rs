//! Elementwise ops one after the other, block by block, so that what lies between them stays in the cache.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use autodan_kernels::par::{self, GRAIN};
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::layout::{AxisRange, Layout, Shape};
use crate::op::{Op, SpecRef, Specs};
use crate::storage::{In, Out, Storage, Written};
use crate::with_dtype;

/// The elements of a block: with four blocks alive, half of a first-level cache of 32 KB is used at 4 bytes
/// an element, and a kernel's fixed cost per call is a few percent.
const BLOCK: usize = 1024;

/// What a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An input of the chain.
    Input(usize),
    /// The output of an earlier step.
    Step(usize),
}

/// An op and what it reads.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// An elementwise op.
    pub(crate) op: Arc<dyn Op>,
    /// Its inputs.
    pub(crate) inputs: SmallVec<[Source; 3]>,
}

/// Steps whose outputs all have one shape; the last one's is the chain's.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// In the order in which they run.
    pub(crate) steps: Vec<Step>,
}

impl Chain {
    /// The specs of all steps' outputs.
    fn specs(&self, inputs: &[SpecRef<'_>]) -> Result<Vec<Specs>> {
        let mut made: Vec<Specs> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let specs: SmallVec<[SpecRef<'_>; 3]> = step
                .inputs
                .iter()
                .map(|source| match *source {
                    Source::Input(i) => inputs[i],
                    Source::Step(i) => made[i][0].borrow(),
                })
                .collect();
            let inferred = step.op.infer(&specs)?;
            drop(specs);
            made.push(inferred);
        }
        Ok(made)
    }
}

impl Op for Chain {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn infer(&self, inputs: &[SpecRef<'_>]) -> Result<Specs> {
        self.specs(inputs)?.pop().ok_or_else(|| Error::internal("a chain without steps"))
    }

    fn operations(&self, _inputs: &[SpecRef<'_>], outputs: &[SpecRef<'_>]) -> usize {
        self.steps.len() * outputs[0].len()
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[In<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let specs: SmallVec<[SpecRef<'_>; 4]> =
            inputs.iter().map(|x| SpecRef { dtype: x.dtype(), shape: x.shape() }).collect();
        let made = self.specs(&specs)?;
        let (Some(last), [output]) = (made.last(), outputs) else {
            return Err(Error::internal("a chain has steps and one output"));
        };
        let shape = &last[0].shape[..];
        let layouts: Vec<Layout> = inputs.iter().map(|input| input.layout().broadcast_to(shape)).collect();
        let cut = Cut::new(shape);
        let failure = Mutex::new(None);
        with_dtype!(last[0].dtype, T => {
            par::for_each_chunk(output.get::<T>()?, cut.grain(), |start, chunk| {
                let mut run = || {
                    let mut scratch = made
                        .iter()
                        .map(|spec| Storage::new(spec[0].dtype, cut.rows * cut.row))
                        .collect::<Result<Vec<_>>>()?;
                    cut.blocks(start, chunk.len(), |ranges, place| {
                        let block = T::output(&mut chunk[place]);
                        self.run_block(inputs, &layouts, ranges, &mut scratch, block)
                    })
                };
                if let Err(error) = run() {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

impl Chain {
    /// All steps on a block; `output` is the last one's.
    fn run_block(
        &self,
        inputs: &[In<'_>],
        layouts: &[Layout],
        ranges: &[AxisRange],
        scratch: &mut [Storage],
        mut output: Out<'_>,
    ) -> Result<()> {
        let shape: Shape = ranges.iter().map(|range| range.len).collect();
        let len = shape.iter().product();
        let between = Layout::contiguous(shape);
        let blocks: SmallVec<[Layout; 4]> = layouts.iter().map(|layout| layout.slice(ranges)).collect();
        for (i, step) in self.steps.iter().enumerate() {
            let (before, rest) = scratch.split_at_mut(i);
            let ins: SmallVec<[In<'_>; 3]> = step
                .inputs
                .iter()
                .map(|source| match *source {
                    Source::Input(k) => inputs[k].with_layout(&blocks[k]),
                    Source::Step(k) => In::new(&before[k], &between),
                })
                .collect();
            if i + 1 == self.steps.len() {
                step.op.run(&ins, std::slice::from_mut(&mut output))?;
            } else {
                step.op.run(&ins, &mut [rest[0].output(len)?])?;
            }
        }
        Ok(())
    }
}

/// How a shape is cut into blocks: stretches of `rows` along one axis, over all axes after it.
struct Cut<'a> {
    shape: &'a [usize],
    axis: usize,
    /// The elements of all axes after the one that is cut.
    row: usize,
    /// Of a block, at most.
    rows: usize,
}

impl Cut<'_> {
    fn new(shape: &[usize]) -> Cut<'_> {
        let mut row = 1;
        let mut axis = shape.len();
        while axis > 0 && row * shape[axis - 1] <= BLOCK {
            axis -= 1;
            row *= shape[axis];
        }
        // The axis before the whole ones is cut; if all are whole, the first one, into a single block.
        match axis.checked_sub(1) {
            Some(axis) => Cut { shape, axis, row, rows: (BLOCK / row.max(1)).max(1) },
            None => {
                let side = shape.first().copied().unwrap_or(1).max(1);
                Cut { shape, axis: 0, row: row / side, rows: side }
            }
        }
    }

    /// The elements of a task: whole rows, in several blocks.
    fn grain(&self) -> usize {
        (GRAIN / self.row.max(1)).max(1) * self.row.max(1)
    }

    /// `f(ranges, places)` for the blocks of the elements `start..start + len`: for each axis which indices,
    /// and which of these elements.
    fn blocks(
        &self,
        start: usize,
        len: usize,
        mut f: impl FnMut(&[AxisRange], Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let side = self.shape.get(self.axis).copied().unwrap_or(1);
        let mut ranges: SmallVec<[AxisRange; 6]> =
            self.shape.iter().map(|&side| AxisRange::full(side)).collect();
        let (mut at, end) = (start / self.row, (start + len) / self.row);
        while at < end {
            let rows = self.rows.min(side - at % side).min(end - at);
            let mut outer = at / side;
            for axis in (0..self.axis).rev() {
                ranges[axis] = AxisRange { start: outer % self.shape[axis], step: 1, len: 1 };
                outer /= self.shape[axis];
            }
            if let Some(range) = ranges.get_mut(self.axis) {
                *range = AxisRange { start: at % side, step: 1, len: rows };
            }
            let place = at * self.row - start;
            f(&ranges, place..place + rows * self.row)?;
            at += rows;
        }
        Ok(())
    }
}
