//! Saving a model so that the original, and this library, load it again.

mod card;
mod options;
mod place;
mod push;
mod pytorch;

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::version::ORIGINAL_VERSION;
use crate::{Result, SentenceTransformer};

pub use crate::files::{ModuleWriter, SavedTensor};
pub use options::SaveOptions;
pub use push::PushOptions;

/// The versions written beside the original's: those it was compared with.
const VERSIONS: [(&str, &str); 3] =
    [("sentence_transformers", ORIGINAL_VERSION), ("transformers", "4.57.6"), ("pytorch", "2.8.0")];

impl SentenceTransformer {
    /// Saves the model into a folder: modules, configuration, tokenizer, weights and the model card.
    ///
    /// The folder is written beside its place and takes it in one step, so that a full disk or a killed process leaves an
    /// older folder as it was. Files of an older folder that the model does not have are kept.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_pretrained(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_pretrained_with(path, &SaveOptions::new())
    }

    /// [`SentenceTransformer::save_pretrained`] with options.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_pretrained_with(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        let path = path.as_ref();
        log::info!("Save model to {}", path.display());
        let staging = place::Staging::beside(path)?;
        let root = ModuleWriter::new(staging.folder().to_path_buf())?;
        root.json("config_sentence_transformers.json", &Value::Object(self.saved_config()), 2)?;
        let mut entries = Vec::new();
        for (index, (name, module)) in self.pipeline().modules().enumerate() {
            let kind = module.kind();
            let in_root = index == 0 && self.pipeline().input().saved_in_root();
            let folder = if in_root { String::new() } else { format!("{index}_{}", kind.name) };
            entries.push(json!({"idx": index, "name": name, "path": folder, "type": kind.type_path}));
            module.save(&ModuleWriter::new(staging.folder().join(folder))?)?;
        }
        root.json("modules.json", &Value::Array(entries), 2)?;
        if !options.safe_serialization {
            pytorch::replace_safetensors(staging.folder())?;
        }
        let card = options.model_card.then(|| self.card_with(options.model_name.as_deref(), options.datasets()));
        match card {
            Some(Ok(card)) => root.bytes("README.md", card.as_bytes())?,
            // A model without its card is still a model.
            Some(Err(error)) => log::error!("Error while generating model card: {error}"),
            None => {}
        }
        staging.finish()
    }

    /// The content of `config_sentence_transformers.json`: what was loaded, in its order, with what is known now.
    fn saved_config(&self) -> Map<String, Value> {
        let mut config = self.config().clone();
        if config.is_empty() {
            config.insert("model_type".into(), "SentenceTransformer".into());
        }
        config.insert("__version__".into(), VERSIONS.iter().map(|(name, version)| (*name, *version)).collect());
        if !config.contains_key("model_type") {
            config.insert("model_type".into(), "SentenceTransformer".into());
        }
        config.insert("prompts".into(), self.prompts().iter().collect());
        config.insert("default_prompt_name".into(), self.default_prompt_name().into());
        config.insert("similarity_fn_name".into(), self.similarity_function().to_string().into());
        config
    }
}
