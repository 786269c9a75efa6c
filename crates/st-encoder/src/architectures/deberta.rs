//! DeBERTa versions 2 and 3 (He et al. 2021): disentangled attention over content and relative position, keys and queries
//! of positions made by the projections of the content or by their own, and in some a convolution beside the first block.

use serde_json::Value;

use super::{Architecture, Config, bert};
use crate::{
    AttentionPosition, ConvolutionSpec, DisentangledTerms, EncoderError, EncoderSpec, LayerSlot, NormSpec,
    PositionSpec, Slot, TensorSource,
};

pub(super) const DEBERTA: Architecture = Architecture {
    name: "deberta-v2",
    model_types: &["deberta-v2"],
    prefixes: &["", "deberta."],
    describe,
    source,
    ..Architecture::PLAIN
};

/// Default of `layer_norm_eps`.
const EPSILON: f64 = 1e-7;

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size_or("hidden_size", 1536)?;
    refuse_variants(config, hidden)?;
    let convolution = convolution(config, hidden)?;
    let sizes = bert::Sizes {
        heads: 24,
        inner: 6144,
        vocabulary: 128_100,
        layers: 24,
        token_types: 0,
        epsilon: EPSILON,
        ..bert::Sizes::of(hidden)
    };
    let mut spec = bert::describe_sized(config, &sizes)?;
    let count = config.size_or("max_position_embeddings", 512)?;
    if config.flag_or("position_biased_input", true)? {
        spec.max_sequence = Some(count);
    } else {
        spec.embeddings.positions = PositionSpec::None;
        spec.max_sequence = None;
    }
    let furthest = above_zero(config, "max_relative_positions")?.unwrap_or(count);
    let buckets = above_zero(config, "position_buckets")?;
    let terms = terms(config)?;
    let position = AttentionPosition::Disentangled {
        span: buckets.unwrap_or(furthest),
        max_distance: buckets.map(|_| furthest),
        terms,
        own_projections: !config.flag_or("share_att_key", false)?,
    };
    if let Some(first) = spec.layers.first() {
        // Read by the projections of queries, keys and values, while the map behind the heads is of the hidden size: with any
        // other the original's network fails at its first block.
        config.only("attention_head_size", &[first.attention.head_size.into()])?;
    }
    for layer in &mut spec.layers {
        layer.attention.position = position.clone();
        // The score is a sum of products; the original takes the root in 32 bits.
        layer.attention.scale = 1.0 / f64::from(((terms.products() * layer.attention.head_size) as f32).sqrt());
    }
    if let Some(first) = spec.layers.first_mut() {
        first.convolution = convolution;
    }
    Ok(spec)
}

/// No convolution of a real encoder sees more tokens.
const LARGEST_KERNEL: usize = 31;

/// The convolution beside the first block, which the two largest models of version 2 have.
fn convolution(config: &Config<'_>, hidden: usize) -> Result<Option<ConvolutionSpec>, EncoderError> {
    let kernel = config.count_or("conv_kernel_size", 0)?;
    if kernel == 0 {
        return Ok(None);
    }
    if kernel.is_multiple_of(2) || kernel > LARGEST_KERNEL {
        let message = format!("'conv_kernel_size' {kernel} is not supported, only odd numbers to {LARGEST_KERNEL} are");
        return Err(config.error(message));
    }
    let groups = config.size_or("conv_groups", 1)?;
    config.head_size(("hidden_size", hidden), ("conv_groups", groups))?;
    let norm = NormSpec::layer(config.positive_or("layer_norm_eps", EPSILON)?);
    let activation = config.activation_or("conv_act", "tanh")?;
    Ok(Some(ConvolutionSpec { kernel, groups, activation, norm }))
}

/// All published models of versions 2 and 3 are alike in these.
fn refuse_variants(config: &Config<'_>, hidden: usize) -> Result<(), EncoderError> {
    config.must("relative_attention", &[true.into()])?;
    config.must("norm_rel_ebd", &["layer_norm".into()])?;
    config.only("embedding_size", &[hidden.into()])
}

/// The terms that `pos_att_type` names, as a list or with bars between them.
fn terms(config: &Config<'_>) -> Result<DisentangledTerms, EncoderError> {
    let kinds: Vec<&str> = match config.value("pos_att_type") {
        Some(Value::String(kinds)) => kinds.split('|').map(str::trim).collect(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if kinds.iter().all(|kind| ["c2p", "p2c"].contains(kind)) {
        match ["c2p", "p2c"].map(|kind| kinds.contains(&kind)) {
            [true, true] => return Ok(DisentangledTerms::Both),
            [true, false] => return Ok(DisentangledTerms::ContentToPosition),
            [false, true] => return Ok(DisentangledTerms::PositionToContent),
            [false, false] => {}
        }
    }
    Err(config.error("'pos_att_type' is only supported with c2p, p2c or both"))
}

/// A size for which −1 stands for "not given".
fn above_zero(config: &Config<'_>, field: &str) -> Result<Option<usize>, EncoderError> {
    match config.value(field).and_then(Value::as_i64) {
        Some(number) if number < 1 => Ok(None),
        _ => config.has(field).then(|| config.size(field)).transpose(),
    }
}

fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    let (place, part) = match slot {
        Slot::RelativeEmbedding => return TensorSource::whole("encoder.rel_embeddings.weight"),
        Slot::Layer { slot: LayerSlot::Convolution(part), .. } => {
            return TensorSource::whole(format!("encoder.conv.conv.{}", part.name()));
        }
        Slot::Layer { slot: LayerSlot::ConvolutionNorm(part), .. } => {
            return TensorSource::whole(format!("encoder.conv.LayerNorm.{}", part.name()));
        }
        Slot::RelativeEmbeddingNorm(part) => return TensorSource::whole(format!("encoder.LayerNorm.{}", part.name())),
        Slot::Layer { layer, slot: LayerSlot::Query(part) } => (format!("{layer}.attention.self.query_proj"), part),
        Slot::Layer { layer, slot: LayerSlot::Key(part) } => (format!("{layer}.attention.self.key_proj"), part),
        Slot::Layer { layer, slot: LayerSlot::Value(part) } => (format!("{layer}.attention.self.value_proj"), part),
        Slot::Layer { layer, slot: LayerSlot::PositionQuery(part) } => {
            (format!("{layer}.attention.self.pos_query_proj"), part)
        }
        Slot::Layer { layer, slot: LayerSlot::PositionKey(part) } => {
            (format!("{layer}.attention.self.pos_key_proj"), part)
        }
        _ => return bert::source(spec, slot),
    };
    TensorSource::whole(format!("encoder.layer.{place}.{}", part.name()))
}
