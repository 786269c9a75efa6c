//! MPNet (Song et al. 2020): BERT with a bucketed relative position bias and no token types.

use super::{Architecture, Config, bert};
use crate::{AttentionPosition, EncoderError, EncoderSpec, LayerSlot, Part, Slot, TensorSource};

pub(super) const MPNET: Architecture = Architecture {
    name: "mpnet",
    model_types: &["mpnet"],
    prefixes: &["", "mpnet."],
    describe,
    source,
    ..Architecture::PLAIN
};

/// Row of the padding token in the word and position tables. The network has it fixed, whatever `pad_token_id` says.
const PADDING: u32 = 1;
/// Buckets that the network computes, whatever the size of the table.
const BUCKETS: usize = 32;
/// Distances from here on share the last bucket.
const MAX_DISTANCE: usize = 128;

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    config.only("relative_attention_num_buckets", &[BUCKETS.into()])?;
    let mut spec = bert::describe(config)?;
    bert::offset_positions(&mut spec, config, 512, PADDING)?;
    spec.embeddings.token_types = 0;
    for layer in &mut spec.layers {
        layer.attention.position = AttentionPosition::RelativeBias { buckets: BUCKETS, max_distance: MAX_DISTANCE };
    }
    Ok(spec)
}

fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let Slot::Layer { layer, slot: place } = slot else {
        return match slot {
            Slot::RelativeBias => TensorSource::whole("encoder.relative_attention_bias.weight"),
            other => bert::source(spec, other),
        };
    };
    let named = |place: &str, part: Part| {
        TensorSource::whole(format!("encoder.layer.{layer}.attention.{place}.{}", part.name()))
    };
    match place {
        LayerSlot::Query(part) => named("attn.q", part),
        LayerSlot::Key(part) => named("attn.k", part),
        LayerSlot::Value(part) => named("attn.v", part),
        LayerSlot::AttentionOutput(part) => named("attn.o", part),
        LayerSlot::AttentionNorm(part) => named("LayerNorm", part),
        _ => bert::source(spec, slot),
    }
}
