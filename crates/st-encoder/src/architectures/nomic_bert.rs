//! Nomic's BERT (Nussbaum et al. 2024): rotary positions, a gated feed-forward, fused projections, norms after each part.

use super::{Architecture, Config};
use crate::{
    Activation, AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec,
    FeedForwardSpec, LayerSlot, LayerSpec, NormPlacement, NormSpec, PositionSpec, RotaryScaling, Slot, TensorSource,
};

pub(super) const NOMIC_BERT: Architecture = Architecture {
    name: "nomic_bert",
    model_types: &["nomic_bert"],
    prefixes: &["", "bert."],
    describe,
    source,
    ..Architecture::PLAIN
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
    let layer = LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads: heads,
            head_size,
            scale: 1.0 / (head_size as f64).sqrt(),
            input_bias: projection_bias,
            output_bias: projection_bias,
            position: AttentionPosition::Rotary {
                base: config.positive_or("rotary_emb_base", 10_000.0)?,
                dimensions,
                scaling: RotaryScaling::None,
            },
            mask: AttentionMask::Full,
            query_key_norm: None,
        },
        attention_norm: Some(norm),
        feed_forward: FeedForwardSpec {
            inner: config.size_or("n_inner", 4 * hidden)?.next_multiple_of(INNER_MULTIPLE),
            activation,
            gated: true,
            up_bias: config.flag_or("mlp_fc1_bias", true)?,
            down_bias: config.flag_or("mlp_fc2_bias", true)?,
        },
        feed_forward_norm: norm,
        placement: NormPlacement::Post,
    };
    let multiple = config.size_or("pad_vocab_size_multiple", 1)?;
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size_or("vocab_size", 50_257)?.next_multiple_of(multiple),
            width: hidden,
            positions: PositionSpec::None,
            token_types: config.count_or("type_vocab_size", 2)?,
            norm: Some(norm),
            projection: None,
            scale: None,
            patches: None,
        },
        layers: vec![layer; config.layers_or("n_layer", 12)?],
        final_norm: None,
        max_sequence: None,
    })
}

/// `Wqkv` holds queries, keys and values one below the other.
fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let hidden = spec.hidden;
    let (place, part, rows) = match slot {
        Slot::WordEmbedding => return TensorSource::whole("embeddings.word_embeddings.weight"),
        Slot::TokenTypeEmbedding => return TensorSource::whole("embeddings.token_type_embeddings.weight"),
        Slot::EmbeddingNorm(part) => ("emb_ln".to_owned(), part, None),
        Slot::Layer { layer, slot: place } => {
            let (place, part, rows) = match place {
                LayerSlot::Query(part) => ("attn.Wqkv", part, Some(0..hidden)),
                LayerSlot::Key(part) => ("attn.Wqkv", part, Some(hidden..2 * hidden)),
                LayerSlot::Value(part) => ("attn.Wqkv", part, Some(2 * hidden..3 * hidden)),
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
