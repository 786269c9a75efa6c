//! The strip: a small product of two matrices that are not packed, for attention.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::vector::Vector;

/// `output[r][c] = Σ left[r][k] · right[k][c]` for a kernel's rows and columns.
#[derive(Debug)]
pub(crate) struct StripCall {
    /// Terms of every sum.
    pub(crate) depth: usize,
    /// First row of the left matrix.
    pub(crate) left: *const f32,
    /// Numbers from one of its rows to the next.
    pub(crate) left_stride: usize,
    /// First row of the right matrix.
    pub(crate) right: *const f32,
    /// Numbers from one of its rows to the next.
    pub(crate) right_stride: usize,
    /// First row of the output.
    pub(crate) output: *mut f32,
    /// Numbers from one of its rows to the next.
    pub(crate) output_stride: usize,
}

/// A strip kernel.
///
/// # Safety
/// The pointers must be valid for the rows and columns of the kernel.
pub(crate) type StripKernel = unsafe fn(&StripCall);

#[inline(always)]
pub(super) unsafe fn strip<V: Vector, const ROWS: usize, const VECTORS: usize>(call: &StripCall) {
    // SAFETY: the caller's promise; see `StripKernel`.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        let mut right = call.right;
        for k in 0..call.depth {
            let mut columns = [V::splat(0.0); VECTORS];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = V::load(right.add(v * V::LANES));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = V::splat(*call.left.add(row * call.left_stride + k));
                for (sum, column) in sums.iter_mut().zip(&columns) {
                    *sum = left.mul_add(*column, *sum);
                }
            }
            right = right.wrapping_add(call.right_stride);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                sum.store(call.output.add(row * call.output_stride + v * V::LANES));
            }
        }
    }
}
