//! Activation functions from one block of numbers to another, and their derivatives.
#![expect(unsafe_code, reason = "pointers to numbers")]

use st_encoder::Activation;

use super::super::activation::{QUICK, gelu, gelu_tanh, logistic, quick_gelu, tanh};
use super::super::exponential::{erf, exp2};
use super::super::vector::Vector;

/// Numbers to activate.
#[derive(Debug)]
pub(crate) struct ActivateCall {
    pub(crate) kind: Activation,
    /// How many, a multiple of [`super::super::STEP`].
    pub(crate) len: usize,
    pub(crate) input: *const f32,
    /// Multiplied with the result; null without.
    pub(crate) factor: *const f32,
    /// May be the input.
    pub(crate) output: *mut f32,
}

/// An activation kernel.
///
/// # Safety
/// The pointers must be valid for the length.
pub(crate) type ActivateKernel = unsafe fn(&ActivateCall);

/// Numbers through which a gradient passes back.
#[derive(Debug)]
pub(crate) struct ActivationGradientCall {
    pub(crate) kind: Activation,
    /// How many, a multiple of [`super::super::STEP`].
    pub(crate) len: usize,
    /// What was activated.
    pub(crate) input: *const f32,
    /// Gradient of the output.
    pub(crate) gradient: *const f32,
    /// What the activation was multiplied with (gated networks); null without.
    pub(crate) factor: *const f32,
    /// Gradient of the input; may be `gradient`.
    pub(crate) output: *mut f32,
    /// Room for the gradient of the factor where there is one, else for the activation; may be `input`; null if not
    /// wanted.
    pub(crate) other: *mut f32,
}

/// A kernel of derivatives.
///
/// # Safety
/// The pointers must be valid for the length.
pub(crate) type ActivationGradientKernel = unsafe fn(&ActivationGradientCall);

#[inline(always)]
pub(super) unsafe fn activate<V: Vector>(call: &ActivateCall) {
    // SAFETY: the caller's promise; see `ActivateKernel`.
    unsafe {
        match call.kind {
            Activation::Gelu => each::<V>(call, |x| gelu(x)),
            Activation::GeluTanh => each::<V>(call, |x| gelu_tanh(x)),
            Activation::QuickGelu => each::<V>(call, |x| quick_gelu(x)),
            Activation::Relu => each::<V>(call, |x| x.max(V::splat(0.0))),
            Activation::Silu => each::<V>(call, |x| x.mul(logistic(x))),
            Activation::Tanh => each::<V>(call, |x| tanh(x)),
        }
    }
}

#[inline(always)]
unsafe fn each<V: Vector>(call: &ActivateCall, function: impl Fn(V) -> V) {
    for i in (0..call.len).step_by(V::LANES) {
        // SAFETY: inside the caller's numbers.
        unsafe {
            let mut result = function(V::load(call.input.add(i)));
            if !call.factor.is_null() {
                result = result.mul(V::load(call.factor.add(i)));
            }
            result.store(call.output.add(i));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn gradient<V: Vector>(call: &ActivationGradientCall) {
    // SAFETY: the caller's promise; see `ActivationGradientKernel`.
    unsafe {
        let one = V::splat(1.0);
        match call.kind {
            Activation::Gelu => each_pair::<V>(call, |x| {
                // Further down the value is 0 to a millionth; see `gelu`.
                let low = x.max(V::splat(-5.2));
                let half = V::splat(0.5);
                let below = erf(low.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))).mul_add(half, half);
                let power = exp2(x.mul(x).mul(V::splat(-0.5 * std::f32::consts::LOG2_E)));
                (low.mul(below), x.mul(power).mul_add(V::splat(DENSITY), below))
            }),
            Activation::GeluTanh => each_pair::<V>(call, |x| {
                let square = x.mul(x);
                let slope = square.mul_add(V::splat(3.0 * 0.044_715 * TWICE_ROOT), V::splat(TWICE_ROOT));
                let share = logistic(square.mul(V::splat(0.044_715)).mul_add(x, x).mul(V::splat(TWICE_ROOT)));
                let value = x.mul(share);
                (value, value.mul(one.sub(share)).mul_add(slope, share))
            }),
            Activation::QuickGelu => each_pair::<V>(call, |x| {
                let share = logistic(x.mul(V::splat(QUICK)));
                let value = x.mul(share);
                (value, value.mul(one.sub(share)).mul_add(V::splat(QUICK), share))
            }),
            Activation::Relu => each_pair::<V>(call, |x| (x.max(V::splat(0.0)), x.where_positive(one))),
            Activation::Silu => each_pair::<V>(call, |x| {
                let share = logistic(x);
                let value = x.mul(share);
                (value, value.mul(one.sub(share)).add(share))
            }),
            Activation::Tanh => each_pair::<V>(call, |x| {
                let value = tanh(x);
                (value, one.sub(value.mul(value)))
            }),
        }
    }
}

/// `1/√(2π)`.
const DENSITY: f32 = 0.398_942_3;
/// `2·√(2/π)`.
const TWICE_ROOT: f32 = 1.595_769;

/// `function` gives value and derivative.
#[inline(always)]
unsafe fn each_pair<V: Vector>(call: &ActivationGradientCall, function: impl Fn(V) -> (V, V)) {
    for i in (0..call.len).step_by(V::LANES) {
        // SAFETY: inside the caller's numbers.
        unsafe {
            let (value, slope) = function(V::load(call.input.add(i)));
            let mut gradient = V::load(call.gradient.add(i));
            let mut other = value;
            if !call.factor.is_null() {
                let factor = V::load(call.factor.add(i));
                other = value.mul(gradient);
                gradient = gradient.mul(factor);
            }
            if !call.other.is_null() {
                other.store(call.other.add(i));
            }
            gradient.mul(slope).store(call.output.add(i));
        }
    }
}
