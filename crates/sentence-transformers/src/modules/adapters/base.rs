//! A folder that holds an adapter, and its base model elsewhere.

use std::path::{Path, PathBuf};

use st_encoder::EncoderFiles;
use st_encoder::adapters::{ADAPTER_CONFIG, AdaptableModules, Adapter, AdapterConfig};
use st_hub::{Selection, Source};

use super::shelf::Shelf;
use crate::files::read_json;
use crate::module::{InputContext, ModuleFolder, Origin};
use crate::{Error, ErrorKind, Result};

/// Files by which a folder has a tokenizer of its own.
const TOKENIZER_FILES: [&str; 6] =
    ["tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"];
/// Under this name the original loads the adapter of a folder.
const DEFAULT: &str = "default";

/// What the folder of a transformer or a CLIP model holds: its own model, or an adapter for another.
pub(in crate::modules) struct Base {
    pub(in crate::modules) files: EncoderFiles,
    /// What the model without adapters is called.
    pub(in crate::modules) name: String,
    pub(in crate::modules) shelf: Shelf,
    /// Where the tokenizer's files are.
    pub(in crate::modules) tokenizer: PathBuf,
}

impl Base {
    /// `adaptable` says what adapters can change.
    pub(in crate::modules) fn open(
        folder: &ModuleFolder,
        context: &InputContext,
        adaptable: impl FnOnce(&EncoderFiles) -> Result<AdaptableModules>,
    ) -> Result<Self> {
        let path = folder.file(ADAPTER_CONFIG);
        let Some(value) = read_json(&path)? else {
            let folder_path = folder.folder();
            let name = if folder.is_root() { context.origin.name.clone() } else { folder_path.display().to_string() };
            let files = EncoderFiles::open(&folder_path)?;
            return Ok(Self { files, name, shelf: Shelf::default(), tokenizer: folder_path });
        };
        let config = AdapterConfig::parse(&value, &path)?;
        let (base, name) = match &config.base_model {
            Some(name) => (find(name, &value, &path, &context.origin)?, name.clone()),
            // A model's folder with an adapter beside the model's own files.
            None if folder.file("config.json").is_file() => (folder.folder(), context.origin.name.clone()),
            None => {
                return Err(Error::config(&path, "'base_model_name_or_path' names no model")
                    .with_hint("load the base model, and the adapter with load_adapter"));
            }
        };
        if base != folder.folder() && base.join(ADAPTER_CONFIG).is_file() {
            let message = format!("{}: the base model '{name}' is an adapter itself", path.display());
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_path(path)
                .with_hint("merge the base model's adapter into it first"));
        }
        let files = EncoderFiles::open(&base)?;
        let mut adapter = Adapter::open(&folder.folder(), &adaptable(&files)?)?;
        adapter.config_mut().inference = true;
        let own = TOKENIZER_FILES.iter().any(|name| folder.file(name).is_file());
        let tokenizer = if own { folder.folder() } else { base };
        Ok(Self { files, name, shelf: Shelf::of(DEFAULT, adapter), tokenizer })
    }
}

/// Brings the base model that an adapter names. One that came from the Hub names a model of the Hub and no path on this
/// machine.
fn find(name: &str, config: &serde_json::Value, path: &Path, origin: &Origin) -> Result<PathBuf> {
    let looks_like_a_path =
        name.starts_with(['/', '~', '.']) || name.contains(['\\', ':', '\0']) || name.contains("..");
    if looks_like_a_path && !origin.is_local {
        return Err(Error::config(path, format_args!("the base model '{name}' is a path, not a model of the Hub"))
            .with_hint("load the base model yourself, and the adapter with load_adapter"));
    }
    // The revision that was asked for is the adapter's.
    let revision = config.get("revision").and_then(serde_json::Value::as_str).unwrap_or("main");
    let missing = |error: st_hub::HubError| {
        Error::from(error).with_hint(format!("'{name}' is the adapter's base model: make it available under this name"))
    };
    let source = Source::resolve(name, &origin.hub.clone().revision(revision)).map_err(missing)?;
    source.snapshot(&Selection::model()).map_err(missing)
}
