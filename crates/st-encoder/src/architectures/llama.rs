//! LLaMA (Touvron et al. 2023) and its relatives Mistral, Qwen2 and Qwen3, which embed a text by its last token:
//! causal attention with grouped keys, rotary positions, root-mean-square norms before each part, gated feed-forward.

use super::rotary_fields::rotary;
use super::{Architecture, Config};
use crate::{
    AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec, FeedForwardSpec,
    LayerSlot, LayerSpec, NormPlacement, NormSpec, PositionSpec, Slot, TensorSource,
};

pub(super) const LLAMA: Architecture = Architecture {
    name: "llama",
    model_types: &["llama"],
    prefixes: &["", "model."],
    describe: |config| describe(config, &Family { attention_bias: Bias::Configured, ..LLAMA_FAMILY }),
    source,
    ..Architecture::PLAIN
};

/// What the relatives differ in.
pub(super) struct Family {
    pub(super) vocabulary: usize,
    pub(super) inner: usize,
    /// Default of `num_key_value_heads`; as many as there are heads without one.
    pub(super) key_value_heads: Option<usize>,
    /// Components per head where neither the configuration nor the hidden size says.
    pub(super) head_size: Option<usize>,
    pub(super) attention_bias: Bias,
    pub(super) query_key_norm: bool,
    pub(super) window: Windows,
}

/// Which attention projections have a bias.
pub(super) enum Bias {
    None,
    /// Query, key and value.
    Input,
    /// All four, if `attention_bias` says so.
    Configured,
}

/// Which blocks see only a window of the text.
pub(super) enum Windows {
    None,
    /// All, if there is a `sliding_window`.
    All,
    /// With `use_sliding_window`, those that `layer_types` names or those from `max_window_layers` on.
    Upper,
}

/// LLaMA itself.
pub(super) const LLAMA_FAMILY: Family = Family {
    vocabulary: 32_000,
    inner: 11_008,
    key_value_heads: None,
    head_size: None,
    attention_bias: Bias::None,
    query_key_norm: false,
    window: Windows::None,
};

pub(super) fn describe(config: &Config<'_>, family: &Family) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size_or("hidden_size", 4096)?;
    let heads = config.size_or("num_attention_heads", 32)?;
    let key_value_heads = if config.is_null("num_key_value_heads") {
        heads
    } else {
        config.size_or("num_key_value_heads", family.key_value_heads.unwrap_or(heads))?
    };
    config.head_size(("num_attention_heads", heads), ("num_key_value_heads", key_value_heads))?;
    let head_size = match (config.has("head_dim"), family.head_size) {
        (true, _) => config.size("head_dim")?,
        (false, Some(head_size)) => head_size,
        (false, None) => config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?,
    };
    let norm = NormSpec::root_mean_square(config.positive_or("rms_norm_eps", 1e-6)?);
    let (input_bias, output_bias) = match family.attention_bias {
        Bias::None => (false, false),
        Bias::Input => (true, false),
        Bias::Configured => {
            let bias = config.flag_or("attention_bias", false)?;
            (bias, bias)
        }
    };
    let feed_forward_bias = config.flag_or("mlp_bias", false)?;
    let (base, scaling) = rotary(config, "full_attention", config.positive_or("rope_theta", 10_000.0)?)?;
    let layer = LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads,
            head_size,
            scale: 1.0 / (head_size as f64).sqrt(),
            input_bias,
            output_bias,
            position: AttentionPosition::Rotary { base, dimensions: head_size, scaling },
            mask: AttentionMask::Causal,
            query_key_norm: family.query_key_norm.then_some(norm),
        },
        attention_norm: Some(norm),
        feed_forward: FeedForwardSpec {
            inner: config.size_or("intermediate_size", family.inner)?,
            activation: config.activation_or("hidden_act", "silu")?,
            gated: true,
            up_bias: feed_forward_bias,
            down_bias: feed_forward_bias,
        },
        feed_forward_norm: norm,
        placement: NormPlacement::Pre,
        convolution: None,
    };
    let mut layers = vec![layer; config.layers_or("num_hidden_layers", 32)?];
    for (index, layer) in layers.iter_mut().enumerate() {
        layer.attention.mask = mask(config, &family.window, index)?;
    }
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size_or("vocab_size", family.vocabulary)?,
            width: hidden,
            positions: PositionSpec::None,
            token_types: 0,
            norm: None,
            projection: None,
            scale: None,
            patches: None,
        },
        layers,
        final_norm: Some(norm),
        max_sequence: None,
    })
}

fn mask(config: &Config<'_>, windows: &Windows, layer: usize) -> Result<AttentionMask, EncoderError> {
    let windowed = match windows {
        Windows::None => false,
        Windows::All => !config.is_null("sliding_window"),
        Windows::Upper => {
            config.flag_or("use_sliding_window", false)?
                && match config.layer_kind(layer)? {
                    Some(kind) => kind == "sliding_attention",
                    None => layer >= config.count_or("max_window_layers", 28)?,
                }
        }
    };
    // A window of n tokens counts the token itself.
    Ok(if windowed {
        AttentionMask::CausalWindow { reach: config.size_or("sliding_window", 4096)? - 1 }
    } else {
        AttentionMask::Causal
    })
}

pub(super) fn source(_: &EncoderSpec, slot: Slot) -> TensorSource {
    let (place, part) = match slot {
        Slot::WordEmbedding => return TensorSource::whole("embed_tokens.weight"),
        Slot::FinalNorm(part) => ("norm".to_owned(), part),
        Slot::Layer { layer, slot: place } => {
            let (place, part) = match place {
                LayerSlot::Query(part) => ("self_attn.q_proj", part),
                LayerSlot::Key(part) => ("self_attn.k_proj", part),
                LayerSlot::Value(part) => ("self_attn.v_proj", part),
                LayerSlot::QueryNorm(part) => ("self_attn.q_norm", part),
                LayerSlot::KeyNorm(part) => ("self_attn.k_norm", part),
                LayerSlot::AttentionOutput(part) => ("self_attn.o_proj", part),
                LayerSlot::AttentionNorm(part) => ("input_layernorm", part),
                LayerSlot::FeedForwardGate(part) => ("mlp.gate_proj", part),
                LayerSlot::FeedForwardUp(part) => ("mlp.up_proj", part),
                LayerSlot::FeedForwardDown(part) => ("mlp.down_proj", part),
                LayerSlot::FeedForwardNorm(part) => ("post_attention_layernorm", part),
                _ => return TensorSource::nowhere(slot),
            };
            (format!("layers.{layer}.{place}"), part)
        }
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource::whole(format!("{place}.{}", part.name()))
}
