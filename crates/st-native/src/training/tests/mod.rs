//! Every operation against loops in 64 bits, and against finite differences of them.

mod attention;
mod block;
mod rows;
mod weights;

use super::Compute;
use crate::InstructionSet;

/// Every instruction set that the machine has, on one thread and on three.
fn computes() -> Vec<[Compute; 2]> {
    let sets = InstructionSet::ALL.into_iter().map(|(_, set)| set).filter(|set| set.is_available());
    sets.map(|set| [1, 3].map(|threads| Compute::with(set, threads).unwrap())).collect()
}

/// Numbers between −scale and scale, the same for the same seed.
fn numbers(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / 8_388_608.0 - 1.0) * scale
    };
    (0..count).map(next).collect()
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&number| f64::from(number)).collect()
}

/// Asserts that numbers are near, by a tolerance relative to the largest, which counts as 0.05 at least: inputs are about 1,
/// and where a sum of such terms comes out smaller, 32 bits know it no better than the terms.
#[track_caller]
fn near(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.05f64, |largest, number| largest.max(number.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= tolerance * largest, "{what} {place}: {found} {expected}, of {largest}");
    }
}

/// The gradient of `Σ gradient ∘ function(x)` by central differences.
fn differences(x: &[f64], gradient: &[f64], function: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut x = x.to_vec();
    let value = |x: &[f64]| -> f64 { function(x).iter().zip(gradient).map(|(y, g)| y * g).sum() };
    (0..x.len())
        .map(|i| {
            const STEP: f64 = 1e-5;
            let old = x[i];
            x[i] = old + STEP;
            let above = value(&x);
            x[i] = old - STEP;
            let below = value(&x);
            x[i] = old;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}
