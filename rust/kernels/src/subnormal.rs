//! Subnormal numbers are zero in float32 kernels, as in TensorFlow's.
//!
//! An operation on a subnormal number (below about 1e-38) costs some 150 cycles instead of one. A
//! softmax of large logits, or the moments of a unit that has died, fill whole tensors with them, and
//! a training step becomes fifty times slower. So [`crate::isa`] runs every float32 kernel with the
//! processor's flush-to-zero and denormals-are-zero flags set, on every thread, which makes it part
//! of the kernels' definition: the same bits at any thread count. The flags are put back when the kernel
//! returns (or panics): no caller ever sees them changed. float64 kernels keep subnormals, and so does
//! what moves or compares float32 numbers without computing with them.

use std::any::TypeId;

use crate::element::Element;

#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    /// Flush-to-zero (results) and denormals-are-zero (operands).
    pub(super) const FLUSH: u32 = 0x8040;

    #[inline(always)]
    pub(super) fn read() -> u32 {
        let mut flags = 0u32;
        // SAFETY: stores the control register in a local; every x86-64 processor has it.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut flags, options(nostack, preserves_flags)) };
        flags
    }

    #[inline(always)]
    pub(super) fn write(flags: u32) {
        // SAFETY: loads the control register from a local. `flags` came from `read` with at most the
        // two bits of `FLUSH` changed, so rounding and exception masks stay at their defaults. Rust
        // documents that it assumes the default mode of these two bits as well, so this bends the
        // language's rules: what rests on it is that the compiler does not reason about subnormal
        // values. What it folds or moves across this line can differ in those alone, and they are
        // what a float32 kernel does not promise. `Flush` puts the bits back on every way out.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &flags, options(nostack, preserves_flags)) };
    }
}

/// Flushes subnormals on this thread until dropped.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Flush {
    before: u32,
}

#[cfg(target_arch = "x86_64")]
impl Flush {
    #[inline(always)]
    pub(crate) fn new() -> Flush {
        let before = control::read();
        if before & control::FLUSH != control::FLUSH {
            control::write(before | control::FLUSH);
        }
        Flush { before }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Flush {
    #[inline(always)]
    fn drop(&mut self) {
        if self.before & control::FLUSH != control::FLUSH {
            control::write(self.before);
        }
    }
}

/// Runs `f` with subnormals kept, as code outside of kernels expects it; for what kernels call out to.
pub(crate) fn kept<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        struct Restore(u32);
        impl Drop for Restore {
            fn drop(&mut self) {
                control::write(self.0);
            }
        }
        let before = control::read();
        control::write(before & !control::FLUSH);
        let _restore = Restore(before);
        f()
    }
    #[cfg(not(target_arch = "x86_64"))]
    f()
}

/// What arithmetic on `T` outside of [`Float::dispatch`](crate::element::Float::dispatch) holds meanwhile:
/// the flush for float32, nothing for others.
#[inline(always)]
pub(crate) fn arithmetic<T: Element>() -> Option<Flush> {
    (TypeId::of::<T>() == TypeId::of::<f32>()).then(Flush::new)
}

/// Elsewhere subnormals are kept.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) struct Flush;

#[cfg(not(target_arch = "x86_64"))]
impl Flush {
    pub(crate) fn new() -> Flush {
        Flush
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use crate::element::Float;
    use crate::isa::{Kernel, on_every_isa};
    use crate::simd::Vector;

    struct Half<'a>(&'a mut [f32]);

    impl Kernel<f32> for Half<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector<Scalar = f32>>(self) {
            assert!(self.0.len() >= V::LEN);
            // SAFETY: the slice has at least LEN elements.
            unsafe { V::load(self.0.as_ptr()).mul(V::constant(0.5)).store(self.0.as_mut_ptr()) };
        }
    }

    #[test]
    fn kernels_flush_and_callers_do_not() {
        on_every_isa(|_| {
            let before = super::control::read();
            let mut x = [f32::MIN_POSITIVE; 16];
            f32::dispatch(Half(&mut x));
            assert_eq!(x[0], 0.0);
            // The sticky exception bits may differ, the modes may not.
            assert_eq!(super::control::read() & !0x3F, before & !0x3F);
            assert!(std::hint::black_box(f32::MIN_POSITIVE) * 0.5 > 0.0);
        });
    }

    #[test]
    fn what_a_kernel_calls_out_to_keeps_subnormals() {
        let before = super::control::read() & !0x3F;
        let _flush = super::Flush::new();
        let inside = super::kept(|| super::control::read() & !0x3F);
        assert_eq!(inside, before);
        assert_eq!(super::control::read() & super::control::FLUSH, super::control::FLUSH);
    }

    #[test]
    fn a_panic_restores_the_mode() {
        struct Fail;
        impl Kernel<f32> for Fail {
            type Output = ();
            #[inline(always)]
            fn run<V: Vector<Scalar = f32>>(self) {
                panic!("on purpose");
            }
        }
        let before = super::control::read() & !0x3F;
        assert!(std::panic::catch_unwind(|| f32::dispatch(Fail)).is_err());
        assert_eq!(super::control::read() & !0x3F, before);
    }
}
