//! BERT (Devlin et al. 2019) and what differs from it only in numbers: MiniLM, E5, BGE, GTE (v1).

use super::{Architecture, Config};
use crate::{
    AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec, FeedForwardSpec,
    LayerSlot, LayerSpec, NormPlacement, NormSpec, Part, PositionSpec, Slot, TensorSource,
};

pub(super) const BERT: Architecture = Architecture {
    name: "bert",
    model_types: &["bert"],
    prefixes: &["", "bert."],
    describe,
    source,
    ..Architecture::PLAIN
};

pub(super) fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    config.only("position_embedding_type", &["absolute".into()])?;
    describe_sized(config, &Sizes::of(config.size_or("hidden_size", 768)?))
}

/// What a configuration of this shape says of itself, or its class takes by default.
pub(super) struct Sizes {
    /// Components of a hidden state.
    pub(super) hidden: usize,
    /// Components of the word table.
    pub(super) width: usize,
    /// Default of `num_attention_heads`.
    pub(super) heads: usize,
    /// Default of `intermediate_size`.
    pub(super) inner: usize,
    /// Default of `vocab_size`.
    pub(super) vocabulary: usize,
    /// Default of `num_hidden_layers`.
    pub(super) layers: usize,
    /// Default of `type_vocab_size`.
    pub(super) token_types: usize,
    /// Default of `layer_norm_eps`.
    pub(super) epsilon: f64,
    /// Default of `hidden_act`.
    pub(super) activation: &'static str,
}

impl Sizes {
    /// BERT's own defaults.
    pub(super) const fn of(hidden: usize) -> Self {
        Self {
            hidden,
            width: hidden,
            heads: 12,
            inner: 3072,
            vocabulary: 30_522,
            layers: 12,
            token_types: 2,
            epsilon: 1e-12,
            activation: "gelu",
        }
    }
}

/// Describes BERT with the sizes handed over.
pub(super) fn describe_sized(config: &Config<'_>, sizes: &Sizes) -> Result<EncoderSpec, EncoderError> {
    let Sizes { hidden, width, .. } = *sizes;
    let heads = config.size_or("num_attention_heads", sizes.heads)?;
    let head_size = config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?;
    let count = config.size_or("max_position_embeddings", 512)?;
    let norm = NormSpec::layer(config.positive_or("layer_norm_eps", sizes.epsilon)?);
    let layer = LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads: heads,
            head_size,
            scale: 1.0 / (head_size as f64).sqrt(),
            input_bias: true,
            output_bias: true,
            position: AttentionPosition::None,
            mask: AttentionMask::Full,
            query_key_norm: None,
        },
        attention_norm: Some(norm),
        feed_forward: FeedForwardSpec {
            inner: config.size_or("intermediate_size", sizes.inner)?,
            activation: config.activation_or("hidden_act", sizes.activation)?,
            gated: false,
            up_bias: true,
            down_bias: true,
        },
        feed_forward_norm: norm,
        placement: NormPlacement::Post,
        convolution: None,
    };
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size_or("vocab_size", sizes.vocabulary)?,
            width,
            positions: PositionSpec::Learned { count, offset: 0, padding: None },
            token_types: config.count_or("type_vocab_size", sizes.token_types)?,
            norm: Some(norm),
            projection: (width != hidden).then_some(true),
            scale: None,
            patches: None,
        },
        layers: vec![layer; config.layers_or("num_hidden_layers", sizes.layers)?],
        final_norm: None,
        max_sequence: Some(count),
    })
}

pub(super) fn source(_: &EncoderSpec, slot: Slot) -> TensorSource {
    let named = |name: &str, part: Part| TensorSource::whole(format!("{name}.{}", part.name()));
    match slot {
        Slot::WordEmbedding => named("embeddings.word_embeddings", Part::Weight),
        Slot::PositionEmbedding => named("embeddings.position_embeddings", Part::Weight),
        Slot::TokenTypeEmbedding => named("embeddings.token_type_embeddings", Part::Weight),
        Slot::EmbeddingNorm(part) => named("embeddings.LayerNorm", part),
        Slot::Layer { layer, slot: place } => {
            let (place, part) = match place {
                LayerSlot::Query(part) => ("attention.self.query", part),
                LayerSlot::Key(part) => ("attention.self.key", part),
                LayerSlot::Value(part) => ("attention.self.value", part),
                LayerSlot::AttentionOutput(part) => ("attention.output.dense", part),
                LayerSlot::AttentionNorm(part) => ("attention.output.LayerNorm", part),
                LayerSlot::FeedForwardUp(part) => ("intermediate.dense", part),
                LayerSlot::FeedForwardDown(part) => ("output.dense", part),
                LayerSlot::FeedForwardNorm(part) => ("output.LayerNorm", part),
                _ => return TensorSource::nowhere(slot),
            };
            named(&format!("encoder.layer.{layer}.{place}"), part)
        }
        _ => TensorSource::nowhere(slot),
    }
}

/// Changes positions to the RoBERTa family's: the first token reads the row after the padding token's.
pub(super) fn offset_positions(
    spec: &mut EncoderSpec,
    config: &Config<'_>,
    default: usize,
    padding: u32,
) -> Result<(), EncoderError> {
    let count = config.size_or("max_position_embeddings", default)?;
    let offset = padding as usize + 1;
    if count <= offset {
        return Err(config.error(format!(
            "'max_position_embeddings' {count} leaves no position, because the first {offset} are reserved for padding"
        )));
    }
    spec.embeddings.positions = PositionSpec::Learned { count, offset, padding: Some(padding) };
    spec.max_sequence = Some(count - offset);
    Ok(())
}
