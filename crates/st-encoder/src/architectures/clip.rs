//! CLIP (Radford et al. 2021): two encoders of one shape, one of texts and one of images, each the half of a checkpoint.
//!
//! What a text's embedding is (the row of its last token) and an image's (the row of the class vector), and the maps into the
//! space that both share, is not part of the encoders.

use super::{Architecture, Config};
use crate::{
    AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec, FeedForwardSpec,
    LayerSlot, LayerSpec, NormPlacement, NormSpec, PatchSpec, PositionSpec, Slot, TensorSource,
};

/// The encoder of texts; its configuration is `text_config` of a whole model's.
pub(super) const CLIP_TEXT: Architecture = Architecture {
    name: "clip_text_model",
    model_types: &["clip_text_model"],
    prefixes: &["text_model.", ""],
    describe: describe_text,
    source: text_source,
    ..Architecture::PLAIN
};

/// The encoder of images; its configuration is `vision_config` of a whole model's.
pub(super) const CLIP_VISION: Architecture = Architecture {
    name: "clip_vision_model",
    model_types: &["clip_vision_model"],
    prefixes: &["vision_model.", ""],
    describe: describe_vision,
    source: vision_source,
    ..Architecture::PLAIN
};

/// Sizes that the two encoders do not have in common when a configuration does not say them.
struct Defaults {
    hidden: usize,
    inner: usize,
    heads: usize,
}

fn describe_text(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let defaults = Defaults { hidden: 512, inner: 2048, heads: 8 };
    let count = config.size_or("max_position_embeddings", 77)?;
    let mut spec = blocks(config, &defaults, AttentionMask::Causal, count)?;
    spec.embeddings.vocabulary = config.size_or("vocab_size", 49_408)?;
    Ok(spec)
}

/// The norm after the embeddings is `pre_layrnorm`; the one after the last block is read by the class vector's row alone,
/// but gives every row the same treatment.
fn describe_vision(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let defaults = Defaults { hidden: 768, inner: 3072, heads: 12 };
    let channels = config.size_or("num_channels", 3)?;
    let (image, patch) = (config.size_or("image_size", 224)?, config.size_or("patch_size", 32)?);
    let side = image / patch;
    let count = side.checked_mul(side).filter(|&patches| (1..1 << 24).contains(&patches));
    let Some(patches) = count else {
        return Err(config.error(format!("'image_size' {image} cannot be cut into patches of 'patch_size' {patch}")));
    };
    let numbers = channels.checked_mul(patch).and_then(|numbers| numbers.checked_mul(patch));
    if numbers.is_none_or(|numbers| numbers >= 1 << 24) {
        return Err(config.error(format!("patches of {patch}² pixels with 'num_channels' {channels} are too large")));
    }
    let mut spec = blocks(config, &defaults, AttentionMask::Full, patches + 1)?;
    spec.embeddings.patches = Some(PatchSpec { channels, size: patch });
    spec.embeddings.norm = spec.final_norm;
    Ok(spec)
}

/// What the two have in common.
fn blocks(
    config: &Config<'_>,
    defaults: &Defaults,
    mask: AttentionMask,
    positions: usize,
) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size_or("hidden_size", defaults.hidden)?;
    let heads = config.size_or("num_attention_heads", defaults.heads)?;
    let head_size = config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?;
    let norm = NormSpec::layer(config.positive_or("layer_norm_eps", 1e-5)?);
    let layer = LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads: heads,
            head_size,
            scale: 1.0 / (head_size as f64).sqrt(),
            input_bias: true,
            output_bias: true,
            position: AttentionPosition::None,
            mask,
            query_key_norm: None,
        },
        attention_norm: Some(norm),
        feed_forward: FeedForwardSpec {
            inner: config.size_or("intermediate_size", defaults.inner)?,
            activation: config.activation_or("hidden_act", "quick_gelu")?,
            gated: false,
            up_bias: true,
            down_bias: true,
        },
        feed_forward_norm: norm,
        placement: NormPlacement::Pre,
        convolution: None,
    };
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: 1,
            width: hidden,
            positions: PositionSpec::Learned { count: positions, offset: 0, padding: None },
            token_types: 0,
            norm: None,
            projection: None,
            scale: None,
            patches: None,
        },
        layers: vec![layer; config.layers_or("num_hidden_layers", 12)?],
        final_norm: Some(norm),
        max_sequence: Some(positions),
    })
}

fn text_source(_: &EncoderSpec, slot: Slot) -> TensorSource {
    match slot {
        Slot::WordEmbedding => TensorSource::whole("embeddings.token_embedding.weight"),
        Slot::FinalNorm(part) => TensorSource::whole(format!("final_layer_norm.{}", part.name())),
        slot => common_source(slot),
    }
}

/// There is no word table; whoever looks for one to find out a checkpoint's prefix and type finds the patches' map.
fn vision_source(_: &EncoderSpec, slot: Slot) -> TensorSource {
    match slot {
        Slot::PatchProjection | Slot::WordEmbedding => TensorSource::whole("embeddings.patch_embedding.weight"),
        Slot::ClassEmbedding => TensorSource::whole("embeddings.class_embedding"),
        // The checkpoints' own spelling.
        Slot::EmbeddingNorm(part) => TensorSource::whole(format!("pre_layrnorm.{}", part.name())),
        Slot::FinalNorm(part) => TensorSource::whole(format!("post_layernorm.{}", part.name())),
        slot => common_source(slot),
    }
}

fn common_source(slot: Slot) -> TensorSource {
    let (layer, place) = match slot {
        Slot::PositionEmbedding => return TensorSource::whole("embeddings.position_embedding.weight"),
        Slot::Layer { layer, slot } => (layer, slot),
        _ => return TensorSource::nowhere(slot),
    };
    let (place, part) = match place {
        LayerSlot::Query(part) => ("self_attn.q_proj", part),
        LayerSlot::Key(part) => ("self_attn.k_proj", part),
        LayerSlot::Value(part) => ("self_attn.v_proj", part),
        LayerSlot::AttentionOutput(part) => ("self_attn.out_proj", part),
        LayerSlot::AttentionNorm(part) => ("layer_norm1", part),
        LayerSlot::FeedForwardUp(part) => ("mlp.fc1", part),
        LayerSlot::FeedForwardDown(part) => ("mlp.fc2", part),
        LayerSlot::FeedForwardNorm(part) => ("layer_norm2", part),
        _ => return TensorSource::nowhere(slot),
    };
    TensorSource::whole(format!("encoder.layers.{layer}.{place}.{}", part.name()))
}
