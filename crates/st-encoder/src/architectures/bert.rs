//! BERT (Devlin et al. 2019) and what differs from it only in numbers: MiniLM, E5, BGE, GTE (v1).

use super::{Architecture, Config};
use crate::{
    Activation, AttentionMask, AttentionPosition, AttentionSpec, EmbeddingsSpec, EncoderError, EncoderSpec,
    FeedForwardSpec, LayerSlot, LayerSpec, NormPlacement, NormSpec, Part, PositionSpec, Slot, TensorSource,
};

pub(super) const BERT: Architecture =
    Architecture { name: "bert", model_types: &["bert"], prefixes: &["", "bert."], describe, source };

pub(super) fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    if hidden % heads != 0 {
        return Err(config.error(format!("'hidden_size' {hidden} is not a multiple of 'num_attention_heads' {heads}")));
    }
    let kind = config.text_or("position_embedding_type", "absolute")?;
    if kind != "absolute" {
        return Err(config.error(format!("'position_embedding_type' {kind} is not supported, only absolute is")));
    }
    let count = config.size_or("max_position_embeddings", 512)?;
    let norm = NormSpec::layer(config.number_or("layer_norm_eps", 1e-12)?);
    let activation = match config.text_or("hidden_act", "gelu")? {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        other => return Err(config.error(format!("'hidden_act' {other} is not supported"))),
    };
    let layer = LayerSpec {
        attention: AttentionSpec {
            heads,
            key_value_heads: heads,
            head_size: hidden / heads,
            scale: 1.0 / ((hidden / heads) as f32).sqrt(),
            input_bias: true,
            output_bias: true,
            position: AttentionPosition::None,
            mask: AttentionMask::Full,
            query_key_norm: None,
        },
        attention_norm: Some(norm),
        feed_forward: FeedForwardSpec {
            inner: config.size("intermediate_size")?,
            activation,
            gated: false,
            up_bias: true,
            down_bias: true,
        },
        feed_forward_norm: norm,
        placement: NormPlacement::Post,
    };
    Ok(EncoderSpec {
        hidden,
        embeddings: EmbeddingsSpec {
            vocabulary: config.size("vocab_size")?,
            width: hidden,
            positions: PositionSpec::Learned { count, offset: 0, padding: None },
            token_types: config.size_or("type_vocab_size", 2)?,
            norm: Some(norm),
            projection: None,
            scale: None,
        },
        layers: vec![layer; config.size("num_hidden_layers")?],
        final_norm: None,
        max_sequence: Some(count),
    })
}

pub(super) fn source(_: &EncoderSpec, slot: Slot) -> TensorSource {
    let named = |name: &str, part: Part| TensorSource::whole(format!("{name}.{}", part.name()));
    match slot {
        Slot::WordEmbedding => named("embeddings.word_embeddings", Part::Weight),
        Slot::PositionEmbedding => named("embeddings.position_embeddings", Part::Weight),
        Slot::TokenTypeEmbedding => named("embeddings.token_type_embeddings", Part::Weight),
        Slot::EmbeddingNorm(part) => named("embeddings.LayerNorm", part),
        Slot::Layer { layer, slot } => {
            let (place, part) = match slot {
                LayerSlot::Query(part) => ("attention.self.query", part),
                LayerSlot::Key(part) => ("attention.self.key", part),
                LayerSlot::Value(part) => ("attention.self.value", part),
                LayerSlot::AttentionOutput(part) => ("attention.output.dense", part),
                LayerSlot::AttentionNorm(part) => ("attention.output.LayerNorm", part),
                LayerSlot::FeedForwardUp(part) => ("intermediate.dense", part),
                LayerSlot::FeedForwardDown(part) => ("output.dense", part),
                LayerSlot::FeedForwardNorm(part) => ("output.LayerNorm", part),
                other => return TensorSource::whole(format!("encoder.layer.{layer}.{other:?}")),
            };
            named(&format!("encoder.layer.{layer}.{place}"), part)
        }
        other => TensorSource::whole(format!("{other:?}")),
    }
}
