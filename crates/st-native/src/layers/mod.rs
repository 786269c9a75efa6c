//! The parts of a network: each owns its packed weights and knows how to run over rows.

pub(crate) mod attention;
pub(crate) mod block;
pub(crate) mod convolution;
pub(crate) mod embeddings;
mod epilogue;
pub(crate) mod feed_forward;
pub(crate) mod integer;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod packing;
pub(crate) mod pairs;
pub(crate) mod relative;
pub(crate) mod rotary;

use crate::kernels::{Kernels, STEP};
use crate::split::Split;

/// Where and how a pass runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) kernels: &'static Kernels,
    pub(crate) split: Split,
}

/// Numbers from one row of `width` to the next in memory that many rows of a few columns are read from: an odd number of
/// cache lines, so that the rows spread over all sets of the cache.
pub(crate) const fn spread(width: usize) -> usize {
    width | STEP
}

/// Numbers that a row of `width` takes.
pub(crate) const fn padded(width: usize) -> usize {
    width.next_multiple_of(STEP)
}
