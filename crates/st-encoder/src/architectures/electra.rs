//! ELECTRA (Clark et al. 2020): BERT with a narrower word table and a projection to the hidden size.

use super::{Architecture, Config, bert};
use crate::{EncoderError, EncoderSpec, Slot, TensorSource};

pub(super) const ELECTRA: Architecture = Architecture {
    name: "electra",
    model_types: &["electra"],
    prefixes: &["", "electra.", "discriminator."],
    describe,
    source,
    ..Architecture::PLAIN
};

fn describe(config: &Config<'_>) -> Result<EncoderSpec, EncoderError> {
    config.only("position_embedding_type", &["absolute".into()])?;
    let hidden = config.size_or("hidden_size", 256)?;
    let width = config.size_or("embedding_size", 128)?;
    let sizes = bert::Sizes { width, heads: 4, inner: 1024, ..bert::Sizes::of(hidden) };
    bert::describe_sized(config, &sizes)
}

fn source(spec: &EncoderSpec, slot: Slot) -> TensorSource {
    match slot {
        Slot::EmbeddingProjection(part) => TensorSource::whole(format!("embeddings_project.{}", part.name())),
        _ => bert::source(spec, slot),
    }
}
