//! The gradient of attention of one sequence over the query heads that share one key and value head.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::super::STEP;
use super::super::attention::keys_of;
use super::super::exponential::exp2;
use super::super::vector::Vector;
use super::attention::{Arena, HeadGradientCall, Rows, RowsMut, blocks, gather, product, scatter, score, transpose};

/// With probabilities `p`, dropout factors `f` and `g` for gradients: `g_v = (p∘f)ᵀ·g_o`, `g_p = (g_o·vᵀ)∘f`,
/// `g_s = p∘(g_p − Σ p∘g_p)`, `g_q = g_s·k·scale`, `g_k = g_sᵀ·q·scale`.
#[inline(always)]
pub(super) unsafe fn gradient<V: Vector>(call: &HeadGradientCall<'_>) {
    let forward = &call.forward;
    let (tokens, head) = (forward.tokens, forward.head);
    let (wide, padded) = (tokens.next_multiple_of(STEP), head.next_multiple_of(STEP));
    let size = wide * padded;
    let mut arena = Arena::new(forward.scratch);
    let (key, keys_by_component, values_by_component) = (arena.take(size), arena.take(size), arena.take(size));
    let (query, output_gradient) = (arena.take(size), arena.take(size));
    let (key_gradient, value_gradient, part) = (arena.take(size), arena.take(size), arena.take(size));
    let factors = arena.take(wide);
    // As `scratch` counts: two blocks of rows, each at most `QUERIES + STEP` high.
    let rows = blocks_height(forward.tokens);
    let (probabilities, slopes) = (arena.take(rows * wide), arena.take(rows * wide));
    let side = |first: *mut f32| Rows { first, stride: padded };
    let side_mut = |first: *mut f32| RowsMut { first, stride: padded };
    // SAFETY: the caller's promise; see `HeadGradientKernel`. The pieces of the scratch are large enough.
    unsafe {
        gather::<V>(forward.value, 0..tokens, head, 1.0, part, padded);
        transpose::<V>(part, tokens, padded, values_by_component, wide);
        gather::<V>(forward.key, 0..tokens, head, 1.0, key, padded);
        transpose::<V>(key, tokens, padded, keys_by_component, wide);
        let factors = std::slice::from_raw_parts_mut(factors, wide);
        factors.fill(0.0);
        for gradient in [key_gradient, value_gradient] {
            std::slice::from_raw_parts_mut(gradient, size).fill(0.0);
        }
        for member in 0..forward.group {
            let from = Rows { first: forward.query.first.add(member * head), ..forward.query };
            gather::<V>(from, 0..tokens, head, forward.scale * std::f32::consts::LOG2_E, query, padded);
            let from = Rows { first: call.gradient.first.add(member * head), ..call.gradient };
            gather::<V>(from, 0..tokens, head, 1.0, output_gradient, padded);
            let query_gradient = RowsMut { first: call.query_gradient.first.add(member * head), ..call.query_gradient };
            let statistics = member * forward.statistics_stride;
            let of_member =
                |bias: *const f32| if bias.is_null() { bias } else { bias.add(member * forward.bias_stride) };
            let (bias, bias_gradient) = (of_member(forward.bias), of_member(call.bias_gradient).cast_mut());
            blocks(forward.mask, tokens, |queries, keys| {
                let (rows, columns) = (queries.len(), keys.len().next_multiple_of(V::LANES));
                let block = RowsMut { first: probabilities, stride: columns };
                let right = Rows { first: keys_by_component.add(keys.start), stride: wide };
                product::<V>(false, [rows, padded, columns], side(query.add(queries.start * padded)), right, block);
                let block = RowsMut { first: slopes, stride: columns };
                let right = Rows { first: values_by_component.add(keys.start), stride: wide };
                let left = side(output_gradient.add(queries.start * padded));
                product::<V>(false, [rows, padded, columns], left, right, block);
                for (row, query) in queries.clone().enumerate() {
                    let (probabilities, slopes) = (probabilities.add(row * columns), slopes.add(row * columns));
                    let seen = keys_of(forward.mask, query, tokens);
                    let largest = V::splat(*forward.largest.add(statistics + query));
                    let inverse = V::splat(*forward.inverse.add(statistics + query));
                    if let Some(dropout) = forward.dropout {
                        dropout(member, query, &mut factors[..tokens]);
                    }
                    let factors = factors.as_ptr().add(keys.start);
                    let mut sum = V::splat(0.0);
                    for i in (0..columns).step_by(V::LANES) {
                        let score = score::<V>(probabilities.add(i), bias, query, keys.start + i, &seen);
                        let probability = exp2(score.sub(largest)).mul(inverse);
                        probability.store(probabilities.add(i));
                        let mut slope = V::load(slopes.add(i));
                        if forward.dropout.is_some() {
                            slope = slope.mul(V::load(factors.add(i)));
                            slope.store(slopes.add(i));
                        }
                        sum = probability.mul_add(slope, sum);
                    }
                    let sum = V::splat(sum.sum());
                    for i in (0..columns).step_by(V::LANES) {
                        let probability = V::load(probabilities.add(i));
                        let slope = probability.mul(V::load(slopes.add(i)).sub(sum));
                        slope.store(slopes.add(i));
                        if forward.dropout.is_some() {
                            probability.mul(V::load(factors.add(i))).store(probabilities.add(i));
                        }
                        if !bias_gradient.is_null() {
                            let at = bias_gradient.wrapping_add(keys.start + i).wrapping_sub(query);
                            V::load(at).add(slope).store(at);
                        }
                    }
                }
                let shape = [keys.len(), rows, padded];
                let left = Rows { first: probabilities, stride: columns };
                let right = side(output_gradient.add(queries.start * padded));
                product::<V>(true, shape, left, right, side_mut(part));
                add::<V>(value_gradient.add(keys.start * padded), part, keys.len() * padded);
                let left = Rows { first: slopes, stride: columns };
                product::<V>(true, shape, left, side(query.add(queries.start * padded)), side_mut(part));
                add::<V>(key_gradient.add(keys.start * padded), part, keys.len() * padded);
                let right = side(key.add(keys.start * padded));
                product::<V>(false, [rows, keys.len(), padded], left, right, side_mut(part));
                scatter::<V>(part, padded, queries, head, forward.scale, query_gradient);
            });
        }
        // The queries that the keys' gradient was made with carry the scale and a factor to base 2.
        scatter::<V>(key_gradient, padded, 0..tokens, head, std::f32::consts::LN_2, call.key_gradient);
        scatter::<V>(value_gradient, padded, 0..tokens, head, 1.0, call.value_gradient);
    }
}

#[inline(always)]
unsafe fn add<V: Vector>(to: *mut f32, from: *const f32, count: usize) {
    for i in (0..count).step_by(V::LANES) {
        // SAFETY: the caller's numbers, a multiple of a vector.
        unsafe { V::load(to.add(i)).add(V::load(from.add(i))).store(to.add(i)) };
    }
}

/// Rows of the highest block.
fn blocks_height(tokens: usize) -> usize {
    let mut height = 0;
    blocks(st_encoder::AttentionMask::Full, tokens, |queries, _| height = height.max(queries.len()));
    height
}
