//! Running sums along an axis.

use crate::element::Number;
use crate::out::Out;
use crate::par::{self, GRAIN, Pace};
use crate::subnormal;

/// `y[o, k, i] = x[o, 0, i] + ... + x[o, k, i]`, or from the end backwards; `x` and `y` are outer x
/// `n` x inner in row-major order. Each sum is a chain in the order of the axis.
///
/// ```
/// use autodan_kernels::scan::cumsum;
/// let mut y = [0; 4];
/// cumsum(&[1, 2, 3, 4], 4, 1, false, &mut y);
/// assert_eq!(y, [1, 3, 6, 10]);
/// cumsum(&[1, 2, 3, 4], 2, 2, true, &mut y);
/// assert_eq!(y, [4, 6, 3, 4]);
/// ```
///
/// # Panics
/// When the lengths differ or are not multiples of `n * inner`.
pub fn cumsum<T: Number>(x: &[T], n: usize, inner: usize, reverse: bool, y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "the output must have the operand's length");
    let block = n * inner;
    if y.is_empty() {
        return;
    }
    assert_eq!(x.len() % block, 0, "the operand must consist of whole blocks");
    let outer = x.len() / block;
    let blocks = (GRAIN / block).max(1);
    let out = Out::new(y);
    par::for_each(outer.div_ceil(blocks), |task| {
        let range = task * blocks * block..((task + 1) * blocks).min(outer) * block;
        // SAFETY: tasks write disjoint ranges, each once.
        let y = unsafe { out.slice(range.clone()) };
        let _flush = subnormal::arithmetic::<T>();
        let mut pace = Pace::default();
        for (x, y) in x[range].chunks_exact(block).zip(y.chunks_exact_mut(block)) {
            let row = |k: usize| if reverse { n - 1 - k } else { k } * inner;
            for left in (0..inner).step_by(GRAIN) {
                let columns = left..(left + GRAIN).min(inner);
                pace.step(columns.len());
                y[row(0)..][columns.clone()].copy_from_slice(&x[row(0)..][columns.clone()]);
                for k in 1..n {
                    pace.step(columns.len());
                    for i in columns.clone() {
                        y[row(k) + i] = y[row(k - 1) + i].add(x[row(k) + i]);
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
