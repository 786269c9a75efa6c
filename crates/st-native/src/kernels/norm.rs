//! Norms over rows.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use st_encoder::NormKind;

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

#[inline(always)]
pub(super) unsafe fn normalise<V: Vector>(call: &NormCall) {
    // SAFETY: the caller's promise; see `NormKernel`. Both loops of a row stay in its padded width.
    unsafe {
        let whole = call.width / V::LANES * V::LANES;
        let rest = call.width - whole;
        let zero = V::splat(0.0);
        let share = 1.0 / call.width as f32;
        for row in 0..call.rows {
            let input = call.input.add(row * call.input_stride);
            let output = call.output.add(row * call.output_stride);
            let mean = match call.kind {
                NormKind::RootMeanSquare => zero,
                NormKind::Layer => {
                    let mut sums = [zero; 4];
                    for (n, i) in (0..whole).step_by(V::LANES).enumerate() {
                        sums[n % 4] = sums[n % 4].add(V::load(input.add(i)));
                    }
                    if rest > 0 {
                        sums[0] = sums[0].add(V::load(input.add(whole)).first_then(rest, zero));
                    }
                    V::splat(sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum() * share)
                }
            };
            let mut sums = [zero; 4];
            for (n, i) in (0..whole).step_by(V::LANES).enumerate() {
                let difference = V::load(input.add(i)).sub(mean);
                sums[n % 4] = difference.mul_add(difference, sums[n % 4]);
            }
            if rest > 0 {
                let difference = V::load(input.add(whole)).sub(mean).first_then(rest, zero);
                sums[0] = difference.mul_add(difference, sums[0]);
            }
            let square = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum() * share;
            let scale = V::splat(1.0 / (square + call.epsilon).sqrt());
            for i in (0..call.width.next_multiple_of(super::STEP)).step_by(V::LANES) {
                let normal = V::load(input.add(i)).sub(mean).mul(scale);
                normal.mul_add(V::load(call.weight.add(i)), V::load(call.bias.add(i))).store(output.add(i));
            }
        }
    }
}
