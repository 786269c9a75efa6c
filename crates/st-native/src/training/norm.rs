//! Norms over rows and their gradients.
#![expect(unsafe_code, reason = "calls of kernels")]

use st_encoder::NormKind;

use super::block::NormWeights;
use super::compute::Compute;
use super::pool::Pooled;
use crate::kernels::STEP;
use crate::kernels::norm::NormCall;
use crate::kernels::training::norm::NormGradientCall;
use crate::split::Shared;

/// Rows whose parts of the weight's gradient are summed together. Part of what a result is, to the bit.
const BLOCK: usize = 72;

/// A norm's weights padded with zeros.
pub(super) struct PaddedNorm {
    kind: NormKind,
    epsilon: f32,
    pub(super) width: usize,
    pub(super) padded: usize,
    weight: Pooled,
    bias: Pooled,
}

impl Compute {
    pub(super) fn padded_norm(&self, norm: &NormWeights<'_>) -> PaddedNorm {
        let width = norm.weight.len();
        assert!(norm.bias.is_none_or(|bias| bias.len() == width), "a bias of another length");
        let padded = width.next_multiple_of(STEP);
        let (mut weight, mut bias) = (self.numbers(padded), self.numbers(padded));
        weight[..width].copy_from_slice(norm.weight);
        weight[width..].fill(0.0);
        bias.fill(0.0);
        if let Some(numbers) = norm.bias {
            bias[..width].copy_from_slice(numbers);
        }
        PaddedNorm { kind: norm.kind, epsilon: norm.epsilon, width, padded, weight, bias }
    }

    /// Rows of padded width.
    pub(super) fn norm_rows(&self, norm: &PaddedNorm, input: &[f32], output: &mut [f32]) {
        assert!(input.len() == output.len() && input.len().is_multiple_of(norm.padded), "rows of another length");
        let call = NormCall {
            kind: norm.kind,
            epsilon: norm.epsilon,
            width: norm.width,
            weight: norm.weight.as_ptr(),
            bias: norm.bias.as_ptr(),
            rows: input.len() / norm.padded,
            input: input.as_ptr(),
            input_stride: norm.padded,
            output: output.as_mut_ptr(),
            output_stride: norm.padded,
        };
        // SAFETY: rows and weights have the padded width.
        unsafe { (self.kernels.normalise)(&call) };
    }

    /// Rows of padded width; `input` becomes its gradient, and the rows' part of the weights' gradients (weight, then bias,
    /// each in padded width) is written to `part`.
    pub(super) fn norm_gradient_rows(&self, norm: &PaddedNorm, input: &mut [f32], gradient: &[f32], part: &mut [f32]) {
        let padded = norm.padded;
        assert!(input.len() == gradient.len() && input.len().is_multiple_of(padded), "rows of another length");
        assert_eq!(part.len(), 2 * padded, "room for two weights");
        part.fill(0.0);
        let (weight, bias) = part.split_at_mut(padded);
        let call = NormGradientCall {
            kind: norm.kind,
            epsilon: norm.epsilon,
            width: norm.width,
            weight: norm.weight.as_ptr(),
            rows: input.len() / padded,
            input: input.as_ptr(),
            gradient: gradient.as_ptr(),
            output: input.as_mut_ptr(),
            weight_gradient: weight.as_mut_ptr(),
            bias_gradient: bias.as_mut_ptr(),
        };
        // SAFETY: rows and weights have the padded width; a number of the input is read before it is written.
        unsafe { (self.training.norm_gradient)(&call) };
    }

    /// Adds the parts of weights' gradients in order.
    pub(super) fn norm_parts(norm: &PaddedNorm, parts: &[f32], weight: Option<&mut [f32]>, bias: Option<&mut [f32]>) {
        for (target, start) in [(weight, 0), (bias, norm.padded)] {
            let Some(target) = target else { continue };
            for part in parts.chunks_exact(2 * norm.padded) {
                target.iter_mut().zip(&part[start..]).for_each(|(to, from)| *to += from);
            }
        }
    }

    /// Normalises rows of the weight's length.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn norm(&self, norm: &NormWeights<'_>, input: &[f32], output: &mut [f32]) {
        let norm = self.padded_norm(norm);
        let (width, padded) = (norm.width, norm.padded);
        assert!(input.len() == output.len() && input.len().is_multiple_of(width.max(1)), "rows of another length");
        let shared = Shared::new(output);
        self.over(input.len() / width.max(1), BLOCK, &|rows| {
            for start in rows.clone().step_by(BLOCK) {
                let place = start * width..rows.end.min(start + BLOCK) * width;
                // SAFETY: ranges of rows do not overlap.
                let output = unsafe { shared.part(place.clone()) };
                if width == padded {
                    self.norm_rows(&norm, &input[place], output);
                } else {
                    let from = self.padded(&input[place], width);
                    let mut to = self.numbers(from.len());
                    self.norm_rows(&norm, &from, &mut to);
                    unpad(&to, output, width);
                }
            }
        });
    }

    /// The gradients of a norm: that of its input goes to `output`; those of its weight and bias are added to what is there.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn norm_gradient(
        &self,
        norm: &NormWeights<'_>,
        input: &[f32],
        gradient: &[f32],
        output: &mut [f32],
        weight: Option<&mut [f32]>,
        bias: Option<&mut [f32]>,
    ) {
        let norm = self.padded_norm(norm);
        let (width, padded) = (norm.width, norm.padded);
        assert!(input.len() == output.len() && input.len().is_multiple_of(width.max(1)), "rows of another length");
        assert_eq!(input.len(), gradient.len(), "rows of another length");
        assert!([&weight, &bias].iter().all(|g| g.as_ref().is_none_or(|g| g.len() == width)), "a weight's length");
        let rows = input.len() / width.max(1);
        let mut parts = self.numbers(rows.div_ceil(BLOCK) * 2 * padded);
        let (shared, shared_parts) = (Shared::new(output), Shared::new(&mut parts));
        self.over(rows, BLOCK, &|rows| {
            for start in rows.clone().step_by(BLOCK) {
                let place = start * width..rows.end.min(start + BLOCK) * width;
                let part = start / BLOCK * 2 * padded;
                // SAFETY: ranges of rows do not overlap, nor do blocks.
                let (output, part) =
                    unsafe { (shared.part(place.clone()), shared_parts.part(part..part + 2 * padded)) };
                if width == padded {
                    output.copy_from_slice(&input[place.clone()]);
                    self.norm_gradient_rows(&norm, output, &gradient[place], part);
                } else {
                    let mut from = self.padded(&input[place.clone()], width);
                    let gradient = self.padded(&gradient[place], width);
                    self.norm_gradient_rows(&norm, &mut from, &gradient, part);
                    unpad(&from, output, width);
                }
            }
        });
        Self::norm_parts(&norm, &parts, weight, bias);
    }

    /// Rows padded with zeros.
    fn padded(&self, rows: &[f32], width: usize) -> Pooled {
        let padded = width.next_multiple_of(STEP);
        let mut result = self.numbers(rows.len() / width * padded);
        for (to, from) in result.chunks_exact_mut(padded).zip(rows.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
            to[width..].fill(0.0);
        }
        result
    }
}

fn unpad(rows: &[f32], output: &mut [f32], width: usize) {
    for (to, from) in output.chunks_exact_mut(width).zip(rows.chunks_exact(width.next_multiple_of(STEP))) {
        to.copy_from_slice(&from[..width]);
    }
}
