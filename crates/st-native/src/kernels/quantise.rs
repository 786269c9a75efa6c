//! Rows of numbers to rows of bytes.
//!
//! Before it is quantised a row is rotated: Hadamard matrices of up to 16 points mix the numbers that lie [`STEP`] columns
//! apart. A number that stands out is spread over 16, so that the row's range, and with it the step of its bytes, shrinks.
//! The weights are rotated alike, so that products do not change.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::STEP;
use super::unrolled;
use super::vector::Vector;

/// Rows to quantise. A number `x` of column `j` counts as `x · factor[j] + shift[j]`.
#[derive(Debug)]
pub(crate) struct QuantiseCall {
    /// Number of rows.
    pub(crate) rows: usize,
    /// Numbers of a row, a multiple of [`STEP`].
    pub(crate) width: usize,
    /// First row.
    pub(crate) input: *const f32,
    /// Numbers from one row to the next.
    pub(crate) input_stride: usize,
    /// Factor of each column, [`rotation_factor`] included.
    pub(crate) factor: *const f32,
    /// Shift of each column, [`rotation_factor`] included.
    pub(crate) shift: *const f32,
    /// Room for one row of numbers.
    pub(crate) rotated: *mut f32,
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

/// Most points of a rotation.
const POINTS: usize = 16;

/// The blocks of a row of `width` columns that are rotated: first column and points, the largest power of two that fits.
pub(crate) fn rotations(width: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = (width - start) / STEP;
        (left > 0).then(|| {
            let points = POINTS.min(1 << left.ilog2());
            start += points * STEP;
            (start - points * STEP, points)
        })
    })
}

/// What makes a rotation of so many points keep lengths.
pub(crate) fn rotation_factor(points: usize) -> f32 {
    1.0 / (points as f32).sqrt()
}

/// Rotates a row in place, lengths kept.
pub(crate) fn rotate(row: &mut [f32]) {
    for (start, points) in rotations(row.len()) {
        let block = &mut row[start..start + points * STEP];
        let mut half = 1;
        while half < points {
            for pair in block.chunks_exact_mut(2 * half * STEP) {
                let (first, second) = pair.split_at_mut(half * STEP);
                for (a, b) in first.iter_mut().zip(second) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        let factor = rotation_factor(points);
        block.iter_mut().for_each(|number| *number *= factor);
    }
}

#[inline(always)]
pub(super) unsafe fn quantise<V: Vector>(call: &QuantiseCall) {
    // SAFETY: the caller's promise; see `QuantiseKernel`.
    unsafe {
        for row in 0..call.rows {
            let input = call.input.add(row * call.input_stride);
            let output = call.output.add(row * call.width);
            let mut range = (V::splat(f32::INFINITY), V::splat(f32::NEG_INFINITY));
            for (start, points) in rotations(call.width) {
                for at in (start..start + STEP).step_by(V::LANES) {
                    match points {
                        16 => rotated::<V, 16>(call, input, at, &mut range),
                        8 => rotated::<V, 8>(call, input, at, &mut range),
                        4 => rotated::<V, 4>(call, input, at, &mut range),
                        2 => rotated::<V, 2>(call, input, at, &mut range),
                        _ => rotated::<V, 1>(call, input, at, &mut range),
                    }
                }
            }
            let low = range.0.smallest();
            let range = range.1.largest() - low;
            let (scale, inverse) = if range > 0.0 { (range / 255.0, 255.0 / range) } else { (0.0, 0.0) };
            *call.scale.add(row) = scale;
            *call.offset.add(row) = low;
            let (inverse, shift) = (V::splat(inverse), V::splat(-low * inverse));
            let zero = V::splat(0.0);
            for i in (0..call.width).step_by(V::LANES) {
                V::load(call.rotated.add(i)).mul_add(inverse, shift).max(zero).store_bytes(output.add(i));
            }
        }
    }
}

/// Rotates the vectors at `at`, `at + STEP`, …, and widens the range by them.
#[inline(always)]
unsafe fn rotated<V: Vector, const COUNT: usize>(
    call: &QuantiseCall,
    input: *const f32,
    at: usize,
    range: &mut (V, V),
) {
    // SAFETY: the caller's promise; see `QuantiseKernel`.
    unsafe {
        let mut numbers = [V::splat(0.0); COUNT];
        unrolled!(i in 0..COUNT => {
            let at = at + i * STEP;
            numbers[i] = V::load(input.add(at)).mul_add(V::load(call.factor.add(at)), V::load(call.shift.add(at)));
        });
        butterfly::<V, COUNT, 1>(&mut numbers);
        butterfly::<V, COUNT, 2>(&mut numbers);
        butterfly::<V, COUNT, 4>(&mut numbers);
        butterfly::<V, COUNT, 8>(&mut numbers);
        unrolled!(i in 0..COUNT => {
            range.0 = range.0.min(numbers[i]);
            range.1 = range.1.max(numbers[i]);
            numbers[i].store(call.rotated.add(at + i * STEP));
        });
    }
}

/// Sums and differences of the numbers `HALF` apart, where there are so many.
#[inline(always)]
unsafe fn butterfly<V: Vector, const COUNT: usize, const HALF: usize>(numbers: &mut [V; COUNT]) {
    if COUNT < 2 * HALF {
        return;
    }
    unrolled!(pair in 0..COUNT / 2 => {
        let (first, second) = (pair / HALF * 2 * HALF + pair % HALF, pair / HALF * 2 * HALF + pair % HALF + HALF);
        let (a, b) = (numbers[first], numbers[second]);
        // SAFETY: the caller's processor has the instructions.
        (numbers[first], numbers[second]) = unsafe { (a.add(b), a.sub(b)) };
    });
}
