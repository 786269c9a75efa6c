//! What every kind of weights file holds under a name: a kind, a shape and bytes.

use crate::DataType;

/// What a stored tensor's elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Floating-point numbers that can be read.
    Float(DataType),
    /// Anything else, by its name in the file. Buffers such as `position_ids` are; they are never needed.
    Other(String),
}

/// A tensor as it lies in its file.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) kind: &'a Kind,
    pub(super) shape: &'a [usize],
    pub(super) bytes: &'a [u8],
}
