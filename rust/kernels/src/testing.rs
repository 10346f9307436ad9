//! What the tests of several modules share: random numbers, random views, thread counts, and guard
//! pages.

mod allocator;

use crate::element::Element;
use crate::par;
use crate::view::{View, ViewMut};

/// The sides that vectors, tails and broadcasts trip over.
pub(crate) const SIDES: [usize; 12] = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33];

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In [-1, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub(crate) fn floats<T: crate::element::Float>(&mut self, len: usize, scale: f64) -> Vec<T> {
        (0..len).map(|_| T::from_f64(self.unit() * scale)).collect()
    }

    pub(crate) fn shape(&mut self, max_rank: usize) -> Vec<usize> {
        let rank = self.below(max_rank + 1);
        (0..rank).map(|_| SIDES[self.below(if rank > 3 { 5 } else { SIDES.len() })]).collect()
    }
}

/// A strided array that owns its data.
#[derive(Clone, Debug)]
pub(crate) struct Array<T> {
    pub(crate) data: Vec<T>,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<isize>,
}

impl<T: Element> Array<T> {
    /// A random layout of `shape`: axes permuted in memory, stepped over, reversed, and, when
    /// `broadcast` allows it, repeated. `element` gives the data.
    pub(crate) fn random(
        random: &mut Random,
        shape: &[usize],
        broadcast: bool,
        mut element: impl FnMut(&mut Random) -> T,
    ) -> Array<T> {
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if random.below(2) == 0 {
            for i in (1..order.len()).rev() {
                order.swap(i, random.below(i + 1));
            }
        }
        let mut strides = vec![0; shape.len()];
        let (mut size, mut offset) = (1, 0);
        for &axis in order.iter().rev() {
            if broadcast && random.below(4) == 0 {
                continue;
            }
            let step = if random.below(4) == 0 { 2 } else { 1 };
            strides[axis] = (size * step) as isize;
            if random.below(5) == 0 && shape[axis] > 0 {
                offset += (shape[axis] - 1) * size * step;
                strides[axis] = -strides[axis];
            }
            size *= shape[axis].max(1) * step;
        }
        let front = random.below(3);
        let data = (0..front + size).map(|_| element(random)).collect();
        Array { data, offset: offset + front, shape: shape.to_vec(), strides }
    }

    pub(crate) fn view(&self) -> View<'_, T> {
        View::new(&self.data, self.offset, &self.shape, &self.strides)
    }

    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut::new(&mut self.data, self.offset, &self.shape, &self.strides)
    }

    /// The elements in row-major order, one index tuple at a time.
    pub(crate) fn to_vec(&self) -> Vec<T> {
        let len = self.shape.iter().product();
        (0..len)
            .map(|mut rest: usize| {
                let mut at = self.offset as isize;
                for (&n, &stride) in self.shape.iter().zip(&self.strides).rev() {
                    at += (rest % n) as isize * stride;
                    rest /= n;
                }
                self.data[at as usize]
            })
            .collect()
    }
}

/// A row-major view's strides.
pub(crate) fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1) as isize;
    }
    strides
}

/// Runs `f` at several thread counts and asserts that its results have the same bits.
pub(crate) fn same_at_any_thread_count<R: PartialEq + std::fmt::Debug>(f: impl Fn() -> R) -> R {
    let _turn = crate::isa::Turn::wait();
    let results = [1, 2, 3, 8].map(|threads| {
        par::set_threads(threads);
        f()
    });
    par::set_threads(par::available());
    assert!(results.iter().all(|result| *result == results[0]), "the result depends on the thread count");
    let [first, ..] = results;
    first
}

/// The bits of floats, which compare NaN with NaN.
pub(crate) fn bits<T: crate::element::Float>(xs: &[T]) -> Vec<u64> {
    xs.iter().map(|x| x.to_f64().to_bits()).collect()
}
