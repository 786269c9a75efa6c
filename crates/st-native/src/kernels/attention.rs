//! Attention of one sequence over the query heads that share one key and value head.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use std::ops::Range;

use st_encoder::AttentionMask;

use super::exponential::exp2;
use super::strip::StripCall;
use super::vector::Vector;

/// One sequence, one key and value head.
#[derive(Debug)]
pub(crate) struct AttentionCall {
    /// Tokens of the sequence.
    pub(crate) tokens: usize,
    /// Leading tokens whose output is wanted.
    pub(crate) queries: usize,
    /// Components per head, a multiple of [`super::STEP`].
    pub(crate) head: usize,
    /// Query heads that share the key.
    pub(crate) group: usize,
    /// First token's query in the first head of the group; the next head's follows.
    pub(crate) query: *const f32,
    /// First token's key.
    pub(crate) key: *const f32,
    /// First token's value.
    pub(crate) value: *const f32,
    /// Numbers from one token to the next, for all three.
    pub(crate) stride: usize,
    /// First token's output in the first head of the group.
    pub(crate) output: *mut f32,
    /// Numbers from one output token to the next.
    pub(crate) output_stride: usize,
    /// Factor on the scores, times log₂ e.
    pub(crate) scale: f32,
    /// Per head of the group, what is added to the scores by distance, times log₂ e: from distance `1 − tokens` (key
    /// before query) to `tokens − 1`, then padding up to `bias_stride`. Null without.
    pub(crate) bias: *const f32,
    /// Numbers from one head's bias to the next, at least `2 · tokens + STEP`.
    pub(crate) bias_stride: usize,
    /// Which keys a query sees.
    pub(crate) mask: AttentionMask,
    /// Room for the transposed keys: `head` rows of `tokens` rounded up to [`super::STEP`].
    pub(crate) keys: *mut f32,
    /// Room for the scores: 8 rows of `tokens` rounded up to [`super::STEP`].
    pub(crate) scores: *mut f32,
}

/// Rows of scores that a call needs room for.
pub(crate) const SCORE_ROWS: usize = 8;

/// An attention kernel.
///
/// # Safety
/// The pointers must be valid as their descriptions say, and no other thread may use the outputs or the scratch.
pub(crate) type AttentionKernel = unsafe fn(&AttentionCall);

/// Keys that query `row` sees.
#[inline(always)]
fn visible(mask: AttentionMask, row: usize, tokens: usize) -> Range<usize> {
    match mask {
        AttentionMask::Full => 0..tokens,
        AttentionMask::Causal => 0..row + 1,
        AttentionMask::CausalWindow { reach } => row.saturating_sub(reach)..row + 1,
        AttentionMask::Window { reach } => {
            row.saturating_sub(reach)..row.saturating_add(reach).saturating_add(1).min(tokens)
        }
    }
}

#[inline(always)]
pub(super) unsafe fn attend<V: Vector>(call: &AttentionCall) {
    let (tokens, head, lanes) = (call.tokens, call.head, V::LANES);
    let width = tokens.next_multiple_of(super::STEP);
    // SAFETY: the caller's promise; see `AttentionKernel`. Rows past the last token are not read.
    unsafe {
        for token in (0..tokens).step_by(lanes) {
            for component in (0..head).step_by(lanes) {
                let from = call.key.add(token * call.stride + component);
                let to = call.keys.add(component * width + token);
                V::transpose(from, call.stride, lanes.min(tokens - token), to, width);
            }
        }
        let most = V::strip_rows();
        for member in 0..call.group {
            let query = call.query.add(member * head);
            let output = call.output.add(member * head);
            let tiles = call.queries.div_ceil(most);
            let mut first = 0;
            for tile in 0..tiles {
                let rows = (call.queries - first).div_ceil(tiles - tile);
                let seen = visible(call.mask, first, tokens).start..visible(call.mask, first + rows - 1, tokens).end;
                let (start, end) = (seen.start / lanes * lanes, seen.end.next_multiple_of(lanes));
                let mut column = start;
                while column < end {
                    let vectors = match (end - column) / lanes {
                        1 => 1,
                        2 | 4 => 2,
                        _ => 3,
                    };
                    V::strip(rows, vectors)(&StripCall {
                        depth: head,
                        left: query.add(first * call.stride),
                        left_stride: call.stride,
                        right: call.keys.add(column),
                        right_stride: width,
                        output: call.scores.add(column),
                        output_stride: width,
                    });
                    column += vectors * lanes;
                }
                let mut inverse = [0.0f32; SCORE_ROWS];
                for (row, inverse) in inverse.iter_mut().enumerate().take(rows) {
                    let scores = call.scores.add(row * width);
                    let bias = if call.bias.is_null() {
                        call.bias
                    } else {
                        call.bias.add(member * call.bias_stride + tokens - 1 - (first + row))
                    };
                    let seen = visible(call.mask, first + row, tokens);
                    *inverse = 1.0 / softmax_powers::<V>(scores, start..end, seen, call.scale, bias);
                }
                let target = output.add(first * call.output_stride);
                let mut component = 0;
                while component < head {
                    let vectors = ((head - component) / lanes).min(2);
                    V::strip(rows, vectors)(&StripCall {
                        depth: seen.len(),
                        left: call.scores.add(seen.start),
                        left_stride: width,
                        right: call.value.add(seen.start * call.stride + component),
                        right_stride: call.stride,
                        output: target.add(component),
                        output_stride: call.output_stride,
                    });
                    component += vectors * lanes;
                }
                for (row, &inverse) in inverse.iter().enumerate().take(rows) {
                    for component in (0..head).step_by(lanes) {
                        let at = target.add(row * call.output_stride + component);
                        V::load(at).mul(V::splat(inverse)).store(at);
                    }
                }
                first += rows;
            }
        }
    }
}

/// Turns a row of scores into powers `2^(score·scale + bias − largest)`, 0 where nothing is seen, and returns their sum.
#[inline(always)]
unsafe fn softmax_powers<V: Vector>(
    scores: *mut f32,
    columns: Range<usize>,
    seen: Range<usize>,
    scale: f32,
    bias: *const f32,
) -> f32 {
    // SAFETY: the caller has a score in every column, and a bias where there is one.
    unsafe {
        let scale = V::splat(scale);
        let hidden = V::splat(f32::NEG_INFINITY);
        let mut largest = hidden;
        let plain = bias.is_null() && seen.start <= columns.start;
        for column in columns.clone().step_by(V::LANES) {
            let at = scores.add(column);
            let mut score = V::load(at);
            if !bias.is_null() {
                score = score.mul_add(scale, V::load(bias.add(column)));
            }
            let inside = seen.end.saturating_sub(column);
            if inside < V::LANES {
                score = score.first_then(inside, hidden);
            }
            if seen.start > column {
                score = hidden.first_then((seen.start - column).min(V::LANES), score);
            }
            if !plain || inside < V::LANES {
                score.store(at);
            }
            largest = largest.max(score);
        }
        let factor = if bias.is_null() { scale } else { V::splat(1.0) };
        let shift = V::splat(-largest.largest()).mul(factor);
        let mut sum = V::splat(0.0);
        for column in columns.step_by(V::LANES) {
            let at = scores.add(column);
            let power = exp2(V::load(at).mul_add(factor, shift));
            power.store(at);
            sum = sum.add(power);
        }
        sum.sum()
    }
}
