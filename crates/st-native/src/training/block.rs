//! [`Block`]: a whole transformer block, forward and backward, in few passes over memory.

use st_encoder::{Activation, NormKind};

use super::attention::{Attention, AttentionStatistics, DropoutFactors};
use super::linear::Weight;
use super::pool::Pooled;
use crate::kernels::STEP;

/// A norm over the components of a row.
///
/// ```
/// use st_encoder::NormKind;
/// use st_native::training::{Compute, NormWeights};
///
/// let norm = NormWeights { kind: NormKind::Layer, epsilon: 0.0, weight: &[1.0, 1.0], bias: None };
/// let mut output = [0.0; 2];
/// Compute::detect().norm(&norm, &[1.0, 3.0], &mut output);
/// assert_eq!(output, [-1.0, 1.0]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct NormWeights<'a> {
    /// Which norm.
    pub kind: NormKind,
    /// Added under the root.
    pub epsilon: f32,
    /// Factor per component.
    pub weight: &'a [f32],
    /// Summand per component.
    pub bias: Option<&'a [f32]>,
}

/// A block with norms after the residual sums, as BERT's: `y = norm(x + attention(x))`, `z = norm(y + down(act(up(y))))`.
///
/// See [`super::Compute::block`].
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Heads, scale and mask.
    pub attention: Attention,
    /// Projections to queries, keys and values.
    pub projections: [Weight<'a>; 3],
    /// Projection of the context.
    pub output: Weight<'a>,
    /// Norm after attention.
    pub attention_norm: NormWeights<'a>,
    /// First half of the feed-forward network.
    pub up: Weight<'a>,
    /// Between its halves.
    pub activation: Activation,
    /// Its second half.
    pub down: Weight<'a>,
    /// Norm after it.
    pub feed_forward_norm: NormWeights<'a>,
}

impl Block<'_> {
    /// Components of a hidden state.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.down.outputs
    }

    /// Whether blocks of this size can be run: all widths must be multiples of 16.
    #[must_use]
    pub fn fits(hidden: usize, inner: usize, context: usize, keys: usize) -> bool {
        [hidden, inner, context, keys].iter().all(|width| *width > 0 && width.is_multiple_of(STEP))
    }
}

/// What a block drops.
#[derive(Clone, Copy, Default)]
pub struct BlockDropout<'a> {
    /// Factors on the probabilities of attention.
    pub attention: Option<DropoutFactors<'a>>,
    /// Factors on the output of the attention part, before the residual sum.
    pub output: Option<DropoutFactors<'a>>,
    /// Factors on the output of the feed-forward network, before the residual sum.
    pub feed_forward: Option<DropoutFactors<'a>>,
}

impl std::fmt::Debug for BlockDropout<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlockDropout")
            .field("attention", &self.attention.is_some())
            .field("output", &self.output.is_some())
            .field("feed_forward", &self.feed_forward.is_some())
            .finish()
    }
}

/// What a block's forward pass keeps for its gradient.
#[derive(Debug)]
pub struct BlockTape {
    /// Queries, keys and values.
    pub(super) projected: Pooled,
    pub(super) context: Pooled,
    pub(super) statistics: AttentionStatistics,
    /// Sum before the first norm.
    pub(super) first: Pooled,
    /// What the first norm gave.
    pub(super) normed: Pooled,
    /// What was activated.
    pub(super) inner: Pooled,
    /// Sum before the second norm.
    pub(super) second: Pooled,
}

/// Where a block's gradients go; what is `None` is not computed. The input's is overwritten, the parameters' are added to
/// what is there.
#[derive(Debug, Default)]
pub struct BlockGradients<'a> {
    /// Of the block's input.
    pub input: Option<&'a mut [f32]>,
    /// Of the projections' weights and biases: query, key, value.
    pub projections: [[Option<&'a mut [f32]>; 2]; 3],
    /// Of the output projection's weight and bias.
    pub output: [Option<&'a mut [f32]>; 2],
    /// Of the first norm's weight and bias.
    pub attention_norm: [Option<&'a mut [f32]>; 2],
    /// Of the up projection's weight and bias.
    pub up: [Option<&'a mut [f32]>; 2],
    /// Of the down projection's weight and bias.
    pub down: [Option<&'a mut [f32]>; 2],
    /// Of the second norm's weight and bias.
    pub feed_forward_norm: [Option<&'a mut [f32]>; 2],
    /// Of the bias of attention.
    pub bias: Option<&'a mut [f32]>,
}
