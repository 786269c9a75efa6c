//! The terms of disentangled attention (He et al. 2021): what a score gains from the distance of its query and key.
//!
//! A distance's *place* is the row of the tables that it reads. Products with every place that occurs are made by the
//! strips of [`super::attention`], of keys once per head, of queries once per block; then each score adds the two numbers
//! of its place. Places repeat and skip, so that this last step goes number by number; it is a few percent of a pass.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use std::ops::Range;

use super::attention_call::{AttentionCall, QUERIES, tiles};
use super::strip::StripCall;
use super::vector::Vector;

pub(crate) use super::attention_call::RelativeCall;

/// First and last place of some distances, counted from `1 − tokens`.
#[inline(always)]
unsafe fn extent(call: &RelativeCall, distances: Range<usize>) -> (usize, usize) {
    // SAFETY: the caller's distances occur in the sequence.
    let places = unsafe { std::slice::from_raw_parts(call.places.add(distances.start), distances.len()) };
    let (low, high) = places.iter().fold((u32::MAX, 0), |(low, high), &place| (low.min(place), high.max(place)));
    (low as usize, high as usize)
}

/// Distances of a call's queries from its keys.
#[inline(always)]
fn distances(call: &AttentionCall) -> Range<usize> {
    0..call.tokens + call.queries - 1
}

/// Products of every key with the queries of the places that occur.
#[inline(always)]
pub(super) unsafe fn from_positions<V: Vector>(relative: &RelativeCall, call: &AttentionCall) {
    if relative.queries.is_null() {
        return;
    }
    // SAFETY: the caller's promise; see `AttentionKernel` and `RelativeCall`.
    unsafe {
        let (low, high) = extent(relative, distances(call));
        let strips = V::strips();
        tiles(call.tokens, strips[0][0].len(), |start, height| {
            let mut place = 0;
            while place <= high - low {
                let vectors = (high - low + 1 - place).div_ceil(V::LANES).min(2);
                strips[0][vectors - 1][height - 1](&StripCall {
                    depth: call.head,
                    left: call.key.add(start * call.stride),
                    left_stride: call.stride,
                    right: relative.queries.add(low + place),
                    right_stride: relative.queries_stride,
                    output: relative.from_positions.add(start * relative.from_stride + place),
                    output_stride: relative.from_stride,
                });
                place += vectors * V::LANES;
            }
        });
    }
}

/// Adds both terms to the scores of `rows` queries from `first` on, whose transposed numbers are at hand.
#[inline(always)]
pub(super) unsafe fn add<V: Vector, const VECTORS: usize>(
    relative: &RelativeCall,
    call: &AttentionCall,
    first: usize,
    rows: usize,
    keys: Range<usize>,
) {
    let width = VECTORS * V::LANES;
    debug_assert!(width <= QUERIES);
    // Of the block's first query and last key, counted from `1 − tokens`.
    let nearest = call.tokens + first - keys.end;
    let farthest = call.tokens - 1 + first + rows - 1 - keys.start;
    // SAFETY: the caller's promise; see `AttentionKernel` and `RelativeCall`.
    unsafe {
        let (low, high) = extent(relative, nearest..farthest + 1);
        if !relative.keys.is_null() {
            let strips = V::strips();
            tiles(high - low + 1, strips[0][0].len(), |start, height| {
                strips[0][VECTORS - 1][height - 1](&StripCall {
                    depth: call.head,
                    left: relative.keys.add((low + start) * call.head),
                    left_stride: call.head,
                    right: call.transposed,
                    right_stride: width,
                    output: relative.to_positions.add(start * width),
                    output_stride: width,
                });
            });
        }
        let lowest = extent(relative, distances(call)).0;
        for (row, key) in keys.enumerate() {
            let places = relative.places.add(call.tokens - 1 + first - key);
            let scores = call.scores.add(row * width);
            let from = relative.from_positions.add(key * relative.from_stride);
            for lane in 0..rows {
                let place = *places.add(lane) as usize;
                let mut term = 0.0;
                if !relative.keys.is_null() {
                    term += *relative.to_positions.add((place - low) * width + lane);
                }
                if !relative.queries.is_null() {
                    term += *from.add(place - lowest);
                }
                *scores.add(lane) += term;
            }
        }
    }
}
