//! [`required_slots`]: which tensors a described network needs, and of which shape.

use crate::{
    AttentionPosition, EncoderSpec, LayerSlot, LayerSpec, NormPlacement, NormSpec, Part, PatchSpec, PositionSpec, Slot,
};

/// Every slot that a network has, with the shape that fills it, in the order of computation.
///
/// Blocks that share weights (ALBERT) list their slots once per block.
///
/// ```
/// use st_encoder::{Part, Slot, architectures::describe, required_slots};
///
/// let config = serde_json::json!({"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 100});
/// let (_, spec) = describe(&config, "config.json".as_ref())?;
/// let slots = required_slots(&spec);
/// assert_eq!(slots[0], (Slot::WordEmbedding, vec![100, 32]));
/// assert!(slots.contains(&(Slot::EmbeddingNorm(Part::Bias), vec![32])));
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[must_use]
pub fn required_slots(spec: &EncoderSpec) -> Vec<(Slot, Vec<usize>)> {
    let (hidden, embeddings) = (spec.hidden, &spec.embeddings);
    let width = embeddings.width;
    let mut slots = match embeddings.patches {
        None => vec![(Slot::WordEmbedding, vec![embeddings.vocabulary, width])],
        Some(PatchSpec { channels, size }) => {
            vec![(Slot::PatchProjection, vec![width, channels, size, size]), (Slot::ClassEmbedding, vec![width])]
        }
    };
    if let PositionSpec::Learned { count, .. } = embeddings.positions {
        slots.push((Slot::PositionEmbedding, vec![count, width]));
    }
    if embeddings.token_types > 0 {
        slots.push((Slot::TokenTypeEmbedding, vec![embeddings.token_types, width]));
    }
    norm(&mut slots, embeddings.norm, width, Slot::EmbeddingNorm);
    if let Some(bias) = embeddings.projection {
        linear(&mut slots, hidden, width, bias, Slot::EmbeddingProjection);
    }
    if let Some((shape, table_norm)) = relative_table(spec) {
        let slot = if table_norm { Slot::RelativeEmbedding } else { Slot::RelativeBias };
        slots.push((slot, shape));
        if table_norm {
            slots.push((Slot::RelativeEmbeddingNorm(Part::Weight), vec![hidden]));
            slots.push((Slot::RelativeEmbeddingNorm(Part::Bias), vec![hidden]));
        }
    }
    for (index, layer) in spec.layers.iter().enumerate() {
        block(&mut slots, hidden, index, layer);
    }
    norm(&mut slots, spec.final_norm, hidden, Slot::FinalNorm);
    slots
}

/// Shape of the one table of relative positions that the blocks share, and whether it is a table of vectors with a norm.
fn relative_table(spec: &EncoderSpec) -> Option<(Vec<usize>, bool)> {
    spec.layers.iter().find_map(|layer| match layer.attention.position {
        AttentionPosition::RelativeBias { buckets, .. } => Some((vec![buckets, layer.attention.heads], false)),
        AttentionPosition::Disentangled { span, .. } => Some((vec![2 * span, spec.hidden], true)),
        _ => None,
    })
}

fn block(slots: &mut Vec<(Slot, Vec<usize>)>, hidden: usize, layer: usize, spec: &LayerSpec) {
    let at = |place: fn(Part) -> LayerSlot| move |part| Slot::Layer { layer, slot: place(part) };
    let attention = &spec.attention;
    let (queries, keys) = (attention.heads * attention.head_size, attention.key_value_heads * attention.head_size);
    let sandwich = spec.placement == NormPlacement::Sandwich;
    norm(slots, spec.attention_norm, hidden, at(LayerSlot::AttentionNorm));
    linear(slots, queries, hidden, attention.input_bias, at(LayerSlot::Query));
    linear(slots, keys, hidden, attention.input_bias, at(LayerSlot::Key));
    linear(slots, keys, hidden, attention.input_bias, at(LayerSlot::Value));
    norm(slots, attention.query_key_norm, attention.head_size, at(LayerSlot::QueryNorm));
    norm(slots, attention.query_key_norm, attention.head_size, at(LayerSlot::KeyNorm));
    if let AttentionPosition::Disentangled { own_projections: true, terms, .. } = attention.position {
        if terms.has_queries() {
            linear(slots, queries, hidden, attention.input_bias, at(LayerSlot::PositionQuery));
        }
        if terms.has_keys() {
            linear(slots, keys, hidden, attention.input_bias, at(LayerSlot::PositionKey));
        }
    }
    linear(slots, hidden, queries, attention.output_bias, at(LayerSlot::AttentionOutput));
    norm(slots, spec.attention_norm.filter(|_| sandwich), hidden, at(LayerSlot::AttentionPostNorm));

    let feed_forward = &spec.feed_forward;
    let inner = feed_forward.inner;
    norm(slots, Some(spec.feed_forward_norm), hidden, at(LayerSlot::FeedForwardNorm));
    if feed_forward.gated {
        linear(slots, inner, hidden, feed_forward.up_bias, at(LayerSlot::FeedForwardGate));
    }
    linear(slots, inner, hidden, feed_forward.up_bias, at(LayerSlot::FeedForwardUp));
    linear(slots, hidden, inner, feed_forward.down_bias, at(LayerSlot::FeedForwardDown));
    norm(slots, Some(spec.feed_forward_norm).filter(|_| sandwich), hidden, at(LayerSlot::FeedForwardPostNorm));

    if let Some(convolution) = &spec.convolution {
        let shape = vec![hidden, hidden / convolution.groups.max(1), convolution.kernel];
        slots.push((at(LayerSlot::Convolution)(Part::Weight), shape));
        slots.push((at(LayerSlot::Convolution)(Part::Bias), vec![hidden]));
        norm(slots, Some(convolution.norm), hidden, at(LayerSlot::ConvolutionNorm));
    }
}

fn norm(slots: &mut Vec<(Slot, Vec<usize>)>, spec: Option<NormSpec>, width: usize, slot: impl Fn(Part) -> Slot) {
    if let Some(spec) = spec {
        slots.push((slot(Part::Weight), vec![width]));
        if spec.bias {
            slots.push((slot(Part::Bias), vec![width]));
        }
    }
}

fn linear(slots: &mut Vec<(Slot, Vec<usize>)>, outputs: usize, inputs: usize, bias: bool, slot: impl Fn(Part) -> Slot) {
    slots.push((slot(Part::Weight), vec![outputs, inputs]));
    if bias {
        slots.push((slot(Part::Bias), vec![outputs]));
    }
}
