//! Ranges of columns, their sums and those of their squares.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::vector::Vector;

/// Rows to look at; what is found widens and adds to what was found before.
#[derive(Debug)]
pub(crate) struct ObserveCall {
    /// Number of rows.
    pub(crate) rows: usize,
    /// Numbers of a row, a multiple of [`super::STEP`].
    pub(crate) width: usize,
    /// First row.
    pub(crate) input: *const f32,
    /// Numbers from one row to the next.
    pub(crate) input_stride: usize,
    /// Smallest number per column.
    pub(crate) smallest: *mut f32,
    /// Largest number per column.
    pub(crate) largest: *mut f32,
    /// Sum per column.
    pub(crate) sum: *mut f32,
    /// Sum of squares per column.
    pub(crate) squares: *mut f32,
}

/// An observation kernel.
///
/// # Safety
/// The pointers must be valid for the rows and the width.
pub(crate) type ObserveKernel = unsafe fn(&ObserveCall);

#[inline(always)]
pub(super) unsafe fn observe<V: Vector>(call: &ObserveCall) {
    // SAFETY: the caller's promise; see `ObserveKernel`.
    unsafe {
        for column in (0..call.width).step_by(V::LANES) {
            let mut smallest = V::load(call.smallest.add(column));
            let mut largest = V::load(call.largest.add(column));
            let mut sum = V::load(call.sum.add(column));
            let mut squares = V::load(call.squares.add(column));
            for row in 0..call.rows {
                let numbers = V::load(call.input.add(row * call.input_stride + column));
                smallest = smallest.min(numbers);
                largest = largest.max(numbers);
                sum = sum.add(numbers);
                squares = numbers.mul_add(numbers, squares);
            }
            smallest.store(call.smallest.add(column));
            largest.store(call.largest.add(column));
            sum.store(call.sum.add(column));
            squares.store(call.squares.add(column));
        }
    }
}
