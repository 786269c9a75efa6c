//! [`Transformer`]: tokenizer and encoder.

mod adapters;
mod checkpoint;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use st_encoder::adapters::AdaptableModules;
use st_encoder::{Backend, Encoder, EncoderFiles, EncoderInfo, EncoderOptions, Pass, WeightFormat};

use super::adapters::{AdapterHost as _, Base, Shelf};
use super::calibration::calibration_batch;
use super::{
    Conversion, Dataflow, Feature, InputContext, InputModule, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind,
};
use crate::files::ModuleWriter;
use crate::loader_arguments::{configuration_arguments, model_arguments, tokenizer_arguments};
use crate::tokenizer::{TextTokenizer, TokenizerOptions, Tokens};
use crate::{Features, NewWeights, Result};
pub(super) use checkpoint::{merged, with_new};

/// The row of [`super::MODULES`].
pub(super) const TRANSFORMER: ModuleKind = ModuleKind {
    name: "Transformer",
    aliases: &[],
    type_path: "sentence_transformers.models.Transformer",
    load: Loader::Input(|folder, context| Ok(Box::new(Transformer::load(folder, context)?))),
};

/// Names of the configuration file, in the order in which they are looked for.
const CONFIG_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// Files of a transformer besides its weights, copied when it is saved.
const SAVED_FILES: [&str; 14] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "unigram.json",
    "bpe.codes",
    "chat_template.jinja",
];
/// Weights in one file.
pub(super) const WEIGHT_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// Indexes of weights in several files.
const SHARD_INDEXES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

/// Shards beside an index: `model-00001-of-00003.safetensors` and the like.
fn shards(folder: &Path) -> Vec<PathBuf> {
    let is_shard = |name: &str| {
        name.contains("-of-")
            && (name.starts_with("model-") && name.ends_with(".safetensors")
                || name.starts_with("pytorch_model-") && name.ends_with(".bin"))
    };
    let mut shards: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_shard))
        .collect();
    shards.sort();
    shards
}

/// A Hugging Face encoder with its tokenizer.
///
/// Shapes: texts to token embeddings `[T, hidden]` per text. Files: `config.json`, the weights, the tokenizer's files and
/// `sentence_bert_config.json` with `max_seq_length` and `do_lower_case`. With an active adapter, the adapter's files take the
/// place of configuration and weights.
#[derive(Debug)]
pub struct Transformer {
    tokenizer: Arc<TextTokenizer>,
    encoder: Arc<dyn Encoder>,
    max_seq_length: Option<usize>,
    lower_case: bool,
    source: Option<EncoderSource>,
    shelf: Shelf,
}

/// What an encoder was loaded from, and how.
#[derive(Debug, Clone)]
struct EncoderSource {
    files: EncoderFiles,
    backend: Arc<dyn Backend>,
    options: EncoderOptions,
    /// What the model is called.
    name: String,
    /// Folder of the tokenizer's files.
    tokenizer: PathBuf,
}

impl Transformer {
    /// A transformer of the given parts.
    #[must_use]
    pub fn new(tokenizer: TextTokenizer, encoder: Box<dyn Encoder>, max_seq_length: Option<usize>) -> Self {
        let (tokenizer, encoder) = (Arc::new(tokenizer), Arc::from(encoder));
        Self { tokenizer, encoder, max_seq_length, lower_case: false, source: None, shelf: Shelf::default() }
    }

    /// The configuration and weights, without adapters; `None` for a transformer that was made in memory.
    #[must_use]
    pub fn files(&self) -> Option<&EncoderFiles> {
        self.source.as_ref().map(|source| &source.files)
    }

    /// The same transformer with new weights, when there are any.
    fn with_new(&self, path: &str, weights: &mut NewWeights) -> Result<Self> {
        let (mut encoder, mut source) = (Arc::clone(&self.encoder), self.source.clone());
        let start = format!("{path}{}", checkpoint::MODEL);
        let adapted = self.shelf.with_numbers(&start, weights)?;
        if let Some(source) = &mut source {
            let bytes =
                checkpoint::with_new(&source.files, checkpoint::prefix, &start, weights, !self.shelf.is_empty())?;
            let reload = bytes.is_some() || adapted.is_some();
            if let Some(bytes) = bytes {
                source.files = source.files.clone().with_weights(bytes);
            }
            if reload {
                encoder = source.load(adapted.as_ref().unwrap_or(&self.shelf))?;
            }
        }
        let (tokenizer, max_seq_length) = (Arc::clone(&self.tokenizer), self.max_seq_length);
        let (lower_case, shelf) = (self.lower_case, adapted.unwrap_or_else(|| self.shelf.clone()));
        Ok(Self { tokenizer, encoder, max_seq_length, lower_case, source, shelf })
    }

    /// Reads a transformer folder, with or without `sentence_bert_config.json`.
    ///
    /// # Errors
    /// Whatever is wrong with its files.
    pub fn load(folder: &ModuleFolder, context: &InputContext) -> Result<Self> {
        let settings = Settings::read(folder)?;
        let modules = |files: &EncoderFiles| Ok(AdaptableModules::of_files(files)?);
        let Base { files, name, shelf, tokenizer: tokenizer_folder } = Base::open(folder, context, modules)?;
        let backend = Arc::clone(&context.backend);
        let options = match settings.weights.filter(|_| !context.weights_given) {
            Some(weights) => context.encoder.clone().weights(weights),
            None => context.encoder.clone(),
        };
        let given = &context.tokenizer;
        let tokenizer_options = TokenizerOptions {
            model_max_length: given.model_max_length.or(settings.tokenizer.model_max_length),
            truncation_side: given.truncation_side.or(settings.tokenizer.truncation_side),
            do_lower_case: given.do_lower_case.or(settings.tokenizer.do_lower_case),
        };
        let source = EncoderSource { files, backend, options, name, tokenizer: tokenizer_folder };
        // The encoder's packing and the tokenizer's parsing are the two halves of the start-up time.
        let (tokenizer, encoder) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| TextTokenizer::load(&source.tokenizer, &tokenizer_options));
            let encoder = source.load(&shelf);
            (tokenizer.join(), encoder)
        });
        let tokenizer = tokenizer.map_err(|_| {
            crate::Error::new(crate::ErrorKind::Tokenizer, "the tokenizer's files made their parser fail")
                .with_path(source.tokenizer.join("tokenizer.json"))
        })??;
        let encoder = encoder?;
        let max_seq_length = context.max_seq_length.or(settings.max_seq_length).or_else(|| {
            match (encoder.info().max_sequence, tokenizer.model_max_length()) {
                (Some(positions), Some(length)) => Some(positions.min(length)),
                _ => None,
            }
        });
        let (tokenizer, lower_case) = (Arc::new(tokenizer), settings.lower_case);
        Ok(Self { tokenizer, encoder, max_seq_length, lower_case, source: Some(source), shelf })
    }
}

/// What `sentence_bert_config.json` says.
struct Settings {
    max_seq_length: Option<usize>,
    lower_case: bool,
    /// Of `model_args`.
    weights: Option<WeightFormat>,
    /// Of `tokenizer_args`.
    tokenizer: TokenizerOptions,
}

impl Settings {
    fn read(folder: &ModuleFolder) -> Result<Self> {
        for name in CONFIG_FILES {
            let mut config = ModuleConfig::read(folder.file(name))?;
            if config.is_empty() {
                continue;
            }
            let max_seq_length = config.optional_size(&["max_seq_length"])?;
            let lower_case = config.flag("do_lower_case")?.unwrap_or(false);
            let model = arguments(&mut config, "model_args")?;
            let tokenizer = arguments(&mut config, "tokenizer_args")?;
            let configuration = arguments(&mut config, "config_args")?;
            let in_file = |error: crate::Error| {
                let hint = error.hint().unwrap_or_default().to_owned();
                config.error(&error).with_hint(hint)
            };
            let settings = Self {
                max_seq_length,
                lower_case,
                weights: model_arguments(&model).map_err(in_file)?,
                tokenizer: tokenizer_arguments(&tokenizer).map_err(in_file)?,
            };
            configuration_arguments(&configuration).map_err(in_file)?;
            // Since 5.4 the file may name a task and the output that is read; ours are the only ones supported.
            if let Some(task) = config.text("transformer_task")?
                && task != "feature-extraction"
            {
                return Err(config.error(format_args!("'transformer_task' {task} is not supported")));
            }
            if let Some(output) = config.text("module_output_name")?
                && output != "token_embeddings"
            {
                return Err(config.error(format_args!("'module_output_name' {output} is not supported")));
            }
            config.ignore(&["modality_config"]);
            for name in arguments(&mut config, "processor_args")?.keys() {
                log::warn!("'processor_args' of {} is not followed: '{name}' is for images.", CONFIG_FILES[0]);
            }
            config.finish()?;
            return Ok(settings);
        }
        Ok(Self { max_seq_length: None, lower_case: false, weights: None, tokenizer: TokenizerOptions::default() })
    }
}

/// Arguments of one of Python's loaders. A folder's wish for its own code to be run is dropped, as the original does.
fn arguments(config: &mut ModuleConfig, name: &'static str) -> Result<Map<String, Value>> {
    match config.value(&[name]).cloned() {
        None => Ok(Map::new()),
        Some(Value::Object(mut arguments)) => {
            arguments.remove("trust_remote_code");
            Ok(arguments)
        }
        Some(_) => Err(config.error(format_args!("'{name}' should be an object"))),
    }
}

/// Writes `config.json` with the data type that new weights are saved in, where it names one.
pub(super) fn save_config(files: &EncoderFiles, writer: &ModuleWriter) -> Result<()> {
    let mut config = files.config().clone();
    let mut changed = false;
    for key in ["torch_dtype", "dtype"] {
        if let Some(value) = config.get_mut(key).filter(|value| value.as_str().is_some_and(|name| name != "float32")) {
            *value = "float32".into();
            changed = true;
        }
    }
    if changed { writer.json(SAVED_FILES[0], &config, 2) } else { Ok(()) }
}

/// Copies the weights of a folder.
pub(super) fn save_weights(files: &EncoderFiles, writer: &ModuleWriter) -> Result<()> {
    let folder = files.folder();
    let mut weights = SHARD_INDEXES.iter().any(|name| folder.join(name).is_file());
    for name in SHARD_INDEXES.iter().chain(&WEIGHT_FILES) {
        weights |= writer.copy(&folder.join(name))? && WEIGHT_FILES.contains(name);
    }
    for shard in shards(folder) {
        writer.copy(&shard)?;
    }
    if !weights {
        let message = format!("{} holds no weights to save any more", folder.display());
        return Err(crate::Error::new(crate::ErrorKind::NotFound, message).with_path(folder));
    }
    Ok(())
}

impl Module for Transformer {
    fn kind(&self) -> &'static ModuleKind {
        &TRANSFORMER
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::Tokens, gives: Feature::TokenEmbeddings }
    }

    fn forward(&self, mut features: Features, pass: &Pass) -> Result<Features> {
        if self.encoder.info().token_types == 0 {
            features.batch.clear_types();
        }
        features.token_embeddings = Some(self.encoder.forward(&features.batch, pass)?);
        Ok(features)
    }

    fn output_dim(&self, _: usize) -> Result<usize, usize> {
        Ok(self.width())
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        let Some(EncoderSource { files, tokenizer, .. }) = &self.source else {
            return Err(crate::Error::new(
                crate::ErrorKind::Unsupported,
                "a transformer that was made in memory has no files to save",
            )
            .with_hint("save the encoder's weights and the tokenizer's files yourself"));
        };
        let folder = files.folder();
        for name in &SAVED_FILES[1..] {
            writer.copy(&tokenizer.join(name))?;
        }
        if !self.shelf.is_empty() {
            self.save_adapter(writer)?;
            return writer.config(CONFIG_FILES[0], self.config());
        }
        writer.copy(&folder.join(SAVED_FILES[0]))?;
        if let Some(bytes) = files.held_weights() {
            save_config(files, writer)?;
            writer.bytes(WEIGHT_FILES[0], bytes)?;
            return writer.config(CONFIG_FILES[0], self.config());
        }
        save_weights(files, writer)?;
        writer.config(CONFIG_FILES[0], self.config())
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.with_new(path, weights)?))
    }

    fn config(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut keys = serde_json::Map::new();
        keys.insert("max_seq_length".into(), self.max_seq_length.into());
        keys.insert("do_lower_case".into(), self.lower_case.into());
        keys
    }
}

impl InputModule for Transformer {
    fn tokenizer(&self) -> Option<&TextTokenizer> {
        Some(&self.tokenizer)
    }

    fn tokenize(&self, first: &str, second: Option<&str>) -> Result<Tokens> {
        self.tokenizer.encode(first, second, self.max_seq_length.or(self.tokenizer.model_max_length()))
    }

    fn input_with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn InputModule>> {
        Ok(Box::new(self.with_new(path, weights)?))
    }

    fn convert(&mut self, conversion: &Conversion) -> Result<bool> {
        let Some(source) = &self.source else {
            return Err(crate::Error::new(
                crate::ErrorKind::Unsupported,
                "a transformer that was made in memory cannot be loaded in another form",
            )
            .with_hint("load the transformer from a folder"));
        };
        let mut source = source.clone();
        if let Some(backend) = &conversion.backend {
            source.backend = Arc::clone(backend);
        }
        if let Some(weights) = conversion.weights {
            source.options.weights = weights;
        }
        if let Some(texts) = &conversion.calibration {
            source.options.calibration = vec![calibration_batch(self, texts)?];
        }
        self.encoder = source.load(&self.shelf)?;
        self.source = Some(source);
        Ok(true)
    }

    fn max_seq_length(&self) -> Option<usize> {
        self.max_seq_length
    }

    fn set_max_seq_length(&mut self, length: Option<usize>) {
        self.max_seq_length = length;
    }

    fn lower_case(&self) -> bool {
        self.lower_case
    }

    fn width(&self) -> usize {
        self.encoder.info().hidden
    }

    fn encoder(&self) -> Option<&EncoderInfo> {
        Some(self.encoder.info())
    }
}
