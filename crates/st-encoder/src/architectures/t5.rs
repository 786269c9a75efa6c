//! The encoder of T5 (Raffel et al. 2020), T5 1.1 and mT5: root-mean-square norms before each part, a bucketed relative
//! bias, no biases, and scores that are not scaled. Decoder weights in the checkpoint are passed over.

use super::{Architecture, Config};
use crate::{
    Activation, AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec,
    FeedForwardSpec, LayerSlot, LayerSpec, NormPlacement, NormSpec, Part, PositionSpec, Slot, TensorSource,
};

pub(super) const T5: Architecture =
    Architecture { name: "t5", model_types: &["t5", "mt5"], describe, source, ..Architecture::PLAIN };

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size_or("d_model", 512)?;
    let heads = config.size_or("num_heads", 8)?;
    let norm = NormSpec::root_mean_square(config.positive_or("layer_norm_epsilon", 1e-6)?);
    let (gated, activation) = feed_forward(config)?;
    let layer = LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads: heads,
            head_size: config.size_or("d_kv", 64)?,
            scale: 1.0,
            input_bias: false,
            output_bias: false,
            position: AttentionPosition::RelativeBias {
                buckets: config.size_or("relative_attention_num_buckets", 32)?,
                max_distance: config.size_or("relative_attention_max_distance", 128)?,
            },
            mask: AttentionMask::Full,
            query_key_norm: None,
        },
        attention_norm: Some(norm),
        feed_forward: FeedForwardSpec {
            inner: config.size_or("d_ff", 2048)?,
            activation,
            gated,
            up_bias: false,
            down_bias: false,
        },
        feed_forward_norm: norm,
        placement: NormPlacement::Pre,
        convolution: None,
    };
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size_or("vocab_size", 32_128)?,
            width: hidden,
            positions: PositionSpec::None,
            token_types: 0,
            norm: None,
            projection: None,
            scale: None,
            patches: None,
        },
        layers: vec![layer; config.layers_or("num_layers", 6)?],
        final_norm: Some(norm),
        max_sequence: None,
    })
}

/// Reads `feed_forward_proj`: an activation's name, or `gated-` and an activation's name. `gated-gelu` has always stood
/// for the tanh approximation.
fn feed_forward(config: &Config<'_>) -> Result<(bool, Activation), EncoderError> {
    let default = if config.text("model_type")? == "mt5" { "gated-gelu" } else { "relu" };
    let name = config.text_or("feed_forward_proj", default)?;
    match name.strip_prefix("gated-") {
        Some("gelu") => Ok((true, Activation::GeluTanh)),
        Some(activation) => Ok((true, config.activation("feed_forward_proj", activation)?)),
        None => Ok((false, config.activation("feed_forward_proj", name)?)),
    }
}

fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let (layer, place, part) = match slot {
        Slot::WordEmbedding => return TensorSource::whole("shared.weight").or("encoder.embed_tokens.weight"),
        Slot::RelativeBias => (0, "layer.0.SelfAttention.relative_attention_bias", Part::Weight),
        Slot::FinalNorm(part) => return TensorSource::whole(format!("encoder.final_layer_norm.{}", part.name())),
        Slot::Layer { layer, slot: place } => match place {
            LayerSlot::Query(part) => (layer, "layer.0.SelfAttention.q", part),
            LayerSlot::Key(part) => (layer, "layer.0.SelfAttention.k", part),
            LayerSlot::Value(part) => (layer, "layer.0.SelfAttention.v", part),
            LayerSlot::AttentionOutput(part) => (layer, "layer.0.SelfAttention.o", part),
            LayerSlot::AttentionNorm(part) => (layer, "layer.0.layer_norm", part),
            LayerSlot::FeedForwardGate(part) => (layer, "layer.1.DenseReluDense.wi_0", part),
            LayerSlot::FeedForwardUp(part) if spec.layers.get(layer).is_some_and(|layer| layer.feed_forward.gated) => {
                (layer, "layer.1.DenseReluDense.wi_1", part)
            }
            LayerSlot::FeedForwardUp(part) => (layer, "layer.1.DenseReluDense.wi", part),
            LayerSlot::FeedForwardDown(part) => (layer, "layer.1.DenseReluDense.wo", part),
            LayerSlot::FeedForwardNorm(part) => (layer, "layer.1.layer_norm", part),
            _ => return TensorSource::nowhere(slot),
        },
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource::whole(format!("encoder.block.{layer}.{place}.{}", part.name()))
}
