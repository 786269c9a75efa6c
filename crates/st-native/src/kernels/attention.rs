//! Attention of one sequence over the query heads that share one key and value head.
//!
//! Scores are computed with one key per row and one query per lane, so that the softmax, which runs over keys, needs no
//! sum or maximum across a vector's lanes.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use std::ops::Range;

use st_encoder::AttentionMask;

use super::exponential::exp2;
use super::relative;
use super::strip::StripCall;
use super::vector::Vector;

pub(super) use super::attention_call::tiles;
pub(crate) use super::attention_call::{AttentionCall, AttentionKernel, QUERIES};

/// Keys that query `row` sees.
#[inline(always)]
pub(super) fn keys_of(mask: AttentionMask, row: usize, tokens: usize) -> Range<usize> {
    match mask {
        AttentionMask::Full => 0..tokens,
        AttentionMask::Causal => 0..row + 1,
        AttentionMask::CausalWindow { reach } => row.saturating_sub(reach)..row + 1,
        AttentionMask::Window { reach } => {
            row.saturating_sub(reach)..row.saturating_add(reach).saturating_add(1).min(tokens)
        }
    }
}

/// Queries that see key `row`.
#[inline(always)]
fn queries_of(mask: AttentionMask, row: usize) -> Range<usize> {
    match mask {
        AttentionMask::Full => 0..usize::MAX,
        AttentionMask::Causal => row..usize::MAX,
        AttentionMask::CausalWindow { reach } => row..row.saturating_add(reach).saturating_add(1),
        AttentionMask::Window { reach } => row.saturating_sub(reach)..row.saturating_add(reach).saturating_add(1),
    }
}

#[inline(always)]
pub(super) unsafe fn attend<V: Vector>(call: &AttentionCall) {
    // SAFETY: the caller's promise; see `AttentionKernel`.
    let relative = unsafe { call.relative.as_ref() };
    if let Some(relative) = relative {
        // SAFETY: as above.
        unsafe { relative::from_positions::<V>(relative, call) };
    }
    for member in 0..call.group {
        let mut first = 0;
        while first < call.queries {
            let left = (call.queries - first).div_ceil(V::LANES);
            // SAFETY: the caller's promise; see `AttentionKernel`.
            unsafe {
                if left == 1 {
                    block::<V, 1>(call, member, first);
                    first += V::LANES;
                } else {
                    block::<V, 2>(call, member, first);
                    first += 2 * V::LANES;
                }
            }
        }
    }
}

/// The queries of `VECTORS` vectors from `first` on.
#[inline(always)]
unsafe fn block<V: Vector, const VECTORS: usize>(call: &AttentionCall, member: usize, first: usize) {
    let (tokens, head, lanes) = (call.tokens, call.head, V::LANES);
    let width = VECTORS * lanes;
    let rows = width.min(call.queries - first);
    let keys = keys_of(call.mask, first, tokens).start..keys_of(call.mask, first + rows - 1, tokens).end;
    // SAFETY: the caller's promise; see `AttentionKernel`. Rows past the last query are not read.
    unsafe {
        let query = call.query.add(member * head + first * call.stride);
        for vector in 0..rows.div_ceil(lanes) {
            for component in (0..head).step_by(lanes) {
                let from = query.add(vector * lanes * call.stride + component);
                let to = call.transposed.add(component * width + vector * lanes);
                V::transpose(from, call.stride, lanes.min(rows - vector * lanes), to, width);
            }
        }
        let strips = V::strips();
        tiles(keys.len(), strips[0][0].len(), |start, height| {
            strips[0][VECTORS - 1][height - 1](&StripCall {
                depth: head,
                left: call.key.add((keys.start + start) * call.stride),
                left_stride: call.stride,
                right: call.transposed,
                right_stride: width,
                output: call.scores.add(start * width),
                output_stride: width,
            });
        });
        if let Some(relative) = call.relative.as_ref() {
            relative::add::<V, VECTORS>(relative, call, first, rows, keys.clone());
        }
        let bias =
            if call.bias.is_null() { call.bias } else { call.bias.add(member * call.bias_stride + tokens - 1 + first) };
        let (factor, shift) = shifts::<V, VECTORS>(call.scores, keys.clone(), first, call.mask, call.scale, bias);
        let sums = powers::<V, VECTORS>(call.scores, keys.len(), factor, shift);
        let mut inverse = [0.0f32; QUERIES];
        for (v, sum) in sums.iter().enumerate() {
            V::splat(1.0).div(*sum).store(inverse.as_mut_ptr().add(v * lanes));
        }
        let output = call.output.add(member * head + first * call.output_stride);
        let value = call.value.add(keys.start * call.stride);
        tiles(rows, strips[1][0].len(), |start, height| {
            let mut component = 0;
            while component < head {
                let vectors = ((head - component) / lanes).min(2);
                strips[1][vectors - 1][height - 1](&StripCall {
                    depth: keys.len(),
                    left: call.scores.add(start),
                    left_stride: width,
                    right: value.add(component),
                    right_stride: call.stride,
                    output: output.add(start * call.output_stride + component),
                    output_stride: call.output_stride,
                });
                component += vectors * lanes;
            }
        });
        for (row, &inverse) in inverse.iter().enumerate().take(rows) {
            for component in (0..head).step_by(lanes) {
                let at = output.add(row * call.output_stride + component);
                V::load(at).mul(V::splat(inverse)).store(at);
            }
        }
    }
}

/// Adds the bias to scores and hides what a query does not see. Returns a factor and for each query a shift, with which
/// `score · factor + shift` is the exponent to base 2, at most 0.
#[inline(always)]
pub(super) unsafe fn shifts<V: Vector, const VECTORS: usize>(
    scores: *mut f32,
    keys: Range<usize>,
    first: usize,
    mask: AttentionMask,
    scale: f32,
    bias: *const f32,
) -> (V, [V; VECTORS]) {
    let width = VECTORS * V::LANES;
    // SAFETY: the caller has a row of scores for every key, and a bias for every distance where there is one.
    unsafe {
        let hidden = V::splat(f32::NEG_INFINITY);
        let mut factor = V::splat(scale);
        let mut largest = [hidden; VECTORS];
        if bias.is_null() && mask == AttentionMask::Full {
            let mut other = [hidden; VECTORS];
            let pairs = keys.len() / 2;
            for pair in 0..pairs {
                let at = scores.add(2 * pair * width);
                for v in 0..VECTORS {
                    largest[v] = largest[v].max(V::load(at.add(v * V::LANES)));
                    other[v] = other[v].max(V::load(at.add(width + v * V::LANES)));
                }
            }
            for v in 0..VECTORS {
                largest[v] = largest[v].max(other[v]);
                if keys.len() % 2 == 1 {
                    largest[v] = largest[v].max(V::load(scores.add(2 * pairs * width + v * V::LANES)));
                }
                largest[v] = largest[v].mul(factor);
            }
        } else {
            for (row, key) in keys.clone().enumerate() {
                let seen = queries_of(mask, key);
                for (v, largest) in largest.iter_mut().enumerate() {
                    let at = scores.add(row * width + v * V::LANES);
                    let query = first + v * V::LANES;
                    let mut score = V::load(at).mul(factor);
                    if !bias.is_null() {
                        score = score.add(V::load(bias.wrapping_add(v * V::LANES).wrapping_sub(key)));
                    }
                    if seen.start > query {
                        score = hidden.first_then((seen.start - query).min(V::LANES), score);
                    }
                    if seen.end < query + V::LANES {
                        score = score.first_then(seen.end.saturating_sub(query), hidden);
                    }
                    score.store(at);
                    *largest = largest.max(score);
                }
            }
            factor = V::splat(1.0);
        }
        let mut shift = [factor; VECTORS];
        for (shift, largest) in shift.iter_mut().zip(&largest) {
            *shift = V::splat(0.0).sub(*largest);
        }
        (factor, shift)
    }
}

/// Turns scores into powers and returns the sums over the keys.
#[inline(always)]
unsafe fn powers<V: Vector, const VECTORS: usize>(
    scores: *mut f32,
    keys: usize,
    factor: V,
    shift: [V; VECTORS],
) -> [V; VECTORS] {
    // SAFETY: the caller has `keys` rows of scores.
    unsafe {
        let mut sums = [V::splat(0.0); VECTORS];
        for row in 0..keys {
            for v in 0..VECTORS {
                let at = scores.add((row * VECTORS + v) * V::LANES);
                let power = exp2(V::load(at).mul_add(factor, shift[v]));
                power.store(at);
                sums[v] = sums[v].add(power);
            }
        }
        sums
    }
}
