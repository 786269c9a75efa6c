//! Mistral (Jiang et al. 2023), as E5-Mistral uses it: LLaMA with fewer keys and a window.

use super::Architecture;
use super::llama::{Family, LLAMA_FAMILY, Windows, describe, source};

pub(super) const MISTRAL: Architecture = Architecture {
    name: "mistral",
    model_types: &["mistral"],
    prefixes: &["", "model."],
    describe: |config| describe(config, &FAMILY),
    source,
    ..Architecture::PLAIN
};

const FAMILY: Family = Family { inner: 14_336, key_value_heads: Some(8), window: Windows::All, ..LLAMA_FAMILY };
