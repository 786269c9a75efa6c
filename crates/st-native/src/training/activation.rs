//! Activation functions, plain and gated, and their gradients.
#![expect(unsafe_code, reason = "calls of kernels")]

use st_encoder::Activation;

use super::compute::Compute;
use crate::kernels::STEP;
use crate::kernels::training::activation::{ActivateCall, ActivationGradientCall};
use crate::split::Shared;

/// Numbers that a thread takes at once, at least.
const GRAIN: usize = 1 << 13;

impl Compute {
    /// `output = activation(input)`, times `factor` where there is one (gated feed-forward networks).
    ///
    /// # Panics
    /// When lengths differ.
    pub fn activate(&self, kind: Activation, input: &[f32], factor: Option<&[f32]>, output: &mut [f32]) {
        let len = input.len();
        assert!(output.len() == len && factor.is_none_or(|factor| factor.len() == len), "numbers of another length");
        let shared = Shared::new(output);
        self.over(len, GRAIN, &|range| {
            // SAFETY: ranges do not overlap.
            let output = unsafe { shared.part(range.clone()) };
            self.activate_here(kind, &input[range.clone()], factor.map(|factor| &factor[range]), output);
        });
    }

    /// The same on this thread.
    pub(super) fn activate_here(&self, kind: Activation, input: &[f32], factor: Option<&[f32]>, output: &mut [f32]) {
        let len = input.len().min(output.len());
        let whole = len / STEP * STEP;
        let call = |len, input: &[f32], factor: Option<&[f32]>, output: &mut [f32]| {
            let factor = factor.map_or(std::ptr::null(), <[f32]>::as_ptr);
            let call = ActivateCall { kind, len, input: input.as_ptr(), factor, output: output.as_mut_ptr() };
            // SAFETY: all have this length.
            unsafe { (self.training.activate)(&call) };
        };
        call(whole, input, factor, output);
        if whole < len {
            let mut result = [0.0; STEP];
            call(
                STEP,
                &tail(&input[whole..]),
                factor.map(|factor| tail(&factor[whole..])).as_ref().map(|f| &f[..]),
                &mut result,
            );
            output[whole..].copy_from_slice(&result[..len - whole]);
        }
    }

    /// `output = activation′(input) ∘ gradient`. In a gated network (`factor` is there) the gradient is first multiplied
    /// with the factor, and `factor_gradient = activation(input) ∘ gradient`.
    ///
    /// # Panics
    /// When lengths differ, or only one of `factor` and `factor_gradient` is there.
    pub fn activation_gradient(
        &self,
        kind: Activation,
        input: &[f32],
        factor: Option<&[f32]>,
        gradient: &[f32],
        output: &mut [f32],
        factor_gradient: Option<&mut [f32]>,
    ) {
        let len = input.len();
        assert!(output.len() == len && gradient.len() == len, "numbers of another length");
        assert!(factor.is_none_or(|factor| factor.len() == len), "numbers of another length");
        assert!(factor_gradient.as_ref().is_none_or(|factor| factor.len() == len), "numbers of another length");
        assert_eq!(factor.is_some(), factor_gradient.is_some(), "a factor and its gradient");
        let (shared, shared_factor) = (Shared::new(output), factor_gradient.map(Shared::new));
        self.over(len, GRAIN, &|range| {
            // SAFETY: ranges do not overlap.
            let (output, other) =
                unsafe { (shared.part(range.clone()), shared_factor.as_ref().map(|other| other.part(range.clone()))) };
            let (from, factor) = (&input[range.clone()], factor.map(|factor| &factor[range.clone()]));
            let gradient = &gradient[range];
            let whole = from.len() / STEP * STEP;
            let call =
                |len, input: &[f32], factor: Option<&[f32]>, gradient: &[f32], output: &mut [f32], other: *mut f32| {
                    let call = ActivationGradientCall {
                        kind,
                        len,
                        input: input.as_ptr(),
                        gradient: gradient.as_ptr(),
                        factor: factor.map_or(std::ptr::null(), <[f32]>::as_ptr),
                        output: output.as_mut_ptr(),
                        other,
                    };
                    // SAFETY: all have this length.
                    unsafe { (self.training.activation_gradient)(&call) };
                };
            let (mut result, mut result_other) = ([0.0; STEP], [0.0; STEP]);
            let other_start = other.as_ref().map_or(std::ptr::null_mut(), |other| other.as_ptr().cast_mut());
            call(whole, from, factor, gradient, output, other_start);
            if whole < from.len() {
                let rest = from.len() - whole;
                let factor = factor.map(|factor| tail(&factor[whole..]));
                let factor = factor.as_ref().map(|factor| &factor[..]);
                let other_tail = if other.is_some() { result_other.as_mut_ptr() } else { std::ptr::null_mut() };
                call(STEP, &tail(&from[whole..]), factor, &tail(&gradient[whole..]), &mut result, other_tail);
                output[whole..].copy_from_slice(&result[..rest]);
                if let Some(other) = other {
                    other[whole..].copy_from_slice(&result_other[..rest]);
                }
            }
        });
    }

    /// `gradient` becomes that of the input, and `input` its activation; a multiple of [`STEP`], on this thread.
    pub(super) fn activation_gradient_here(
        &self,
        kind: Activation,
        input: &mut [f32],
        gradient: &[f32],
        output: &mut [f32],
    ) {
        assert!(input.len() == gradient.len() && input.len() == output.len(), "numbers of another length");
        assert!(input.len().is_multiple_of(STEP), "whole steps");
        let call = ActivationGradientCall {
            kind,
            len: input.len(),
            input: input.as_ptr(),
            gradient: gradient.as_ptr(),
            factor: std::ptr::null(),
            output: output.as_mut_ptr(),
            other: input.as_mut_ptr(),
        };
        // SAFETY: all have this length; a number of the input is read before it is written.
        unsafe { (self.training.activation_gradient)(&call) };
    }
}

/// The last few numbers, then zeros.
fn tail(numbers: &[f32]) -> [f32; STEP] {
    let mut result = [0.0; STEP];
    result[..numbers.len()].copy_from_slice(numbers);
    result
}
