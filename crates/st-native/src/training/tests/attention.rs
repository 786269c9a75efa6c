use proptest::prelude::*;
use st_encoder::AttentionMask;

use super::super::{Attention, AttentionGradients, AttentionInputs, DropoutFactors, Matrix};
use super::{computes, differences, near, numbers, wide};

/// Attention in 64 bits over query, key and value side by side in rows.
pub(super) fn attention(
    shape: &Attention,
    packed: &[f64],
    offsets: &[usize],
    bias: Option<&[f64]>,
    dropout: Option<DropoutFactors<'_>>,
) -> Vec<f64> {
    let (heads, key_heads, head) = (shape.heads, shape.key_value_heads, shape.head);
    let stride = (heads + 2 * key_heads) * head;
    let mut output = vec![0.0; packed.len() / stride * heads * head];
    for pair in offsets.windows(2) {
        let tokens = pair[1] - pair[0];
        for (query, h) in (0..tokens).flat_map(|query| (0..heads).map(move |h| (query, h))) {
            let at = |token: usize, column: usize| &packed[(pair[0] + token) * stride + column * head..][..head];
            let key_head = h * key_heads / heads;
            let seen = |key: usize| match shape.mask {
                AttentionMask::Full => true,
                AttentionMask::Causal => key <= query,
                AttentionMask::Window { reach } => key.abs_diff(query) <= reach,
                AttentionMask::CausalWindow { reach } => key <= query && query - key <= reach,
            };
            let powers: Vec<f64> = (0..tokens)
                .map(|key| {
                    let dot: f64 = at(query, h).iter().zip(at(key, heads + key_head)).map(|(q, k)| q * k).sum();
                    let bias = bias.map_or(0.0, |bias| {
                        let width = bias.len() / heads;
                        bias[h * width + width / 2 + key - query]
                    });
                    if seen(key) { (dot * f64::from(shape.scale) + bias).exp() } else { 0.0 }
                })
                .collect();
            let sum: f64 = powers.iter().sum();
            let mut factors = vec![1.0f32; tokens];
            if let Some(dropout) = dropout {
                dropout(((pair[0] + query) * heads + h) as u64, &mut factors);
            }
            for c in 0..head {
                output[((pair[0] + query) * heads + h) * head + c] = (0..tokens)
                    .map(|key| powers[key] / sum * f64::from(factors[key]) * at(key, heads + key_heads + key_head)[c])
                    .sum();
            }
        }
    }
    output
}

pub(super) fn factors(row: u64, factors: &mut [f32]) {
    for (key, factor) in factors.iter_mut().enumerate() {
        *factor = if (row * 7 + key as u64 * 3).is_multiple_of(5) { 0.0 } else { 1.25 };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn attention_and_gradients_are_those_of_plain_loops(
        lengths in proptest::collection::vec(0usize..9, 1..4), key_heads in 1usize..3, group in 1usize..3,
        head in 1usize..19, mask in 0usize..4, with_bias in any::<bool>(), with_dropout in any::<bool>(), seed in any::<u64>(),
    ) {
        let mask = [
            AttentionMask::Full, AttentionMask::Causal, AttentionMask::Window { reach: 2 },
            AttentionMask::CausalWindow { reach: 1 },
        ][mask];
        let shape = Attention { heads: key_heads * group, key_value_heads: key_heads, head, scale: 0.7, mask };
        let mut offsets = vec![0];
        lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
        let tokens = offsets[offsets.len() - 1];
        check(&shape, &offsets, tokens, with_bias, with_dropout, seed, true);
    }
}

/// More queries than a block has.
#[test]
fn long_sequences_are_cut_into_blocks() {
    for mask in [AttentionMask::Full, AttentionMask::Causal, AttentionMask::Window { reach: 20 }] {
        let shape = Attention { heads: 2, key_value_heads: 1, head: 3, scale: 1.5, mask };
        check(&shape, &[0, 150, 152], 152, true, true, 3, false);
    }
}

fn check(
    shape: &Attention,
    offsets: &[usize],
    tokens: usize,
    with_bias: bool,
    with_dropout: bool,
    seed: u64,
    all_differences: bool,
) {
    let (width, key_width) = (shape.heads * shape.head, shape.key_value_heads * shape.head);
    let stride = width + 2 * key_width;
    let packed = numbers(tokens * stride, seed, 1.5);
    let gradient = numbers(tokens * width, seed + 1, 1.0);
    let reach = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0).max(1) + 1;
    let bias = with_bias.then(|| numbers(shape.heads * (2 * reach - 1), seed + 2, 1.0));
    let bias64 = bias.as_deref().map(wide);
    let drop: Option<DropoutFactors<'_>> = if with_dropout { Some(&factors) } else { None };
    let (packed64, gradient64) = (wide(&packed), wide(&gradient));
    let run = |x: &[f64]| attention(shape, x, offsets, bias64.as_deref(), drop);
    let expected = run(&packed64);
    // A few of the columns of a long sequence say enough.
    let expected_gradient = all_differences.then(|| differences(&packed64, &gradient64, run));
    let expected_bias = bias64
        .as_deref()
        .map(|bias| differences(bias, &gradient64, |b| attention(shape, &packed64, offsets, Some(b), drop)));
    for pair in computes() {
        let mut results = Vec::new();
        for compute in &pair {
            let inputs = AttentionInputs {
                query: Matrix::columns(&packed, stride, 0, width),
                key: Matrix::columns(&packed, stride, width, key_width),
                value: Matrix::columns(&packed, stride, width + key_width, key_width),
                offsets,
                bias: bias.as_deref(),
                dropout: if with_dropout { Some(&factors) } else { None },
            };
            let mut output = vec![9.0; tokens * width];
            let mut statistics = compute.attend(shape, &inputs, &mut output);
            near(&output, &expected, 1e-5, "context");
            let mut found = vec![9.0; packed.len()];
            let mut bias_gradient = bias.as_ref().map(|bias| vec![0.0; bias.len()]);
            let target = AttentionGradients::Packed(&mut found);
            compute.attention_gradient(
                shape,
                &inputs,
                &mut statistics,
                &gradient,
                target,
                bias_gradient.as_deref_mut(),
            );
            match &expected_gradient {
                Some(expected) => near(&found, expected, 2e-5, "gradient"),
                None => {
                    for column in (0..packed.len()).step_by(97) {
                        let mut x = packed64.clone();
                        let mut value = |step: f64| -> f64 {
                            x[column] = packed64[column] + step;
                            run(&x).iter().zip(&gradient64).map(|(y, g)| y * g).sum()
                        };
                        let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
                        assert!((f64::from(found[column]) - slope).abs() < 1e-4, "{column}: {} {slope}", found[column]);
                    }
                }
            }
            if let (Some(found), Some(expected)) = (&bias_gradient, &expected_bias) {
                near(found, expected, 2e-5, "gradient of the bias");
            }
            let mut apart = [vec![9.0; tokens * width], vec![9.0; tokens * key_width], vec![9.0; tokens * key_width]];
            let target = AttentionGradients::Separate(apart.each_mut().map(|part| &mut part[..]));
            compute.attention_gradient(shape, &inputs, &mut statistics, &gradient, target, None);
            for (row, whole) in found.chunks(stride).enumerate() {
                assert_eq!(whole[..width], apart[0][row * width..(row + 1) * width]);
                assert_eq!(whole[width..width + key_width], apart[1][row * key_width..(row + 1) * key_width]);
                assert_eq!(whole[width + key_width..], apart[2][row * key_width..(row + 1) * key_width]);
            }
            results.push((output, found, bias_gradient));
        }
        assert_eq!(results[0], results[1], "threads change nothing");
    }
}
