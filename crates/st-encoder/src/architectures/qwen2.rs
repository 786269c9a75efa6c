//! Qwen2 (Yang et al. 2024): LLaMA with biases on query, key and value.

use super::llama::{Bias, Family, LLAMA_FAMILY, Windows, describe, source};
use super::{Architecture, Config};
use crate::{AttentionMask, EncoderError, EncoderSpec};

pub(super) const QWEN2: Architecture = Architecture {
    name: "qwen2",
    model_types: &["qwen2"],
    prefixes: &["", "model."],
    describe: describe_qwen2,
    source,
    ..Architecture::PLAIN
};

const FAMILY: Family = Family {
    vocabulary: 151_936,
    inner: 22_016,
    key_value_heads: Some(32),
    attention_bias: Bias::Input,
    window: Windows::Upper,
    ..LLAMA_FAMILY
};

/// The code that GTE's models bring along attends in both directions where `is_causal` is false.
fn describe_qwen2(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    let mut spec = describe(config, &FAMILY)?;
    if config.has("auto_map") && !config.flag_or("is_causal", true)? {
        for layer in &mut spec.layers {
            layer.attention.mask = AttentionMask::Full;
        }
    }
    Ok(spec)
}
