//! The instruction set, chosen once at run time.
//!
//! A kernel is written once, generic over a [`Vector`] type, as a [`Kernel`] value; [`Float::dispatch`]
//! runs it with the vector type of the active instruction set, inside a function compiled for that
//! set. Dispatch happens *inside* each task of a [`crate::par`] region (a closure that crosses
//! threads is a function of its own and does not inherit the caller's instruction set), and a
//! kernel's `run` is `#[inline(always)]`, so that it is compiled into the dispatching function.
//!
//! [`Float::dispatch`]: crate::element::Float::dispatch

use std::sync::atomic::{AtomicU8, Ordering};

use crate::element::Float;
use crate::simd::{Vector, Wide};

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What every machine of the target has (SSE2 on x86-64, NEON on aarch64).
    Portable = 1,
    /// 256-bit vectors with fused multiply-add.
    Avx2 = 2,
    /// 512-bit vectors with masks.
    Avx512 = 3,
}

impl Isa {
    /// All instruction sets, narrowest first.
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// The name used by `AUTODAN_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// The set of that name.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }
}

static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// The active instruction set: the widest that the machine has, unless [`force`] or the environment
/// variable `AUTODAN_ISA` (one of the names, when available here) says otherwise.
#[inline(always)]
pub fn active() -> Isa {
    match ACTIVE.load(Ordering::Relaxed) {
        1 => Isa::Portable,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        _ => choose(),
    }
}

#[cold]
fn choose() -> Isa {
    let widest = || Isa::ALL.into_iter().rev().find(|isa| isa.is_available());
    let isa = std::env::var("AUTODAN_ISA")
        .ok()
        .and_then(|name| Isa::from_name(name.trim()))
        .filter(|isa| isa.is_available())
        .or_else(widest)
        .unwrap_or(Isa::Portable);
    ACTIVE.store(isa as u8, Ordering::Relaxed);
    isa
}

/// Makes `isa` the active set; false, and no change, when this machine lacks it.
pub fn force(isa: Isa) -> bool {
    let available = isa.is_available();
    if available {
        ACTIVE.store(isa as u8, Ordering::Relaxed);
    }
    available
}

/// A computation generic over the vector type, and so over the instruction set.
pub trait Kernel<T: Float> {
    /// What the computation returns.
    type Output;

    /// Runs it. Implementations are `#[inline(always)]`, and so are the helpers that they call with
    /// vectors.
    fn run<V: Vector<Scalar = T>>(self) -> Self::Output;
}

#[inline(always)]
pub(crate) fn dispatch_f32<K: Kernel<f32>>(kernel: K) -> K::Output {
    let _flush = crate::subnormal::Flush::new();
    dispatch_exact(kernel)
}

/// Dispatch without flushing subnormals: for comparisons, selections and conversions, which are as
/// fast with them.
#[inline(always)]
pub(crate) fn dispatch_exact<K: Kernel<f32>>(kernel: K) -> K::Output {
    match active() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `active` only returns sets that the machine has.
        Isa::Avx512 => unsafe { run_avx512::<f32, crate::simd::F32x16, K>(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { run_avx2::<f32, crate::simd::F32x8, K>(kernel) },
        _ => kernel.run::<Wide<f32, 8>>(),
    }
}

#[inline(always)]
pub(crate) fn dispatch_f64<K: Kernel<f64>>(kernel: K) -> K::Output {
    // float64 is for checking gradients, not for speed: one compiled form, with the same bits everywhere.
    kernel.run::<Wide<f64, 8>>()
}

/// # Safety
/// The machine has the features named.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn run_avx512<T: Float, V: Vector<Scalar = T>, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

/// # Safety
/// The machine has the features named.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<T: Float, V: Vector<Scalar = T>, K: Kernel<T>>(kernel: K) -> K::Output {
    kernel.run::<V>()
}

/// Whoever forces an instruction set, or relies on one, in a test: both are global, so tests take turns. A
/// thread that has its turn may ask again.
#[cfg(test)]
pub(crate) struct Turn(Option<std::sync::MutexGuard<'static, ()>>);

#[cfg(test)]
thread_local! {
    static HELD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
impl Turn {
    pub(crate) fn wait() -> Turn {
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let first = !HELD.replace(true);
        Turn(first.then(|| TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

#[cfg(test)]
impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.is_some() {
            HELD.set(false);
        }
    }
}

/// Runs `f` once for each instruction set of this machine.
#[cfg(test)]
pub(crate) fn on_every_isa(mut f: impl FnMut(Isa)) {
    let _turn = Turn::wait();
    let before = active();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        assert!(force(isa));
        f(isa);
    }
    force(before);
}
