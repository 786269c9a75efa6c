//! Gemma 3's text model (Gemma Team 2025), as EmbeddingGemma uses it: norms before and after each part, norms over each
//! head's query and key, and windows in five of six blocks.

use super::rotary_fields::rotary;
use super::{Architecture, Config, llama};
use crate::{
    AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec, FeedForwardSpec,
    LayerSlot, LayerSpec, NormPlacement, NormSpec, PositionSpec, RotaryScaling, Slot, TensorSource,
};

pub(super) const GEMMA3: Architecture = Architecture {
    name: "gemma3_text",
    model_types: &["gemma3_text"],
    prefixes: &["", "model."],
    describe,
    source,
    ..Architecture::PLAIN
};

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    config.only("attn_logit_softcapping", &[])?;
    let hidden = config.size_or("hidden_size", 2304)?;
    let heads = config.size_or("num_attention_heads", 8)?;
    let key_value_heads = config.size_or("num_key_value_heads", 4)?;
    config.head_size(("num_attention_heads", heads), ("num_key_value_heads", key_value_heads))?;
    let head_size = config.size_or("head_dim", 256)?;
    let norm = NormSpec { unit_offset: true, ..NormSpec::root_mean_square(config.positive_or("rms_norm_eps", 1e-6)?) };
    let bias = config.flag_or("attention_bias", false)?;
    let scalar = config.positive_or("query_pre_attn_scalar", 256.0)?;
    let window = config.size_or("sliding_window", 4096)?;
    let both_ways = config.flag_or("use_bidirectional_attention", false)?;
    let pattern = config.size_or("sliding_window_pattern", 6)?;
    let global = rotary(config, "full_attention", config.positive_or("rope_theta", 1_000_000.0)?)?;
    let mut local = (config.positive_or("rope_local_base_freq", 10_000.0)?, RotaryScaling::None);
    // Of the older words `rope_scaling` is for the blocks without a window alone.
    if !config.has("rope_scaling") {
        local = rotary(config, "sliding_attention", local.0)?;
    }
    let feed_forward = FeedForwardSpec {
        inner: config.size_or("intermediate_size", 9216)?,
        activation: config.activation_or("hidden_activation", "gelu_pytorch_tanh")?,
        gated: true,
        up_bias: false,
        down_bias: false,
    };
    let layer = |index: usize| -> Result<LayerSpec, EncoderError> {
        let windowed = match config.layer_kind(index)? {
            Some(kind) => kind == "sliding_attention",
            None => !(index + 1).is_multiple_of(pattern),
        };
        let (base, scaling) = if windowed { local } else { global };
        Ok(LayerSpec {
            attention: AttentionSpec {
                heads,
                key_value_heads,
                head_size,
                scale: 1.0 / scalar.sqrt(),
                input_bias: bias,
                output_bias: bias,
                position: AttentionPosition::Rotary { base, dimensions: head_size, scaling },
                mask: match (windowed, both_ways) {
                    (false, false) => AttentionMask::Causal,
                    (false, true) => AttentionMask::Full,
                    (true, false) => AttentionMask::CausalWindow { reach: window - 1 },
                    (true, true) => AttentionMask::Window { reach: window / 2 },
                },
                query_key_norm: Some(norm),
            },
            attention_norm: Some(norm),
            feed_forward: feed_forward.clone(),
            feed_forward_norm: norm,
            placement: NormPlacement::Sandwich,
            convolution: None,
        })
    };
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size_or("vocab_size", 262_208)?,
            width: hidden,
            positions: PositionSpec::None,
            token_types: 0,
            norm: None,
            projection: None,
            scale: Some((hidden as f32).sqrt()),
            patches: None,
        },
        layers: (0..config.layers_or("num_hidden_layers", 26)?).map(layer).collect::<Result<_, _>>()?,
        final_norm: Some(norm),
        max_sequence: None,
    })
}

fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let Slot::Layer { layer, slot: place } = slot else { return llama::source(spec, slot) };
    let (place, part) = match place {
        LayerSlot::AttentionPostNorm(part) => ("post_attention_layernorm", part),
        LayerSlot::FeedForwardNorm(part) => ("pre_feedforward_layernorm", part),
        LayerSlot::FeedForwardPostNorm(part) => ("post_feedforward_layernorm", part),
        _ => return llama::source(spec, slot),
    };
    TensorSource::whole(format!("layers.{layer}.{place}.{}", part.name()))
}
