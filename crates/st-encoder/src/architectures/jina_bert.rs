//! Jina's BERT, version 2 (Günther et al. 2023): BERT with linear attention biases instead of positions and a gated
//! feed-forward. Its configurations call themselves `bert` and say `"position_embedding_type": "alibi"`.

use super::{Architecture, Config, bert};
use crate::{Activation, AttentionPosition, EncoderError, EncoderSpec, LayerSlot, PositionSpec, Slot, TensorSource};

pub(super) const JINA_BERT: Architecture = Architecture {
    name: "jina_bert",
    model_types: &["bert", "jina_bert"],
    prefixes: &["", "bert."],
    recognises: |config| config.value("position_embedding_type").is_some_and(|kind| kind == "alibi"),
    describe,
    source,
    ..Architecture::PLAIN
};

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let code = config.value("auto_map").map(ToString::to_string).unwrap_or_default();
    if code.contains("qk-post-norm") {
        return Err(config.error("'auto_map' names the variant with norms of queries and keys, which is not supported"));
    }
    let activation = match config.text_or("feed_forward_type", "original")? {
        "geglu" => Activation::Gelu,
        "reglu" => Activation::Relu,
        other => {
            let message = format!("'feed_forward_type' {other} is not supported, only geglu and reglu are");
            return Err(config.error(message));
        }
    };
    let mut spec = bert::describe_sized(config, &bert::Sizes::of(config.size_or("hidden_size", 768)?))?;
    spec.embeddings.positions = PositionSpec::None;
    spec.max_sequence = None;
    for layer in &mut spec.layers {
        layer.attention.position = AttentionPosition::Alibi;
        layer.feed_forward.activation = activation;
        layer.feed_forward.gated = true;
        layer.feed_forward.up_bias = false;
    }
    Ok(spec)
}

/// `gated_layers` holds the gate and then the up projection.
fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let Slot::Layer { layer, slot: place } = slot else { return bert::source(spec, slot) };
    let inner = spec.layers.get(layer).map_or(0, |layer| layer.feed_forward.inner);
    let (place, part, rows) = match place {
        LayerSlot::FeedForwardGate(part) => ("gated_layers", part, Some(0..inner)),
        LayerSlot::FeedForwardUp(part) => ("gated_layers", part, Some(inner..2 * inner)),
        LayerSlot::FeedForwardDown(part) => ("wo", part, None),
        LayerSlot::FeedForwardNorm(part) => ("layernorm", part, None),
        _ => return bert::source(spec, slot),
    };
    TensorSource { rows, ..TensorSource::whole(format!("encoder.layer.{layer}.mlp.{place}.{}", part.name())) }
}
