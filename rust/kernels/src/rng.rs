//! Random numbers that are pure functions of (seed, counter, index).
//!
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) keyed with the
//! seed encrypts the 128-bit number (counter, block); every 128 bits are used once. Nothing is
//! carried from one element to the next, so any thread can compute any part. float32 and float64
//! draw different bits from the stream.

use std::f64::consts::TAU;

use crate::element::{Element, Float};
use crate::isa::Kernel;
use crate::par::{self, GRAIN, Pace};
use crate::simd::Vector;

/// Blocks that are encrypted side by side, one to a lane.
const LANES: usize = 16;

/// The words of a group of [`LANES`] blocks: word `w` of block `lane` is number `w * LANES + lane`,
/// the order in which vectors produce them.
type Words = [u32; 4 * LANES];

/// Encrypts one 128-bit block per lane.
#[inline(always)]
fn philox<const N: usize>(mut block: [[u32; N]; 4], seed: u64) -> [[u32; N]; 4] {
    let (mut k0, mut k1) = (seed as u32, (seed >> 32) as u32);
    for _ in 0..10 {
        let [c0, c1, c2, c3] = &mut block;
        for i in 0..N {
            let p0 = u64::from(c0[i]) * 0xD251_1F53;
            let p1 = u64::from(c2[i]) * 0xCD9E_8D57;
            c0[i] = (p1 >> 32) as u32 ^ c1[i] ^ k0;
            c1[i] = p1 as u32;
            c2[i] = (p0 >> 32) as u32 ^ c3[i] ^ k1;
            c3[i] = p0 as u32;
        }
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    block
}

#[inline(always)]
fn words(seed: u64, counter: u64, group: u64) -> Words {
    let mut block = [[0; LANES], [0; LANES], [counter as u32; LANES], [(counter >> 32) as u32; LANES]];
    for lane in 0..LANES {
        let number = group * LANES as u64 + lane as u64;
        block[0][lane] = number as u32;
        block[1][lane] = (number >> 32) as u32;
    }
    let block = philox(block, seed);
    let mut words = [0; 4 * LANES];
    for (words, row) in words.chunks_exact_mut(LANES).zip(&block) {
        words.copy_from_slice(row);
    }
    words
}

/// 64 random bits for each of the 32 elements of a group.
#[inline(always)]
fn long(words: &Words, i: usize) -> u64 {
    let (row, lane) = (i / LANES * 2, i % LANES);
    u64::from(words[row * LANES + lane]) | u64::from(words[(row + 1) * LANES + lane]) << 32
}

/// In [0, 1), 53 bits.
#[inline(always)]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (-53f64).exp2()
}

/// Calls `f(start, words, part)` for each group: `part` are the elements from `start` on, at most
/// `size`, that the group's words are for.
fn generate<Y: Element, F>(seed: u64, counter: u64, size: usize, y: &mut [Y], f: F)
where
    F: Fn(usize, &Words, &mut [Y]) + Sync,
{
    struct Groups<'a, Y, F> {
        seed: u64,
        counter: u64,
        size: usize,
        start: usize,
        y: &'a mut [Y],
        f: &'a F,
    }
    impl<Y: Element, F: Fn(usize, &Words, &mut [Y])> Kernel<f32> for Groups<'_, Y, F> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector<Scalar = f32>>(self) {
            for (i, y) in self.y.chunks_mut(self.size).enumerate() {
                let start = self.start + i * self.size;
                let words = words(self.seed, self.counter, (start / self.size) as u64);
                (self.f)(start, &words, y);
            }
        }
    }
    // Chunks are whole groups: the grain is a multiple of 64.
    par::for_each_chunk(y, GRAIN / 2, |start, y| {
        f32::dispatch(Groups { seed, counter, size, start, y, f: &f })
    });
}

fn is_f32<T>() -> bool {
    size_of::<T>() == 4
}

/// Uniform numbers in [`low`, `high`), or `low` where that is empty.
///
/// ```
/// let mut y = [0.0f32; 100];
/// autodan_kernels::rng::uniform(1, 0, -1.0, 1.0, &mut y);
/// assert!(y.iter().all(|y| (-1.0..1.0).contains(y)));
/// ```
pub fn uniform<T: Float>(seed: u64, counter: u64, low: f64, high: f64, y: &mut [T]) {
    // Rounding may reach the excluded end.
    let below = if is_f32::<T>() { f64::from((high as f32).next_down()) } else { high.next_down() };
    let last = T::from_f64(below.max(low));
    let scale = (high - low).max(0.0);
    let place = move |unit: f64| T::from_f64(low + scale * unit).minimum(last);
    if is_f32::<T>() {
        generate(seed, counter, 64, y, |_, words, y| {
            for (y, &word) in y.iter_mut().zip(words) {
                *y = place(f64::from(word >> 8) * (-24f64).exp2());
            }
        });
    } else {
        generate(seed, counter, 32, y, |_, words, y| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = place(unit(long(words, i)));
            }
        });
    }
}

/// Two independent standard normal numbers from two uniform ones, the first in (0, 1] (Box and
/// Muller 1958).
#[inline(always)]
fn box_muller(radius: f64, angle: f64) -> (f64, f64) {
    let radius = (-2.0 * radius.ln()).sqrt();
    let (sine, cosine) = (TAU * angle).sin_cos();
    (radius * cosine, radius * sine)
}

/// Normal numbers.
pub fn normal<T: Float>(seed: u64, counter: u64, mean: f64, std: f64, y: &mut [T]) {
    let place = move |z: f64| T::from_f64(mean + std * z);
    // The elements of a group lie in rows of 16; rows 0 and 1, 2 and 3 are pairs.
    let pairs = |y: &mut [T], uniforms: &dyn Fn(usize) -> (f64, f64)| {
        for pair in 0..y.len().div_ceil(2 * LANES) {
            let at = pair * 2 * LANES;
            for i in at..(at + LANES).min(y.len()) {
                let (radius, angle) = uniforms(i);
                let (first, second) = box_muller(radius, angle);
                y[i] = place(first);
                if let Some(y) = y.get_mut(i + LANES) {
                    *y = place(second);
                }
            }
        }
    };
    if is_f32::<T>() {
        let scale = (-32f64).exp2();
        generate(seed, counter, 64, y, |_, words, y| {
            pairs(y, &|i| ((f64::from(words[i]) + 1.0) * scale, f64::from(words[i + LANES]) * scale));
        });
    } else {
        generate(seed, counter, 32, y, |_, words, y| {
            pairs(y, &|i| (1.0 - unit(long(words, i)), unit(long(words, i + LANES))));
        });
    }
}

/// Normal numbers, those more than two standard deviations from the mean drawn again.
pub fn truncated_normal<T: Float>(seed: u64, counter: u64, mean: f64, std: f64, y: &mut [T]) {
    let draw = |i: usize| {
        let i = i as u64;
        let mut attempt = 0u32;
        loop {
            // A block for each element and attempt; arrays have fewer than 2^56 elements.
            let high = (i >> 32) as u32 | attempt << 24;
            let block = [[i as u32], [high], [counter as u32], [(counter >> 32) as u32]];
            let [[a], [b], [c], [d]] = philox(block, seed);
            let long = |low: u32, high: u32| unit(u64::from(low) | u64::from(high) << 32);
            let (first, second) = box_muller(1.0 - long(a, b), long(c, d));
            // An attempt fails once in 480 times, so all 256 never do.
            match [first, second].into_iter().find(|z| z.abs() <= 2.0) {
                Some(z) => return z,
                None if attempt == 255 => return 0.0,
                None => attempt += 1,
            }
        }
    };
    par::for_each_chunk(y, GRAIN / 8, |start, y| {
        for (i, y) in (start..).zip(y) {
            *y = T::from_f64(mean + std * draw(i));
        }
    });
}

/// Words below this number are as frequent as `p` says.
fn threshold(p: f64) -> u64 {
    (p.clamp(0.0, 1.0) * 32f64.exp2()).round() as u64
}

/// 1 with probability `p`, else 0.
pub fn bernoulli<T: Float>(seed: u64, counter: u64, p: f64, y: &mut [T]) {
    let threshold = threshold(p);
    generate(seed, counter, 64, y, |_, words, y| {
        for (y, &word) in y.iter_mut().zip(words) {
            *y = if u64::from(word) < threshold { T::ONE } else { T::ZERO };
        }
    });
}

/// Inverted dropout: each element is 0 with probability `rate`, else divided by `1 - rate` (Srivastava
/// et al. 2014). The same call with the gradient in the place of `x` is its gradient.
///
/// # Panics
/// When the lengths differ.
pub fn dropout<T: Float>(seed: u64, counter: u64, rate: f64, x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len(), "the output must have the operand's length");
    let threshold = threshold(1.0 - rate);
    let scale = T::from_f64(1.0 / (1.0 - rate));
    generate(seed, counter, 64, y, |start, words, y| {
        let x = &x[start..start + y.len()];
        for ((y, &x), &word) in y.iter_mut().zip(x).zip(words) {
            *y = if u64::from(word) < threshold { x.mul(scale) } else { T::ZERO };
        }
    });
}

/// `bits` scaled to `0..range`; the bias is below `range / 2^64`.
#[inline(always)]
fn scale_to(bits: u64, range: u64) -> u64 {
    ((u128::from(bits) * u128::from(range)) >> 64) as u64
}

/// Uniform integers in `low..high`.
///
/// # Panics
/// When the range is empty while `y` is not.
pub fn integers(seed: u64, counter: u64, low: i64, high: i64, y: &mut [i64]) {
    assert!(low < high || y.is_empty(), "no integer in {low}..{high}");
    let range = high.wrapping_sub(low) as u64;
    generate(seed, counter, 32, y, |_, words, y| {
        for (i, y) in y.iter_mut().enumerate() {
            *y = low.wrapping_add(scale_to(long(words, i), range) as i64);
        }
    });
}

/// A random order of `0..y.len()` (Fisher and Yates).
pub fn permutation(seed: u64, counter: u64, y: &mut [i64]) {
    let mut pace = Pace::default();
    for start in (0..y.len()).step_by(2 * LANES) {
        // Each step goes to another place of memory.
        pace.step(64 * LANES);
        let words = words(seed, counter, (start / (2 * LANES)) as u64);
        for i in start..(start + 2 * LANES).min(y.len()) {
            let j = scale_to(long(&words, i - start), i as u64 + 1) as usize;
            y[i] = y[j];
            y[j] = i as i64;
        }
    }
}

#[cfg(test)]
mod tests;
