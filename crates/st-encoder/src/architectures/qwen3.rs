//! Qwen3 (Yang et al. 2025): LLaMA with norms over each head's query and key, and heads of a size of their own.

use super::Architecture;
use super::llama::{Bias, Family, Windows, describe, source};

pub(super) const QWEN3: Architecture = Architecture {
    name: "qwen3",
    model_types: &["qwen3"],
    prefixes: &["", "model."],
    describe: |config| describe(config, &FAMILY),
    source,
    ..Architecture::PLAIN
};

const FAMILY: Family = Family {
    vocabulary: 151_936,
    inner: 22_016,
    key_value_heads: Some(32),
    head_size: Some(128),
    attention_bias: Bias::Configured,
    query_key_norm: true,
    window: Windows::Upper,
};
