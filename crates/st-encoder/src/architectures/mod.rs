//! The architectures: each turns a `config.json` into an [`EncoderSpec`] and names the tensors of its checkpoints.
//!
//! Adding one is a file beside this one and a line in [`ARCHITECTURES`].

mod albert;
mod bert;
mod config;
mod distilbert;
mod electra;
mod mpnet;
mod roberta;

use std::path::Path;

use crate::{EncoderError, EncoderSpec, Slot, TensorSource};
pub use config::Config;

/// A family of encoders that one description covers.
#[derive(Debug)]
pub struct Architecture {
    /// Our name for it.
    pub name: &'static str,
    /// Values of `model_type` in `config.json` that it answers to.
    pub model_types: &'static [&'static str],
    /// Prefixes that its tensors may carry in checkpoints of larger models, the plain one first.
    pub prefixes: &'static [&'static str],
    /// Describes the network.
    pub describe: fn(&Config<'_>) -> Result<EncoderSpec, EncoderError>,
    /// Names the tensor of a slot.
    pub source: fn(&EncoderSpec, Slot) -> TensorSource,
}

/// Every architecture.
pub const ARCHITECTURES: &[&Architecture] =
    &[&bert::BERT, &mpnet::MPNET, &roberta::ROBERTA, &distilbert::DISTILBERT, &electra::ELECTRA, &albert::ALBERT];

/// Fields that change the computation in ways no architecture here describes, with the values that do no harm.
fn refuse_unsupported(config: &Config<'_>) -> Result<(), EncoderError> {
    for field in ["is_decoder", "add_cross_attention"] {
        config.only(field, &[false.into()])?;
    }
    if config.has("quantization_config") {
        return Err(config.error("'quantization_config' is not supported; take the checkpoint that is not quantised"));
    }
    Ok(())
}

/// Finds the architecture of a `config.json` and describes the network. `path` is for messages.
///
/// # Errors
/// [`EncoderError::UnknownArchitecture`] and, naming the field, [`EncoderError::Config`].
pub fn describe(config: &serde_json::Value, path: &Path) -> Result<(&'static Architecture, EncoderSpec), EncoderError> {
    let config = Config::new(config, path)?;
    let found = config.text("model_type")?;
    let architecture =
        ARCHITECTURES.iter().find(|architecture| architecture.model_types.contains(&found)).ok_or_else(|| {
            EncoderError::UnknownArchitecture {
                path: path.into(),
                found: found.to_owned(),
                supported: ARCHITECTURES.iter().flat_map(|a| a.model_types).copied().collect::<Vec<_>>().join(", "),
            }
        })?;
    refuse_unsupported(&config)?;
    Ok((architecture, (architecture.describe)(&config)?))
}
