//! The architectures: each turns a `config.json` into an [`EncoderSpec`] and names the tensors of its checkpoints.
//!
//! Adding one is a file beside this one and a line in [`ARCHITECTURES`].

mod albert;
mod bert;
mod clip;
mod config;
mod deberta;
mod distilbert;
mod electra;
mod gemma3;
mod gte;
mod jina_bert;
mod llama;
mod mistral;
mod modernbert;
mod mpnet;
mod nomic_bert;
mod own_names;
mod qwen2;
mod qwen3;
mod roberta;
mod rotary_fields;
mod t5;

use std::path::Path;

use crate::{EncoderError, EncoderSpec, LayerSlot, Part, Slot, TensorSource};
pub use config::Config;

/// A family of encoders that one description covers.
///
/// ```
/// use st_encoder::{Slot, architectures::describe};
///
/// let config = serde_json::json!({"model_type": "xlm-roberta", "pad_token_id": 1});
/// let (architecture, spec) = describe(&config, "config.json".as_ref())?;
/// assert_eq!((architecture.name, architecture.prefixes), ("roberta", &["", "roberta."][..]));
/// assert_eq!((architecture.source)(&spec, Slot::WordEmbedding).name, "embeddings.word_embeddings.weight");
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug)]
pub struct Architecture {
    /// Our name for it.
    pub name: &'static str,
    /// Values of `model_type` in `config.json` that it answers to.
    pub model_types: &'static [&'static str],
    /// Prefixes that its tensors may carry in checkpoints of larger models, the plain one first.
    pub prefixes: &'static [&'static str],
    /// Whether a configuration of one of these model types is meant; most architectures take them all.
    pub recognises: fn(&Config<'_>) -> bool,
    /// Describes the network.
    pub describe: fn(&Config<'_>) -> Result<EncoderSpec, EncoderError>,
    /// Names the tensor of a slot.
    pub source: fn(&EncoderSpec, Slot) -> TensorSource,
    /// The same architecture under the names that other checkpoints give its tensors.
    pub otherwise: Option<&'static Architecture>,
}

impl Architecture {
    /// What most architectures have in common, to fill up a description of one.
    const PLAIN: Self = Self {
        name: "",
        model_types: &[],
        prefixes: &[""],
        recognises: |_| true,
        describe: |config| Err(config.error("no network is described")),
        source: |_, slot| TensorSource::nowhere(slot),
        otherwise: None,
    };

    /// This architecture under the names that a checkpoint gives its tensors; `contains` says whether it has a tensor.
    ///
    /// ```
    /// use serde_json::json;
    /// use st_encoder::architectures::describe;
    /// use st_encoder::{LayerSlot, Part, Slot};
    ///
    /// let (gte, spec) = describe(&json!({"model_type": "gte"}), "config.json".as_ref())?;
    /// let held = "layers.0.self_attn.q_proj.weight";
    /// let query = Slot::Layer { layer: 0, slot: LayerSlot::Query(Part::Weight) };
    /// assert_eq!((gte.named_as(&spec, |name| name == held).source)(&spec, query).name, held);
    /// # Ok::<(), st_encoder::EncoderError>(())
    /// ```
    #[must_use]
    pub fn named_as(&'static self, spec: &EncoderSpec, contains: impl Fn(&str) -> bool) -> &'static Self {
        let query = Slot::Layer { layer: 0, slot: LayerSlot::Query(Part::Weight) };
        let holds = |architecture: &Self| contains(&(architecture.source)(spec, query).name);
        self.otherwise.filter(|other| !holds(self) && holds(other)).unwrap_or(self)
    }
}

/// Every architecture. Of two that answer to one model type the first that recognises a configuration describes it.
pub const ARCHITECTURES: &[&Architecture] = &[
    &jina_bert::JINA_BERT,
    &bert::BERT,
    &mpnet::MPNET,
    &roberta::ROBERTA,
    &distilbert::DISTILBERT,
    &electra::ELECTRA,
    &albert::ALBERT,
    &deberta::DEBERTA,
    &t5::T5,
    &modernbert::MODERNBERT,
    &nomic_bert::NOMIC_BERT_OF_TRANSFORMERS,
    &nomic_bert::NOMIC_BERT,
    &gte::NEW,
    &gte::GTE,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &mistral::MISTRAL,
    &llama::LLAMA,
    &gemma3::GEMMA3,
    &clip::CLIP_TEXT,
    &clip::CLIP_VISION,
];

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
    let mut known = ARCHITECTURES.iter().filter(|architecture| architecture.model_types.contains(&found));
    let architecture = known.find(|architecture| (architecture.recognises)(&config)).ok_or_else(|| {
        EncoderError::UnknownArchitecture { path: path.into(), found: found.to_owned(), supported: supported() }
    })?;
    refuse_unsupported(&config)?;
    Ok((architecture, (architecture.describe)(&config)?))
}

/// Every model type, once, for messages.
fn supported() -> String {
    let mut types: Vec<_> = ARCHITECTURES.iter().flat_map(|architecture| architecture.model_types).copied().collect();
    types.sort_unstable();
    types.dedup();
    types.join(", ")
}
