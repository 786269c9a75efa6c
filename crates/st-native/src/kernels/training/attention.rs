//! Attention of one sequence over the query heads that share one key and value head, keeping what its gradient needs.
//!
//! Scores are laid out query by query, a key per lane. Instead of the probabilities, two numbers per query are kept: with
//! them the gradient computes the probabilities again, which is cheaper than storing them (Dao et al. 2022).
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use std::ops::Range;

use st_encoder::AttentionMask;

use super::super::STEP;
use super::super::attention::{keys_of, tiles};
use super::super::exponential::exp2;
use super::super::strip::StripCall;
use super::super::vector::Vector;

/// Writes the dropout factors of a query: its head in the group, its number in the sequence, a factor per key.
pub(crate) type Factors<'a> = &'a (dyn Fn(usize, usize, &mut [f32]) + Sync);

/// Rows of a matrix in memory: the first number and the numbers from one row to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) first: *const f32,
    pub(crate) stride: usize,
}

/// Rows that are written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowsMut {
    pub(crate) first: *mut f32,
    pub(crate) stride: usize,
}

/// One sequence, one key and value head.
pub(crate) struct HeadCall<'a> {
    /// Tokens of the sequence.
    pub(crate) tokens: usize,
    /// Components per head.
    pub(crate) head: usize,
    /// Query heads that share the key; their queries and outputs stand side by side.
    pub(crate) group: usize,
    pub(crate) query: Rows,
    pub(crate) key: Rows,
    pub(crate) value: Rows,
    /// Factor on the scores.
    pub(crate) scale: f32,
    /// What is added to the scores of the first head by distance: points to distance 0, a key further on at +1. Null
    /// without. [`STEP`] numbers follow the largest distance.
    pub(crate) bias: *const f32,
    /// Numbers from one head's bias to the next.
    pub(crate) bias_stride: usize,
    /// Which keys a query sees.
    pub(crate) mask: AttentionMask,
    /// Factors on the probabilities.
    pub(crate) dropout: Option<Factors<'a>>,
    /// Per query the largest score (to base 2), head after head of the group.
    pub(crate) largest: *mut f32,
    /// Per query one by the sum of powers.
    pub(crate) inverse: *mut f32,
    /// Numbers from one head's `largest` and `inverse` to the next.
    pub(crate) statistics_stride: usize,
    /// Where the context goes; a null pointer in the call of a gradient.
    pub(crate) output: RowsMut,
    /// [`scratch`] numbers.
    pub(crate) scratch: *mut f32,
}

/// A forward kernel.
///
/// # Safety
/// The pointers must be valid as their descriptions say, and no other thread may use the outputs or the scratch.
pub(crate) type HeadKernel = unsafe fn(&HeadCall<'_>);

/// What a gradient needs and gives besides.
pub(crate) struct HeadGradientCall<'a> {
    pub(crate) forward: HeadCall<'a>,
    /// Gradient of the output.
    pub(crate) gradient: Rows,
    pub(crate) query_gradient: RowsMut,
    pub(crate) key_gradient: RowsMut,
    pub(crate) value_gradient: RowsMut,
    /// The bias's gradient is added here, laid out as the bias; null if not wanted.
    pub(crate) bias_gradient: *mut f32,
}

/// A kernel of gradients.
///
/// # Safety
/// As [`HeadKernel`].
pub(crate) type HeadGradientKernel = unsafe fn(&HeadGradientCall<'_>);

/// Queries in a block, at most.
const QUERIES: usize = 72;

/// Numbers that a call with so many tokens and components needs as scratch.
pub(crate) fn scratch(tokens: usize, head: usize) -> usize {
    let (tokens, head) = (tokens.next_multiple_of(STEP), head.next_multiple_of(STEP));
    9 * tokens * head + 2 * (QUERIES + STEP) * (tokens + head) + 2 * tokens
}

/// Memory handed out piece by piece.
pub(super) struct Arena(*mut f32);

impl Arena {
    pub(super) fn new(scratch: *mut f32) -> Self {
        Self(scratch)
    }

    pub(super) fn take(&mut self, count: usize) -> *mut f32 {
        let piece = self.0;
        self.0 = self.0.wrapping_add(count);
        piece
    }
}

/// Copies rows side by side, times a factor, each padded to `padded` with zeros.
#[inline(always)]
pub(super) unsafe fn gather<V: Vector>(
    from: Rows,
    rows: Range<usize>,
    width: usize,
    factor: f32,
    to: *mut f32,
    padded: usize,
) {
    // SAFETY: the caller has the rows and room for them.
    unsafe {
        let splat = V::splat(factor);
        let whole = width / V::LANES * V::LANES;
        for (place, row) in rows.enumerate() {
            let from = from.first.wrapping_add(row * from.stride);
            let to = to.add(place * padded);
            for i in (0..whole).step_by(V::LANES) {
                V::load(from.add(i)).mul(splat).store(to.add(i));
            }
            for i in whole..width {
                *to.add(i) = *from.add(i) * factor;
            }
            for i in width..padded {
                *to.add(i) = 0.0;
            }
        }
    }
}

/// Copies padded rows to where they belong, times a factor.
#[inline(always)]
pub(super) unsafe fn scatter<V: Vector>(
    from: *const f32,
    padded: usize,
    rows: Range<usize>,
    width: usize,
    factor: f32,
    to: RowsMut,
) {
    // SAFETY: the caller has the rows and room for them.
    unsafe {
        let splat = V::splat(factor);
        let whole = width / V::LANES * V::LANES;
        for (place, row) in rows.enumerate() {
            let from = from.add(place * padded);
            let to = to.first.wrapping_add(row * to.stride);
            for i in (0..whole).step_by(V::LANES) {
                V::load(from.add(i)).mul(splat).store(to.add(i));
            }
            for i in whole..width {
                *to.add(i) = *from.add(i) * factor;
            }
        }
    }
}

/// Writes `[padded][stride]` from `[rows][padded]`; columns up to the next multiple of a vector become zeros.
#[inline(always)]
pub(super) unsafe fn transpose<V: Vector>(from: *const f32, rows: usize, padded: usize, to: *mut f32, stride: usize) {
    for row in (0..rows).step_by(V::LANES) {
        for column in (0..padded).step_by(V::LANES) {
            // SAFETY: the caller has the rows and room for their transpose.
            unsafe {
                let from = from.add(row * padded + column);
                V::transpose(from, padded, V::LANES.min(rows - row), to.add(column * stride + row), stride);
            }
        }
    }
}

/// A product by strips: `output = left · right`, or `leftᵀ · right`.
#[inline(always)]
pub(super) unsafe fn product<V: Vector>(
    transposed: bool,
    [rows, depth, columns]: [usize; 3],
    left: Rows,
    right: Rows,
    output: RowsMut,
) {
    let strips = V::strips()[usize::from(transposed)];
    tiles(rows, strips[0].len(), |start, height| {
        let mut column = 0;
        while column < columns {
            let vectors = ((columns - column) / V::LANES).min(2);
            let left_start = if transposed { start } else { start * left.stride };
            // SAFETY: the caller has matrices of these sizes.
            unsafe {
                strips[vectors - 1][height - 1](&StripCall {
                    depth,
                    left: left.first.add(left_start),
                    left_stride: left.stride,
                    right: right.first.add(column),
                    right_stride: right.stride,
                    output: output.first.add(start * output.stride + column),
                    output_stride: output.stride,
                });
            }
            column += vectors * V::LANES;
        }
    });
}

/// Blocks of nearly equal height, each with the keys that its queries see. The first key is a multiple of a vector.
pub(super) fn blocks(mask: AttentionMask, tokens: usize, mut work: impl FnMut(Range<usize>, Range<usize>)) {
    tiles(tokens, QUERIES, |start, height| {
        let first = keys_of(mask, start, tokens).start / STEP * STEP;
        let last = keys_of(mask, start + height - 1, tokens).end;
        work(start..start + height, first..last);
    });
}

/// The scores to base 2 of a query's keys in lanes from `key` on: with bias, and −∞ for what it does not see.
#[inline(always)]
pub(super) unsafe fn score<V: Vector>(
    scores: *const f32,
    bias: *const f32,
    query: usize,
    key: usize,
    seen: &Range<usize>,
) -> V {
    // SAFETY: the caller has a vector of scores and, if there is a bias, one of that.
    unsafe {
        let hidden = V::splat(f32::NEG_INFINITY);
        let mut score = V::load(scores);
        if !bias.is_null() {
            let bias = V::load(bias.wrapping_add(key).wrapping_sub(query));
            score = bias.mul_add(V::splat(std::f32::consts::LOG2_E), score);
        }
        if seen.start > key {
            score = hidden.first_then(seen.start - key, score);
        }
        if seen.end < key + V::LANES {
            score = score.first_then(seen.end.saturating_sub(key), hidden);
        }
        score
    }
}

#[inline(always)]
pub(super) unsafe fn attend<V: Vector>(call: &HeadCall<'_>) {
    let (tokens, head) = (call.tokens, call.head);
    let (wide, padded) = (tokens.next_multiple_of(STEP), head.next_multiple_of(STEP));
    let mut arena = Arena::new(call.scratch);
    let (key, keys_by_component) = (arena.take(wide * padded), arena.take(wide * padded));
    let value = arena.take(wide * padded);
    let (query, context) = (arena.take((QUERIES + STEP) * padded), arena.take((QUERIES + STEP) * padded));
    let (scores, factors) = (arena.take((QUERIES + STEP) * wide), arena.take(wide));
    // SAFETY: the caller's promise; see `HeadKernel`. The pieces of the scratch are large enough for what is in them.
    unsafe {
        gather::<V>(call.key, 0..tokens, head, 1.0, key, padded);
        transpose::<V>(key, tokens, padded, keys_by_component, wide);
        gather::<V>(call.value, 0..tokens, head, 1.0, value, padded);
        let factors = std::slice::from_raw_parts_mut(factors, wide);
        factors.fill(0.0);
        for member in 0..call.group {
            let from = Rows { first: call.query.first.add(member * head), ..call.query };
            let to = RowsMut { first: call.output.first.add(member * head), ..call.output };
            let statistics = member * call.statistics_stride;
            let bias = if call.bias.is_null() { call.bias } else { call.bias.add(member * call.bias_stride) };
            blocks(call.mask, tokens, |queries, keys| {
                let (rows, columns) = (queries.len(), keys.len().next_multiple_of(V::LANES));
                gather::<V>(from, queries.clone(), head, call.scale * std::f32::consts::LOG2_E, query, padded);
                product::<V>(
                    false,
                    [rows, padded, columns],
                    Rows { first: query, stride: padded },
                    Rows { first: keys_by_component.add(keys.start), stride: wide },
                    RowsMut { first: scores, stride: columns },
                );
                for (row, query) in queries.clone().enumerate() {
                    let scores = scores.add(row * columns);
                    let seen = keys_of(call.mask, query, tokens);
                    let mut largest = V::splat(f32::NEG_INFINITY);
                    for i in (0..columns).step_by(V::LANES) {
                        let score = score::<V>(scores.add(i), bias, query, keys.start + i, &seen);
                        score.store(scores.add(i));
                        largest = largest.max(score);
                    }
                    let largest = largest.largest();
                    let mut sum = V::splat(0.0);
                    for i in (0..columns).step_by(V::LANES) {
                        let power = exp2(V::load(scores.add(i)).sub(V::splat(largest)));
                        sum = sum.add(power);
                        power.store(scores.add(i));
                    }
                    *call.largest.add(statistics + query) = largest;
                    *call.inverse.add(statistics + query) = 1.0 / sum.sum();
                    if let Some(dropout) = call.dropout {
                        dropout(member, query, &mut factors[..tokens]);
                        for i in (0..columns).step_by(V::LANES) {
                            let factor = V::load(factors.as_ptr().add(keys.start + i));
                            V::load(scores.add(i)).mul(factor).store(scores.add(i));
                        }
                    }
                }
                product::<V>(
                    false,
                    [rows, keys.len(), padded],
                    Rows { first: scores, stride: columns },
                    Rows { first: value.add(keys.start * padded), stride: padded },
                    RowsMut { first: context, stride: padded },
                );
                for (row, query) in queries.enumerate() {
                    let inverse = *call.inverse.add(statistics + query);
                    scatter::<V>(context.add(row * padded), padded, query..query + 1, head, inverse, to);
                }
            });
        }
    }
}
