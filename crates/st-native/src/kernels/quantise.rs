//! Rows of numbers to rows of bytes.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::vector::Vector;

/// Rows to quantise. A number `x` of column `j` counts as `x · factor[j] + shift[j]`.
#[derive(Debug)]
pub(crate) struct QuantiseCall {
    /// Number of rows.
    pub(crate) rows: usize,
    /// Numbers of a row, a multiple of [`super::STEP`].
    pub(crate) width: usize,
    /// First row.
    pub(crate) input: *const f32,
    /// Numbers from one row to the next.
    pub(crate) input_stride: usize,
    /// Factor of each column.
    pub(crate) factor: *const f32,
    /// Shift of each column.
    pub(crate) shift: *const f32,
    /// First row of bytes, `width` each.
    pub(crate) output: *mut u8,
    /// Value of one step, per row.
    pub(crate) scale: *mut f32,
    /// Value of byte 0, per row.
    pub(crate) offset: *mut f32,
}

/// A quantisation kernel: each row's smallest number becomes 0 and its largest 255.
///
/// # Safety
/// The pointers must be valid for the rows and the width.
pub(crate) type QuantiseKernel = unsafe fn(&QuantiseCall);

#[inline(always)]
pub(super) unsafe fn quantise<V: Vector>(call: &QuantiseCall) {
    // SAFETY: the caller's promise; see `QuantiseKernel`.
    unsafe {
        for row in 0..call.rows {
            let input = call.input.add(row * call.input_stride);
            let output = call.output.add(row * call.width);
            let number = |i: usize| V::load(input.add(i)).mul_add(V::load(call.factor.add(i)), V::load(call.shift.add(i)));
            let mut smallest = [number(0); 2];
            let mut largest = smallest;
            for (n, i) in (0..call.width).step_by(V::LANES).enumerate() {
                let number = number(i);
                smallest[n % 2] = smallest[n % 2].min(number);
                largest[n % 2] = largest[n % 2].max(number);
            }
            let low = smallest[0].min(smallest[1]).smallest();
            let range = largest[0].max(largest[1]).largest() - low;
            let (scale, inverse) = if range > 0.0 { (range / 255.0, 255.0 / range) } else { (0.0, 0.0) };
            *call.scale.add(row) = scale;
            *call.offset.add(row) = low;
            let (low, inverse) = (V::splat(low), V::splat(inverse));
            for i in (0..call.width).step_by(V::LANES) {
                number(i).sub(low).mul(inverse).store_bytes(output.add(i));
            }
        }
    }
}
