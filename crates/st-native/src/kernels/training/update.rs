//! Passes over parameters: an optimiser's step, norms of gradients, sums.
#![expect(unsafe_code, reason = "pointers to numbers")]

use super::super::vector::Vector;

/// Parameters to update by one step of Adam with decoupled weight decay.
#[derive(Debug)]
pub(crate) struct AdamCall {
    /// How many, a multiple of [`super::super::STEP`].
    pub(crate) len: usize,
    pub(crate) parameter: *mut f32,
    pub(crate) gradient: *const f32,
    /// Running mean of the gradients.
    pub(crate) mean: *mut f32,
    /// Running mean of their squares.
    pub(crate) square: *mut f32,
    /// Factor on the gradient (clipping).
    pub(crate) gradient_factor: f32,
    /// `1 − learning rate · weight decay`.
    pub(crate) kept: f32,
    /// `1 − β₁`.
    pub(crate) mean_share: f32,
    /// `β₂`.
    pub(crate) square_kept: f32,
    /// `1 − β₂`.
    pub(crate) square_share: f32,
    /// `learning rate / (1 − β₁ᵗ)`.
    pub(crate) step: f32,
    /// `√(1 − β₂ᵗ)`.
    pub(crate) correction: f32,
    /// Added to the root of the mean square.
    pub(crate) epsilon: f32,
}

/// A kernel of an optimiser's step.
///
/// # Safety
/// The pointers must be valid for the length.
pub(crate) type AdamKernel = unsafe fn(&AdamCall);
/// Sum of the squares of numbers; their count is a multiple of [`super::super::STEP`].
///
/// # Safety
/// The pointer must be valid for the count.
pub(crate) type SumOfSquaresKernel = unsafe fn(*const f32, usize) -> f64;
/// `to += from · factor`; the count is a multiple of [`super::super::STEP`].
///
/// # Safety
/// The pointers must be valid for the count.
pub(crate) type AddScaledKernel = unsafe fn(*mut f32, *const f32, f32, usize);

#[inline(always)]
pub(super) unsafe fn adam<V: Vector>(call: &AdamCall) {
    // SAFETY: the caller's promise; see `AdamKernel`.
    unsafe {
        let minus_step = V::splat(-call.step);
        let (correction, epsilon) = (V::splat(call.correction), V::splat(call.epsilon));
        for i in (0..call.len).step_by(V::LANES) {
            let gradient = V::load(call.gradient.add(i)).mul(V::splat(call.gradient_factor));
            let old = V::load(call.mean.add(i));
            let mean = gradient.sub(old).mul_add(V::splat(call.mean_share), old);
            mean.store(call.mean.add(i));
            let old = V::load(call.square.add(i)).mul(V::splat(call.square_kept));
            let square = gradient.mul(V::splat(call.square_share)).mul_add(gradient, old);
            square.store(call.square.add(i));
            let root = square.sqrt().div(correction).add(epsilon);
            let parameter = V::load(call.parameter.add(i)).mul(V::splat(call.kept));
            minus_step.mul_add(mean.div(root), parameter).store(call.parameter.add(i));
        }
    }
}

/// Squares are summed in 32 bits over so many numbers, then in 64.
const SPAN: usize = 4096;

#[inline(always)]
pub(super) unsafe fn sum_of_squares<V: Vector>(numbers: *const f32, len: usize) -> f64 {
    let mut total = 0.0;
    let mut start = 0;
    while start < len {
        let end = (start + SPAN).min(len);
        // SAFETY: the caller's numbers.
        unsafe {
            let mut sums = [V::splat(0.0); 4];
            for (n, i) in (start..end).step_by(V::LANES).enumerate() {
                let number = V::load(numbers.add(i));
                sums[n % 4] = number.mul_add(number, sums[n % 4]);
            }
            total += f64::from(sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum());
        }
        start = end;
    }
    total
}

#[inline(always)]
pub(super) unsafe fn add_scaled<V: Vector>(to: *mut f32, from: *const f32, factor: f32, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: the caller's numbers.
        unsafe {
            V::load(from.add(i)).mul_add(V::splat(factor), V::load(to.add(i))).store(to.add(i));
        }
    }
}
