//! ALBERT (Lan et al. 2020): BERT with a narrow word table, a projection, and blocks that share their weights.

use super::{Architecture, Config, bert};
use crate::{EncoderError, EncoderSpec, LayerSlot, Slot, TensorSource};

pub(super) const ALBERT: Architecture = Architecture {
    name: "albert",
    model_types: &["albert"],
    prefixes: &["", "albert."],
    describe,
    source,
    ..Architecture::PLAIN
};

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    config.only("position_embedding_type", &["absolute".into()])?;
    config.only("inner_group_num", &[1.into()])?;
    config.only("num_hidden_groups", &[1.into()])?;
    let hidden = config.size_or("hidden_size", 4096)?;
    let width = config.size_or("embedding_size", 128)?;
    let sizes = bert::Sizes {
        width,
        heads: 64,
        inner: 16_384,
        vocabulary: 30_000,
        activation: "gelu_new",
        ..bert::Sizes::of(hidden)
    };
    let mut spec = bert::describe_sized(config, &sizes)?;
    // There is a projection even between equal sizes.
    spec.embeddings.projection = Some(true);
    Ok(spec)
}

/// Every block reads the one group that the checkpoint holds.
fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let (place, part) = match slot {
        Slot::EmbeddingProjection(part) => {
            return TensorSource::whole(format!("encoder.embedding_hidden_mapping_in.{}", part.name()));
        }
        Slot::Layer { slot: place, .. } => match place {
            LayerSlot::Query(part) => ("attention.query", part),
            LayerSlot::Key(part) => ("attention.key", part),
            LayerSlot::Value(part) => ("attention.value", part),
            LayerSlot::AttentionOutput(part) => ("attention.dense", part),
            LayerSlot::AttentionNorm(part) => ("attention.LayerNorm", part),
            LayerSlot::FeedForwardUp(part) => ("ffn", part),
            LayerSlot::FeedForwardDown(part) => ("ffn_output", part),
            LayerSlot::FeedForwardNorm(part) => ("full_layer_layer_norm", part),
            _ => return TensorSource::nowhere(slot),
        },
        _ => return bert::source(spec, slot),
    };
    TensorSource::whole(format!("encoder.albert_layer_groups.0.albert_layers.0.{place}.{}", part.name()))
}
