//! As many multiply-adds as the processor can do, for measuring how near the other kernels come.
#![expect(unsafe_code, reason = "vector operations")]

use super::unrolled;
use super::vector::Vector;

/// Independent sums: enough to hide the latency of two units, few enough for the registers.
pub(crate) const SUMS: usize = 12;

/// Runs `turns` turns of [`SUMS`] vector multiply-adds in registers.
///
/// # Safety
/// The processor must have the instructions.
pub(crate) type PeakKernel = unsafe fn(turns: usize) -> f32;

#[inline(always)]
pub(super) unsafe fn peak<V: Vector>(turns: usize) -> f32 {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let mut sums = [V::splat(1.0); SUMS];
        let (factor, summand) = (V::splat(1.000_000_1), V::splat(1e-9));
        for _ in 0..turns {
            unrolled!(sum in 0..SUMS => { sums[sum] = sums[sum].mul_add(factor, summand); });
        }
        sums.iter().fold(V::splat(0.0), |total, sum| total.add(*sum)).sum()
    }
}
