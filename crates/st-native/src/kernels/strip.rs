//! The strip: a small product of two matrices that are not packed, for attention.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::unrolled;
use super::vector::Vector;

/// `output[r][c] = Σ left[r][k] · right[k][c]` for a kernel's rows and columns.
#[derive(Debug)]
pub(crate) struct StripCall {
    /// Terms of every sum.
    pub(crate) depth: usize,
    /// The left matrix; row-major, or depth by depth where a kernel takes it transposed.
    pub(crate) left: *const f32,
    /// Numbers from one row (where transposed, one depth) of it to the next.
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

/// Strip kernels by whether the left matrix is transposed, by vectors − 1 and rows − 1.
pub(crate) type Strips = [[&'static [StripKernel]; 2]; 2];

#[inline(always)]
pub(super) unsafe fn strip<V: Vector, const TRANSPOSED: bool, const ROWS: usize, const VECTORS: usize>(
    call: &StripCall,
) {
    // SAFETY: the caller's promise; see `StripKernel`.
    unsafe {
        let (row_step, depth_step) = if TRANSPOSED { (1, call.left_stride) } else { (call.left_stride, 1) };
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        let left = |group: usize| call.left.wrapping_add(3 * group * row_step);
        let mut lefts = [0, 1, 2, 3, 4, 5].map(left);
        let mut right = call.right;
        for _ in 0..call.depth {
            let mut columns = [V::splat(0.0); VECTORS];
            unrolled!(v in 0..VECTORS => { columns[v] = V::load(right.add(v * V::LANES)); });
            unrolled!(row in 0..ROWS => {
                let left = V::splat(*lefts[row / 3].add(row % 3 * row_step));
                unrolled!(v in 0..VECTORS => { sums[row][v] = left.mul_add(columns[v], sums[row][v]); });
            });
            right = right.wrapping_add(call.right_stride);
            for left in &mut lefts[..ROWS.div_ceil(3)] {
                *left = V::in_register(left.wrapping_add(depth_step));
            }
        }
        unrolled!(row in 0..ROWS => {
            unrolled!(v in 0..VECTORS => { sums[row][v].store(call.output.add(row * call.output_stride + v * V::LANES)); });
        });
    }
}
