//! Rows of numbers to rows of bytes.
//!
//! Before it is quantised a row is rotated: Hadamard matrices of up to 16 points mix the numbers that lie [`STEP`] columns
//! apart, and one of [`FOURS`] points each four neighbours. A number that stands out is spread over 64, so that the row's
//! range, and with it the step of its bytes, shrinks. The weights are rotated alike, so that products do not change.
//!
//! Bytes stand in another order than the numbers ([`place`]), in which four vectors become one without a shuffle.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use st_encoder::Activation;

use super::STEP;
use super::activation::{activate_roughly, gelu_roughly};
use super::unrolled;
use super::vector::Vector;

/// How bytes stand for numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Levels {
    /// From 0 or 1 for the smallest number, to 254 or 255 for the largest; 0 counts as a number of every row.
    Unsigned,
    /// 0 is 0, the number farthest from it −127 or 127.
    Signed,
}

/// Rows to quantise. A number `x` of column `j` counts as `x · factor[j] + shift[j]`.
#[derive(Debug)]
pub(crate) struct QuantiseCall {
    /// What bytes mean.
    pub(crate) levels: Levels,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Numbers of a row, a multiple of [`STEP`].
    pub(crate) width: usize,
    /// First row.
    pub(crate) input: *const f32,
    /// Numbers from one row to the next.
    pub(crate) input_stride: usize,
    /// Taken of every number first, to within 7·10⁻⁴.
    pub(crate) activation: Option<Activation>,
    /// Factor of each column, [`rotation_factor`] included.
    pub(crate) factor: *const f32,
    /// Shift of each column, [`rotation_factor`] included.
    pub(crate) shift: *const f32,
    /// Room for [`GROUP`] rows of numbers.
    pub(crate) rotated: *mut f32,
    /// First row of bytes, [`bytes_of`] the width each.
    pub(crate) output: *mut u8,
    /// Value of one step, per row.
    pub(crate) scale: *mut f32,
    /// Value of byte 0, per row.
    pub(crate) offset: *mut f32,
}

/// A quantisation kernel.
///
/// # Safety
/// The pointers must be valid for the rows and the width.
pub(crate) type QuantiseKernel = unsafe fn(&QuantiseCall);

/// Neighbours that are mixed.
const FOURS: usize = 4;
/// Most points of a rotation across vectors.
const POINTS: usize = 16;
/// Rows at a time, at most: what one row waits for, the others hide.
pub(crate) const GROUP: usize = 4;
/// Numbers of the rows at a time, so that they stay in the first level of the cache.
const GROUP_NUMBERS: usize = 3072;
/// Columns whose bytes are stored together.
const QUAD: usize = 4 * STEP;
/// Added to a small whole number, it leaves that number in the lowest bits: 1.5 · 2²³.
const MAGIC: f32 = 12_582_912.0;
/// Steps between the smallest and the largest number of a row of unsigned bytes. The byte of 0 is rounded too, so that less
/// than 255 keep the largest number's byte below 256; with [`ZERO_ROUNDING`] a hundredth of a step is left on both sides.
pub(super) const UNSIGNED: f32 = 254.97;
/// Rows of a smaller range count as zeros: the inverse of a step would not be finite.
const LEAST_RANGE: f32 = 1e-30;
/// Added to the place of 0 before it is rounded down, so that the smallest number's byte is not below 0.
const ZERO_ROUNDING: f32 = 0.51;

/// Bytes of a row of `width` numbers; those in excess are 0 and count as no column.
pub(crate) const fn bytes_of(width: usize) -> usize {
    width.next_multiple_of(QUAD)
}

/// Where the byte of a column stands.
#[cfg(test)]
pub(crate) const fn place(column: usize) -> usize {
    column / QUAD * QUAD + column % STEP * 4 + column % QUAD / STEP
}

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

/// What makes a rotation of so many points across vectors, and of neighbours, keep lengths.
pub(crate) fn rotation_factor(points: usize) -> f32 {
    1.0 / ((FOURS * points) as f32).sqrt()
}

/// Rotates a row in place, lengths kept.
#[cfg(test)]
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
        for four in block.as_chunks_mut::<FOURS>().0 {
            let [a, b, c, d] = [four[0] + four[1], four[0] - four[1], four[2] + four[3], four[2] - four[3]];
            *four = [a + c, b + d, a - c, b - d];
        }
        let factor = rotation_factor(points);
        block.iter_mut().for_each(|number| *number *= factor);
    }
}

#[inline(always)]
pub(super) unsafe fn quantise<V: Vector>(call: &QuantiseCall) {
    // SAFETY: the caller's promise; see `QuantiseKernel`.
    unsafe {
        let group = (GROUP_NUMBERS / call.width).clamp(1, GROUP);
        for first in (0..call.rows).step_by(group) {
            let count = group.min(call.rows - first);
            let mut ranges = [(V::splat(-0.0), V::splat(0.0)); GROUP];
            for (row, range) in ranges.iter_mut().enumerate().take(count) {
                let input = call.input.add((first + row) * call.input_stride);
                let to = call.rotated.add(row * call.width);
                *range = match call.activation {
                    None => rotated_row::<V, false>(call, input, to),
                    // Its products and the rotation's sums keep different units of the processor busy.
                    Some(Activation::Gelu) => rotated_row::<V, true>(call, input, to),
                    Some(kind) => {
                        to.copy_from_nonoverlapping(input, call.width);
                        activate_roughly::<V>(kind, to, 1, call.width, call.width);
                        rotated_row::<V, false>(call, to, to)
                    }
                };
            }
            let mut steps = [(V::splat(0.0), V::splat(0.0)); GROUP];
            for (row, (range, step)) in ranges.iter().zip(&mut steps).enumerate().take(count) {
                let (low, high) = (range.0.smallest(), range.1.largest());
                let (range, levels) = match call.levels {
                    Levels::Unsigned => (high - low, UNSIGNED),
                    Levels::Signed => (high.max(-low), 127.0),
                };
                // A range that is no number is not below the least, and makes the row's products none.
                let (scale, inverse) = if range < LEAST_RANGE { (0.0, 0.0) } else { (range / levels, levels / range) };
                // The byte of 0.
                let zero = match call.levels {
                    Levels::Unsigned => (ZERO_ROUNDING - low * inverse).floor(),
                    Levels::Signed => 0.0,
                };
                *call.scale.add(first + row) = scale;
                *call.offset.add(first + row) = -zero * scale;
                *step = (V::splat(inverse), V::splat(MAGIC + zero));
            }
            for (row, &(inverse, zero)) in steps.iter().enumerate().take(count) {
                let numbers = call.rotated.add(row * call.width).cast_const();
                let output = call.output.add((first + row) * bytes_of(call.width));
                for start in (0..call.width).step_by(QUAD) {
                    let there = ((call.width - start) / STEP).min(4);
                    for lane in (0..STEP).step_by(V::LANES) {
                        let mut quad = [V::splat(0.0); 4];
                        unrolled!(i in 0..4 => {
                            if i < there {
                                quad[i] = V::load(numbers.add(start + i * STEP + lane)).mul_add(inverse, zero);
                            }
                        });
                        V::store_low_bytes(quad, output.add(start + 4 * lane));
                    }
                }
            }
        }
    }
}

/// Rotates a row, or its GELU, and returns its smallest and largest numbers, lane by lane.
#[inline(always)]
unsafe fn rotated_row<V: Vector, const GELU: bool>(call: &QuantiseCall, input: *const f32, to: *mut f32) -> (V, V) {
    // SAFETY: the caller's promise; see `QuantiseKernel`.
    unsafe {
        let mut range = (V::splat(-0.0), V::splat(0.0));
        for (start, points) in rotations(call.width) {
            for at in (start..start + STEP).step_by(V::LANES) {
                match points {
                    16 => rotated::<V, 16, GELU>(call, input, to, at, &mut range),
                    8 => rotated::<V, 8, GELU>(call, input, to, at, &mut range),
                    4 => rotated::<V, 4, GELU>(call, input, to, at, &mut range),
                    2 => rotated::<V, 2, GELU>(call, input, to, at, &mut range),
                    _ => rotated::<V, 1, GELU>(call, input, to, at, &mut range),
                }
            }
        }
        range
    }
}

/// Rotates the vectors at `at`, `at + STEP`, …, and widens the range by them.
#[inline(always)]
unsafe fn rotated<V: Vector, const COUNT: usize, const GELU: bool>(
    call: &QuantiseCall,
    input: *const f32,
    to: *mut f32,
    at: usize,
    range: &mut (V, V),
) {
    // SAFETY: the caller's promise; see `QuantiseKernel`.
    unsafe {
        let mut numbers = [V::splat(0.0); COUNT];
        let load = |i: usize| V::load(input.add(at + i * STEP));
        unrolled!(i in 0..COUNT => {
            if COUNT < 4 {
                numbers[i] = load(i);
                if GELU {
                    [numbers[i]] = gelu_roughly([numbers[i]]);
                }
            } else if i.is_multiple_of(4) {
                let mut four = [load(i), load(i + 1), load(i + 2), load(i + 3)];
                if GELU {
                    // Four at a time, because each operation waits for the one before.
                    four = gelu_roughly(four);
                }
                [numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]] = four;
            }
            let at = at + i * STEP;
            numbers[i] = numbers[i].mul_add(V::load(call.factor.add(at)), V::load(call.shift.add(at)));
            // As soon as their numbers are there, between the products of the next ones.
            butterfly::<V, COUNT, 1>(&mut numbers, i);
            butterfly::<V, COUNT, 2>(&mut numbers, i);
            butterfly::<V, COUNT, 4>(&mut numbers, i);
            butterfly::<V, COUNT, 8>(&mut numbers, i);
        });
        unrolled!(i in 0..COUNT => {
            numbers[i] = numbers[i].mix_fours();
            *range = V::widen(*range, numbers[i]);
            numbers[i].store(to.add(at + i * STEP));
        });
    }
}

/// Sums and differences of the numbers `HALF` apart in the `2 · HALF` that end with `last`, if such a group ends there.
#[inline(always)]
unsafe fn butterfly<V: Vector, const COUNT: usize, const HALF: usize>(numbers: &mut [V; COUNT], last: usize) {
    if !(last + 1).is_multiple_of(2 * HALF) {
        return;
    }
    unrolled!(pair in 0..HALF => {
        let (first, second) = (last + 1 - 2 * HALF + pair, last + 1 - HALF + pair);
        let (a, b) = (numbers[first], numbers[second]);
        // SAFETY: the caller's processor has the instructions.
        (numbers[first], numbers[second]) = unsafe { (a.add(b), a.sub(b)) };
    });
}
