//! [`Slot`]: the places in a network that a checkpoint's tensors fill.

use std::ops::Range;

/// A place that one tensor fills. Linear weights are `[out, in]`, tables `[rows, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Word table `[vocabulary, width]`.
    WordEmbedding,
    /// Map of the patches of an image, in the place of a word table `[width, channels, size, size]`.
    PatchProjection,
    /// The vector before the patches of an image `[width]`.
    ClassEmbedding,
    /// Position table `[count, width]`.
    PositionEmbedding,
    /// Token type table `[token_types, width]`.
    TokenTypeEmbedding,
    /// Norm of the embeddings `[width]`.
    EmbeddingNorm(Part),
    /// Map from `width` to the hidden size.
    EmbeddingProjection(Part),
    /// Bucketed relative bias `[buckets, heads]`.
    RelativeBias,
    /// Table of relative positions of disentangled attention `[2·span, hidden]`.
    RelativeEmbedding,
    /// Norm of that table.
    RelativeEmbeddingNorm(Part),
    /// Norm after the last block.
    FinalNorm(Part),
    /// A place in block `layer`.
    Layer {
        /// Index of the block, from 0.
        layer: usize,
        /// The place in it.
        slot: LayerSlot,
    },
}

/// A place in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerSlot {
    /// Query projection `[heads·head_size, hidden]`.
    Query(Part),
    /// Key projection `[key_value_heads·head_size, hidden]`.
    Key(Part),
    /// Value projection `[key_value_heads·head_size, hidden]`.
    Value(Part),
    /// Norm of each head's query `[head_size]`.
    QueryNorm(Part),
    /// Norm of each head's key `[head_size]`.
    KeyNorm(Part),
    /// Query projection of relative positions `[heads·head_size, hidden]`, where it is not the content's.
    PositionQuery(Part),
    /// Key projection of relative positions `[heads·head_size, hidden]`, where it is not the content's.
    PositionKey(Part),
    /// Output projection `[hidden, heads·head_size]`.
    AttentionOutput(Part),
    /// Norm of the attention part `[hidden]`.
    AttentionNorm(Part),
    /// Second norm of the attention part, with [`crate::NormPlacement::Sandwich`].
    AttentionPostNorm(Part),
    /// Up projection `[inner, hidden]`.
    FeedForwardUp(Part),
    /// Gate projection `[inner, hidden]`.
    FeedForwardGate(Part),
    /// Down projection `[hidden, inner]`.
    FeedForwardDown(Part),
    /// Norm of the feed-forward part `[hidden]`.
    FeedForwardNorm(Part),
    /// Second norm of the feed-forward part, with [`crate::NormPlacement::Sandwich`].
    FeedForwardPostNorm(Part),
    /// Convolution beside the block `[hidden, hidden / groups, kernel]`.
    Convolution(Part),
    /// Norm of the sum of block and convolution `[hidden]`.
    ConvolutionNorm(Part),
}

/// Weight or bias of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The weight.
    Weight,
    /// The bias.
    Bias,
}

impl Part {
    /// The last part of the tensor's usual name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

/// Where a slot's numbers lie in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSource {
    /// Name of the tensor, without a prefix that a checkpoint of a larger model may carry.
    pub name: String,
    /// The rows that fill the slot, when several slots share one tensor (a fused query-key-value projection).
    pub rows: Option<Range<usize>>,
    /// Another name of the same tensor, for checkpoints that lack the first (tied tables are stored once).
    pub or: Option<String>,
}

impl TensorSource {
    /// A whole tensor.
    #[must_use]
    pub fn whole(name: impl Into<String>) -> Self {
        Self { name: name.into(), rows: None, or: None }
    }

    /// Some rows of a tensor.
    #[must_use]
    pub fn rows(name: impl Into<String>, rows: Range<usize>) -> Self {
        Self { name: name.into(), rows: Some(rows), or: None }
    }

    /// With a second name to look for.
    #[must_use]
    pub fn or(mut self, name: impl Into<String>) -> Self {
        self.or = Some(name.into());
        self
    }

    /// The source of a slot that an architecture does not have: a name that no checkpoint holds.
    #[must_use]
    pub fn nowhere(slot: Slot) -> Self {
        Self::whole(format!("({slot:?})"))
    }
}
