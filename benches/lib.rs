//! What the benchmarks share: operands.

/// `len` numbers in (-1, 1) that look random. Real numbers matter: zeros and denormals time differently.
///
/// ```
/// let x = autodan_benches::numbers(1000);
/// assert!(x.iter().all(|x| x.abs() < 1.0) && x.iter().sum::<f32>().abs() < 100.0);
/// ```
pub fn numbers(len: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
