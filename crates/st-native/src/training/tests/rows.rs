use proptest::prelude::*;
use st_encoder::{Activation, NormKind};

use super::super::NormWeights;
use super::{computes, differences, near, numbers, wide};

const KINDS: [Activation; 6] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Relu,
    Activation::Silu,
    Activation::Tanh,
];

/// By its Taylor series near 0, by the continued fraction of its complement elsewhere; good to 1e-13.
fn error_function(x: f64) -> f64 {
    if x.abs() > 2.5 {
        let far = x.abs();
        let fraction = (1..120).rev().fold(0.0, |fraction, n| f64::from(n) / 2.0 / (far + fraction));
        return x.signum() * (1.0 - (-far * far).exp() / std::f64::consts::PI.sqrt() / (far + fraction));
    }
    let (mut sum, mut term) = (x, x);
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

pub(super) fn activation(kind: Activation, x: f64) -> f64 {
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    match kind {
        Activation::Gelu => 0.5 * x * (1.0 + error_function(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => x * logistic(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))),
        Activation::QuickGelu => x * logistic(1.702 * x),
        Activation::Relu => x.max(0.0),
        Activation::Silu => x * logistic(x),
        Activation::Tanh => x.tanh(),
    }
}

pub(super) fn norm(kind: NormKind, epsilon: f64, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let width = weight.len();
    x.chunks(width)
        .flat_map(|row| {
            let mean = if kind == NormKind::Layer { row.iter().sum::<f64>() / width as f64 } else { 0.0 };
            let square = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let scale = 1.0 / (square + epsilon).sqrt();
            row.iter()
                .zip(weight.iter().zip(bias))
                .map(move |(x, (w, b))| (x - mean) * scale * w + b)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn activations_and_slopes_are_exact_to_two_millionths() {
    let x: Vec<f32> = (-500..500).map(|i| i as f32 * 0.0123).chain([0.0, 1e-6, -1e-6]).collect();
    let factor = numbers(x.len(), 4, 1.0);
    let gradient = numbers(x.len(), 5, 1.0);
    for (compute, kind) in computes().iter().flatten().flat_map(|compute| KINDS.map(|kind| (compute, kind))) {
        let what = format!("{} {kind:?}", compute.instructions());
        let values: Vec<f64> = wide(&x).into_iter().map(|x| activation(kind, x)).collect();
        let slopes: Vec<f64> = wide(&x)
            .into_iter()
            .map(|x| match kind {
                Activation::Relu => f64::from(u8::from(x > 0.0)),
                _ => (activation(kind, x + 1e-5) - activation(kind, x - 1e-5)) / 2e-5,
            })
            .collect();
        let times = |a: &[f64], b: &[f32]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).collect() };
        let (mut y, mut dx, mut df) = (vec![9.0; x.len()], vec![9.0; x.len()], vec![9.0; x.len()]);
        compute.activate(kind, &x, None, &mut y);
        // The largest value is about 6, of tanh 1: eight steps of a 32-bit float there.
        near(&y, &values, 5e-7, &what);
        compute.activate(kind, &x, Some(&factor), &mut y);
        near(&y, &times(&values, &factor), 5e-7, &what);
        compute.activation_gradient(kind, &x, None, &gradient, &mut dx, None);
        near(&dx, &times(&slopes, &gradient), 2e-6, &what);
        compute.activation_gradient(kind, &x, Some(&factor), &gradient, &mut dx, Some(&mut df));
        near(&dx, &times(&times(&slopes, &gradient), &factor), 2e-6, &what);
        near(&df, &times(&values, &gradient), 5e-7, &what);
    }
    for compute in computes().iter().flatten() {
        let far = [-1e4, -60.0, 60.0, 1e4];
        let mut slopes = [9.0; 4];
        for kind in [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu, Activation::Silu]
        {
            compute.activation_gradient(kind, &far, None, &[1.0; 4], &mut slopes, None);
            near(&slopes, &[0.0, 0.0, 1.0, 1.0], 1e-6, "far away");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn norms_and_gradients_are_those_of_plain_loops(
        rows in 1usize..100, width in 2usize..70, rms in any::<bool>(), seed in any::<u64>(),
    ) {
        let kind = if rms { NormKind::RootMeanSquare } else { NormKind::Layer };
        let (weight, bias) = (numbers(width, seed, 1.0), numbers(width, seed + 1, 1.0));
        let (x, g) = (numbers(rows * width, seed + 2, 2.0), numbers(rows * width, seed + 3, 1.0));
        let epsilon = 0.05;
        let weights = NormWeights { kind, epsilon, weight: &weight, bias: Some(&bias) };
        let run = |x: &[f64], w: &[f64], b: &[f64]| norm(kind, f64::from(epsilon), x, w, b);
        let (x64, g64, w64, b64) = (wide(&x), wide(&g), wide(&weight), wide(&bias));
        let y = run(&x64, &w64, &b64);
        // Rows do not depend on each other.
        let dx: Vec<f64> = x64.chunks(width).zip(g64.chunks(width)).flat_map(|(x, g)| differences(x, g, |x| run(x, &w64, &b64))).collect();
        let dw = differences(&w64, &g64, |w| run(&x64, w, &b64));
        let db = differences(&b64, &g64, |b| run(&x64, &w64, b));
        for pair in computes() {
            let mut results = Vec::new();
            for compute in &pair {
                let (mut found, mut found_dx) = (vec![9.0; x.len()], vec![9.0; x.len()]);
                let (mut found_dw, mut found_db) = (vec![0.0; width], vec![0.0; width]);
                compute.norm(&weights, &x, &mut found);
                compute.norm_gradient(&weights, &x, &g, &mut found_dx, Some(&mut found_dw), Some(&mut found_db));
                near(&found, &y, 2e-6, "y");
                near(&found_dx, &dx, 2e-5, "dx");
                near(&found_dw, &dw, 2e-5, "dw");
                near(&found_db, &db, 2e-5, "db");
                results.push((found, found_dx, found_dw, found_db));
            }
            prop_assert_eq!(&results[0], &results[1], "threads change nothing");
        }
    }
}
