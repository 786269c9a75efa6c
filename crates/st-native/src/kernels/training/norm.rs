//! Gradients of norms over rows.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use st_encoder::NormKind;

use super::super::vector::Vector;

/// Rows through which a gradient passes back.
#[derive(Debug)]
pub(crate) struct NormGradientCall {
    /// Which norm.
    pub(crate) kind: NormKind,
    /// Added under the root.
    pub(crate) epsilon: f32,
    /// Components; rows are padded to a multiple of [`super::super::STEP`] with zeros in input, gradient and weight.
    pub(crate) width: usize,
    /// Weight per component.
    pub(crate) weight: *const f32,
    /// Number of rows.
    pub(crate) rows: usize,
    /// What was normalised, row after padded row.
    pub(crate) input: *const f32,
    /// Gradient of the result, laid out alike.
    pub(crate) gradient: *const f32,
    /// Gradient of the input; may be `gradient`.
    pub(crate) output: *mut f32,
    /// The rows' part of the weight's gradient is added here.
    pub(crate) weight_gradient: *mut f32,
    /// The rows' part of the bias's gradient is added here.
    pub(crate) bias_gradient: *mut f32,
}

/// A kernel of a norm's gradients.
///
/// # Safety
/// The pointers must be valid for the rows and the padded width.
pub(crate) type NormGradientKernel = unsafe fn(&NormGradientCall);

#[inline(always)]
pub(super) unsafe fn gradient<V: Vector>(call: &NormGradientCall) {
    // SAFETY: the caller's promise; see `NormGradientKernel`.
    unsafe {
        let zero = V::splat(0.0);
        let share = 1.0 / call.width as f32;
        let padded = call.width.next_multiple_of(super::super::STEP);
        let whole = call.width / V::LANES * V::LANES;
        let rest = call.width - whole;
        for row in 0..call.rows {
            let input = call.input.add(row * padded);
            let gradient = call.gradient.add(row * padded);
            let output = call.output.add(row * padded);
            let mean = match call.kind {
                NormKind::RootMeanSquare => zero,
                NormKind::Layer => {
                    let mut sums = [zero; 4];
                    for (n, i) in (0..padded).step_by(V::LANES).enumerate() {
                        sums[n % 4] = sums[n % 4].add(V::load(input.add(i)));
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
            // Sums of the gradient of the normalised row, alone and times that row.
            let (mut alone, mut along) = ([zero; 2], [zero; 2]);
            for (n, i) in (0..padded).step_by(V::LANES).enumerate() {
                let gradient = V::load(gradient.add(i));
                let normal = V::load(input.add(i)).sub(mean).mul(scale);
                let weighted = gradient.mul(V::load(call.weight.add(i)));
                alone[n % 2] = alone[n % 2].add(weighted);
                along[n % 2] = weighted.mul_add(normal, along[n % 2]);
                let at = call.weight_gradient.add(i);
                gradient.mul_add(normal, V::load(at)).store(at);
                let at = call.bias_gradient.add(i);
                V::load(at).add(gradient).store(at);
            }
            let alone = match call.kind {
                NormKind::RootMeanSquare => zero,
                NormKind::Layer => V::splat(alone[0].add(alone[1]).sum() * share),
            };
            let along = V::splat(along[0].add(along[1]).sum() * -share);
            for i in (0..padded).step_by(V::LANES) {
                let normal = V::load(input.add(i)).sub(mean).mul(scale);
                let weighted = V::load(gradient.add(i)).mul(V::load(call.weight.add(i)));
                normal.mul_add(along, weighted.sub(alone)).mul(scale).store(output.add(i));
            }
        }
    }
}
