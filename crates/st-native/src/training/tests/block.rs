use st_encoder::{Activation, AttentionMask, NormKind};

use super::super::{Attention, Block, BlockDropout, BlockGradients, DropoutFactors, NormWeights, Weight};
use super::attention::{attention, factors};
use super::rows::{activation, norm};
use super::{computes, differences, near, numbers, wide};

const HIDDEN: usize = 16;
const SHAPE: Attention = Attention { heads: 2, key_value_heads: 2, head: 8, scale: 0.6, mask: AttentionMask::Full };
const OFFSETS: [usize; 4] = [0, 3, 4, 9];
const REACH: usize = 5;

/// Numbers of each parameter, in the order of `BlockGradients`: query, key, value, output, norm, up, down, norm (weight
/// and bias of each), bias of attention.
const SIZES: [usize; 17] =
    [256, 16, 256, 16, 256, 16, 256, 16, 16, 16, 512, 32, 512, 16, 16, 16, SHAPE.heads * (2 * REACH - 1)];

fn linear(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    let row = |x: &[f64]| -> Vec<f64> {
        weight.chunks(inputs).zip(bias).map(|(w, b)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
    };
    x.chunks(inputs).flat_map(row).collect()
}

/// The block in 64 bits.
fn block(x: &[f64], parameters: &[Vec<f64>], dropped: bool) -> Vec<f64> {
    let p = parameters;
    let parts = [0, 2, 4].map(|i| linear(x, &p[i], &p[i + 1]));
    let packed: Vec<f64> = (0..x.len() / HIDDEN)
        .flat_map(|row| parts.iter().flat_map(move |part| &part[row * HIDDEN..(row + 1) * HIDDEN]).copied())
        .collect();
    let drop: Option<DropoutFactors<'_>> = if dropped { Some(&factors) } else { None };
    let context = attention(&SHAPE, &packed, &OFFSETS, Some(&p[16]), drop);
    let residual = |x: &[f64], mut branch: Vec<f64>| -> Vec<f64> {
        for (row, branch) in branch.chunks_mut(HIDDEN).enumerate() {
            let mut row_factors = [1.0; HIDDEN];
            if dropped {
                factors(row as u64, &mut row_factors);
            }
            branch.iter_mut().zip(row_factors).for_each(|(b, f)| *b *= f64::from(f));
        }
        branch.iter().zip(x).map(|(b, x)| b + x).collect()
    };
    let sum = residual(x, linear(&context, &p[6], &p[7]));
    let normed = norm(NormKind::Layer, f64::from(1e-5f32), &sum, &p[8], &p[9]);
    let inner: Vec<f64> =
        linear(&normed, &p[10], &p[11]).into_iter().map(|x| activation(Activation::Gelu, x)).collect();
    let sum = residual(&normed, linear(&inner, &p[12], &p[13]));
    norm(NormKind::Layer, f64::from(1e-5f32), &sum, &p[14], &p[15])
}

#[test]
fn a_block_and_its_gradients_are_those_of_plain_loops() {
    let tokens = OFFSETS[3];
    let parameters: Vec<Vec<f32>> =
        SIZES.iter().enumerate().map(|(i, &size)| numbers(size, i as u64 + 20, 0.6)).collect();
    let parameters64: Vec<Vec<f64>> = parameters.iter().map(|numbers| wide(numbers)).collect();
    let (x, gradient) = (numbers(tokens * HIDDEN, 1, 1.0), numbers(tokens * HIDDEN, 2, 1.0));
    let (x64, gradient64) = (wide(&x), wide(&gradient));
    let weight = |i: usize| Weight { numbers: &parameters[i], bias: Some(&parameters[i + 1]), outputs: SIZES[i + 1] };
    let norm_weights = |i: usize| NormWeights {
        kind: NormKind::Layer,
        epsilon: 1e-5,
        weight: &parameters[i],
        bias: Some(&parameters[i + 1]),
    };
    let description = Block {
        attention: SHAPE,
        projections: [weight(0), weight(2), weight(4)],
        output: weight(6),
        attention_norm: norm_weights(8),
        up: weight(10),
        activation: Activation::Gelu,
        down: weight(12),
        feed_forward_norm: norm_weights(14),
    };
    for dropped in [false, true] {
        let expected = block(&x64, &parameters64, dropped);
        let expected_x = differences(&x64, &gradient64, |x| block(x, &parameters64, dropped));
        let expected_parameters: Vec<Vec<f64>> = (0..SIZES.len())
            .map(|i| {
                differences(&parameters64[i], &gradient64, |numbers| {
                    let mut changed = parameters64.clone();
                    changed[i] = numbers.to_vec();
                    block(&x64, &changed, dropped)
                })
            })
            .collect();
        let drop: Option<DropoutFactors<'_>> = if dropped { Some(&factors) } else { None };
        let dropout = BlockDropout { attention: drop, output: drop, feed_forward: drop };
        for pair in computes() {
            let mut results = Vec::new();
            for compute in &pair {
                let mut output = vec![9.0; x.len()];
                let bias = Some(&parameters[16][..]);
                let tape = compute.block(&description, &OFFSETS, bias, &dropout, &x, &mut output);
                near(&output, &expected, 1e-5, "output");
                let mut found_x = vec![9.0; x.len()];
                let mut found: Vec<Vec<f32>> = SIZES.iter().map(|&size| vec![0.0; size]).collect();
                let mut targets = found.iter_mut().map(|numbers| Some(&mut numbers[..]));
                let mut pair = || [targets.next().flatten(), targets.next().flatten()];
                let gradients = BlockGradients {
                    input: Some(&mut found_x),
                    projections: [pair(), pair(), pair()],
                    output: pair(),
                    attention_norm: pair(),
                    up: pair(),
                    down: pair(),
                    feed_forward_norm: pair(),
                    bias: targets.next().flatten(),
                };
                compute.block_gradient(&description, &OFFSETS, bias, &dropout, &x, tape, &gradient, gradients);
                near(&found_x, &expected_x, 1e-4, "gradient of the input");
                for (i, (found, expected)) in found.iter().zip(&expected_parameters).enumerate() {
                    // A key's bias moves all scores of a query alike: its gradient is 0.
                    let tolerance = if i == 3 { 1e-2 } else { 1e-4 };
                    near(found, expected, tolerance, &format!("gradient of parameter {i}"));
                }
                results.push((output, found_x, found));
            }
            assert_eq!(results[0], results[1], "threads change nothing");
        }
    }
}
