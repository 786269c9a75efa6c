//! The strip: a small product of two matrices that are not packed, for attention.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::unrolled;
use super::vector::Vector;

pub(crate) use super::strip_call::{StripCall, StripKernel, Strips};

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
