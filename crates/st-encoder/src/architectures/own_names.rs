//! The names that transformers 5's own classes of Nomic's BERT and GTE give their tensors. `save_pretrained` writes the
//! published names unless it is told `save_original_format=False`.

use super::bert;
use crate::{EncoderSpec, LayerSlot, Slot, TensorSource};

pub(super) fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let Slot::Layer { layer, slot: place } = slot else { return bert::source(spec, slot) };
    let (place, part) = match place {
        LayerSlot::Query(part) => ("self_attn.q_proj", part),
        LayerSlot::Key(part) => ("self_attn.k_proj", part),
        LayerSlot::Value(part) => ("self_attn.v_proj", part),
        LayerSlot::AttentionOutput(part) => ("self_attn.o_proj", part),
        LayerSlot::AttentionNorm(part) => ("post_attention_layernorm", part),
        LayerSlot::FeedForwardUp(part) => ("mlp.up_proj", part),
        LayerSlot::FeedForwardGate(part) => ("mlp.gate_proj", part),
        LayerSlot::FeedForwardDown(part) => ("mlp.down_proj", part),
        LayerSlot::FeedForwardNorm(part) => ("post_mlp_layernorm", part),
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource::whole(format!("layers.{layer}.{place}.{}", part.name()))
}
