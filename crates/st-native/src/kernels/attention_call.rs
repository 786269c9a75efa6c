//! What an attention kernel is called with, and how its rows are cut.

use st_encoder::AttentionMask;

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
    /// Per head of the group, what is added to the scores by distance, times log₂ e: from `tokens − 1` (key after query)
    /// down to `1 − tokens`, then room for a block of queries. Null without.
    pub(crate) bias: *const f32,
    /// Numbers from one head's bias to the next, at least `2 · tokens + QUERIES`.
    pub(crate) bias_stride: usize,
    /// The terms of disentangled attention; null without. Then the group is of one head, and the kernel is not the one in
    /// bfloat16.
    pub(crate) relative: *const RelativeCall,
    /// Which keys a query sees.
    pub(crate) mask: AttentionMask,
    /// Room for `head` rows of [`QUERIES`] numbers.
    pub(crate) transposed: *mut f32,
    /// Room for `tokens` rows of [`QUERIES`] scores.
    pub(crate) scores: *mut f32,
    /// Room for keys and values in bfloat16, `head` numbers for each of twice the tokens and one; null for a kernel that
    /// does not use it.
    pub(crate) halves: *mut u16,
}

/// Queries in a block, at most; two of the widest vectors.
pub(crate) const QUERIES: usize = 32;

/// An attention kernel.
///
/// # Safety
/// The pointers must be valid as their descriptions say, and no other thread may use the outputs or the scratch.
pub(crate) type AttentionKernel = unsafe fn(&AttentionCall);

/// One sequence, one head.
#[derive(Debug)]
pub(crate) struct RelativeCall {
    /// Places of the distances `1 − tokens ..= tokens − 1` from key to query.
    pub(crate) places: *const u32,
    /// Keys of places, row after row of `head` numbers; null where the scores lack this term.
    pub(crate) keys: *const f32,
    /// Queries of places, transposed: `head` rows, of which whole vectors up to [`QUERIES`] numbers past the last place
    /// may be read; null where the scores lack this term.
    pub(crate) queries: *const f32,
    /// Numbers from one row of the transposed queries to the next.
    pub(crate) queries_stride: usize,
    /// Room for a row of [`QUERIES`] numbers per place from the first to the last that occur.
    pub(crate) to_positions: *mut f32,
    /// Room for a row of `from_stride` numbers per token.
    pub(crate) from_positions: *mut f32,
    /// Places from the first to the last that occur, rounded up to [`QUERIES`].
    pub(crate) from_stride: usize,
}

/// Cuts `count` rows into tiles of nearly equal height, at most `most`.
#[inline(always)]
pub(super) fn tiles(count: usize, most: usize, mut work: impl FnMut(usize, usize)) {
    let tiles = count.div_ceil(most);
    let mut start = 0;
    for tile in 0..tiles {
        let height = (count - start).div_ceil(tiles - tile);
        work(start, height);
        start += height;
    }
}
