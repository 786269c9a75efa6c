//! [`Relative`]: what disentangled attention (He et al. 2021) needs besides queries, keys and values.

use std::borrow::Cow;

use st_encoder::disentangled_place;

use super::{padded, spread};
use crate::kernels::attention::QUERIES;
use crate::kernels::relative::RelativeCall;
use crate::memory::Buffer;
use crate::scratch::Piece;

/// The place in the tables of relative positions for every distance.
#[derive(Debug)]
pub(crate) struct Places {
    span: usize,
    max_distance: Option<usize>,
    /// Of the distances `−reach ..= reach`.
    near: Vec<u32>,
}

/// Distances whose places are kept, where nothing limits the sequences.
const REACH: usize = 4096;

impl Places {
    pub(crate) fn new(span: usize, max_distance: Option<usize>, longest: Option<usize>) -> Self {
        let reach = longest.unwrap_or(REACH).min(REACH);
        Self { span, max_distance, near: Self::around(span, max_distance, reach) }
    }

    fn around(span: usize, max_distance: Option<usize>, reach: usize) -> Vec<u32> {
        let reach = reach as i64;
        (-reach..=reach).map(|distance| disentangled_place(distance, span, max_distance) as u32).collect()
    }

    /// Places of the distances `1 − tokens ..= tokens − 1` from key to query.
    pub(crate) fn of(&self, tokens: usize) -> Cow<'_, [u32]> {
        let (reach, wanted) = (self.near.len() / 2, tokens - 1);
        if wanted <= reach {
            Cow::Borrowed(&self.near[reach - wanted..=reach + wanted])
        } else {
            Cow::Owned(Self::around(self.span, self.max_distance, wanted))
        }
    }
}

/// Projections of one block's relative positions. They do not depend on the text.
#[derive(Debug)]
pub(crate) struct Relative {
    /// `2 · span`.
    places: usize,
    /// Numbers per head, padded.
    head: usize,
    /// Head by head, keys of places: `[places, head]`.
    keys: Option<Buffer<f32>>,
    /// Head by head, queries of places, transposed: `[head, stride]`.
    queries: Option<Buffer<f32>>,
}

impl Relative {
    /// From projected tables: rows of `stride` numbers, the heads side by side from a column on.
    pub(crate) fn new(
        places: usize,
        heads: usize,
        head: usize,
        queries: Option<(&[f32], usize, usize)>,
        keys: Option<(&[f32], usize, usize)>,
    ) -> Self {
        let head = padded(head);
        let keys = keys.map(|(table, stride, column)| {
            let mut cut = Buffer::zeroed(heads * places * head);
            for (index, to) in cut.chunks_exact_mut(head).enumerate() {
                let from = index % places * stride + column + index / places * head;
                to.copy_from_slice(&table[from..from + head]);
            }
            cut
        });
        let queries = queries.map(|(table, stride, column)| {
            let row = Self::stride_of(places);
            let mut turned = Buffer::zeroed(heads * head * row);
            for (index, to) in turned.chunks_exact_mut(row).enumerate() {
                for (place, to) in to[..places].iter_mut().enumerate() {
                    *to = table[place * stride + column + index];
                }
            }
            turned
        });
        Self { places, head, keys, queries }
    }

    /// Numbers of a row of transposed queries, with room for vectors that begin at the last place.
    const fn stride_of(places: usize) -> usize {
        spread(padded(places) + QUERIES)
    }

    /// What the kernel of a head needs for a sequence of which `places` are the distances'.
    pub(crate) fn call(&self, head: usize, tokens: usize, places: &[u32], piece: &mut Piece) -> RelativeCall {
        let (low, high) = places.iter().fold((u32::MAX, 0), |(low, high), &place| (low.min(place), high.max(place)));
        assert!(places.len() == 2 * tokens - 1 && (high as usize) < self.places, "places of another sequence");
        let occurring = (high - low) as usize + 1;
        let from_stride = occurring.next_multiple_of(QUERIES);
        if self.keys.is_some() {
            piece.to_positions.reserve(occurring * QUERIES);
        }
        if self.queries.is_some() {
            piece.from_positions.reserve(tokens * from_stride);
        }
        let part = |table: &Option<Buffer<f32>>, size: usize| {
            table.as_ref().map_or(std::ptr::null(), |table| table[head * size..(head + 1) * size].as_ptr())
        };
        let queries_stride = Self::stride_of(self.places);
        RelativeCall {
            places: places.as_ptr(),
            keys: part(&self.keys, self.places * self.head),
            queries: part(&self.queries, self.head * queries_stride),
            queries_stride,
            to_positions: piece.to_positions.as_mut_ptr(),
            from_positions: piece.from_positions.as_mut_ptr(),
            from_stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_beyond_those_kept_are_computed() {
        for max_distance in [None, Some(40)] {
            let places = Places::new(16, max_distance, Some(5));
            for tokens in [1, 2, 6, 7, 30] {
                let found = places.of(tokens);
                assert_eq!(found.len(), 2 * tokens - 1);
                assert_eq!(matches!(found, Cow::Borrowed(_)), tokens <= 6);
                for (index, &place) in found.iter().enumerate() {
                    let distance = index as i64 - (tokens as i64 - 1);
                    assert_eq!(place as usize, disentangled_place(distance, 16, max_distance));
                }
            }
        }
    }
}
