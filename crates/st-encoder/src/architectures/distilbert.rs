//! DistilBERT (Sanh et al. 2019): BERT without token types and with field and tensor names of its own.

use super::{Architecture, Config};
use crate::{
    AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec, FeedForwardSpec,
    LayerSlot, LayerSpec, NormPlacement, NormSpec, PositionSpec, Slot, TensorSource,
};

pub(super) const DISTILBERT: Architecture = Architecture {
    name: "distilbert",
    model_types: &["distilbert"],
    prefixes: &["", "distilbert."],
    describe,
    source,
    ..Architecture::PLAIN
};

/// The network has it fixed.
const EPSILON: f64 = 1e-12;

/// `sinusoidal_pos_embds` says only how the position table was first filled; the table is stored either way.
fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size_or("dim", 768)?;
    let heads = config.size_or("n_heads", 12)?;
    let head_size = config.head_size(("dim", hidden), ("n_heads", heads))?;
    let count = config.size_or("max_position_embeddings", 512)?;
    let norm = NormSpec::layer(EPSILON);
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
            inner: config.size_or("hidden_dim", 4 * 768)?,
            activation: config.activation_or("activation", "gelu")?,
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
            vocabulary: config.size_or("vocab_size", 30_522)?,
            width: hidden,
            positions: PositionSpec::Learned { count, offset: 0, padding: None },
            token_types: 0,
            norm: Some(norm),
            projection: None,
            scale: None,
            patches: None,
        },
        layers: vec![layer; config.layers_or("n_layers", 6)?],
        final_norm: None,
        max_sequence: Some(count),
    })
}

fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let Slot::Layer { layer, slot: place } = slot else { return super::bert::source(spec, slot) };
    let (place, part) = match place {
        LayerSlot::Query(part) => ("attention.q_lin", part),
        LayerSlot::Key(part) => ("attention.k_lin", part),
        LayerSlot::Value(part) => ("attention.v_lin", part),
        LayerSlot::AttentionOutput(part) => ("attention.out_lin", part),
        LayerSlot::AttentionNorm(part) => ("sa_layer_norm", part),
        LayerSlot::FeedForwardUp(part) => ("ffn.lin1", part),
        LayerSlot::FeedForwardDown(part) => ("ffn.lin2", part),
        LayerSlot::FeedForwardNorm(part) => ("output_layer_norm", part),
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource::whole(format!("transformer.layer.{layer}.{place}.{}", part.name()))
}
