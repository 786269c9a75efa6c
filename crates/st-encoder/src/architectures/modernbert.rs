//! ModernBERT (Warner et al. 2024): rotary positions, norms before each part, gated feed-forward, and attention to
//! neighbours only in two of three blocks.

use super::rotary_fields::rotary;
use super::{Architecture, Config};
use crate::{
    AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec, FeedForwardSpec,
    LayerSlot, LayerSpec, NormKind, NormPlacement, NormSpec, PositionSpec, Slot, TensorSource,
};

pub(super) const MODERNBERT: Architecture = Architecture {
    name: "modernbert",
    model_types: &["modernbert"],
    prefixes: &["", "model."],
    describe,
    source,
    ..Architecture::PLAIN
};

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    config.only("rope_scaling", &[])?;
    let hidden = config.size_or("hidden_size", 768)?;
    let heads = config.size_or("num_attention_heads", 12)?;
    let head_size = config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?;
    let norm = NormSpec {
        kind: NormKind::Layer,
        epsilon: config.positive_or("norm_eps", 1e-5)?,
        bias: config.flag_or("norm_bias", false)?,
        unit_offset: false,
    };
    let attention_bias = config.flag_or("attention_bias", false)?;
    let feed_forward_bias = config.flag_or("mlp_bias", false)?;
    let global_base = config.positive_or("global_rope_theta", 160_000.0)?;
    let local_base = config
        .positive_or("local_rope_theta", if config.is_null("local_rope_theta") { global_base } else { 10_000.0 })?;
    let global_rotary = rotary(config, "full_attention", global_base)?;
    let local_rotary = rotary(config, "sliding_attention", local_base)?;
    let reach = config.count_or("local_attention", 128)? / 2;
    let every = config.size_or("global_attn_every_n_layers", 3)?;
    let inner = config.size_or("intermediate_size", 1152)?;
    let activation = config.activation_or("hidden_activation", "gelu")?;
    let layer = |index: usize| -> Result<LayerSpec, EncoderError> {
        let global = match config.layer_kind(index)? {
            Some(kind) => kind == "full_attention",
            None => index.is_multiple_of(every),
        };
        let (base, scaling) = if global { global_rotary } else { local_rotary };
        Ok(LayerSpec {
            attention: AttentionSpec {
                heads,
                key_value_heads: heads,
                head_size,
                scale: 1.0 / (head_size as f64).sqrt(),
                input_bias: attention_bias,
                output_bias: attention_bias,
                position: AttentionPosition::Rotary { base, dimensions: head_size, scaling },
                mask: if global { AttentionMask::Full } else { AttentionMask::Window { reach } },
                query_key_norm: None,
            },
            // The first block's would repeat the norm of the embeddings.
            attention_norm: (index > 0).then_some(norm),
            feed_forward: FeedForwardSpec {
                inner,
                activation,
                gated: true,
                up_bias: feed_forward_bias,
                down_bias: feed_forward_bias,
            },
            feed_forward_norm: norm,
            placement: NormPlacement::Pre,
            convolution: None,
        })
    };
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size_or("vocab_size", 50_368)?,
            width: hidden,
            positions: PositionSpec::None,
            token_types: 0,
            norm: Some(norm),
            projection: None,
            scale: None,
            patches: None,
        },
        layers: (0..config.layers_or("num_hidden_layers", 22)?).map(layer).collect::<Result<_, _>>()?,
        final_norm: Some(norm),
        max_sequence: None,
    })
}

/// `Wqkv` holds queries, keys and values one below the other; `Wi` the gate and then the up projection.
fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let inner = spec.layers.first().map_or(0, |layer| layer.feed_forward.inner);
    let hidden = spec.hidden;
    let (place, part, rows) = match slot {
        Slot::WordEmbedding => return TensorSource::whole("embeddings.tok_embeddings.weight"),
        Slot::EmbeddingNorm(part) => ("embeddings.norm".to_owned(), part, None),
        Slot::FinalNorm(part) => ("final_norm".to_owned(), part, None),
        Slot::Layer { layer, slot: place } => {
            let (place, part, rows) = match place {
                LayerSlot::Query(part) => ("attn.Wqkv", part, Some(0..hidden)),
                LayerSlot::Key(part) => ("attn.Wqkv", part, Some(hidden..2 * hidden)),
                LayerSlot::Value(part) => ("attn.Wqkv", part, Some(2 * hidden..3 * hidden)),
                LayerSlot::AttentionOutput(part) => ("attn.Wo", part, None),
                LayerSlot::AttentionNorm(part) => ("attn_norm", part, None),
                LayerSlot::FeedForwardGate(part) => ("mlp.Wi", part, Some(0..inner)),
                LayerSlot::FeedForwardUp(part) => ("mlp.Wi", part, Some(inner..2 * inner)),
                LayerSlot::FeedForwardDown(part) => ("mlp.Wo", part, None),
                LayerSlot::FeedForwardNorm(part) => ("mlp_norm", part, None),
                _ => return TensorSource::nowhere(slot),
            };
            (format!("layers.{layer}.{place}"), part, rows)
        }
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource { rows, ..TensorSource::whole(format!("{place}.{}", part.name())) }
}
