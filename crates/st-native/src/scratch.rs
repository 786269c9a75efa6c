//! Working memory that threads keep between calls.

use std::cell::RefCell;

use crate::kernels::quantise::{GROUP, bytes_of};
use crate::memory::Buffer;

/// Memory of one forward pass over a micro-batch.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    /// Sum of the embedding tables where their width is not the hidden size.
    pub(crate) embedded: Buffer<f32>,
    /// The residual stream.
    pub(crate) hidden: Buffer<f32>,
    /// What a norm before a sub-layer gives.
    pub(crate) normed: Buffer<f32>,
    /// Queries, keys and values.
    pub(crate) projected: Buffer<f32>,
    /// Output of attention.
    pub(crate) context: Buffer<f32>,
    /// Output of a sub-layer that has a norm of its own before it enters the residual stream.
    pub(crate) aside: Buffer<f32>,
    /// Inner activations of the feed-forward network when threads share its columns.
    pub(crate) inner: Buffer<f32>,
    /// Output of a convolution beside a block.
    pub(crate) convolved: Buffer<f32>,
}

/// Memory of one piece of a pass, used by one thread.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// Inner activations, or windows of a convolution, of a block of rows.
    pub(crate) inner: Buffer<f32>,
    /// Transposed queries of a head.
    pub(crate) transposed: Buffer<f32>,
    /// Scores of some queries, key by key.
    pub(crate) scores: Buffer<f32>,
    /// Keys and values in 16 bits.
    pub(crate) halves: Buffer<u16>,
    /// Bias by distance.
    pub(crate) bias: Buffer<f32>,
    /// Products of some queries with the keys of relative positions.
    pub(crate) to_positions: Buffer<f32>,
    /// Products of a head's keys with the queries of relative positions.
    pub(crate) from_positions: Buffer<f32>,
}

/// Rows in bytes.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    pub(crate) bytes: Buffer<u8>,
    /// A few rows of numbers.
    pub(crate) rotated: Buffer<f32>,
    pub(crate) scale: Buffer<f32>,
    pub(crate) offset: Buffer<f32>,
}

impl Bytes {
    /// Makes room for rows.
    pub(crate) fn reserve(&mut self, rows: usize, width: usize) {
        self.bytes.reserve(rows * bytes_of(width));
        self.rotated.reserve(GROUP * width);
        self.scale.reserve(rows);
        self.offset.reserve(rows);
    }
}

/// Weights in 32 bits: a panel of 16-bit ones, or the rows of those that become bytes.
#[derive(Debug, Default)]
pub(crate) struct Widened(pub(crate) Buffer<f32>);

/// Rows in bfloat16.
#[derive(Debug, Default)]
pub(crate) struct Halves(pub(crate) Buffer<u16>);

/// More memory than this is given back after the call that needed it.
const KEPT: usize = 64 << 20;

/// Memory of which a thread keeps what it used last.
pub(crate) trait Kept: Default + 'static {
    fn bytes(&self) -> usize;
    fn with_store<R>(use_store: impl FnOnce(&RefCell<Vec<Self>>) -> R) -> R;
}

impl Kept for Activations {
    fn bytes(&self) -> usize {
        let rows = [&self.embedded, &self.hidden, &self.normed, &self.projected, &self.context, &self.aside];
        let others = [&self.inner, &self.convolved];
        rows.iter().chain(&others).map(|buffer| buffer.bytes()).sum()
    }

    fn with_store<R>(use_store: impl FnOnce(&RefCell<Vec<Self>>) -> R) -> R {
        thread_local! { static STORE: RefCell<Vec<Activations>> = const { RefCell::new(Vec::new()) } }
        STORE.with(use_store)
    }
}

impl Kept for Piece {
    fn bytes(&self) -> usize {
        let numbers =
            [&self.inner, &self.transposed, &self.scores, &self.bias, &self.to_positions, &self.from_positions];
        numbers.iter().map(|buffer| buffer.bytes()).sum::<usize>() + self.halves.bytes()
    }

    fn with_store<R>(use_store: impl FnOnce(&RefCell<Vec<Self>>) -> R) -> R {
        thread_local! { static STORE: RefCell<Vec<Piece>> = const { RefCell::new(Vec::new()) } }
        STORE.with(use_store)
    }
}

impl Kept for Widened {
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn with_store<R>(use_store: impl FnOnce(&RefCell<Vec<Self>>) -> R) -> R {
        thread_local! { static STORE: RefCell<Vec<Widened>> = const { RefCell::new(Vec::new()) } }
        STORE.with(use_store)
    }
}

impl Kept for Halves {
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn with_store<R>(use_store: impl FnOnce(&RefCell<Vec<Self>>) -> R) -> R {
        thread_local! { static STORE: RefCell<Vec<Halves>> = const { RefCell::new(Vec::new()) } }
        STORE.with(use_store)
    }
}

impl Kept for Bytes {
    fn bytes(&self) -> usize {
        self.bytes.bytes() + self.rotated.bytes() + self.scale.bytes() + self.offset.bytes()
    }

    fn with_store<R>(use_store: impl FnOnce(&RefCell<Vec<Self>>) -> R) -> R {
        thread_local! { static STORE: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) } }
        STORE.with(use_store)
    }
}

/// Lends this thread's memory. A thread that waits in a pool may be given other work meanwhile and comes here again; it
/// then gets other memory.
pub(crate) fn lend<M: Kept, R>(work: impl FnOnce(&mut M) -> R) -> R {
    let mut memory = M::with_store(|store| store.borrow_mut().pop()).unwrap_or_default();
    let result = work(&mut memory);
    if memory.bytes() <= KEPT {
        M::with_store(|store| {
            let mut store = store.borrow_mut();
            if store.len() < 2 {
                store.push(memory);
            }
        });
    }
    result
}

/// Gives back what this thread keeps of a kind.
pub(crate) fn release<M: Kept>() {
    M::with_store(|store| store.borrow_mut().clear());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_nests() {
        let first = lend::<Piece, _>(|piece| {
            piece.transposed.reserve(100);
            let inner = lend::<Piece, _>(|other| other.transposed.len());
            assert_eq!(inner, 0);
            piece.transposed.as_ptr() as usize
        });
        lend::<Piece, _>(|piece| assert_eq!(piece.transposed.as_ptr() as usize, first));
        lend::<Piece, _>(|piece| piece.transposed.reserve(KEPT));
        lend::<Piece, _>(|piece| assert!(piece.transposed.len() < KEPT));
        lend::<Piece, _>(|piece| piece.transposed.reserve(100));
        release::<Piece>();
        lend::<Piece, _>(|piece| assert_eq!(piece.transposed.len(), 0));
    }
}
