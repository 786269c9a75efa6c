//! Steps of an optimiser, norms of gradients, sums.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::sync::atomic::{AtomicU64, Ordering};

use super::compute::Compute;
use crate::kernels::STEP;
use crate::kernels::training::update::AdamCall;
use crate::split::Shared;

/// Numbers that a thread takes at once.
const GRAIN: usize = 1 << 14;

/// One step of AdamW (Loshchilov & Hutter 2019), in PyTorch's order of operations:
/// `p ← p·(1 − lr·λ)`, `m ← m + (g − m)·(1 − β₁)`, `v ← β₂·v + (1 − β₂)·g²`,
/// `p ← p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)`.
///
/// ```
/// use st_native::training::{AdamStep, Compute};
///
/// let step = AdamStep { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, number: 1, gradient_factor: 1.0 };
/// let (mut parameter, mut mean, mut square) = ([1.0], [0.0], [0.0]);
/// Compute::detect().adam(&step, &mut parameter, &[0.5], &mut mean, &mut square);
/// assert!((parameter[0] - 0.9).abs() < 1e-6, "the first step goes by the learning rate");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// `lr`.
    pub learning_rate: f64,
    /// `β₁`.
    pub beta1: f64,
    /// `β₂`.
    pub beta2: f64,
    /// `ε`.
    pub epsilon: f64,
    /// `λ`.
    pub weight_decay: f64,
    /// `t`, from 1.
    pub number: u64,
    /// The gradient is first multiplied with this: what clipping its norm gives, or 1.
    pub gradient_factor: f64,
}

impl Compute {
    /// Updates parameters and the running means of gradients and of their squares.
    ///
    /// # Panics
    /// When lengths differ.
    pub fn adam(&self, step: &AdamStep, parameter: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let len = parameter.len();
        assert!(gradient.len() == len && mean.len() == len && square.len() == len, "numbers of another length");
        let power = step.number.min(i32::MAX as u64) as i32;
        let constants = AdamCall {
            len: 0,
            parameter: std::ptr::null_mut(),
            gradient: std::ptr::null(),
            mean: std::ptr::null_mut(),
            square: std::ptr::null_mut(),
            gradient_factor: step.gradient_factor as f32,
            kept: (1.0 - step.learning_rate * step.weight_decay) as f32,
            mean_share: (1.0 - step.beta1) as f32,
            square_kept: step.beta2 as f32,
            square_share: (1.0 - step.beta2) as f32,
            step: (step.learning_rate / (1.0 - step.beta1.powi(power))) as f32,
            correction: (1.0 - step.beta2.powi(power)).sqrt() as f32,
            epsilon: step.epsilon as f32,
        };
        let shared = [Shared::new(parameter), Shared::new(mean), Shared::new(square)];
        self.over(len, GRAIN, &|range| {
            // SAFETY: ranges do not overlap.
            let [parameter, mean, square] = shared.each_ref().map(|shared| unsafe { shared.part(range.clone()) });
            let gradient = &gradient[range];
            let whole = gradient.len() / STEP * STEP;
            let call = |len, parameter: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]| {
                let call = AdamCall {
                    len,
                    parameter: parameter.as_mut_ptr(),
                    gradient: gradient.as_ptr(),
                    mean: mean.as_mut_ptr(),
                    square: square.as_mut_ptr(),
                    ..constants
                };
                // SAFETY: all have this length.
                unsafe { (self.training.adam)(&call) };
            };
            call(whole, parameter, gradient, mean, square);
            if whole < gradient.len() {
                let mut rest = [[0.0; STEP]; 4];
                let count = gradient.len() - whole;
                for (rest, from) in rest.iter_mut().zip([&*parameter, gradient, mean, square]) {
                    rest[..count].copy_from_slice(&from[whole..]);
                }
                let [p, g, m, s] = &mut rest;
                call(STEP, p, g, m, s);
                parameter[whole..].copy_from_slice(&p[..count]);
                mean[whole..].copy_from_slice(&m[..count]);
                square[whole..].copy_from_slice(&s[..count]);
            }
        });
    }

    /// Sum of the squares of numbers, for the norm of gradients.
    ///
    /// ```
    /// assert_eq!(st_native::training::Compute::detect().sum_of_squares(&[3.0, 4.0]), 25.0);
    /// ```
    #[must_use]
    pub fn sum_of_squares(&self, numbers: &[f32]) -> f64 {
        let parts: Vec<AtomicU64> = (0..numbers.len().div_ceil(GRAIN)).map(|_| AtomicU64::new(0)).collect();
        self.over(numbers.len(), GRAIN, &|range| {
            for start in range.clone().step_by(GRAIN) {
                let block = &numbers[start..range.end.min(start + GRAIN)];
                let (whole, rest) = block.split_at(block.len() / STEP * STEP);
                // SAFETY: so many numbers are there.
                let sum = unsafe { (self.training.sum_of_squares)(whole.as_ptr(), whole.len()) };
                let sum = sum + rest.iter().map(|&number| f64::from(number) * f64::from(number)).sum::<f64>();
                parts[start / GRAIN].store(sum.to_bits(), Ordering::Relaxed);
            }
        });
        parts.into_iter().map(|part| f64::from_bits(part.into_inner())).sum()
    }

    /// `to += from`.
    ///
    /// # Panics
    /// When lengths differ.
    pub fn add(&self, to: &mut [f32], from: &[f32]) {
        assert_eq!(to.len(), from.len(), "numbers of another length");
        let shared = Shared::new(to);
        self.over(from.len(), GRAIN, &|range| {
            // SAFETY: ranges do not overlap.
            let to = unsafe { shared.part(range.clone()) };
            let from = &from[range];
            let whole = from.len() / STEP * STEP;
            // SAFETY: both have this length.
            unsafe { (self.training.add_scaled)(to.as_mut_ptr(), from.as_ptr(), 1.0, whole) };
            to[whole..].iter_mut().zip(&from[whole..]).for_each(|(to, from)| *to += from);
        });
    }
}
