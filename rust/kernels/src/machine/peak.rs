//! The peak of float32 arithmetic.

use std::hint::black_box;
use std::time::Duration;

use super::best;
use crate::element::Float;
use crate::isa::Kernel;
use crate::par;
use crate::simd::Vector;

/// The lanes of the widest vector.
pub(super) const LANES: usize = 16;

/// Steps of the chains in one task: a millisecond or two.
const STEPS: usize = 1 << 18;

/// The most float32 operations per second: multiply-adds (two operations) on registers, on all threads.
///
/// ```
/// use std::time::Duration;
/// let flops = autodan_kernels::machine::peak(Duration::from_millis(1));
/// assert!(flops.is_finite() && flops > 0.0);
/// ```
pub fn peak(time: Duration) -> f64 {
    // More chains hide more latency, fewer leave room where a vector takes two registers.
    let few = region::<4>(time / 2);
    few.max(region::<12>(time / 2))
}

fn region<const N: usize>(time: Duration) -> f64 {
    let tasks = par::threads();
    let start = black_box([0.75; LANES]);
    let work = |lanes: usize| (2 * lanes * N * STEPS * tasks) as f64;
    let lanes = f32::dispatch(Lanes);
    best(time, work(lanes), || {
        par::for_each(tasks, |_| {
            par::checkpoint();
            black_box(f32::dispatch(Chains::<N> { steps: STEPS, start, factor: 0.5, term: 0.25 }));
        });
    })
}

/// The number of lanes of the active vectors.
struct Lanes;

impl Kernel<f32> for Lanes {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) -> usize {
        V::LEN
    }
}

/// `N` independent chains of `x = x * factor + term` from the first lanes of `start` on.
pub(super) struct Chains<const N: usize> {
    pub(super) steps: usize,
    pub(super) start: [f32; LANES],
    pub(super) factor: f32,
    pub(super) term: f32,
}

impl<const N: usize> Kernel<f32> for Chains<N> {
    /// The sum of all lanes of all chains.
    type Output = f32;

    #[inline(always)]
    fn run<V: Vector<Scalar = f32>>(self) -> f32 {
        assert!(V::LEN <= LANES);
        // Whatever the compiler knew of these it could compute beforehand.
        let (factor, term) = (black_box([self.factor; LANES]), black_box([self.term; LANES]));
        // SAFETY: the arrays have a vector's elements or more.
        let load = |lanes: &[f32; LANES]| unsafe { V::load(lanes.as_ptr()) };
        let (factor, term) = (load(&factor), load(&term));
        // Chains that are known to be equal would become one.
        let mut chains = black_box([load(&self.start); N]);
        for _ in 0..self.steps {
            for i in 0..N {
                chains[i] = chains[i].mul_add(factor, term);
            }
        }
        // The compiler would lay the lanes out for this sum, and the loop would shuffle them.
        let chains = black_box(chains);
        let mut sum = V::zero();
        for i in 0..N {
            sum = sum.add(chains[i]);
        }
        sum.reduce_add()
    }
}
