//! Windows of 2 x 2 that lie side by side, as in most networks: each input is read once, each output
//! written once.

use std::ops::Range;

use super::{Mode, Pool2d, load, store};
use crate::element::Float;
use crate::isa::Kernel;
use crate::out::Out;
use crate::par::{self, GRAIN, Pace};
use crate::simd::Vector;

impl Pool2d {
    /// Whether the windows are such; there is at least one.
    pub(super) fn is_pairs(&self) -> bool {
        let outputs = self.batch * self.out_height * self.out_width * self.channels;
        self.window == [2, 2]
            && self.strides == [2, 2]
            && self.padding == [[0, 0], [0, 0]]
            && outputs > 0
            && 2 * self.out_height <= self.in_height
            && 2 * self.out_width <= self.in_width
    }

    pub(super) fn forward_pairs<T: Float>(&self, mode: Mode, x: &[T], y: &mut [T]) {
        let row = self.out_width * self.channels;
        par::for_each_chunk(y, self.lines() * row, |start, y| {
            let pace = Pace::default();
            T::dispatch(Forward { pool: self, mode, x, line: start / row, y, pace });
        });
    }

    pub(super) fn backward_pairs<T: Float>(&self, mode: Mode, x: &[T], dy: &[T], dx: &mut [T]) {
        let (all, lines) = (self.batch * self.out_height, self.lines());
        let dx = Out::new(dx);
        par::for_each(all.div_ceil(lines), |task| {
            let lines = task * lines..((task + 1) * lines).min(all);
            T::dispatch(Backward { pool: self, mode, x, dy, lines, dx, pace: Pace::default() });
        });
    }

    /// Output rows of a task.
    fn lines(&self) -> usize {
        1 + GRAIN / (4 * self.out_width * self.channels)
    }

    /// The elements of the first input row of output row `line`, counted through the batch.
    #[inline(always)]
    fn top(&self, line: usize) -> Range<usize> {
        let (image, p) = (line / self.out_height, line % self.out_height);
        let row = self.in_width * self.channels;
        let start = (image * self.in_height + 2 * p) * row;
        start..start + row
    }
}

/// Runs the expression for each vector of channels: `$c` its first channel, `$lanes` how many there are.
macro_rules! for_each_vector {
    ($V:ident, $channels:expr, |$c:ident, $lanes:ident| $body:expr) => {
        let whole = $channels - $channels % $V::LEN;
        for $c in (0..whole).step_by($V::LEN) {
            let $lanes = $V::LEN;
            $body;
        }
        if whole < $channels {
            let ($c, $lanes) = (whole, $channels - whole);
            $body;
        }
    };
}

/// Whole output rows, from row `line` of the batch on.
struct Forward<'a, T> {
    pool: &'a Pool2d,
    mode: Mode,
    x: &'a [T],
    line: usize,
    y: &'a mut [T],
    pace: Pace,
}

impl<T: Float> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(mut self) {
        let channels = self.pool.channels;
        let quarter = V::constant(0.25);
        for (i, y) in self.y.chunks_exact_mut(self.pool.out_width * channels).enumerate() {
            let at = self.pool.top(self.line + i);
            let (top, bottom) = self.x[at.start..].split_at(at.len());
            for (q, y) in y.chunks_exact_mut(channels).enumerate() {
                let left = 2 * q * channels;
                let (top, bottom) = (&top[left..left + 2 * channels], &bottom[left..left + 2 * channels]);
                self.pace.step(4 * channels);
                for_each_vector!(V, channels, |c, lanes| {
                    let [x0, x1, x2, x3]: [V; 4] = quad(top, bottom, c, lanes);
                    let value = match self.mode {
                        Mode::Max => x0.maximum(x1).maximum(x2.maximum(x3)),
                        Mode::Average => x0.add(x1).add(x2).add(x3).mul(quarter),
                    };
                    store(value, &mut y[c..c + lanes]);
                });
            }
        }
    }
}

/// The four elements of a window in the channels from `c` on.
#[inline(always)]
fn quad<V: Vector>(top: &[V::Scalar], bottom: &[V::Scalar], c: usize, lanes: usize) -> [V; 4] {
    let right = c + top.len() / 2;
    [
        load(&top[c..c + lanes]),
        load(&top[right..right + lanes]),
        load(&bottom[c..c + lanes]),
        load(&bottom[right..right + lanes]),
    ]
}

/// The gradients of the inputs of output rows.
struct Backward<'a, T> {
    pool: &'a Pool2d,
    mode: Mode,
    x: &'a [T],
    dy: &'a [T],
    lines: Range<usize>,
    dx: Out<'a, T>,
    pace: Pace,
}

impl<T: Float> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<Scalar = T>>(mut self) {
        let Backward { pool, mode, x, dy, ref lines, dx, .. } = self;
        let (channels, width) = (pool.channels, pool.out_width * pool.channels);
        for line in lines.clone() {
            let at = pool.top(line);
            let row = at.len();
            // The last window of an image also has the row below it, if there is one.
            let is_last = line % pool.out_height == pool.out_height - 1;
            let rows = if is_last { pool.in_height - 2 * (pool.out_height - 1) } else { 2 };
            // SAFETY: the rows of different lines do not overlap, and each line is taken once.
            let dx = unsafe { dx.slice(at.start..at.start + rows * row) };
            let (top, rest) = dx.split_at_mut(row);
            let (bottom, below) = rest.split_at_mut(row);
            let (top, beside) = top.split_at_mut(2 * width);
            beside.fill(T::ZERO);
            let (bottom, beside) = bottom.split_at_mut(2 * width);
            beside.fill(T::ZERO);
            below.fill(T::ZERO);
            let (x_top, x_bottom) = match mode {
                Mode::Max => x[at.start..].split_at(row),
                Mode::Average => (x, x),
            };
            let dy = &dy[line * width..(line + 1) * width];
            let pixels = top.chunks_exact_mut(2 * channels).zip(bottom.chunks_exact_mut(2 * channels));
            for (q, (dy, (top, bottom))) in dy.chunks_exact(channels).zip(pixels).enumerate() {
                self.pace.step(4 * channels);
                let left = 2 * q * channels;
                for_each_vector!(V, channels, |c, lanes| {
                    let dy: V = load(&dy[c..c + lanes]);
                    let [g0, g1, g2, g3] = match mode {
                        Mode::Max => {
                            let pair = left..left + 2 * channels;
                            route(quad(&x_top[pair.clone()], &x_bottom[pair], c, lanes), dy)
                        }
                        Mode::Average => [dy.mul(V::constant(0.25)); 4],
                    };
                    let right = c + channels;
                    store(g0, &mut top[c..c + lanes]);
                    store(g1, &mut top[right..right + lanes]);
                    store(g2, &mut bottom[c..c + lanes]);
                    store(g3, &mut bottom[right..right + lanes]);
                });
            }
        }
    }
}

/// `dy` at the place of the first largest element, or of the first NaN, and 0 at the others.
#[inline(always)]
fn route<V: Vector>(window: [V; 4], dy: V) -> [V; 4] {
    let [first, second, third] = leaders(window);
    let after = V::mask_or(second, third);
    let zero = V::zero();
    [
        V::select(V::mask_or(first, after), zero, dy),
        V::select(V::mask_and(first, V::mask_not(after)), dy, zero),
        V::select(V::mask_and(second, V::mask_not(third)), dy, zero),
        V::select(third, dy, zero),
    ]
}

/// Which of the last three elements of a window take the lead from those before them: the last one that does
/// is the first largest, or the first NaN, and the first element is if none does.
#[inline(always)]
pub(crate) fn leaders<V: Vector>([x0, x1, x2, x3]: [V; 4]) -> [V::Mask; 3] {
    let first = leads(x1, x0);
    let best = V::select(first, x1, x0);
    let second = leads(x2, best);
    let best = V::select(second, x2, best);
    [first, second, leads(x3, best)]
}

/// Whether `x` takes the lead: from a number that is less, or if it is NaN itself.
#[inline(always)]
fn leads<V: Vector>(x: V, best: V) -> V::Mask {
    V::mask_not(V::mask_or(x.le(best), best.is_nan()))
}
