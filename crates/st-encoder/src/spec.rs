//! [`EncoderSpec`]: an encoder network as data.

use crate::RotaryScaling;

/// What a transformer encoder *is*: everything an executor must know besides the numbers in the checkpoint.
///
/// An architecture file makes it from `config.json`; the native engine, the training graph and the exporters run it.
///
/// ```
/// use st_encoder::architectures::describe;
///
/// let config = serde_json::json!({
///     "model_type": "bert", "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
///     "intermediate_size": 64, "max_position_embeddings": 40, "type_vocab_size": 2,
/// });
/// let (architecture, spec) = describe(&config, "config.json".as_ref())?;
/// assert_eq!((architecture.name, spec.hidden, spec.layers.len()), ("bert", 32, 2));
/// assert_eq!(spec.layers[0].attention.head_size, 8);
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderSpec {
    /// Components of a token embedding.
    pub hidden: usize,
    /// From token ids to the first hidden state.
    pub embeddings: EmbeddingsSpec,
    /// The blocks, first to last. Blocks that share weights (ALBERT) are still listed one by one.
    pub layers: Vec<LayerSpec>,
    /// A norm after the last block.
    pub final_norm: Option<NormSpec>,
    /// Longest sequence that the positions allow; `None` when nothing limits it.
    pub max_sequence: Option<usize>,
}

/// From token ids to the first hidden state: table look-ups, their sum, norm, projection. A network that reads images has
/// patches in the place of words.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsSpec {
    /// Rows of the word table; 1 without one, because all ids of a batch of patches are 0.
    pub vocabulary: usize,
    /// Components of the word table; differs from the hidden size only with a factorised projection.
    pub width: usize,
    /// How positions enter here (attention has its own, [`AttentionPosition`]).
    pub positions: PositionSpec,
    /// Rows of the token type table; 0 without one.
    pub token_types: usize,
    /// Norm of the sum.
    pub norm: Option<NormSpec>,
    /// A linear map from `width` to the hidden size after the norm; the value says whether it has a bias.
    pub projection: Option<bool>,
    /// Factor on the word embeddings (Gemma: √hidden).
    pub scale: Option<f32>,
    /// The patches of an image that are read instead of words: a sequence is a learned class vector and then one row per
    /// patch, its numbers mapped to `width` without a bias (Dosovitskiy et al. 2021).
    pub patches: Option<PatchSpec>,
}

/// A patch of an image: a square of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchSpec {
    /// Numbers per pixel: 3 for colours.
    pub channels: usize,
    /// Pixels along a side.
    pub size: usize,
}

impl PatchSpec {
    /// Numbers of a patch: `channels · size²`, channel by channel, each row by row.
    ///
    /// ```
    /// assert_eq!(st_encoder::PatchSpec { channels: 3, size: 16 }.numbers(), 768);
    /// ```
    #[must_use]
    pub const fn numbers(self) -> usize {
        self.channels * self.size * self.size
    }
}

/// How positions enter the embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionSpec {
    /// Not at all.
    None,
    /// A learned table: token `t` of a sequence (from 0) reads row `t + offset`.
    Learned {
        /// Rows of the table.
        count: usize,
        /// First row used: 0 for BERT, padding id + 1 for the RoBERTa family.
        offset: usize,
        /// RoBERTa family: tokens with this id read the row of the same number and do not advance the position.
        padding: Option<u32>,
    },
}

/// One block: attention and feed-forward, each with a residual connection and norms.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Self-attention.
    pub attention: AttentionSpec,
    /// Norm of the attention part; `None` where the block has none (ModernBERT's first).
    pub attention_norm: Option<NormSpec>,
    /// Feed-forward network.
    pub feed_forward: FeedForwardSpec,
    /// Norm of the feed-forward part.
    pub feed_forward_norm: NormSpec,
    /// Where the norms stand.
    pub placement: NormPlacement,
    /// A convolution over the block's input, which joins its output.
    pub convolution: Option<ConvolutionSpec>,
}

/// A convolution over neighbouring tokens beside a block, `norm(block(x) + act(conv(x)))` (He et al. 2021). Before a text's
/// first token and behind its last one there are zeros.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvolutionSpec {
    /// Tokens that one output sees: its own and as many on either side, so that the number is odd.
    pub kernel: usize,
    /// Groups of components, input and output alike; an output sees its own group only.
    pub groups: usize,
    /// The activation.
    pub activation: Activation,
    /// Norm of the sum.
    pub norm: NormSpec,
}

/// Where a block's norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// After the residual sum: `x = norm(x + f(x))` (BERT).
    Post,
    /// Before the sub-layer: `x = x + f(norm(x))` (T5, LLaMA).
    Pre,
    /// Before and after the sub-layer, inside the residual: `x = x + post(f(norm(x)))` (Gemma 3).
    Sandwich,
}

/// Multi-head self-attention: `softmax(q·kᵀ·scale + position) · v`, then an output projection.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; fewer than `heads` with grouped-query attention.
    pub key_value_heads: usize,
    /// Components per head.
    pub head_size: usize,
    /// Factor on the scores; usually `1/√head_size`, T5: 1.
    pub scale: f64,
    /// Whether query, key and value projections have a bias.
    pub input_bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
    /// How positions enter the scores.
    pub position: AttentionPosition,
    /// Which tokens may see which.
    pub mask: AttentionMask,
    /// Norm over each head's query and key (Qwen3, Gemma 3).
    pub query_key_norm: Option<NormSpec>,
}

/// How positions enter the attention scores.
#[derive(Debug, Clone, PartialEq)]
pub enum AttentionPosition {
    /// Not at all.
    None,
    /// T5's bucketed relative bias, one table of `[buckets, heads]` shared by all layers, both directions
    /// (Raffel et al. 2020).
    RelativeBias {
        /// Rows of the table.
        buckets: usize,
        /// Distances from here on share the last bucket.
        max_distance: usize,
    },
    /// Rotary embeddings (Su et al. 2021) of `dimensions` leading components per head, halves paired.
    Rotary {
        /// Base of the wave lengths.
        base: f64,
        /// Rotated components per head.
        dimensions: usize,
        /// How the wave numbers are stretched; [`crate::rotary_wave_numbers`] gives them.
        scaling: RotaryScaling,
    },
    /// Linear bias by distance (Press et al. 2022), symmetric for encoders; [`crate::alibi_slopes`] gives the slopes.
    Alibi,
    /// DeBERTa's disentangled attention with content-to-position and position-to-content terms (He et al. 2021).
    Disentangled {
        /// Half the rows of the relative table.
        span: usize,
        /// Distances beyond `span / 2` are binned by logarithm up to this one; `None` for version 1.
        max_distance: Option<usize>,
        /// Which terms the scores have besides the product of query and key.
        terms: DisentangledTerms,
        /// Whether positions have projections of their own ([`crate::LayerSlot::PositionQuery`],
        /// [`crate::LayerSlot::PositionKey`]) instead of those of the content.
        own_projections: bool,
    },
}

/// The terms of disentangled scores that read a position (He et al. 2021).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisentangledTerms {
    /// The query's product with the key of the distance, `q·r_kᵀ` (`c2p`).
    ContentToPosition,
    /// The key's product with the query of the distance, `r_q·kᵀ` (`p2c`).
    PositionToContent,
    /// Both.
    Both,
}

impl DisentangledTerms {
    /// Whether distances have keys, which queries of the content meet.
    #[must_use]
    pub const fn has_keys(self) -> bool {
        matches!(self, Self::ContentToPosition | Self::Both)
    }

    /// Whether distances have queries, which keys of the content meet.
    #[must_use]
    pub const fn has_queries(self) -> bool {
        matches!(self, Self::PositionToContent | Self::Both)
    }

    /// Products that a score is a sum of, that of the contents included.
    #[must_use]
    pub const fn products(self) -> usize {
        match self {
            Self::Both => 3,
            _ => 2,
        }
    }
}

/// Which tokens may see which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// Every token sees every token.
    Full,
    /// A token sees itself and those before it.
    Causal,
    /// A token sees those at most `reach` places away.
    Window {
        /// Largest distance seen, to either side.
        reach: usize,
    },
    /// A token sees itself and those before it that are at most `reach` places away.
    CausalWindow {
        /// Largest distance seen.
        reach: usize,
    },
}

/// The feed-forward network: `down(act(up(x)))`, or gated `down(act(gate(x)) ∘ up(x))`.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForwardSpec {
    /// Inner width.
    pub inner: usize,
    /// The activation.
    pub activation: Activation,
    /// Whether there is a gate projection beside the up projection.
    pub gated: bool,
    /// Whether up (and gate) have a bias.
    pub up_bias: bool,
    /// Whether down has a bias.
    pub down_bias: bool,
}

/// Activation functions of feed-forward networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` with the error function (Hendrycks & Gimpel 2016).
    Gelu,
    /// GELU by its tanh approximation (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// `x·sigmoid(1.702·x)`, GELU's approximation by the logistic function (`quick_gelu`, CLIP).
    QuickGelu,
    /// `max(0, x)`.
    Relu,
    /// `x·sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// A norm over the components of a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormSpec {
    /// Which norm.
    pub kind: NormKind,
    /// Added to the variance (or mean square) under the root.
    pub epsilon: f64,
    /// Whether there is a bias after the weight.
    pub bias: bool,
    /// Whether the stored weight is the offset from one (Gemma: `(1 + w)·x̂`).
    pub unit_offset: bool,
}

/// Kinds of norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and variance (Ba et al. 2016).
    Layer,
    /// Root mean square (Zhang & Sennrich 2019).
    RootMeanSquare,
}

impl NormSpec {
    /// A layer norm with weight and bias.
    #[must_use]
    pub const fn layer(epsilon: f64) -> Self {
        Self { kind: NormKind::Layer, epsilon, bias: true, unit_offset: false }
    }

    /// A root-mean-square norm with a weight.
    #[must_use]
    pub const fn root_mean_square(epsilon: f64) -> Self {
        Self { kind: NormKind::RootMeanSquare, epsilon, bias: false, unit_offset: false }
    }
}
