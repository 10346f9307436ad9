//! What the benchmarks share: operands, and figures beside what the machine can do.
//!
//! A benchmark states its work in a [`Throughput`]: `Elements` are operations and `Bytes` are those of the
//! operands, each moved once. [`held_to`] makes reports say them as GFLOP/s with the share of the peak, and
//! as GB/s with the share of the bandwidth that memory of that size has. Peak and bandwidth are measured
//! with [`autodan_kernels::machine`] when the first report asks for them, so not in smoke mode (`--test`).

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use autodan_kernels::{machine, par};
use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

pub use criterion::Throughput;

/// How long the peak and each bandwidth are measured.
const TIME: Duration = Duration::from_millis(200);

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

/// So many float32 operands, as a throughput in bytes.
///
/// ```
/// # use autodan_benches::{Throughput, floats};
/// assert!(matches!(floats(10), Throughput::Bytes(40)));
/// ```
pub fn floats(count: usize) -> Throughput {
    Throughput::Bytes(4 * count as u64)
}

/// What kernels do with the bytes of their operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// They read nearly all of them: held to the rate of reading.
    Read,
    /// They write some anew: held to the rate of `a = b + factor * c`.
    Write,
    /// They write over some of what they read: held to the rate of `a = a * factor + term`.
    Update,
}

/// The benchmark harness, with reports that hold kernels to the machine; see the crate's documentation.
pub fn held_to(traffic: Traffic) -> Criterion<Roofline> {
    Criterion::default().with_measurement(Roofline { traffic, rates: Mutex::default() })
}

/// Time, shown beside the roofs of the machine.
pub struct Roofline {
    traffic: Traffic,
    /// Bytes per second, by the number of bytes.
    rates: Mutex<HashMap<u64, f64>>,
}

/// What a benchmark function of [`held_to`] gets.
pub type Bench = Criterion<Roofline>;

impl Roofline {
    /// The bytes per second at which all threads together move memory of this size.
    fn rate(&self, bytes: u64) -> f64 {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner).entry(bytes).or_insert_with(|| {
            let own = bytes as usize / par::threads();
            match self.traffic {
                Traffic::Read => machine::read(own, TIME),
                Traffic::Write => machine::triad(own, TIME),
                Traffic::Update => machine::update(own, TIME),
            }
            .expect("memory of the size that the benchmark has")
        })
    }
}

fn peak() -> f64 {
    static PEAK: OnceLock<f64> = OnceLock::new();
    *PEAK.get_or_init(|| machine::peak(TIME))
}

impl Measurement for Roofline {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        WallTime.start()
    }

    fn end(&self, start: Instant) -> Duration {
        WallTime.end(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        WallTime.add(a, b)
    }

    fn zero(&self) -> Duration {
        WallTime.zero()
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Roofline {
    fn format_throughput(&self, throughput: &Throughput, nanoseconds: f64) -> String {
        // Work per nanosecond is in units of 10^9 per second.
        match *throughput {
            Throughput::Elements(operations) => {
                let rate = operations as f64 / nanoseconds;
                format!("{rate:.1} GFLOP/s ({:.0}% of the peak)", rate / peak() * 1e11)
            }
            Throughput::Bytes(bytes) => {
                let rate = bytes as f64 / nanoseconds;
                format!("{rate:.1} GB/s ({:.0}% of the bandwidth)", rate / self.rate(bytes) * 1e11)
            }
            _ => unreachable!("benchmarks state operations or bytes"),
        }
    }

    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_throughputs(typical, throughput, values)
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}
