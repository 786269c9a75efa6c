//! The tile of a product that sums over rows, `Σ_t left[t]ᵀ · right[t]`: the gradient of a weight.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::super::vector::Vector;
use super::unrolled;

/// What one tile works on.
#[derive(Debug)]
pub(crate) struct OuterCall<N> {
    /// Terms of every sum (of pairs: pairs of terms).
    pub(crate) depth: usize,
    /// For each term the numbers (or pairs) of the tile's rows.
    pub(crate) left: *const N,
    /// Numbers (or pairs) from one term's rows to the next's.
    pub(crate) left_stride: usize,
    /// For each term the numbers of the tile's columns, without gaps.
    pub(crate) panel: *const N,
    /// First output row.
    pub(crate) output: *mut f32,
    /// Numbers from one output row to the next.
    pub(crate) output_stride: usize,
    /// Whether sums are added to the output.
    pub(crate) add: bool,
}

/// A tile kernel.
///
/// # Safety
/// The pointers of the call must be valid for the rows and columns of the kernel, and no other thread may use that part
/// of the output.
pub(crate) type OuterKernel = unsafe fn(&OuterCall<f32>);

impl<N> OuterCall<N> {
    /// Asks for the tile that sums are added to.
    #[inline(always)]
    pub(in crate::kernels) fn prefetch_output(&self, rows: usize, columns: usize) {
        if self.add {
            for row in 0..rows {
                for line in (0..columns).step_by(16) {
                    prefetch(self.output.wrapping_add(row * self.output_stride + line));
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn outer<V: Vector, const ROWS: usize, const VECTORS: usize>(call: &OuterCall<f32>) {
    // SAFETY: the caller's promise; see `OuterKernel`.
    unsafe {
        call.prefetch_output(ROWS, VECTORS * V::LANES);
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        let (mut left, mut panel) = (call.left, call.panel);
        for _ in 0..call.depth {
            let mut columns = [V::splat(0.0); VECTORS];
            unrolled!(v in 0..VECTORS => { columns[v] = V::load(panel.add(v * V::LANES)); });
            unrolled!(row in 0..ROWS => {
                let left = V::splat(*left.add(row));
                unrolled!(v in 0..VECTORS => { sums[row][v] = left.mul_add(columns[v], sums[row][v]); });
            });
            left = left.wrapping_add(call.left_stride);
            panel = panel.wrapping_add(VECTORS * V::LANES);
        }
        unrolled!(row in 0..ROWS => {
            unrolled!(v in 0..VECTORS => {
                let output = call.output.add(row * call.output_stride + v * V::LANES);
                let sum = if call.add { sums[row][v].add(V::load(output)) } else { sums[row][v] };
                sum.store(output);
            });
        });
    }
}

/// Asks for a cache line in the second level.
#[inline(always)]
pub(crate) fn prefetch_far(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for a cache line.
#[inline(always)]
fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
