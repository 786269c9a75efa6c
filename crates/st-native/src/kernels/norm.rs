//! Norms over rows.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use st_encoder::NormKind;

use super::unrolled;
use super::vector::Vector;

/// Rows to normalise.
#[derive(Debug)]
pub(crate) struct NormCall {
    /// Which norm.
    pub(crate) kind: NormKind,
    /// Added under the root.
    pub(crate) epsilon: f32,
    /// Components; what follows up to a multiple of [`super::STEP`] is padding and becomes 0.
    pub(crate) width: usize,
    /// Weight per component, padded with zeros.
    pub(crate) weight: *const f32,
    /// Bias per component, padded with zeros.
    pub(crate) bias: *const f32,
    /// Number of rows.
    pub(crate) rows: usize,
    /// First row.
    pub(crate) input: *const f32,
    /// Numbers from one row to the next.
    pub(crate) input_stride: usize,
    /// First output row; may be the input.
    pub(crate) output: *mut f32,
    /// Numbers from one output row to the next.
    pub(crate) output_stride: usize,
}

/// A norm kernel.
///
/// # Safety
/// The pointers must be valid for the rows and the padded width.
pub(crate) type NormKernel = unsafe fn(&NormCall);

/// Rows at a time: what one row waits for, the others hide.
const GROUP: usize = 4;

#[inline(always)]
pub(super) unsafe fn normalise<V: Vector>(call: &NormCall) {
    let share = 1.0 / call.width as f32;
    for first in (0..call.rows).step_by(GROUP) {
        let count = GROUP.min(call.rows - first);
        let mut means = [0.0; GROUP];
        let mut scales = [0.0; GROUP];
        // SAFETY: the caller's promise; see `NormKernel`. All loops over a row stay in its padded width.
        unsafe {
            let input = |row: usize| call.input.add((first + row) * call.input_stride);
            if call.kind == NormKind::Layer {
                for (row, mean) in means.iter_mut().enumerate().take(count) {
                    *mean = sum::<V>(call.width, input(row)) * share;
                }
            }
            for (row, (mean, scale)) in means.iter().zip(&mut scales).enumerate().take(count) {
                let square = squares::<V>(call.width, input(row), V::splat(*mean)) * share;
                *scale = 1.0 / (square + call.epsilon).sqrt();
            }
            for (row, (mean, scale)) in means.iter().zip(&scales).enumerate().take(count) {
                let (mean, scale) = (V::splat(*mean), V::splat(*scale));
                let (input, output) = (input(row), call.output.add((first + row) * call.output_stride));
                for i in (0..call.width.next_multiple_of(super::STEP)).step_by(V::LANES) {
                    let normal = V::load(input.add(i)).sub(mean).mul(scale);
                    normal.mul_add(V::load(call.weight.add(i)), V::load(call.bias.add(i))).store(output.add(i));
                }
            }
        }
    }
}

/// Sum of a row.
#[inline(always)]
unsafe fn sum<V: Vector>(width: usize, row: *const f32) -> f32 {
    // SAFETY: the caller's row has the width, padded to whole vectors.
    unsafe { total::<V, false>(width, row, V::splat(0.0)) }
}

/// Sum of the squares of a row's differences to its mean.
#[inline(always)]
unsafe fn squares<V: Vector>(width: usize, row: *const f32, mean: V) -> f32 {
    // SAFETY: as in `sum`.
    unsafe { total::<V, true>(width, row, mean) }
}

/// Sums a row's numbers, or the squares of their differences to `mean`, in four sums in turn.
#[inline(always)]
unsafe fn total<V: Vector, const SQUARES: bool>(width: usize, row: *const f32, mean: V) -> f32 {
    let whole = width / V::LANES;
    // SAFETY: the caller's row has the width, padded to whole vectors.
    unsafe {
        let zero = V::splat(0.0);
        let mut sums = [zero; 4];
        let mut vector = 0;
        while vector < whole {
            unrolled!(n in 0..4 => {
                if vector + n < whole {
                    let numbers = V::load(row.add((vector + n) * V::LANES));
                    sums[n] = if SQUARES {
                        let difference = numbers.sub(mean);
                        difference.mul_add(difference, sums[n])
                    } else {
                        sums[n].add(numbers)
                    };
                }
            });
            vector += 4;
        }
        let rest = width - whole * V::LANES;
        if rest > 0 {
            let numbers = V::load(row.add(whole * V::LANES));
            sums[0] = if SQUARES {
                let difference = numbers.sub(mean).first_then(rest, zero);
                difference.mul_add(difference, sums[0])
            } else {
                sums[0].add(numbers.first_then(rest, zero))
            };
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
    }
}
