//! Alibaba's "new" encoder (Zhang et al. 2024, mGTE): BERT with rotary positions, a gated feed-forward and fused
//! projections; gte-*-v1.5 and gte-multilingual-base, and GTE as transformers 5 calls it.

use serde_json::Value;

use super::rotary_fields::rotary;
use super::{Architecture, Config, own_names};
use crate::{
    AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec, FeedForwardSpec,
    LayerSlot, LayerSpec, NormPlacement, NormSpec, PositionSpec, RotaryScaling, Slot, TensorSource,
};

/// With the configuration of the code that the published models bring along.
pub(super) const NEW: Architecture = Architecture {
    name: "new",
    model_types: &["new"],
    prefixes: &["", "new."],
    describe,
    source,
    ..Architecture::PLAIN
};

/// With the configuration of transformers 5's own class, which saves weights under the published names unless it is told to
/// write its own.
pub(super) const GTE: Architecture = Architecture { source, otherwise: Some(&GTE_BY_OWN_NAMES), ..GTE_BY_OWN_NAMES };

const GTE_BY_OWN_NAMES: Architecture = Architecture {
    name: "gte",
    model_types: &["gte"],
    prefixes: &["", "gte.", "new."],
    describe: describe_of_transformers,
    source: own_names::source,
    ..Architecture::PLAIN
};

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    config.only("position_embedding_type", &["rope".into()])?;
    config.only("layer_norm_type", &["layer_norm".into()])?;
    config.only("pack_qkv", &[true.into()])?;
    config.only("logn_attention_scale", &[false.into()])?;
    describe_sized(config, 30_528, position)
}

fn describe_of_transformers(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    describe_sized(config, 250_048, |config, dimensions| {
        let (base, scaling) = rotary(config, "full_attention", 160_000.0)?;
        Ok(AttentionPosition::Rotary { base, dimensions, scaling })
    })
}

/// `vocabulary` is the number of words where the configuration does not say.
fn describe_sized(
    config: &Config<'_>,
    vocabulary: usize,
    position: fn(&Config<'_>, usize) -> Result<AttentionPosition, EncoderError>,
) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size_or("hidden_size", 768)?;
    let heads = config.size_or("num_attention_heads", 12)?;
    let head_size = config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?;
    let norm = NormSpec::layer(config.positive_or("layer_norm_eps", 1e-12)?);
    let layer = LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads: heads,
            head_size,
            scale: 1.0 / (head_size as f64).sqrt(),
            input_bias: true,
            output_bias: true,
            position: position(config, head_size)?,
            mask: AttentionMask::Full,
            query_key_norm: None,
        },
        attention_norm: Some(norm),
        feed_forward: FeedForwardSpec {
            inner: config.size_or("intermediate_size", 3072)?,
            activation: config.activation_or("hidden_act", "gelu")?,
            gated: true,
            up_bias: false,
            down_bias: true,
        },
        feed_forward_norm: norm,
        placement: NormPlacement::Post,
        convolution: None,
    };
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size_or("vocab_size", vocabulary)?,
            width: hidden,
            positions: PositionSpec::None,
            token_types: config.count_or("type_vocab_size", 1)?,
            norm: Some(norm),
            projection: None,
            scale: None,
            patches: None,
        },
        layers: vec![layer; config.layers_or("num_hidden_layers", 12)?],
        final_norm: None,
        max_sequence: None,
    })
}

/// With NTK scaling the base is multiplied by the factor and all wave numbers are divided by `factor^(2/dimensions)`
/// (<https://kexue.fm/archives/9706>, formula 6), whatever the length of the text.
fn position(config: &Config<'_>, dimensions: usize) -> Result<AttentionPosition, EncoderError> {
    let base = config.positive_or("rope_theta", 10_000.0)?;
    let Some(scaling) = config.value("rope_scaling") else {
        return Ok(AttentionPosition::Rotary { base, dimensions, scaling: RotaryScaling::None });
    };
    let factor = scaling.get("factor").and_then(Value::as_f64).filter(|factor| *factor >= 1.0);
    let ntk = scaling.get("type").and_then(Value::as_str) == Some("ntk");
    let mixed = scaling.get("mixed_b").is_some_and(|mixed| !mixed.is_null());
    match factor {
        Some(factor) if ntk && !mixed => Ok(AttentionPosition::Rotary {
            base: base * factor,
            dimensions,
            scaling: RotaryScaling::Divided(factor.powf(2.0 / dimensions as f64)),
        }),
        _ => Err(config.error(format!("'rope_scaling' {scaling} is not supported, only type ntk with a factor is"))),
    }
}

/// `qkv_proj` holds queries, keys and values one below the other; `up_gate_proj` the up projection and then the gate.
fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let inner = spec.layers.first().map_or(0, |layer| layer.feed_forward.inner);
    let hidden = spec.hidden;
    let Slot::Layer { layer, slot: place } = slot else { return super::bert::source(spec, slot) };
    let (place, part, rows) = match place {
        LayerSlot::Query(part) => ("attention.qkv_proj", part, Some(0..hidden)),
        LayerSlot::Key(part) => ("attention.qkv_proj", part, Some(hidden..2 * hidden)),
        LayerSlot::Value(part) => ("attention.qkv_proj", part, Some(2 * hidden..3 * hidden)),
        LayerSlot::AttentionOutput(part) => ("attention.o_proj", part, None),
        LayerSlot::AttentionNorm(part) => ("attn_ln", part, None),
        LayerSlot::FeedForwardUp(part) => ("mlp.up_gate_proj", part, Some(0..inner)),
        LayerSlot::FeedForwardGate(part) => ("mlp.up_gate_proj", part, Some(inner..2 * inner)),
        LayerSlot::FeedForwardDown(part) => ("mlp.down_proj", part, None),
        LayerSlot::FeedForwardNorm(part) => ("mlp_ln", part, None),
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource { rows, ..TensorSource::whole(format!("encoder.layer.{layer}.{place}.{}", part.name())) }
}
