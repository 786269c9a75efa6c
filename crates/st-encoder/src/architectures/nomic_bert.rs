//! Nomic's BERT (Nussbaum et al. 2024): rotary positions, a gated feed-forward, fused projections, norms after each part.

use super::rotary_fields::rotary;
use super::{Architecture, Config, own_names};
use crate::{
    Activation, AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec,
    FeedForwardSpec, LayerSlot, LayerSpec, NormPlacement, NormSpec, PositionSpec, RotaryScaling, Slot, TensorSource,
};

/// With the configuration of the code that the published models bring along.
pub(super) const NOMIC_BERT: Architecture = Architecture {
    name: "nomic_bert",
    model_types: &["nomic_bert"],
    prefixes: &["", "bert.", "nomic_bert."],
    describe,
    source,
    ..Architecture::PLAIN
};

/// With the configuration of transformers 5's own class, which saves weights under the published names unless it is told to
/// write its own.
pub(super) const NOMIC_BERT_OF_TRANSFORMERS: Architecture =
    Architecture { source, otherwise: Some(&BY_OWN_NAMES), ..BY_OWN_NAMES };

const BY_OWN_NAMES: Architecture = Architecture {
    name: "nomic_bert_of_transformers",
    recognises: |config| config.has("hidden_size"),
    describe: describe_of_transformers,
    source: own_names::source,
    ..NOMIC_BERT
};

/// The inner width of a gated feed-forward network is rounded up to a multiple of this.
const INNER_MULTIPLE: usize = 256;

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    for field in ["prenorm", "parallel_block", "causal", "use_rms_norm", "rotary_emb_interleaved"] {
        config.only(field, &[false.into()])?;
    }
    for field in ["rotary_emb_scale_base", "rotary_scaling_factor"] {
        config.only(field, &[])?;
    }
    config.only("moe_every_n_layers", &[0.into()])?;
    let hidden = config.size_or("n_embd", 768)?;
    let heads = config.size_or("n_head", 12)?;
    let head_size = config.head_size(("n_embd", hidden), ("n_head", heads))?;
    let fraction = config.number_or("rotary_emb_fraction", 0.0)?;
    let dimensions = (head_size as f64 * fraction) as usize;
    if !(0.0..=1.0).contains(&fraction) || dimensions == 0 || !dimensions.is_multiple_of(2) {
        return Err(config.error(format!("'rotary_emb_fraction' {fraction} is not supported, only 1 is")));
    }
    let norm = NormSpec::layer(config.positive_or("layer_norm_epsilon", 1e-5)?);
    let activation = match config.text_or("activation_function", "gelu")? {
        "swiglu" => Activation::Silu,
        "geglu" => Activation::Gelu,
        other => {
            let message = format!("'activation_function' {other} is not supported, only swiglu and geglu are");
            return Err(config.error(message));
        }
    };
    let projection_bias = config.flag_or("qkv_proj_bias", true)?;
    let position = AttentionPosition::Rotary {
        base: config.positive_or("rotary_emb_base", 10_000.0)?,
        dimensions,
        scaling: RotaryScaling::None,
    };
    let feed_forward = FeedForwardSpec {
        inner: config.size_or("n_inner", 4 * hidden)?.next_multiple_of(INNER_MULTIPLE),
        activation,
        gated: true,
        up_bias: config.flag_or("mlp_fc1_bias", true)?,
        down_bias: config.flag_or("mlp_fc2_bias", true)?,
    };
    let layer = layer((heads, head_size, position), projection_bias, feed_forward, norm);
    let multiple = config.size_or("pad_vocab_size_multiple", 1)?;
    let vocabulary = config.size_or("vocab_size", 50_257)?.next_multiple_of(multiple);
    let token_types = config.count_or("type_vocab_size", 2)?;
    Ok(network(hidden, (vocabulary, token_types), vec![layer; config.layers_or("n_layer", 12)?], norm))
}

fn describe_of_transformers(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size_or("hidden_size", 768)?;
    let heads = config.size_or("num_attention_heads", 12)?;
    let head_size = if config.has("head_dim") {
        config.size("head_dim")?
    } else {
        config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?
    };
    let norm = NormSpec::layer(config.positive_or("layer_norm_eps", 1e-12)?);
    let (base, scaling) = rotary(config, "full_attention", 1000.0)?;
    let position = AttentionPosition::Rotary { base, dimensions: head_size, scaling };
    let feed_forward = FeedForwardSpec {
        inner: config.size_or("intermediate_size", 3072)?,
        activation: config.activation_or("hidden_act", "silu")?,
        gated: true,
        up_bias: false,
        down_bias: false,
    };
    let layer = layer((heads, head_size, position), false, feed_forward, norm);
    let vocabulary = config.size_or("vocab_size", 30_528)?;
    let token_types = config.size_or("type_vocab_size", 2)?;
    Ok(network(hidden, (vocabulary, token_types), vec![layer; config.layers_or("num_hidden_layers", 12)?], norm))
}

fn layer(
    (heads, head_size, position): (usize, usize, AttentionPosition),
    projection_bias: bool,
    feed_forward: FeedForwardSpec,
    norm: NormSpec,
) -> LayerSpec {
    LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads: heads,
            head_size,
            scale: 1.0 / (head_size as f64).sqrt(),
            input_bias: projection_bias,
            output_bias: projection_bias,
            position,
            mask: AttentionMask::Full,
            query_key_norm: None,
        },
        attention_norm: Some(norm),
        feed_forward,
        feed_forward_norm: norm,
        placement: NormPlacement::Post,
        convolution: None,
    }
}

fn network(
    hidden: usize,
    (vocabulary, token_types): (usize, usize),
    layers: Vec<LayerSpec>,
    norm: NormSpec,
) -> EncoderSpec {
    EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary,
            width: hidden,
            positions: PositionSpec::None,
            token_types,
            norm: Some(norm),
            projection: None,
            scale: None,
            patches: None,
        },
        layers,
        final_norm: None,
        max_sequence: None,
    }
}

/// `Wqkv` holds queries, keys and values one below the other.
fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let rows = spec.layers.first().map_or(0, |layer| layer.attention.heads * layer.attention.head_size);
    let (place, part, rows) = match slot {
        Slot::WordEmbedding => return TensorSource::whole("embeddings.word_embeddings.weight"),
        Slot::TokenTypeEmbedding => return TensorSource::whole("embeddings.token_type_embeddings.weight"),
        Slot::EmbeddingNorm(part) => ("emb_ln".to_owned(), part, None),
        Slot::Layer { layer, slot: place } => {
            let (place, part, rows) = match place {
                LayerSlot::Query(part) => ("attn.Wqkv", part, Some(0..rows)),
                LayerSlot::Key(part) => ("attn.Wqkv", part, Some(rows..2 * rows)),
                LayerSlot::Value(part) => ("attn.Wqkv", part, Some(2 * rows..3 * rows)),
                LayerSlot::AttentionOutput(part) => ("attn.out_proj", part, None),
                LayerSlot::AttentionNorm(part) => ("norm1", part, None),
                LayerSlot::FeedForwardUp(part) => ("mlp.fc11", part, None),
                LayerSlot::FeedForwardGate(part) => ("mlp.fc12", part, None),
                LayerSlot::FeedForwardDown(part) => ("mlp.fc2", part, None),
                LayerSlot::FeedForwardNorm(part) => ("norm2", part, None),
                _ => return TensorSource::nowhere(slot),
            };
            (format!("encoder.layers.{layer}.{place}"), part, rows)
        }
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource { rows, ..TensorSource::whole(format!("{place}.{}", part.name())) }
}
